"""One checkpoint on disk, of arrays (Orbax) and JSON: written so that it is there whole or not at all, read checked."""

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
from resnet_jax.nested import by_path

_PART, _REMOVED = ".orbax-checkpoint-tmp", ".removed"  # after the name of one that is half written, half removed
_STATE, _META, _OLD_METRICS = "state", "meta/metadata", "metrics/metrics"
_LAST_WRITES = 1.0  # seconds in which what Orbax began before one write failed comes to its end, and is said
_META_PART = ".part"  # after the name of JSON that is half written


class DamagedError(Exception):
    """A checkpoint is not what was saved; says why."""


def write(path: Path, state: Any, meta: dict[str, Any], *, top1: float | None) -> None:
    """Writes a checkpoint beside `path` and renames it once it is safe on disk.

    Args:
      path: absolute; its parent is there, it is not.
      state: numpy arrays.
      meta: JSON values.
      top1: evaluation accuracy, if there is one.
    """
    part = path.with_name(path.name + _PART)
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()  # and no parents: those of a lost disk would be made on another
    try:
        (part / _STATE).mkdir()
        _write_arrays(part / _STATE, state)
        (part / _META).parent.mkdir()
        content = {**meta, "top1": top1, "checksums": checksums.of_arrays(state)}
        (part / _META).write_text(_with_own_checksum(content))
        _flush(part)
        part.rename(path)
        _flush_one(path.parent)
    except BaseException:
        time.sleep(_LAST_WRITES)
        shutil.rmtree(part, ignore_errors=True)  # its room is wanted
        raise


def replace_meta(path: Path, meta: dict[str, Any], *, top1: float | None) -> None:
    """Gives a checkpoint other JSON; a reader, or a kill, finds the old or the new."""
    there = _read_json(path)
    kept = {"checksums": there["checksums"]} if "checksums" in there else {}
    part = path / (_META + _META_PART)
    part.write_text(_with_own_checksum({**meta, "top1": top1, **kept}))
    _flush_one(part)
    part.replace(path / _META)
    _flush_one(part.parent)


def read_meta(path: Path) -> tuple[dict[str, Any], float | None]:
    """The JSON of a checkpoint, and its evaluation accuracy if it has one.

    Raises:
      DamagedError: it is not what was saved.
      UsageError: the disk cannot be read.
    """
    with _telling_damage(path):
        content = _read_json(path)
        content.pop("checksums", None)
        return content, _pop_top1(path, content)


def read(path: Path, *, parts: tuple[str, ...] | None = None) -> tuple[dict[str, Any], bool]:
    """Reads arrays of a checkpoint and verifies their checksums; talks to no other process.

    Args:
      path: absolute.
      parts: which of the outermost dict; None: all.

    Returns:
      The arrays, as nested dicts and lists of numpy arrays, and whether there were checksums: earlier versions of
      this program wrote none.

    Raises:
      DamagedError, UsageError: as `read_meta`.
    """
    with _telling_damage(path):
        expected = _read_json(path).get("checksums")
        tree = _read_arrays(path / _STATE, parts)
        if expected is not None:
            wanted = {name: sum_ for name, sum_ in expected.items() if parts is None or name.split("/")[0] in parts}
            _compare(checksums.of_arrays(tree), wanted)
        return tree, expected is not None


def part_names(path: Path) -> set[str]:
    """The names of the outermost dict of the arrays that hold any; raises as `read_meta`."""
    with _telling_damage(path):
        names = _read_json(path).get("checksums") or by_path(_arrays_there(path / _STATE))
        return {name.split("/")[0] for name in names}


def remove(path: Path) -> None:
    """Removes a checkpoint; a kill leaves it whole, or to `clear_leftovers`."""
    part = path.with_name(path.name + _REMOVED)
    path.rename(part)
    shutil.rmtree(part)


def clear_leftovers(directory: Path) -> None:
    """Removes what killed saves and removals left among the checkpoints of a directory."""
    for part in (*directory.glob(f"*{_PART}*"), *directory.glob(f"*{_REMOVED}")):
        shutil.rmtree(part)
    for part in directory.glob(f"*/{_META}{_META_PART}"):
        part.unlink()


