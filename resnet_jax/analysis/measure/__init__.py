"""What `--mode=benchmark` measures, a file each."""
