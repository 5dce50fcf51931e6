"""Parquet files, as Hugging Face writes them, and tars, as WebDataset writes them, for the tests."""

import io
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq

_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def write_parquet(path, rows, *, classes=None, group=4):
    """Writes rows of file name, encoded image and label; `classes` are the names that the description lists."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(
        {
            "image": pa.array([{"bytes": encoded, "path": name} for name, encoded, _ in rows], _IMAGE),
            "label": pa.array([label for _, _, label in rows], pa.int64()),
        }
    )
    if classes is not None:
        features = {"image": {"_type": "Image"}, "label": {"names": list(classes), "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, row_group_size=group)


def write_tar(path, samples, *, ending="cls"):
    """Writes samples of key, encoded image and label, which is in a member '.cls' or '.json'."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for key, encoded, label in samples:
            add(tar, f"{key}.jpg", encoded)
            add(tar, f"{key}.{ending}", (str(label) if ending == "cls" else json.dumps({"label": label})).encode())


def add(tar, name, content):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))
