"""Saves and restores checkpoints: written in the background, latest and best kept, damaged ones skipped."""

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
import numpy as np

from resnet_jax.checkpoints import files
from resnet_jax.checkpoints.files import DamagedError, cause
from resnet_jax.checkpoints.host_copy import copy_to_devices, copy_to_host
from resnet_jax.checkpoints.retention import Retention
from resnet_jax.distributed import agreement
from resnet_jax.distributed.agreement import Gather
from resnet_jax.errors import UsageError
from resnet_jax.nested import by_path, difference

logger = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints in a directory, one subdirectory per step. A context manager: leaving it waits for the last save.

    A state is any pytree of arrays: a `TrainState`, or dicts of JAX or numpy arrays.

        with Checkpoints("runs/mine/checkpoints") as checkpoints:
            restored = checkpoints.restore_latest(state)  # None in a new directory
            if restored is not None:
                state, meta = restored
            checkpoints.save(step, state, meta={"epoch": 3}, top1=0.76)

    With several processes, all make the same calls and pass `gather`. The state must be replicated: process 0 writes
    all of it, so a save waits for no other process and cannot hang when one has died. Every process reads for itself,
    and a checkpoint that one process finds damaged is used by none.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        keep_latest: int = 2,
        keep_best: int = 1,
        gather: Gather = agreement.alone,
    ):
        """Opens a directory, which is created if necessary, and removes what a killed save left in it.

        Args:
          directory: the same for all processes.
          keep_latest: number of the newest checkpoints to keep.
          keep_best: number of those with the highest accuracy to keep besides.
          gather: all-gather of one text per process, called here, by `restore` and by `restore_latest`; the default is
            for a single process.

        Raises:
          UsageError: the directory cannot be used.
        """
        self.directory = Path(directory).absolute()  # Orbax requires an absolute path
        self._gather, self._writes = gather, jax.process_index() == 0
        self._writer = ThreadPoolExecutor(1, "checkpoints")  # its thread starts with the first save
        self._saving: Future[None] | None = None
        self._copy: Any = None  # host copy of the state saved last; its memory is reused
        # A shared file system may show each process another state of the directory: all start from what process 0 sees.
        found = agreement.from_first(gather, self._open, cure="repair it and run again")
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
        """The step of the newest checkpoint, which may still be being written; None if there is none."""
        return max(self._existing.steps, default=None)

    def best(self) -> tuple[int, float] | None:
        """The step with the highest accuracy, and that accuracy in 0..1; None if none was evaluated.

        Waits for a save in progress.
        """
        self.wait()
        return self._existing.best

    def save(self, step: int, state: Any, *, meta: Mapping[str, Any] | None = None, top1: float | None = None) -> None:
        """Copies the state to host memory and returns; a thread writes it.

        A step that was saved before is not written again. If it was saved without an accuracy (a signal came before the
        evaluation) and `top1` is given now, its JSON is replaced, so that it can become the best.

        Args:
          step: the name of the checkpoint.
          state: a pytree of arrays, replicated; it may be donated or changed once this returns.
          meta: JSON values to store with it; None: no values.
          top1: evaluation accuracy in 0..1, which selects the best; None: never the best.

        Raises:
          UsageError: this or the previous save could not be written.
        """
        self.wait()
        path, exists, meta = self.directory / str(step), step in self._existing.steps, dict(meta or {})
        if exists and (top1 is None or not self._existing.lacks_evaluation(step)):
            return
        outdated = self._existing.add(step, top1)
        if not self._writes:
            return
        if exists:
            with self._write_errors():
                files.replace_meta(path, meta, top1=top1)
            self._remove(outdated)
        else:
            self._copy = copy_to_host(state, into=self._copy)
            self._saving = self._writer.submit(self._write, path, self._copy, meta, top1, outdated)

    def wait(self) -> None:
        """Waits until the last save is on disk. Raises UsageError if it could not be written."""
        saving, self._saving = self._saving, None
        if saving is not None:
            with self._write_errors():
                saving.result()

    def finish(self, *, seconds: float = 20.0) -> None:
        """Waits for a save in progress, at most this long. May be called from any thread; raises nothing."""
        with contextlib.suppress(RuntimeError, TimeoutError):
            self._writer.submit(lambda: None).result(seconds)

    def restore_latest(self, abstract_state: Any) -> tuple[Any, dict[str, Any]] | None:
        """Reads the newest checkpoint that is not damaged; returns None if there are no checkpoints.

        Newer, damaged ones are moved into `damaged_checkpoints`, a sibling of the directory, with a warning.

        Args:
          abstract_state: as in `restore`.

        Returns:
          As `restore`.

        Raises:
          UsageError: all checkpoints are damaged, the newest good one is of another model, or the disk cannot be read.
            Nothing is moved then.
        """
        self._wait_together()
        damaged: dict[int, str] = {}
        for step in reversed(self._existing.steps):
            try:
                restored = self._restore(abstract_state, step)
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
          abstract_state: a pytree with the shapes, dtypes and shardings to restore to: a state, or one of
            `jax.ShapeDtypeStruct`. The devices and processes may be others than those that saved it.
          step: which checkpoint.

        Returns:
          The state, and the JSON values that were saved with it.

        Raises:
          UsageError: the checkpoint is damaged, is of another model, or the disk cannot be read.
        """
        self._wait_together()
        try:
            return self._restore(abstract_state, step)
        except DamagedError as error:
            raise UsageError(
                f"checkpoint {self.directory / str(step)} is damaged ({error}): name another one"
            ) from error

    def check_data(self, meta: dict[str, Any], data: dict[str, Any]) -> None:
        """Raises UsageError if a checkpoint was trained on other data.

        Args:
          meta: the JSON values of the checkpoint, with its "step".
          data: identity of the present data, to compare with "data" in `meta`.
        """
        if "data" not in meta:
            logger.warning("checkpoint %s does not record the data it was trained on", meta["step"])
        changes = difference(meta.get("data", data), data)
        if changes:
            raise UsageError(
                f"checkpoint {self.directory / str(meta['step'])} was trained on other data ({'; '.join(changes)}): "
                "pass that data, or start a new run in another --workdir"
            )

    def _open(self) -> dict[str, Any]:
        """Creates the directory, clears leftovers, and lists its checkpoints."""
        self.directory.mkdir(parents=True, exist_ok=True)
        files.clear_leftovers(self.directory)
        top1: dict[int, float | None] = {}
        unreadable = []
        for path in self.directory.iterdir():
            if not path.name.isdigit():
                continue
            step = int(path.name)
            try:
                _, top1[step] = files.read_meta(path)
            except (DamagedError, UsageError):  # reported when the checkpoint is restored
                top1[step] = None
                unreadable.append(step)
        return {"top1": top1, "unreadable": unreadable}

    def _write(self, path: Path, state: Any, meta: dict[str, Any], top1: float | None, outdated: list[int]) -> None:
        """Runs in the writer thread. Outdated checkpoints are removed only after the new one is complete."""
        files.write(path, state, meta, top1=top1)
        self._remove(outdated)

    def _remove(self, steps: list[int]) -> None:
        for step in steps:
            try:
                files.remove(self.directory / str(step))
            except OSError as error:  # saving still works, so the run goes on
                logger.warning("checkpoint %s could not be removed (%s)", self.directory / str(step), error.strerror)

    def _restore(self, abstract_state: Any, step: int) -> tuple[Any, dict[str, Any]]:
        """Reads a checkpoint on every process. An error on one process is raised on all."""
        path, problem = self.directory / str(step), None
        try:
            meta, _ = files.read_meta(path)
            arrays = files.read(path)
            _check_model(path, arrays, abstract_state)
        except (DamagedError, UsageError) as error:
            problem = error
        # UsageError first: DamagedError moves the checkpoint, which must not follow from a disk that one cannot read.
        agreement.raise_alike(self._gather, problem, kinds=(UsageError, DamagedError))
        return copy_to_devices(arrays, abstract_state), meta

    def _wait_together(self) -> None:
        """Waits on all processes until the last save of process 0 is on disk."""
        agreement.from_first(self._gather, self.wait, cure="repair it and run again")

    def _set_aside(self, damaged: dict[int, str], *, instead: int) -> None:
        move = functools.partial(self._move_aside, list(damaged))
        reasons = "; ".join(f"{step}: {reason}" for step, reason in damaged.items())
        cure = f"damaged checkpoints ({reasons}) cannot be moved there; repair that and run again"
        moved = agreement.from_first(self._gather, move, cure=cure)
        for (step, reason), moved_to in zip(damaged.items(), moved, strict=True):
            self._existing.remove(step)
            if self._writes:
                logger.warning(
                    "checkpoint %s is damaged (%s): it is now %s, and checkpoint %d is used instead",
                    self.directory / str(step),
                    reason,
                    moved_to,
                    instead,
                )

    def _move_aside(self, steps: list[int]) -> list[str]:
        into = self.directory.parent / "damaged_checkpoints"
        return [str(files.set_aside(self.directory / str(step), into)) for step in steps]

    @contextlib.contextmanager
    def _write_errors(self) -> Iterator[None]:
        """Turns any error of writing a checkpoint into a UsageError."""
        try:
            yield
        except Exception as error:  # TensorStore raises plain Exception for a full disk
            raise UsageError(
                f"a checkpoint could not be written to {self.directory} ({cause(error)}): "
                "make room or repair it, and run again; the earlier checkpoints are complete"
            ) from error


def _check_model(path: Path, arrays: dict[str, Any], abstract_state: Any) -> None:
    """Raises UsageError if the names, shapes or dtypes of the arrays are not those of `abstract_state`."""
    saved, expected = (
        {name: f"{np.dtype(leaf.dtype).name}{list(leaf.shape)}" for name, leaf in by_path(tree).items()}
        for tree in (arrays, abstract_state)
    )
    changes = difference(saved, expected)
    if changes:
        more = f" and {len(changes) - 3} more" if len(changes) > 3 else ""
        raise UsageError(
            f"checkpoint {path} is of another model ({'; '.join(changes[:3])}{more}): "
            "continue with the config it was trained with, or name another --workdir"
        )
