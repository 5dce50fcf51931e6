"""Which example stands in which row of which batch: integer arithmetic, the same for any number of hosts.

A *position* is the number of an example in the whole run: row r of batch s is position s * batch_size + r.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from resnet_jax.data.hashing import combine, permute

_ORDER_STREAM = 1  # keeps the order independent of the crops, which hash the same seed


class Rows(NamedTuple):
    """The rows of a global batch."""

    positions: np.ndarray  # [B] int64
    indices: np.ndarray  # [B] int64, into the source
    mask: np.ndarray  # [B] bool; False: the row is padding


@dataclasses.dataclass(frozen=True)
class TrainOrder:
    """Epochs of shuffled examples without end: each epoch is another permutation of the whole data set.

    Batches run on across the end of an epoch, so that no example is left out or seen twice in it.
    """

    num_examples: int
    batch_size: int
    seed: int

    def rows(self, step: int) -> Rows:
        """The rows of batch `step`."""
        positions = step * self.batch_size + np.arange(self.batch_size, dtype=np.int64)
        epoch, offset = np.divmod(positions, self.num_examples)
        indices = permute(offset, self.num_examples, combine(_ORDER_STREAM, self.seed, epoch))
        return Rows(positions, indices, np.ones(self.batch_size, bool))


@dataclasses.dataclass(frozen=True)
class EvalOrder:
    """Every example exactly once, in the order of the source; the last batch is padded."""

    num_examples: int
    batch_size: int

    def rows(self, step: int) -> Rows:
        """The rows of batch `step`."""
        positions = step * self.batch_size + np.arange(self.batch_size, dtype=np.int64)
        mask = positions < self.num_examples
        return Rows(positions, np.where(mask, positions, 0), mask)


Order = TrainOrder | EvalOrder
