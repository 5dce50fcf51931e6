"""Work directories in buckets (Google Cloud Storage, S3): copies them to a mirror on the local disk and back.

All other code reads and writes the mirror, which is an ordinary work directory. Writing to the bucket directly would
not work: objects in a bucket cannot be appended to or renamed, as `metrics.jsonl`, TensorBoard's event files and
checkpoints need; Orbax does not write to S3; and training would wait for the network at each write.
"""
