"""The index of a mirror, the local copy of a work directory in a bucket.

For each file, it records size and time of the file and the version of its object in the bucket, as they were when file
and object were last equal. A comparison with this record shows whether the file or the object has changed since then,
without reading the contents.
"""

import base64
import json
import secrets
from pathlib import Path
from typing import NamedTuple

from resnet_jax.files import write_atomically
from resnet_jax.nested import has_shape
from resnet_jax.storage.layout import Signature

NAME = ".bucket.json"  # in the directory of the mirror, so that deleting the mirror also deletes its index
_SHAPE = {"id": str, "files": dict, "complete": [int], "pending": [str]}
_ENTRY = {"size": int, "changed": int, "version": str}


class Entry(NamedTuple):
    """The state of a file and of its object in the bucket at a time when they had the same content."""

    signature: Signature  # size and time of the file
    version: bytes  # version of the object


class Index:
    """The index of a mirror, a JSON file in the directory of the mirror.

    Attributes:
      id: random ID of the mirror; the lease in the bucket records which mirror was uploaded last.
      files: name -> state of the file and of its object.
      complete: steps of the checkpoints whose upload is complete, that is, whose marker is in the bucket.
      pending: names of the objects that the current upload writes. If the upload was killed, it has written an unknown
        part of them.
    """

    def __init__(self, root: Path):
        """Reads the index of the mirror in the directory `root`; starts a new one if it is missing or damaged."""
        self._path = root / NAME
        self.id = secrets.token_hex(8)
        self.files: dict[str, Entry] = {}
        self.complete: set[int] = set()
        self.pending: set[str] = set()
        self._read()

    def save(self, *, sync: bool = False) -> None:
        """Writes the index; with `sync`, waits until it is stored on the disk. Raises OSError if that fails."""
        entries = {
            name: {
                "size": entry.signature[0],
                "changed": entry.signature[1],
                "version": base64.b64encode(entry.version).decode(),
            }
            for name, entry in self.files.items()
        }
        content = {"id": self.id, "complete": sorted(self.complete), "pending": sorted(self.pending), "files": entries}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self._path, json.dumps(content), sync=sync)

    def _read(self) -> None:
        try:
            content = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return
        if has_shape(content, _SHAPE) and all(has_shape(entry, _ENTRY) for entry in content["files"].values()):
            self.id, self.complete, self.pending = content["id"], set(content["complete"]), set(content["pending"])
            self.files = {
                name: Entry((entry["size"], entry["changed"]), base64.b64decode(entry["version"]))
                for name, entry in content["files"].items()
            }
