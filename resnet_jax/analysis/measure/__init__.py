"""The measurements of --mode=benchmark, one per file."""
