"""--mode=doctor: checks whether this machine, its software, the data and the work directory are ready for a run."""
