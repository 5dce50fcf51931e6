"""--mode=diff: lists what differs between two runs, and finds the first step at which their losses differ."""
