"""Which class was taken for which: answers on the devices, counts on the host."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from resnet_jax.data.batch import UNREADABLE
from resnet_jax.training.metrics import NO_ANSWER, Answers


class Pair(NamedTuple):
    """A true class, what it was taken for, and how often."""

    label: int
    predicted: int
    times: int


@dataclasses.dataclass(frozen=True)
class Confusion:
    """The confusion matrix as a list of what is not zero in it, ordered by label, then by prediction.

    Attributes:
      label: [P] int64, true classes; `UNREADABLE` where the image, and so its class, could not be read.
      predicted: [P] int64, classes or `NO_ANSWER`.
      count: [P] int64.
      num_classes: of the data.
      num_outputs: of the network; at least as many.
    """

    label: np.ndarray
    predicted: np.ndarray
    count: np.ndarray
    num_classes: int
    num_outputs: int

    @property
    def total(self) -> int:
        """How many examples there are."""
        return int(self.count.sum())

    @property
    def unreadable(self) -> int:
        """How many of them could not be read."""
        return int(self.count[self.label == UNREADABLE].sum())

    @property
    def unanswered(self) -> int:
        """How many of them got no answer, those that could not be read included."""
        return int(self.count[self.predicted == NO_ANSWER].sum())

    @property
    def right(self) -> np.ndarray:
        """How many examples of each class were taken for what they are: [num_classes]."""
        hits = (self.label == self.predicted) & (self.label != UNREADABLE)  # which is the same number as `NO_ANSWER`
        return self._sum(self.label, hits, self.num_classes)

    @property
    def support(self) -> np.ndarray:
        """How many examples of each class there are: [num_classes]."""
        return self._sum(self.label, self.label != UNREADABLE, self.num_classes)

    @property
    def predictions(self) -> np.ndarray:
        """How many examples were taken for each class: [num_outputs]."""
        return self._sum(self.predicted, self.predicted != NO_ANSWER, self.num_outputs)

    def rows(self) -> Iterator[np.ndarray]:
        """The rows of the matrix, one at a time: [num_outputs + 1].

        A row for each class of the data, then that of unreadable images; a column for each output, then `NO_ANSWER`.
        """
        for label in [*range(self.num_classes), UNREADABLE]:
            row = np.zeros(self.num_outputs + 1, np.int64)
            own = slice(*(int(np.searchsorted(self.label, label, side)) for side in ("left", "right")))
            row[self.predicted[own]] = self.count[own]  # NO_ANSWER, -1, is the last
            yield row

    def most_confused(self, number: int) -> list[Pair]:
        """The most frequent mistakes, at most so many; of equal ones those of the first classes."""
        wrong = np.flatnonzero((self.label != self.predicted) & (self.label != UNREADABLE))
        first = wrong[np.argsort(-self.count[wrong], kind="stable")][:number]
        return [Pair(int(self.label[k]), int(self.predicted[k]), int(self.count[k])) for k in first]

    def _sum(self, classes: np.ndarray, chosen: np.ndarray, length: int) -> np.ndarray:
        sums = np.zeros(length, np.int64)
        np.add.at(sums, classes[chosen], self.count[chosen])
        return sums


def count_pairs(answers: Sequence[Answers], *, num_classes: int, num_outputs: int) -> Confusion:
    """Counts what the examples of some batches, on the host, were taken for.

    Args:
      answers: of the batches.
      num_classes: of the data.
      num_outputs: of the network.
    """
    label, predicted = (
        np.concatenate([getattr(batch, name)[batch.mask] for batch in answers]).astype(np.int64)
        for name in ("label", "predicted")
    )
    pairs, count = np.unique(np.stack([label, predicted]), axis=1, return_counts=True)
    return Confusion(label=pairs[0], predicted=pairs[1], count=count, num_classes=num_classes, num_outputs=num_outputs)
