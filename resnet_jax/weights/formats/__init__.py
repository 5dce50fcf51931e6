"""One file for each format that weights are read from or written to."""
