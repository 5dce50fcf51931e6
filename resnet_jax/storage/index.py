"""The index of a mirror: what its files and the objects in the bucket were when they were last equal.

With it, a comparison finds out on which side a file has changed since, without reading its content.
"""

import base64
import json
import secrets
from pathlib import Path
from typing import NamedTuple

from resnet_jax.files import write_atomically
from resnet_jax.nested import has_shape
from resnet_jax.storage.layout import Signature

NAME = ".bucket.json"  # in the mirror itself: who deletes the mirror, deletes the index too
_SHAPE = {"id": str, "files": dict, "complete": [int], "pending": [str]}
_ENTRY = {"size": int, "changed": int, "version": str}


class Entry(NamedTuple):
    """A file and an object that had the same content."""

    signature: Signature
    version: bytes


class Index:
    """The index of a mirror.

    Attributes:
      id: random name of the mirror, by which the lease knows it.
      files: name -> state of the file and of the object.
      complete: steps of the checkpoints with a marker in the bucket.
      pending: names that an upload was about to write when it began: after a kill, these objects may have been written.
    """

    def __init__(self, root: Path):
        """Reads the index of the mirror `root`; a missing or damaged one is new."""
        self._path = root / NAME
        self.id = secrets.token_hex(8)
        self.files: dict[str, Entry] = {}
        self.complete: set[int] = set()
        self.pending: set[str] = set()
        self._read()

    def save(self, *, sync: bool = False) -> None:
        """Writes the index; `sync`: so that it survives a power cut. Raises OSError."""
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
