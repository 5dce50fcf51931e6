"""Which checkpoints of a run are kept: the latest and, besides, the best."""

import math
from collections.abc import Iterable


class Retention:
    """The account of the checkpoints that there are. Pure: every process keeps its own, and all say the same."""

    def __init__(self, top1: dict[int, float | None], *, unreadable: Iterable[int], keep_latest: int, keep_best: int):
        """Begins with what is on disk.

        Args:
          top1: evaluation top-1 by step; None: it was not evaluated, and is never the best.
          unreadable: steps whose JSON could not be read. They are never outdated: they may be the best.
          keep_latest: how many of the newest to keep.
          keep_best: how many of the best to keep besides.
        """
        self._top1, self._unreadable = dict(top1), set(unreadable)
        self._keep_latest, self._keep_best = keep_latest, keep_best

    @property
    def steps(self) -> list[int]:
        """All steps, in order."""
        return sorted(self._top1)

    @property
    def best(self) -> tuple[int, float] | None:
        """The step with the highest top-1, of equal ones the last, and that top-1; None if none was evaluated."""
        return next(iter(self._best_first()), None)

    def lacks_evaluation(self, step: int) -> bool:
        """Whether a step that is there was not evaluated."""
        return self._top1[step] is None

    def add(self, step: int, top1: float | None) -> list[int]:
        """Adds a step, or its evaluation; strikes out those that need not be kept any more, and returns them."""
        self._top1[step] = top1
        kept = {*self.steps[-self._keep_latest :], *(step for step, _ in self._best_first()[: self._keep_best])}
        outdated = [step for step in self.steps if step not in kept | self._unreadable]
        for removed in outdated:
            del self._top1[removed]
        return outdated

    def remove(self, step: int) -> None:
        """Strikes out a step."""
        del self._top1[step]
        self._unreadable.discard(step)

    def _best_first(self) -> list[tuple[int, float]]:
        """NaN counts as the worst."""
        evaluated = [(step, top1) for step, top1 in self._top1.items() if top1 is not None]
        return sorted(evaluated, key=lambda at: (-math.inf if math.isnan(at[1]) else at[1], at[0]), reverse=True)
