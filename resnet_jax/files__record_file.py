"""Files that hold a record as JSON."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resnet_jax.errors import UsageError


def check_writable(path: Path, *, key: str) -> None:
    """Raises UsageError, before hours go into what is to be written; `key` is the setting that names the file."""
    try:
        if path.is_dir():
            raise IsADirectoryError("it is a directory")
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise UsageError(
            f"{key}={str(path)!r} cannot be written ({error.strerror or error}): "
            "name a file in a directory that is there and may be written to"
        ) from None


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Writes the file so that a reader finds all of it or nothing."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(record, indent=2) + "\n")
    part.replace(path)
