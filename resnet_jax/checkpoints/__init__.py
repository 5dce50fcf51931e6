"""Checkpoints: copying the state to the host, writing, checksums, retention, restoring.

A checkpoint is written under a temporary name, flushed to the disk and renamed. Only then are older checkpoints
deleted. The format is Orbax's. Orbax's `CheckpointManager` is not used: it would have to write a whole checkpoint again
to add the result of an evaluation, and when several processes save, they wait for each other.

Every process verifies the checksums of the checkpoint that it reads. If one process finds a checkpoint damaged, no
process uses it: the checkpoint is moved to `damaged_checkpoints/`, and the newest undamaged one is used. If all are
damaged, nothing is moved and the run ends with an error. A disk that cannot be read, or a checkpoint of another model,
also ends the run with an error; it does not count as damage.

If a signal interrupts an evaluation, the evaluation is repeated after the restart. Its result is added to the JSON file
of the checkpoint, which is replaced atomically.
"""
