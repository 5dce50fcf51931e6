"""--mode=replay: computes one training step of a run again, and finds where a NaN or infinity in it arises."""
