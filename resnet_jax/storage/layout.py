"""Which files of a mirror, the local copy of a work directory, are copied to the bucket, and their names there.

An object has the name of its file below the work directory, such as 'checkpoints/60/meta/metadata', so that the bucket
looks like a work directory. A checkpoint in the bucket is complete if it has a marker: an object that is written last
and lists the files of the checkpoint. (Orbax, on a disk, instead renames the directory of a checkpoint at the end.)
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path

from resnet_jax.files import is_number
from resnet_jax.nested import has_shape

CHECKPOINTS = "checkpoints"
RESULT = "result.json"
# Files and folders that modes such as --mode=export write to the work directory without locking it.
OUTPUTS = ("exports/", "benchmarks/", "replays/", "inputs.png", "report.html", "data_check.json")
UNFINISHED = ".orbax-checkpoint-tmp"  # suffix of a checkpoint's directory while its files are copied from the bucket
_MARKER = ".complete"

Signature = tuple[int, int]  # size in bytes, time of the last change in nanoseconds


def signature(path: Path) -> Signature | None:
    """Returns size and time of the last change of a file; None if there is no file."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns


def plain_files(root: Path) -> dict[str, Signature]:
    """Returns name -> signature of the files outside of checkpoints, except temporary and hidden files."""
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
    """Returns name -> signature of the files of a checkpoint; {} if there is no such checkpoint."""
    found = {}
    for path in sorted((root / CHECKPOINTS / str(step)).rglob("*")):
        seen = signature(path) if path.is_file() else None
        if seen and not path.name.endswith(".part"):
            found[path.relative_to(root).as_posix()] = seen
    return found


def step_of(name: str) -> int | None:
    """Returns the step of the checkpoint to which the object `name` belongs; None if it belongs to no checkpoint."""
    folder, _, rest = name.partition("/")
    step, slash, _ = rest.partition("/")
    return int(step) if folder == CHECKPOINTS and slash and is_number(step) else None


def marker(step: int) -> str:
    """Returns the name of the object that marks the checkpoint of a step as complete."""
    return f"{CHECKPOINTS}/{step}/{_MARKER}"


def is_marker(name: str) -> bool:
    """Whether an object is the marker of a checkpoint."""
    step = step_of(name)
    return step is not None and name == marker(step)


def marker_content(names: Iterable[str]) -> bytes:
    """Returns the content of the marker of a checkpoint whose objects have the given names."""
    return json.dumps({"files": sorted(names)}).encode()


def names_in_marker(content: bytes) -> list[str]:
    """Returns the names of a checkpoint's objects from the content of its marker; [] if this content is damaged."""
    try:
        listed = json.loads(content)
    except ValueError:
        return []
    names = listed["files"] if has_shape(listed, {"files": [str]}) else []
    return [name for name in names if step_of(name) is not None and ".." not in name.split("/")]


def _is_text(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:  # the name is not valid UTF-8, as the names of objects must be
        return False
    return True
