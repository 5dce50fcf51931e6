"""--mode=diff: why two runs differ, and the first step at which their losses part."""
