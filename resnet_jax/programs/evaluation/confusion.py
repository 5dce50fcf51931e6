"""The confusion matrix, counted on the host from the predictions of all batches."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from resnet_jax.data.batch import UNREADABLE
from resnet_jax.training.metrics import Answers
from resnet_jax.training.scores import NO_ANSWER


class Pair(NamedTuple):
    """One kind of mistake: a true class, the predicted class, and the number of images."""

    label: int
    predicted: int
    times: int


@dataclasses.dataclass(frozen=True)
class Confusion:
    """The confusion matrix as its P nonzero entries, sorted by label, then by prediction.

    Attributes:
      label: [P] int64, true class; `UNREADABLE` for images that could not be read, whose class is unknown.
      predicted: [P] int64, predicted class or `NO_ANSWER`.
      count: [P] int64, number of examples with this label and prediction.
      num_classes: number of classes of the data.
      num_outputs: number of outputs of the network, at least `num_classes`.
    """

    label: np.ndarray
    predicted: np.ndarray
    count: np.ndarray
    num_classes: int
    num_outputs: int

    @property
    def total(self) -> int:
        """The number of examples."""
        return int(self.count.sum())

    @property
    def unreadable(self) -> int:
        """The number of examples that could not be read."""
        return int(self.count[self.label == UNREADABLE].sum())

    @property
    def unanswered(self) -> int:
        """The number of examples without a prediction: unreadable ones and those with NaN logits."""
        return int(self.count[self.predicted == NO_ANSWER].sum())

    @property
    def correct(self) -> np.ndarray:
        """[num_classes] int64, number of correctly predicted examples of each class."""
        # An unreadable image has the label UNREADABLE and the prediction NO_ANSWER, both -1: equal, but not correct.
        hits = (self.label == self.predicted) & (self.label != UNREADABLE)
        return self._sum(self.label, hits, self.num_classes)

    @property
    def support(self) -> np.ndarray:
        """[num_classes] int64, number of examples whose true class is this class."""
        return self._sum(self.label, self.label != UNREADABLE, self.num_classes)

    @property
    def predictions(self) -> np.ndarray:
        """[num_outputs] int64, number of examples predicted as each class."""
        return self._sum(self.predicted, self.predicted != NO_ANSWER, self.num_outputs)

    def rows(self) -> Iterator[np.ndarray]:
        """Yields the rows of the dense matrix, each [num_outputs + 1] int64.

        There is a row for each class of the data, then a row for unreadable images. There is a column for each output
        of the network, then a column for examples without a prediction (`NO_ANSWER`).
        """
        for label in [*range(self.num_classes), UNREADABLE]:
            row = np.zeros(self.num_outputs + 1, np.int64)
            own = slice(*(int(np.searchsorted(self.label, label, side)) for side in ("left", "right")))
            # NO_ANSWER is -1, and index -1 is the last element of the row.
            row[self.predicted[own]] = self.count[own]
            yield row

    def most_confused(self, number: int) -> list[Pair]:
        """Returns the `number` most frequent mistakes; ties are ordered by label, then by prediction."""
        wrong = np.flatnonzero((self.label != self.predicted) & (self.label != UNREADABLE))
        first = wrong[np.argsort(-self.count[wrong], kind="stable")][:number]
        return [Pair(int(self.label[k]), int(self.predicted[k]), int(self.count[k])) for k in first]

    def _sum(self, classes: np.ndarray, selected: np.ndarray, length: int) -> np.ndarray:
        """Returns [length] int64; element k is the sum of `count` over the entries of class k that `selected` marks.

        Args:
          classes: [P] int64, class of each entry: `label` or `predicted`.
          selected: [P] bool, the entries to sum.
          length: number of classes.
        """
        sums = np.zeros(length, np.int64)
        np.add.at(sums, classes[selected], self.count[selected])
        return sums


def count_pairs(answers: Sequence[Answers], *, num_classes: int, num_outputs: int) -> Confusion:
    """Counts the (label, prediction) pairs of all examples; padding rows are skipped.

    Args:
      answers: labels and predictions of each batch, numpy arrays.
      num_classes: number of classes of the data.
      num_outputs: number of outputs of the network.
    """
    label, predicted = (
        np.concatenate([getattr(batch, name)[batch.mask] for batch in answers]).astype(np.int64)
        for name in ("label", "predicted")
    )
    pairs, count = np.unique(np.stack([label, predicted]), axis=1, return_counts=True)
    return Confusion(label=pairs[0], predicted=pairs[1], count=count, num_classes=num_classes, num_outputs=num_outputs)
