"""Which files of a mirror are copied to the bucket, and their names there.

An object has the name of its file below the work directory, such as 'checkpoints/60/meta/metadata', so that the bucket
looks like a work directory. A checkpoint is complete when its marker exists, which is written last and lists its files:
what renaming a finished checkpoint does on a disk.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path

from resnet_jax.files import is_number
from resnet_jax.nested import has_shape

CHECKPOINTS = "checkpoints"
RESULT = "result.json"
# Of modes that take no lease.
OUTPUTS = ("exports/", "benchmarks/", "replays/", "inputs.png", "report.html", "data_check.json")
UNFINISHED = ".orbax-checkpoint-tmp"  # suffix of a checkpoint that is being restored; the next start deletes it
_MARKER = ".complete"

Signature = tuple[int, int]  # size in bytes, time of the last change in nanoseconds


def signature(path: Path) -> Signature | None:
    """Returns what tells whether a file has changed; None if there is no file."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns


def plain_files(root: Path) -> dict[str, Signature]:
    """Returns the files outside of checkpoints by name, without temporary ones and names that begin with a dot."""
    found = {}
    for directory, folders, files in os.walk(root):
        folders[:] = sorted(folder for folder in folders if not folder.startswith("."))
        if Path(directory) == root:
            folders[:] = [folder for folder in folders if folder != CHECKPOINTS]
        for file in sorted(files):
            path = Path(directory, file)
            seen = signature(path) if path.is_file() else None
            if seen and not file.startswith(".") and not file.endswith(".part") and _is_text(path):
                found[path.relative_to(root).as_posix()] = seen
    return found


def steps(root: Path) -> list[int]:
    """Returns the steps of the complete checkpoints in a mirror, ascending."""
    folder = root / CHECKPOINTS
    return sorted(int(path.name) for path in folder.glob("*") if is_number(path.name) and path.is_dir())


def checkpoint_files(root: Path, step: int) -> dict[str, Signature]:
    """Returns the files of a checkpoint by name; {} if there is no such checkpoint."""
    found = {}
    for path in sorted((root / CHECKPOINTS / str(step)).rglob("*")):
        seen = signature(path) if path.is_file() else None
        if seen and not path.name.endswith(".part"):
            found[path.relative_to(root).as_posix()] = seen
    return found


def step_of(name: str) -> int | None:
    """Returns the step of the checkpoint that an object belongs to; None if it belongs to none."""
    folder, _, rest = name.partition("/")
    step, slash, _ = rest.partition("/")
    return int(step) if folder == CHECKPOINTS and slash and is_number(step) else None


def marker(step: int) -> str:
    """Returns the name of the marker of a checkpoint."""
    return f"{CHECKPOINTS}/{step}/{_MARKER}"


def is_marker(name: str) -> bool:
    """Whether an object is the marker of a checkpoint."""
    step = step_of(name)
    return step is not None and name == marker(step)


def marker_content(names: Iterable[str]) -> bytes:
    """Returns the content of the marker of a checkpoint with these objects."""
    return json.dumps({"files": sorted(names)}).encode()


def names_in_marker(content: bytes) -> list[str]:
    """Returns the names of the objects of a checkpoint from the content of its marker; [] if it is damaged."""
    try:
        listed = json.loads(content)
    except ValueError:
        return []
    names = listed["files"] if has_shape(listed, {"files": [str]}) else []
    return [name for name in names if step_of(name) is not None and ".." not in name.split("/")]


def _is_text(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:  # a name that no bucket can have
        return False
    return True
