"""One program for each --mode, and the command line."""
