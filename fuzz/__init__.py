"""Tests what reads foreign bytes or text with random and damaged inputs: `python -m fuzz TARGET --minutes=5`."""
