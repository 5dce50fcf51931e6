"""What a run writes and shows: work directory, metrics, progress, timing, pictures."""
