"""Kills a run again and again, and shows that nothing of it is lost: `python -m drill` (docs/reliability.md)."""
