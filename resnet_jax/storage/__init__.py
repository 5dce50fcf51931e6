"""Work directories in buckets (Google Cloud Storage, S3): copies them to a mirror on the local disk and back.

The other packages read and write the mirror, which is an ordinary work directory. They cannot write to the bucket
directly for three reasons: `metrics.jsonl`, event files and checkpoints are appended to or renamed, which is impossible
for objects in a bucket; Orbax cannot write to S3; and training would wait for the network at each write.
"""
