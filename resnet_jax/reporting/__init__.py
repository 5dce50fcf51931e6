"""What a run writes and displays: work directory, metrics, progress, timing, plots."""
