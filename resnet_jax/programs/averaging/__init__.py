"""--mode=average: averages checkpoints of a run into one set of weights, which all other modes accept."""
