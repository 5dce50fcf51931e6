"""Kills a run many times and verifies that it ends like an undisturbed run: `python -m drill` (docs/reliability.md)."""
