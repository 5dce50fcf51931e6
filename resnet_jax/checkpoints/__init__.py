"""A checkpoint from the devices to the disk and back: format, checksums, retention."""
