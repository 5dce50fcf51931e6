"""Recipes: `default.py` and `mode_keys.py` declare every config key; each other file is a short list of changes to the defaults."""
