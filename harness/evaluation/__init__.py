"""`groupwise evaluate`: any model on any tasks, with a store of rollouts in which nothing is generated twice."""
