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
from resnet_jax.files import fsync, write_atomically

_UNFINISHED, _REMOVED = ".orbax-checkpoint-tmp", ".removed"  # suffixes while a checkpoint is written, is deleted
_STATE, _META = "state", "meta/metadata"  # in a checkpoint: directory of the arrays, JSON file


class DamagedError(Exception):
    """The content of a checkpoint differs from what was saved. The message is the reason: 'state is missing'."""


def write(path: Path, state: Any, meta: dict[str, Any], *, top1: float | None) -> None:
    """Writes a checkpoint under a temporary name, flushes it to the disk and renames it to `path`.

    Args:
      path: absolute path of the new checkpoint. It must not exist; its parent directory must exist.
      state: a pytree of numpy arrays.
      meta: JSON values to store with the arrays.
      top1: evaluation accuracy in 0..1; None: not evaluated.
    """
    part = path.with_name(path.name + _UNFINISHED)
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()  # not parents=True: if the disk is unmounted, it would create the parents on another disk
    try:
        (part / _STATE).mkdir()
        arrays.write(part / _STATE, state)
        (part / _META).parent.mkdir()
        content = {**meta, "top1": top1, "checksums": checksums.of_arrays(state)}
        (part / _META).write_text(_with_own_checksum(content))
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
    text = _with_own_checksum({**meta, "top1": top1, "checksums": _read_json(path)["checksums"]})
    write_atomically(path / _META, text, sync=True)


def read_meta(path: Path) -> tuple[dict[str, Any], float | None]:
    """Returns the JSON values saved with a checkpoint, and its evaluation accuracy in 0..1 (None: not evaluated).

    Raises:
      DamagedError: the content of the checkpoint differs from what was saved.
      UsageError: a file of the checkpoint cannot be read from the disk.
    """
    with _damage_as_error(path):
        content = _read_json(path)
        del content["checksums"]
        return content, content.pop("top1")


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
        if not (path / _STATE).exists():
            raise DamagedError(f"{_STATE} is missing")
        tree = arrays.read(path / _STATE, fields)
        checksums.verify(
            checksums.of_arrays(tree),
            {name: crc for name, crc in expected.items() if fields is None or name.split("/")[0] in fields},
        )
        return tree


def field_names(path: Path) -> set[str]:
    """Returns the top-level fields of the saved state that hold arrays: {'params', ...}. Raises as `read_meta`."""
    with _damage_as_error(path):
        return {name.split("/")[0] for name in _read_json(path)["checksums"]}


def remove(path: Path) -> None:
    """Deletes a checkpoint: renames it, then deletes its files.

    If the process is killed meanwhile, the checkpoint is either untouched or renamed. `clear_leftovers` deletes the
    files of a renamed one.
    """
    part = path.with_name(path.name + _REMOVED)
    path.rename(part)
    shutil.rmtree(part)


def clear_leftovers(directory: Path) -> None:
    """Deletes incomplete checkpoints and temporary files, which killed processes left in a checkpoint directory."""
    for part in (*directory.glob(f"*{_UNFINISHED}*"), *directory.glob(f"*{_REMOVED}")):
        shutil.rmtree(part)
    for part in directory.glob(f"*/{_META}.part"):
        part.unlink()


def set_aside(path: Path, directory: Path) -> Path:
    """Moves a damaged checkpoint, such as '60', into `directory`; returns its new path.

    If `directory` already has the name '60', the new name is '60-2', '60-3' and so on.
    """
    directory.mkdir(exist_ok=True)
    target, number = directory / path.name, 1
    while os.path.lexists(target):
        number += 1
        target = directory / f"{path.name}-{number}"
    path.rename(target)
    return target


def cause(error: BaseException) -> str:
    """Returns the first line of an error message, and of a longer line the last 160 characters.

    TensorStore's messages name the cause last.
    """
    line = (str(error).strip() or type(error).__name__).split("\n", 1)[0]
    return line if len(line) <= 160 else "..." + line[-160:]


def _with_own_checksum(content: dict[str, Any]) -> str:
    return json.dumps({**content, "own_checksum": checksums.of_json(content)})


def _read_json(path: Path) -> dict[str, Any]:
    """Reads the JSON file of a checkpoint and verifies its checksum.

    Raises:
      DamagedError: the file is missing, is not a JSON object, or does not match its checksum.
      OSError: the file cannot be read from the disk.
    """
    if not (path / _META).exists():
        raise DamagedError(f"{_META} is missing" if any(path.iterdir()) else "it is empty")
    try:
        content = json.loads((path / _META).read_text())
    except ValueError as error:
        raise DamagedError(f"{_META} is not JSON ({error})") from error
    if not isinstance(content, dict):
        raise DamagedError(f"{_META} is not a JSON object")
    if content.pop("own_checksum", None) != checksums.of_json(content):
        raise DamagedError(f"{_META} does not match its checksum")
    return content


@contextlib.contextmanager
def _damage_as_error(path: Path) -> Iterator[None]:
    """Turns an error in the block into a UsageError or a DamagedError.

    It is a UsageError if a file of the checkpoint `path` cannot be read from the disk, else a DamagedError.
    """
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # TensorStore raises errors of type Exception itself
        try:
            _read_all(path)
        except OSError as problem:
            raise UsageError(
                f"checkpoint {path} cannot be read ({problem.strerror}: {problem.filename or path}): repair the disk "
                "or the permissions and run again; nothing was changed"
            ) from error
        raise error if isinstance(error, DamagedError) else DamagedError(cause(error)) from error


def _read_all(path: Path) -> None:
    """Reads every byte of a checkpoint. Raises OSError if a file or directory cannot be read."""

    def stop(error: OSError) -> None:
        if error.errno != errno.ENOTDIR:
            raise error

    for directory, _, names in os.walk(path, onerror=stop):
        for name in names:
            with (Path(directory) / name).open("rb") as file:
                while file.read(1 << 20):
                    pass


def _flush(root: Path) -> None:
    """Flushes `root` and all files and directories in it to the disk, so that a power cut loses none of them."""
    for directory, _, names in os.walk(root):
        for name in names:
            fsync(Path(directory) / name)
        fsync(Path(directory))
