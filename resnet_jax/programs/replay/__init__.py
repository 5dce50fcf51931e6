"""--mode=replay: computes one training step of a run again, and explains it."""
