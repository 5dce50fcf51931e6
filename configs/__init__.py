"""Recipes: `default.py` declares every config key; each other file is a short list of changes to the defaults."""
