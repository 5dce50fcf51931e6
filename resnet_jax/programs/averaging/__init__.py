"""--mode=average: averages checkpoints of a run, as weights for all other modes."""
