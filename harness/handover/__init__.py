"""Our optimizers in the trainers of others: TRL (``to_trl``) and verl (``to_verl``). Neither is imported here."""