def set_aside(path: Path, directory: Path) -> Path:
    """Moves a damaged checkpoint into `directory`, where nothing is overwritten; returns where it is."""
    directory.mkdir(exist_ok=True)
    place, number = directory / path.name, 1
    while os.path.lexists(place):
        number += 1
        place = directory / f"{path.name}-{number}"
    path.rename(place)
    return place


def cause(error: BaseException) -> str:
    """The end of the first line: TensorStore names the paths first and the cause last."""
    line = (str(error).strip() or type(error).__name__).split("\n", 1)[0]
    return line if len(line) <= 160 else "..." + line[-160:]


def _with_own_checksum(content: dict[str, Any]) -> str:
    return json.dumps({**content, "own_checksum": checksums.of_json(content)})


def _read_json(path: Path) -> dict[str, Any]:
    if not (path / _META).exists():
        raise DamagedError(f"{_META} is missing" if any(path.iterdir()) else "it is empty")
    try:
        content = json.loads((path / _META).read_text())
    except ValueError as error:
        raise DamagedError(f"{_META} is no JSON ({error})") from error
    if not isinstance(content, dict):
        raise DamagedError(f"{_META} is no JSON object")
    own = content.pop("own_checksum", None)
    if (own is not None or "checksums" in content) and own != checksums.of_json(content):
        raise DamagedError(f"{_META} does not match its checksum")
    return content


def _pop_top1(path: Path, content: dict[str, Any]) -> float | None:
    """Earlier versions of this program wrote it into a file of its own."""
    if "top1" not in content and (path / _OLD_METRICS).exists():
        return json.loads((path / _OLD_METRICS).read_text())["top1"]
    return content.pop("top1", None)


def _write_arrays(directory: Path, state: Any) -> None:
    handler = ocp.PyTreeCheckpointHandler()
    handler.save(directory, args=ocp.args.PyTreeSave(state))
    handler.finalize(directory)
    handler.close()


def _arrays_there(state: Path) -> dict[str, Any]:
    return ocp.PyTreeCheckpointHandler().metadata(state).tree


def _read_arrays(state: Path, parts: tuple[str, ...] | None) -> dict[str, Any]:
    if not state.exists():
        raise DamagedError(f"{_STATE} is missing")
    there = _arrays_there(state)
    wanted = there if parts is None else {part: there[part] for part in parts}
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted)
    options = ocp.args.PyTreeRestore(wanted, restore_args=as_numpy, partial_restore=True)
    # The handler alone: ocp.Checkpointer would wait for all processes, also for one that could not read.
    return ocp.PyTreeCheckpointHandler().restore(state, args=options)


def _compare(got: dict[str, int], expected: dict[str, int]) -> None:
    wrong = sorted(name for name in got.keys() | expected.keys() if got.get(name) != expected.get(name))
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise DamagedError(f"{wrong[0]}{more} of {len(expected)} arrays: other than was saved, by the checksum")


@contextlib.contextmanager
def _telling_damage(path: Path) -> Iterator[None]:
    """Takes what goes wrong for damage, unless the disk does not let the files be read at all."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # TensorStore raises plain Exception
        try:
            _read_all(path)
        except OSError as problem:
            raise UsageError(
                f"checkpoint {path} cannot be read ({problem.strerror}: {problem.filename or path}): mend the disk or "
                "the permissions and run again; nothing was changed"
            ) from error
        raise error if isinstance(error, DamagedError) else DamagedError(cause(error)) from error


def _read_all(path: Path) -> None:
    """Reads every byte of a checkpoint. Raises OSError if that cannot be done."""

    def stop(error: OSError) -> None:
        if error.errno != errno.ENOTDIR:
            raise error

    for place, _, names in os.walk(path, onerror=stop):
        for name in names:
            with (Path(place) / name).open("rb") as file:
                while file.read(1 << 20):
                    pass


def _flush(directory: Path) -> None:
    """Waits until a tree is on the disk itself, so that not even a power cut leaves half of it under its name."""
    for place, _, names in os.walk(directory):
        for name in names:
            _flush_one(Path(place) / name)
        _flush_one(Path(place))


def _flush_one(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems that cannot do so with a directory
            raise
    finally:
        os.close(descriptor)
