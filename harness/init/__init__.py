"""``groupwise init``: a folder to start from."""
