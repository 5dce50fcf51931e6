"""Work directories in buckets: a copy on the disk, the mirror, is restored from the bucket and uploaded to it.

Everything is read and written in the mirror, as in a work directory on a disk, by the same code and with the same
guarantees; this room copies. The other way, to let Orbax and every writer of files address the bucket, was not taken:
objects cannot be appended or renamed, which `metrics.jsonl`, event files and complete checkpoints rest on, Orbax
does not write to S3, and each write would make training wait for the network.
"""
