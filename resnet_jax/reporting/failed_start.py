"""Undoes what a start of a run wrote into its work directory, if the start fails before the run begins."""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from resnet_jax.files import delete, write_atomically

# Files that a start of a run may create, and that are removed if it fails. All other files are kept: those of the user,
# the list of unreadable images (the error message refers to it), and damaged checkpoints, which were renamed.
_FILES = (
    *("config.json", "run.json", "classes.json", "metrics.jsonl", "train.log", "events.out.tfevents.*", "*.part"),
    *("inputs.png", "steps.f32", ".*.record_index.npz"),
)
_JSON_FILES = ("config.json", "run.json", "classes.json", "result.json")  # existing files that a start may overwrite
_DIRECTORIES = ("checkpoints", "evaluations", "wandb", "code")


@contextlib.contextmanager
def undone_if_start_fails(directory: Path, has_begun: Callable[[], bool]) -> Iterator[None]:
    """If the block raises and `has_begun` returns False, removes files that the block created and restores JSON files.

    Args:
      directory: work directory, locked by the caller.
      has_begun: returns whether the run or the evaluation has results that must be kept.
    """
    before = set(directory.iterdir())
    contents = {path: path.read_bytes() for path in (directory / name for name in _JSON_FILES) if path.is_file()}
    try:
        yield
    except BaseException:
        if not has_begun():
            with contextlib.suppress(OSError):  # the disk may be full or removed; the error raised below is the cause
                _undo(directory, before, contents)
        raise


def _undo(directory: Path, before: set[Path], contents: dict[Path, bytes]) -> None:
    for path in (path for pattern in _FILES for path in directory.glob(pattern)):
        if path not in before:
            delete(path)
    for path in (directory / name for name in _DIRECTORIES):
        if path not in before:
            shutil.rmtree(path, ignore_errors=True)
    for path, content in contents.items():
        if not path.exists() or path.read_bytes() != content:
            write_atomically(path, content)
