"""Recipes: `default.py` and `mode_keys.py` declare all config keys; each other file is a list of changes to them."""
