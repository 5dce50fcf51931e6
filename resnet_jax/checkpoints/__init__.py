"""Checkpoints: copying the state to the host, writing, checksums, retention, restoring."""
