"""Writes and reads one checkpoint: arrays in Orbax's format, and a JSON file with metadata and checksums.

A checkpoint gets its final name when it is complete. Its checksums are verified whenever it is read.
"""

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from resnet_jax.checkpoints import arrays, checksums
from resnet_jax.errors import UsageError
from resnet_jax.files import delete, fsync, is_number, write_atomically
from resnet_jax.local_paths import kind_of
from resnet_jax.nested import has_shape

UNFINISHED = ".orbax-checkpoint-tmp"  # suffix of the name of a checkpoint that is still being written
META = "meta/metadata"  # path of the JSON file in a checkpoint
_STATE = "state"  # path of the directory of the arrays in a checkpoint
_OWN_KEYS = {"top1": (int, float, None), "checksums": dict, "own_step": (int, None)}  # keys of `META` -> types
_TREE = f"{_STATE}/_METADATA"  # path in a checkpoint of Orbax's file with the names of the arrays
# Errors that are raised when the file `_TREE` is damaged.
_ERRORS_OF_TREE = (AttributeError, KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError)
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)  # error numbers of a missing file, which is no fault of the disk


class DamagedError(Exception):
    """The content of a checkpoint differs from what was saved; the message says how, such as 'state is missing'."""


def write(path: Path, state: Any, meta: dict[str, Any], *, top1: float | None) -> None:
    """Writes a checkpoint under a temporary name, flushes it to the disk and renames it to `path`.

    Args:
      path: absolute path of the new checkpoint. It must not exist; its parent directory must exist.
      state: a pytree of numpy arrays.
      meta: JSON values to store with the arrays.
      top1: evaluation accuracy in 0..1; None: not evaluated.
    """
    part = path.with_name(path.name + UNFINISHED)
    delete(part)
    part.mkdir()  # not parents=True: if the disk is unmounted, it would create the parents on another disk
    try:
        (part / _STATE).mkdir()
        arrays.write(part / _STATE, state)
        (part / META).parent.mkdir()
        (part / META).write_text(_json(path, meta, top1, checksums.of_arrays(state)))
        _flush(part)
        part.rename(path)
        fsync(path.parent)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)  # frees the disk space of the incomplete checkpoint
        raise


def replace_meta(path: Path, meta: dict[str, Any], *, top1: float | None) -> None:
    """Replaces the JSON file of a checkpoint atomically. The arrays and their checksums stay as they are.

    Args:
      path: the checkpoint.
      meta: the new JSON values.
      top1: evaluation accuracy in 0..1; None: not evaluated.
    """
    write_atomically(path / META, _json(path, meta, top1, _read_json(path)["checksums"]), sync=True)


def read_meta(path: Path) -> tuple[dict[str, Any], float | None]:
    """Returns the JSON values saved with a checkpoint, and its evaluation accuracy in 0..1 (None: not evaluated).

    Raises:
      DamagedError: the content of the checkpoint differs from what was saved.
      UsageError: a file of the checkpoint cannot be read from the disk.
    """
    with _damage_as_error(path):
        content = _read_json(path)
        top1 = content["top1"]
        return {key: value for key, value in content.items() if key not in _OWN_KEYS}, top1


def read(path: Path, *, fields: tuple[str, ...] | None = None) -> dict[str, Any]:
    """Reads the arrays of a checkpoint and verifies their checksums, without communication between processes.

    Args:
      path: absolute path of the checkpoint.
      fields: top-level fields of the state to read, for example ("params", "batch_stats"); None: all.

    Returns:
      The state: nested dicts and lists of numpy arrays.

    Raises:
      DamagedError: the content of the checkpoint differs from what was saved.
      UsageError: a file of the checkpoint cannot be read from the disk.
    """
    with _damage_as_error(path):
        expected = _read_json(path)["checksums"]
        _check_kinds(path)
        tree = arrays.read(path / _STATE, fields)
        checksums.verify(
            checksums.of_arrays(tree),
            {name: crc for name, crc in expected.items() if fields is None or name.split("/")[0] in fields},
        )
        return tree


def field_names(path: Path) -> set[str]:
    """Returns the top-level fields of the saved state that hold arrays: {'params', ...}. Raises like `read_meta`."""
    with _damage_as_error(path):
        return {name.split("/")[0] for name in _read_json(path)["checksums"]}


