"""Saves checkpoints in a background thread, keeps the latest and the best, and restores the newest undamaged one."""

import contextlib
import functools
import logging
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import jax

from resnet_jax.checkpoints import files, on_disk
from resnet_jax.checkpoints.files import DamagedError, cause
from resnet_jax.checkpoints.host_copy import copy_to_host
from resnet_jax.checkpoints.restoring import check_data, restore_together
from resnet_jax.checkpoints.retention import Retention
from resnet_jax.distributed import agreement
from resnet_jax.distributed.agreement import Gather
from resnet_jax.errors import UsageError

logger = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints in a directory, one subdirectory per step. As a context manager, waits on exit for a save.

    A state is any pytree of arrays: a `TrainState`, or dicts of JAX or numpy arrays. Example::

        with Checkpoints("runs/mine/checkpoints") as checkpoints:
            restored = checkpoints.restore_latest(state)  # None in a new directory
            if restored is not None:
                state, meta = restored
            checkpoints.save(step, state, meta={"epoch": 3}, top1=0.76)

    With several processes, all must make the same calls and pass `gather`. The state must be replicated: process 0
    writes all of it, so that a save waits for no other process and cannot hang when one has died. When restoring, every
    process reads the whole checkpoint; if one process finds it damaged, no process uses it.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        keep_latest: int = 2,
        keep_best: int = 1,
        gather: Gather = agreement.alone,
    ):
        """Opens a directory, which is created if necessary, and deletes incomplete checkpoints in it.

        Args:
          directory: directory of the checkpoints, the same for all processes.
          keep_latest: number of the newest checkpoints to keep.
          keep_best: number of checkpoints with the highest accuracy to keep, however old they are.
          gather: all-gather of strings: takes the string of this process, returns those of all processes. The
            constructor, `restore` and `restore_latest` call it. The default is for a single process.

        Raises:
          UsageError: the directory cannot be created, read or cleared.
        """
        self.directory = Path(directory).absolute()  # Orbax requires an absolute path
        self._gather, self._writes = gather, jax.process_index() == 0
        self._writer = ThreadPoolExecutor(1, "checkpoints")  # the executor starts its thread with the first save
        self._saving: Future[None] | None = None
        self._copy: Any = None  # host copy of the last saved state; the next save overwrites it
        # A shared file system can list the directory differently on each process: all use the listing of process 0.
        found = agreement.from_first(gather, self._open, cure="repair the disk or the permissions and run again")
        top1 = {int(step): top1 for step, top1 in found["top1"].items()}
        self._existing = Retention(top1, unreadable=found["unreadable"], keep_latest=keep_latest, keep_best=keep_best)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.wait()
        finally:
            self._writer.shutdown()

    @property
    def latest_step(self) -> int | None:
        """The step of the newest checkpoint, finished or still being written; None if there are no checkpoints."""
        return max(self._existing.steps, default=None)

    def best(self) -> tuple[int, float] | None:
        """Returns the step with the highest accuracy and that accuracy in 0..1; None if no checkpoint was evaluated.

        Waits for a save in progress.
        """
        self.wait()
        return self._existing.best

    def save(self, step: int, state: Any, *, meta: Mapping[str, Any] | None = None, top1: float | None = None) -> None:
        """Copies the state to host memory and returns; a thread writes the copy to the disk.

        A step that was saved before is not written again. If it was saved without an accuracy (a signal came before the
        evaluation) and `top1` is given now, only its JSON file is replaced, so that it can become the best checkpoint.

        Args:
          step: training step; the name of the checkpoint's directory.
          state: a pytree of replicated arrays, which may be donated or changed after the call.
          meta: JSON values to store with the state; None: no values.
          top1: evaluation accuracy in 0..1; None: not evaluated, never the best checkpoint.

        Raises:
          UsageError: this checkpoint or the previous one could not be written.
        """
        self.wait()
        path, exists, meta = self.directory / str(step), step in self._existing.steps, dict(meta or {})
        if exists and (top1 is None or not self._existing.lacks_evaluation(step)):
            return
        old = self._existing.add(step, top1)
        if not self._writes:
            return
        if exists:
            with self._write_errors():
                files.replace_meta(path, meta, top1=top1)
            self._remove(old)
        else:
            self._copy = copy_to_host(state, into=self._copy)
            self._saving = self._writer.submit(self._write, path, self._copy, meta, top1, old)

    def wait(self) -> None:
        """Waits until the last saved checkpoint is on disk. Raises UsageError if it could not be written."""
        saving, self._saving = self._saving, None
        if saving is not None:
            with self._write_errors():
                saving.result()

    def finish(self, *, seconds: float = 20.0) -> None:
        """Waits at most `seconds` for a save in progress. May be called from any thread; raises nothing."""
        with contextlib.suppress(RuntimeError, TimeoutError):
            self._writer.submit(lambda: None).result(seconds)

    def restore_latest(self, abstract_state: Any) -> tuple[Any, dict[str, Any]] | None:
        """Reads the newest checkpoint that is not damaged; returns None if there are no checkpoints.

        Damaged checkpoints that are newer than the result are moved, with a warning, to `damaged_checkpoints` beside
        the directory of the checkpoints.

        Args:
          abstract_state: as in `restore`.

        Returns:
          The state, and the JSON values that were saved with it.

        Raises:
          UsageError: all checkpoints are damaged, the newest undamaged one is of another model, or the disk cannot be
            read. No checkpoint is moved before this error.
        """
        self._wait_together()
        damaged: dict[int, str] = {}
        for step in reversed(self._existing.steps):
            try:
                restored = restore_together(self.directory / str(step), abstract_state, gather=self._gather)
            except DamagedError as error:
                damaged[step] = str(error)
                continue
            self._set_aside(damaged, instead=step)
            return restored
        if damaged:
            reasons = "; ".join(f"{step}: {reason}" for step, reason in damaged.items())
            raise UsageError(
                f"all checkpoints in {self.directory} are damaged ({reasons}); nothing was changed: restore one from "
                "a copy, or move that directory away to start a new run"
            )
        return None

    def restore(self, abstract_state: Any, *, step: int) -> tuple[Any, dict[str, Any]]:
        """Reads a checkpoint and verifies its checksums.

        Args:
          abstract_state: a pytree of arrays or of `jax.ShapeDtypeStruct`, with the shapes, dtypes and shardings of the
            result. The number of devices and of processes may differ from when the checkpoint was saved.
          step: training step of the checkpoint.

        Returns:
          The state, and the JSON values that were saved with it.

        Raises:
          UsageError: the checkpoint is damaged, is of another model, or the disk cannot be read.
        """
        self._wait_together()
        try:
            return restore_together(self.directory / str(step), abstract_state, gather=self._gather)
        except DamagedError as error:
            raise UsageError(
                f"checkpoint {self.directory / str(step)} is damaged ({error}): name another checkpoint"
            ) from error

    def check_data(self, meta: dict[str, Any], data: dict[str, Any]) -> None:
        """Checks that a checkpoint was trained on the data `data`.

        Args:
          meta: the JSON values of the checkpoint.
          data: description of the data of this run, which must equal `meta["data"]`. If `meta` has no "data", only a
            warning is logged.

        Raises:
          UsageError: the data differ, or `meta` has no "step", so that the checkpoint is not from a training run.
        """
        check_data(self.directory, meta, data)

    def _open(self) -> dict[str, Any]:
        return on_disk.open_directory(self.directory)._asdict()

    def _write(self, path: Path, state: Any, meta: dict[str, Any], top1: float | None, old: list[int]) -> None:
        """Runs in the writer thread: writes a checkpoint, then deletes the checkpoints of the steps `old`."""
        files.write(path, state, meta, top1=top1)
        self._remove(old)

    def _remove(self, steps: list[int]) -> None:
        for step in steps:
            on_disk.remove(self.directory / str(step))

    def _wait_together(self) -> None:
        """Makes all processes wait until the last checkpoint saved by process 0 is on disk."""
        agreement.from_first(self._gather, self.wait, cure="repair the disk or the permissions and run again")

    def _set_aside(self, damaged: dict[int, str], *, instead: int) -> None:
        move = functools.partial(self._move_aside, list(damaged))
        reasons = "; ".join(f"{step}: {reason}" for step, reason in damaged.items())
        cure = f"damaged checkpoints ({reasons}) cannot be moved there; repair the disk or permissions and run again"
        moved = agreement.from_first(self._gather, move, cure=cure)
        for (step, reason), moved_to in zip(damaged.items(), moved, strict=True):
            self._existing.remove(step)
            if self._writes:
                logger.warning(
                    "checkpoint %s is damaged (%s): it was moved to %s, and checkpoint %d is used instead",
                    self.directory / str(step),
                    reason,
                    moved_to,
                    instead,
                )

    def _move_aside(self, steps: list[int]) -> list[str]:
        into = self.directory.parent / "damaged_checkpoints"
        return [str(on_disk.set_aside(self.directory / str(step), into)) for step in steps]

    @contextlib.contextmanager
    def _write_errors(self) -> Iterator[None]:
        """Turns any error raised while a checkpoint is written into a UsageError."""
        try:
            yield
        except Exception as error:  # TensorStore raises plain Exception for a full disk
            raise UsageError(
                f"a checkpoint could not be written to {self.directory} ({cause(error)}): "
                "make room or repair the disk, and run again; the earlier checkpoints are complete"
            ) from error
