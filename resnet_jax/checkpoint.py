"""Checkpoints: the state, and JSON that says what it is. Saved in the background; latest and best are kept."""

import contextlib
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers

from resnet_jax.errors import UsageError
from resnet_jax.state import TrainState
from resnet_jax.workdir import difference

logger = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints of a run, one directory a step. A context manager: leaving it waits for the last save."""

    def __init__(self, directory: Path, *, keep_latest: int, keep_best: int):
        """Opens `directory`, which need not exist, and clears what a killed save left.

        Args:
          directory: absolute.
          keep_latest: how many of the newest to keep.
          keep_best: how many of those with the best evaluation top-1 to keep besides.
        """
        self.directory = directory
        # Not max_to_keep with best_fn: together they delete the newest checkpoint.
        keep = checkpoint_managers.AnyPreservationPolicy(
            [
                checkpoint_managers.LatestN(keep_latest),
                checkpoint_managers.BestN(
                    get_metric_fn=_top1, n=keep_best, reverse=False, keep_checkpoints_without_metrics=False
                ),
            ]
        )
        options = ocp.CheckpointManagerOptions(
            best_fn=_top1, best_mode="max", preservation_policy=keep, cleanup_tmp_directories=True
        )
        self._manager = ocp.CheckpointManager(directory, options=options)

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self.wait()
        finally:
            self._manager.close()

    @property
    def latest_step(self) -> int | None:
        """The step of the newest checkpoint, that of a save under way included."""
        return self._manager.latest_step()

    def best(self) -> tuple[int, float] | None:
        """The step with the highest evaluation top-1, and that top-1; None if none was evaluated.

        Waits for a save under way.
        """
        self.wait()
        step = self._manager.best_step()
        return None if step is None else (step, self._manager.metrics(step)["top1"])

    def save(self, step: int, state: TrainState, *, meta: dict[str, Any], top1: float | None) -> None:
        """Copies the state and returns; it is written in the background.

        A step that is saved is left alone, unless it was saved before its evaluation (a signal came between them)
        and now has one: then it is written anew, so that it can be the best.

        Args:
          step: names the checkpoint.
          state: may be donated once this returns.
          meta: JSON values to keep beside it.
          top1: evaluation accuracy, by which the best is chosen; None: this checkpoint is never the best.

        Raises:
          UsageError: this or the save before could not be written.
        """
        if step in self._manager.all_steps():
            self.wait()  # for the metrics to be on disk
            if top1 is None or self._manager.metrics(step) is not None:
                return
            self._manager.delete(step)
        items = ocp.args.Composite(state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(meta))
        metrics = None if top1 is None else {"top1": top1}
        with _write_errors(self.directory):
            self._manager.save(step, args=items, metrics=metrics)

    def wait(self) -> None:
        """Returns once everything is on disk. Raises UsageError if it could not be written."""
        with _write_errors(self.directory):
            self._manager.wait_until_finished()
            self._manager.check_for_errors()

    def restore(self, abstract: TrainState) -> tuple[TrainState, dict[str, Any]] | None:
        """Reads the newest checkpoint.

        Args:
          abstract: the shapes, dtypes and shardings of the state; the devices need not be those that saved it.

        Returns:
          The state and its JSON, or None if there is no checkpoint.

        Raises:
          UsageError: it is damaged, or of another model.
        """
        step = self.latest_step
        if step is None:
            return None
        items = ocp.args.Composite(state=ocp.args.StandardRestore(abstract), meta=ocp.args.JsonRestore())
        try:
            restored = self._manager.restore(step, args=items)
        except Exception as error:  # TensorStore raises plain Exception for a damaged file
            raise UsageError(
                f"checkpoint {self.directory / str(step)} cannot be read ({_cause(error)}): "
                "remove that directory to go on from the one before it"
            ) from error
        return restored.state, restored.meta

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


@contextlib.contextmanager
def _write_errors(directory: Path) -> Iterator[None]:
    """Turns what goes wrong while a checkpoint is written into one line."""
    try:
        yield
    except Exception as error:  # TensorStore raises plain Exception for a full disk
        raise UsageError(
            f"a checkpoint could not be written to {directory} ({_cause(error)}): "
            "make room or mend it, and run again; the checkpoints before it are whole"
        ) from error


def _top1(metrics: dict[str, float]) -> float:
    """NaN counts as the worst: orbax would take it for the best."""
    return -math.inf if math.isnan(metrics["top1"]) else metrics["top1"]


def _cause(error: Exception) -> str:
    """The end of the first line: TensorStore names the paths first and the cause last."""
    line = str(error).strip().split("\n", 1)[0]
    return line if len(line) <= 160 else "..." + line[-160:]
