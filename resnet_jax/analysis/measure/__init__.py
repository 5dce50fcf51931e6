"""The measurements of --mode=benchmark, one file each."""
