"""One checkpoint on disk: arrays (Orbax) and JSON, renamed into place when complete, verified when read."""

import contextlib
import errno
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from resnet_jax.checkpoints import checksums
from resnet_jax.errors import UsageError
from resnet_jax.files import fsync, write_atomically

_UNFINISHED, _REMOVED = ".orbax-checkpoint-tmp", ".removed"  # suffixes of half-written and half-removed checkpoints
_STATE, _META = "state", "meta/metadata"  # the arrays' directory and the JSON file of a checkpoint
_LAST_WRITES = 1.0  # seconds for Orbax's other writes to end after one has failed, so that none logs after the error


class DamagedError(Exception):
    """A checkpoint does not hold what was saved. The text is the reason."""


def write(path: Path, state: Any, meta: dict[str, Any], *, top1: float | None) -> None:
    """Writes a checkpoint under a temporary name, flushes it to the disk and renames it to `path`.

    Args:
      path: absolute; it must not exist, its parent must.
      state: a pytree of numpy arrays.
      meta: JSON values.
      top1: evaluation accuracy in 0..1; None: not evaluated.
    """
    part = path.with_name(path.name + _UNFINISHED)
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()  # without parents: if the disk was unmounted, they would be created on another disk
    try:
        (part / _STATE).mkdir()
        _write_arrays(part / _STATE, state)
        (part / _META).parent.mkdir()
        content = {**meta, "top1": top1, "checksums": checksums.of_arrays(state)}
        (part / _META).write_text(_with_own_checksum(content))
        _flush(part)
        part.rename(path)
        fsync(path.parent)
    except BaseException:
        time.sleep(_LAST_WRITES)
        shutil.rmtree(part, ignore_errors=True)  # frees its disk space
        raise


def replace_meta(path: Path, meta: dict[str, Any], *, top1: float | None) -> None:
    """Replaces the JSON of a checkpoint, atomically."""
    text = _with_own_checksum({**meta, "top1": top1, "checksums": _read_json(path)["checksums"]})
    write_atomically(path / _META, text, sync=True)


def read_meta(path: Path) -> tuple[dict[str, Any], float | None]:
    """Returns the JSON of a checkpoint, and its evaluation accuracy in 0..1 or None.

    Raises:
      DamagedError: the checkpoint does not hold what was saved.
      UsageError: the disk cannot be read.
    """
    with _damage_as_error(path):
        content = _read_json(path)
        del content["checksums"]
        return content, content.pop("top1")


def read(path: Path, *, fields: tuple[str, ...] | None = None) -> dict[str, Any]:
    """Reads the arrays of a checkpoint and verifies their checksums, without communication between processes.

    Args:
      path: absolute.
      fields: names of the fields of the state to read, as "params"; None: all.

    Returns:
      Nested dicts and lists of numpy arrays.

    Raises:
      DamagedError, UsageError: as in `read_meta`.
    """
    with _damage_as_error(path):
        expected = _read_json(path)["checksums"]
        tree = _read_arrays(path / _STATE, fields)
        _compare(
            checksums.of_arrays(tree),
            {name: crc for name, crc in expected.items() if fields is None or name.split("/")[0] in fields},
        )
        return tree


def field_names(path: Path) -> set[str]:
    """The fields of the saved state that hold any array. Raises as `read_meta`."""
    with _damage_as_error(path):
        return {name.split("/")[0] for name in _read_json(path)["checksums"]}


def remove(path: Path) -> None:
    """Removes a checkpoint. After a kill it is complete, or `clear_leftovers` removes the rest."""
    part = path.with_name(path.name + _REMOVED)
    path.rename(part)
    shutil.rmtree(part)


def clear_leftovers(directory: Path) -> None:
    """Removes what killed saves and removals left in a directory of checkpoints."""
    for part in (*directory.glob(f"*{_UNFINISHED}*"), *directory.glob(f"*{_REMOVED}")):
        shutil.rmtree(part)
    for part in directory.glob(f"*/{_META}.part"):
        part.unlink()


def set_aside(path: Path, directory: Path) -> Path:
    """Moves a damaged checkpoint into `directory`, under a free name; returns its new path."""
    directory.mkdir(exist_ok=True)
    target, number = directory / path.name, 1
    while os.path.lexists(target):
        number += 1
        target = directory / f"{path.name}-{number}"
    path.rename(target)
    return target


def cause(error: BaseException) -> str:
    """The last 160 characters of the first line of an error: TensorStore puts paths first and the cause last."""
    line = (str(error).strip() or type(error).__name__).split("\n", 1)[0]
    return line if len(line) <= 160 else "..." + line[-160:]


def _with_own_checksum(content: dict[str, Any]) -> str:
    return json.dumps({**content, "own_checksum": checksums.of_json(content)})


def _read_json(path: Path) -> dict[str, Any]:
    """Reads and verifies the JSON of a checkpoint. Raises DamagedError, OSError."""
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


def _write_arrays(directory: Path, state: Any) -> None:
    handler = ocp.PyTreeCheckpointHandler()
    handler.save(directory, args=ocp.args.PyTreeSave(state))
    handler.finalize(directory)
    handler.close()


def _read_arrays(state: Path, fields: tuple[str, ...] | None) -> dict[str, Any]:
    if not state.exists():
        raise DamagedError(f"{_STATE} is missing")
    saved = ocp.PyTreeCheckpointHandler().metadata(state).tree
    selected = saved if fields is None else {field: saved[field] for field in fields}
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), selected)
    options = ocp.args.PyTreeRestore(selected, restore_args=as_numpy, partial_restore=True)
    # The handler alone: ocp.Checkpointer has a barrier of all processes, and one that cannot read never reaches it.
    return ocp.PyTreeCheckpointHandler().restore(state, args=options)


def _compare(got: dict[str, int], expected: dict[str, int]) -> None:
    wrong = sorted(name for name in got.keys() | expected.keys() if got.get(name) != expected.get(name))
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise DamagedError(f"{wrong[0]}{more} of {len(expected)} arrays: the data do not match their checksum")


@contextlib.contextmanager
def _damage_as_error(path: Path) -> Iterator[None]:
    """Turns any error into DamagedError, or into UsageError if the disk cannot read one of the files."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # of any type: TensorStore raises plain Exception
        try:
            _read_all(path)
        except OSError as problem:
            raise UsageError(
                f"checkpoint {path} cannot be read ({problem.strerror}: {problem.filename or path}): repair the disk "
                "or the permissions and run again; nothing was changed"
            ) from error
        raise error if isinstance(error, DamagedError) else DamagedError(cause(error)) from error


def _read_all(path: Path) -> None:
    """Reads every byte of a checkpoint, to raise the OSError of a file that cannot be read."""

    def stop(error: OSError) -> None:
        if error.errno != errno.ENOTDIR:
            raise error

    for directory, _, names in os.walk(path, onerror=stop):
        for name in names:
            with (Path(directory) / name).open("rb") as file:
                while file.read(1 << 20):
                    pass


def _flush(root: Path) -> None:
    """Flushes all files and directories of a tree to the disk, so that a power cut cannot leave a part of it."""
    for directory, _, names in os.walk(root):
        for name in names:
            fsync(Path(directory) / name)
        fsync(Path(directory))
