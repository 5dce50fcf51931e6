"""Decides which checkpoints to keep: the latest, and those with the highest evaluation accuracy."""

import math
from collections.abc import Iterable


class Retention:
    """The list of the steps that have a checkpoint, with their accuracy.

    It does no I/O. Every process has its own list and makes the same calls, so that the lists are always equal.
    """

    def __init__(self, top1: dict[int, float | None], *, unreadable: Iterable[int], keep_latest: int, keep_best: int):
        """Starts the list with the checkpoints that are on disk.

        Args:
          top1: step -> evaluation accuracy in 0..1; None: not evaluated, never the best.
          unreadable: steps whose JSON file, and so their accuracy, could not be read. They are never deleted, and do
            not count as the newest.
          keep_latest: number of the newest checkpoints to keep.
          keep_best: number of checkpoints with the highest accuracy to keep, however old they are.
        """
        self._top1, self._unreadable = dict(top1), set(unreadable)
        self._keep_latest, self._keep_best = keep_latest, keep_best

    @property
    def steps(self) -> list[int]:
        """All steps that have a checkpoint, in increasing order."""
        return sorted(self._top1)

    @property
    def best(self) -> tuple[int, float] | None:
        """The latest step with the highest accuracy, and that accuracy; None if no step was evaluated."""
        return next(iter(self._best_first()), None)

    def lacks_evaluation(self, step: int) -> bool:
        """Whether the checkpoint of `step` has no evaluation accuracy. The step must be in the list."""
        return self._top1[step] is None

    def add(self, step: int, top1: float | None) -> list[int]:
        """Adds a step or sets its accuracy. Returns the steps to delete from disk, which it removes from the list."""
        self._top1[step] = top1
        readable = [step for step in self.steps if step not in self._unreadable]
        kept = {step, *readable[-self._keep_latest :], *(step for step, _ in self._best_first()[: self._keep_best])}
        to_delete = [step for step in readable if step not in kept]
        for removed in to_delete:
            del self._top1[removed]
        return to_delete

    def remove(self, step: int) -> None:
        """Removes a step from the list; files are not touched."""
        del self._top1[step]
        self._unreadable.discard(step)

    def _best_first(self) -> list[tuple[int, float]]:
        """Returns (step, accuracy) of evaluated checkpoints: highest accuracy first, NaN last; ties: later first."""
        evaluated = [(step, top1) for step, top1 in self._top1.items() if top1 is not None]
        return sorted(evaluated, key=lambda at: (-math.inf if math.isnan(at[1]) else at[1], at[0]), reverse=True)
