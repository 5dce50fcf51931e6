"""The checkpoints of a run: saved in the background, latest and best kept, damaged ones passed over."""

import contextlib
import functools
import logging
from collections.abc import Iterator
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
from resnet_jax.training.state import TrainState

logger = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints of a run, one directory a step. A context manager: leaving it waits for the last save.

    All processes make the same calls. The state is replicated, so process 0 writes all of it and no other writes
    anything: a save waits for no process, and cannot hang where one died. Each reads for itself, and what is found
    damaged by one is used by none.
    """

    def __init__(self, directory: Path, *, keep_latest: int, keep_best: int, gather: Gather = agreement.alone):
        """Opens `directory`, which need not exist, and clears what a killed save left.

        Args:
          directory: absolute; the same for all processes.
          keep_latest: how many of the newest to keep.
          keep_best: how many of those with the best evaluation top-1 to keep besides.
          gather: called here, by `restore` and by `restore_latest`, in all processes.

        Raises:
          UsageError: it cannot be used.
        """
        self.directory = directory
        self._gather, self._writes = gather, jax.process_index() == 0
        self._writer = ThreadPoolExecutor(1, "checkpoints")  # makes its thread with the first save
        self._saving: Future[None] | None = None
        self._copy: TrainState | None = None  # of the state last saved
        # What a process sees of a shared directory may lag: so each keeps account of it, from the same start.
        found = agreement.from_first(gather, self._open, cure="mend it and run again")
        top1 = {int(step): top1 for step, top1 in found["top1"].items()}
        self._there = Retention(top1, unreadable=found["unreadable"], keep_latest=keep_latest, keep_best=keep_best)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.wait()
        finally:
            self._writer.shutdown()

    @property
    def latest_step(self) -> int | None:
        """The step of the newest checkpoint, that of a save under way included."""
        return max(self._there.steps, default=None)

    def best(self) -> tuple[int, float] | None:
        """The step with the highest evaluation top-1, and that top-1; None if none was evaluated.

        Waits for a save under way.
        """
        self.wait()
        return self._there.best

    def save(self, step: int, state: TrainState, *, meta: dict[str, Any], top1: float | None) -> None:
        """Copies the state and returns; it is written in the background.

        A step that is saved is left alone, unless it was saved before its evaluation (a signal came between them)
        and now has one: then that is added to its JSON, so that it can be the best.

        Args:
          step: names the checkpoint.
          state: may be donated once this returns.
          meta: JSON values to keep beside it.
          top1: evaluation accuracy, by which the best is chosen; None: this checkpoint is never the best.

        Raises:
          UsageError: this or the save before could not be written.
        """
        self.wait()
        path, is_there = self.directory / str(step), step in self._there.steps
        if is_there and (top1 is None or not self._there.lacks_evaluation(step)):
            return
        outdated = self._there.add(step, top1)
        if not self._writes:
            return
        if is_there:
            with self._write_errors():
                files.replace_meta(path, meta, top1=top1)
            self._remove(outdated)
        else:
            self._copy = copy_to_host(state, into=self._copy)
            self._saving = self._writer.submit(self._write, path, self._copy, meta, top1, outdated)

    def wait(self) -> None:
        """Returns once everything is on disk. Raises UsageError if it could not be written."""
        saving, self._saving = self._saving, None
        if saving is not None:
            with self._write_errors():
                saving.result()

    def finish(self, *, seconds: float = 20.0) -> None:
        """Gives a save under way so long to come to its end; in any thread, and without an error."""
        with contextlib.suppress(RuntimeError, TimeoutError):
            self._writer.submit(lambda: None).result(seconds)

    def find(self, which: str) -> int:
        """The step of a checkpoint: 'latest', 'best' by evaluation top-1, or a step in digits.

        Raises:
          UsageError: there is none such.
        """
        steps = self._there.steps
        best = self.best() if which == "best" else None
        found = {"latest": self.latest_step, "best": best and best[0]}.get(which, which)
        if str(found) in map(str, steps):
            return int(str(found))
        there = f"there are {', '.join(map(str, steps))}" if steps else "there are none"
        raise UsageError(
            f"no checkpoint {which!r} in {self.directory}: {there}; config.eval.checkpoint is latest, best or a step"
        )

    def restore_latest(self, abstract: TrainState) -> tuple[TrainState, dict[str, Any]] | None:
        """Reads the newest checkpoint that is good; None if there are none at all.

        Damaged ones that are newer are moved into `damaged_checkpoints` beside the directory, with a warning.

        Args:
          abstract: as in `restore`.

        Returns:
          As `restore`.

        Raises:
          UsageError: all of them are damaged, one is of another model, or the disk cannot be read; nothing is moved.
        """
        self._wait_together()
        damaged: dict[int, str] = {}
        for step in reversed(self._there.steps):
            try:
                restored = self._restore(abstract, step)
            except DamagedError as error:
                damaged[step] = str(error)
                continue
            self._set_aside(damaged, instead=step)
            return restored
        if damaged:
            reasons = "; ".join(f"{step}: {reason}" for step, reason in damaged.items())
            raise UsageError(
                f"all checkpoints in {self.directory} are damaged ({reasons}); nothing was changed: restore one from "
                "a copy, or move that directory away to begin anew"
            )
        return None

    def restore(self, abstract: TrainState, *, step: int) -> tuple[TrainState, dict[str, Any]]:
        """Reads a checkpoint, and verifies its checksums.

        Args:
          abstract: the shapes, dtypes and shardings of the state; neither the devices nor the processes need be
            those that saved it.
          step: which one.

        Returns:
          The state and its JSON.

        Raises:
          UsageError: it is damaged, or of another model, or the disk cannot be read.
        """
        self._wait_together()
        try:
            return self._restore(abstract, step)
        except DamagedError as error:
            raise UsageError(
                f"checkpoint {self.directory / str(step)} is damaged ({error}): name another one"
            ) from error

    def check_data(self, meta: dict[str, Any], data: dict[str, Any]) -> None:
        """Raises UsageError if the JSON of a checkpoint names other data than `data`, those that there are."""
        if "data" not in meta:
            logger.warning("checkpoint %s does not say on which data it was trained", meta["step"])
        changes = difference(meta.get("data", data), data)
        if changes:
            raise UsageError(
                f"checkpoint {self.directory / str(meta['step'])} was trained on other data ({'; '.join(changes)}): "
                "give it those, or begin anew in another --workdir"
            )

    def _open(self) -> dict[str, Any]:
        """Makes and clears the directory, and reads what is in it."""
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
            except (DamagedError, UsageError):  # said if and when it is to be used
                top1[step] = None
                unreadable.append(step)
        return {"top1": top1, "unreadable": unreadable}

    def _write(
        self, path: Path, state: TrainState, meta: dict[str, Any], top1: float | None, outdated: list[int]
    ) -> None:
        """Runs beside the training. The others go only after the new one is whole."""
        files.write(path, state, meta, top1=top1)
        self._remove(outdated)

    def _remove(self, steps: list[int]) -> None:
        for step in steps:
            try:
                files.remove(self.directory / str(step))
            except OSError as error:  # no reason to end a run that can save
                logger.warning("checkpoint %s could not be removed (%s)", self.directory / str(step), error.strerror)

    def _restore(self, abstract: TrainState, step: int) -> tuple[TrainState, dict[str, Any]]:
        """Reads a checkpoint in every process. What one of them raises, all raise."""
        path, problem = self.directory / str(step), None
        try:
            meta, _ = files.read_meta(path)
            arrays, has_checksums = files.read(path)
            _check_model(path, arrays, abstract)
        except (DamagedError, UsageError) as error:
            problem = error
        agreement.raise_alike(self._gather, problem, kinds=(UsageError, DamagedError))  # damage last: it moves files
        if not has_checksums and self._writes:
            logger.warning("checkpoint %s has no checksums, an earlier version wrote it: it is used unchecked", path)
        return copy_to_devices(arrays, abstract), meta

    def _wait_together(self) -> None:
        """Returns in all processes once process 0 has written everything."""
        agreement.from_first(self._gather, self.wait, cure="mend it and run again")

    def _set_aside(self, damaged: dict[int, str], *, instead: int) -> None:
        move = functools.partial(self._move_aside, list(damaged))
        reasons = "; ".join(f"{step}: {reason}" for step, reason in damaged.items())
        cure = f"damaged checkpoints ({reasons}) cannot be moved there; mend that and run again"
        places = agreement.from_first(self._gather, move, cure=cure)
        for (step, reason), moved_to in zip(damaged.items(), places, strict=True):
            self._there.remove(step)
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
        """Turns what goes wrong while a checkpoint is written into one line."""
        try:
            yield
        except Exception as error:  # TensorStore raises plain Exception for a full disk
            raise UsageError(
                f"a checkpoint could not be written to {self.directory} ({cause(error)}): "
                "make room or mend it, and run again; the checkpoints before it are whole"
            ) from error


def _check_model(path: Path, arrays: dict[str, Any], abstract: TrainState) -> None:
    """Raises UsageError if a good checkpoint holds the state of another model."""
    there, here = (
        {name: f"{np.dtype(leaf.dtype).name}{list(leaf.shape)}" for name, leaf in by_path(tree).items()}
        for tree in (arrays, abstract)
    )
    changes = difference(there, here)
    if changes:
        more = f" and {len(changes) - 3} more" if len(changes) > 3 else ""
        raise UsageError(
            f"checkpoint {path} is of another model ({'; '.join(changes[:3])}{more}): "
            "continue with the config it was trained with, or name another --workdir"
        )
