"""Checkpoints: copying the state to the host, writing, checksums, retention, restoring.

A checkpoint is written under a temporary name, flushed to the disk and renamed; older ones are deleted after that. The
format is Orbax's. Its `CheckpointManager` is not used: it cannot add the result of an evaluation to a checkpoint
without writing it again, and its saves by several processes wait for each other.

Every process verifies what it reads. A checkpoint that one of them finds damaged is used by none: it is moved to
`damaged_checkpoints/`, and the newest good one is used. If none is good, nothing is moved and the run ends with an
error. A disk that cannot be read, or a checkpoint of another model, is an error and not damage.

An evaluation that a signal interrupts is repeated after the restart, and its result is added to the JSON of the
checkpoint, which is replaced atomically.
"""
