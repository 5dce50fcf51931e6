"""Decides which checkpoints to keep: the latest and, besides, the best."""

import math
from collections.abc import Iterable


class Retention:
    """The list of existing checkpoints. No I/O: every process keeps its own, from the same calls, so all are equal."""

    def __init__(self, top1: dict[int, float | None], *, unreadable: Iterable[int], keep_latest: int, keep_best: int):
        """Starts with the checkpoints on disk.

        Args:
          top1: evaluation accuracy in 0..1 by step; None: not evaluated, never the best.
          unreadable: steps whose JSON could not be read. They are always kept, since one of them may be the best.
          keep_latest: number of the newest to keep.
          keep_best: number of those with the highest accuracy to keep besides.
        """
        self._top1, self._unreadable = dict(top1), set(unreadable)
        self._keep_latest, self._keep_best = keep_latest, keep_best

    @property
    def steps(self) -> list[int]:
        """All steps, in increasing order."""
        return sorted(self._top1)

    @property
    def best(self) -> tuple[int, float] | None:
        """The step with the highest accuracy, the last of equal ones, and that accuracy; None if none was evaluated."""
        return next(iter(self._best_first()), None)

    def lacks_evaluation(self, step: int) -> bool:
        """Whether the checkpoint of `step`, which must exist, has no accuracy."""
        return self._top1[step] is None

    def add(self, step: int, top1: float | None) -> list[int]:
        """Adds a step, or the accuracy of one. Drops the steps that are outdated now, and returns them."""
        self._top1[step] = top1
        kept = {*self.steps[-self._keep_latest :], *(step for step, _ in self._best_first()[: self._keep_best])}
        outdated = [step for step in self.steps if step not in kept | self._unreadable]
        for removed in outdated:
            del self._top1[removed]
        return outdated

    def remove(self, step: int) -> None:
        """Drops a step."""
        del self._top1[step]
        self._unreadable.discard(step)

    def _best_first(self) -> list[tuple[int, float]]:
        """Evaluated steps in decreasing order of accuracy. NaN is the worst."""
        evaluated = [(step, top1) for step, top1 in self._top1.items() if top1 is not None]
        return sorted(evaluated, key=lambda at: (-math.inf if math.isnan(at[1]) else at[1], at[0]), reverse=True)