def cause(error: BaseException) -> str:
    """Returns the first line of an error message; of a line of more than 160 characters, only the last 160.

    TensorStore's messages name the cause at the end of the line.
    """
    line = (str(error).strip() or type(error).__name__).split("\n", 1)[0]
    return line if len(line) <= 160 else "..." + line[-160:]


def _json(path: Path, meta: dict[str, Any], top1: float | None, of_arrays: dict[str, int]) -> str:
    """Returns the text of a checkpoint's JSON file, with the step, which is the name of `path`, and a checksum."""
    own_step = int(path.name) if is_number(path.name) else None
    content = {**meta, "top1": top1, "checksums": of_arrays, "own_step": own_step}
    return json.dumps({**content, "own_checksum": checksums.of_json(content)})


def _read_json(path: Path) -> dict[str, Any]:
    """Reads the JSON file of a checkpoint. Verifies its checksum, and that the checkpoint is named after its step.

    Raises:
      DamagedError: the file is missing, lacks keys, does not match its checksum, or stores another step than the name
        of the checkpoint.
      OSError: the file cannot be read from the disk.
    """
    if os.path.lexists(path) and not path.is_dir():
        raise DamagedError(f"it is {kind_of(path)}, not a directory")
    if not (path / META).is_file():
        raise DamagedError(f"{META} is missing" if any(path.iterdir()) else "it is empty")
    try:
        content = json.loads((path / META).read_bytes())
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{META} is not JSON ({error})") from error
    if not isinstance(content, dict):
        raise DamagedError(f"{META} is not a JSON object")
    if content.pop("own_checksum", None) != checksums.of_json(content):
        raise DamagedError(f"{META} does not match its checksum")
    if not has_shape(content, _OWN_KEYS):
        raise DamagedError(f"{META} lacks the values that belong to a checkpoint")
    # Earlier versions of this program stored no `own_step`, but `step` if a training run saved the checkpoint.
    inside = content.get("own_step", content.get("step"))
    if isinstance(inside, int) and is_number(path.name) and path.name != str(inside):
        raise DamagedError(f"it was saved as step {inside} and renamed: its name must be {inside}")
    return content


@contextlib.contextmanager
def _damage_as_error(path: Path) -> Iterator[None]:
    """Turns an error in the block into a UsageError or a DamagedError.

    It is a UsageError if a file of the checkpoint `path` cannot be read from the disk or if there is too little memory,
    else a DamagedError.
    """
    try:
        yield
    except MemoryError as error:
        raise UsageError(f"checkpoint {path} does not fit into the memory: use a machine with more memory") from error
    except Exception as error:  # TensorStore raises errors of type Exception itself
        try:
            if (path / META).is_file():  # otherwise it is no checkpoint, and may be a large directory or a link to one
                _read_all(path)
        except OSError as problem:
            raise UsageError(
                f"checkpoint {path} cannot be read ({problem.strerror}: {problem.filename or path}): repair the disk "
                "or the permissions and run again; nothing was changed"
            ) from error
        if isinstance(error, DamagedError):
            raise
        of_tree = isinstance(error, _ERRORS_OF_TREE)
        raise DamagedError(f"{_TREE} is damaged: {cause(error)}" if of_tree else cause(error)) from error


def _check_kinds(path: Path) -> None:
    """Raises DamagedError unless all arrays are regular files: reading a named pipe, for example, would never end."""
    if not (path / _STATE).is_dir():
        raise DamagedError(f"{_STATE} is missing")
    for directory, _, names in os.walk(path / _STATE):
        for name in names:
            file = Path(directory) / name
            if not file.is_file():
                raise DamagedError(f"{file.relative_to(path)} is not a regular file")


def _read_all(path: Path) -> None:
    """Reads every byte of a checkpoint. Raises OSError if a file or directory cannot be read."""

    def stop(error: OSError) -> None:
        if error.errno not in _GONE or not os.path.lexists(path):
            raise error

    for directory, _, names in os.walk(path, onerror=stop):
        for file in (Path(directory) / name for name in names):
            if file.is_file():  # skips broken links and named pipes
                with file.open("rb") as opened:
                    while opened.read(1 << 20):
                        pass


def _flush(root: Path) -> None:
    """Flushes `root` and all files and directories in it to the disk, so that a power cut loses none of them."""
    for directory, _, names in os.walk(root):
        for name in names:
            fsync(Path(directory) / name)
        fsync(Path(directory))
