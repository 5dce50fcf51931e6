"""Computes which example is in which row of which batch, by integer arithmetic, the same for any number of hosts.

The *position* of a row is its index in the whole run: row r of batch s has position s * batch_size + r. Repeated
augmentation permutes the positions within a batch.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from resnet_jax.data.hashing import combine, permute

_ORDER_STREAM = 1  # hashed with the seed, so that the example order is independent of the crops


class BatchRows(NamedTuple):
    """The examples in the rows of a batch."""

    positions: np.ndarray  # [B] int64, index of the row among all rows of the run
    indices: np.ndarray  # [B] int64, index of the example in the source
    mask: np.ndarray  # [B] bool, False for rows that pad the batch


@dataclasses.dataclass(frozen=True)
class TrainOrder:
    """An endless stream of shuffled epochs: each epoch is a different permutation of the whole data set.

    Batches may cross the end of an epoch, so no example is dropped or repeated within an epoch.

    Repeated augmentation (Hoffer et al. 2020, Berman et al. 2019) puts each example `repeats` times in succession into
    the stream, as torchvision's `RASampler` and timm's `RepeatAugSampler` do. Each repeat has its own position, hence
    its own crop. The number of steps stays the same, so an epoch's steps show 1/`repeats` of the examples.

    Repeats of an example should be in different batch norm groups, and never in adjacent rows of a group: mixup and
    cutmix (`data.on_device.Mixing`) blend each row with the previous row of its group. The rows of a batch are
    therefore dealt to the groups in turn. Where one group still gets several repeats, its rows are dealt once more, to
    piles. For example 12 rows, `repeats=4` (A A A A B B B B C C C C) and `num_groups=2`:

        offset in the stream    0 1 2 3 4 5 6 7 8 9 10 11
        example                 A A A A B B B B C C C  C

        group 0:  offsets 0 2 4 6 8 10  ->  2 piles of 3:  0 4 8  |  2 6 10  ->  A B C A B C
        group 1:  offsets 1 3 5 7 9 11  ->  2 piles of 3:  1 5 9  |  3 7 11  ->  A B C A B C

    Attributes:
      num_examples: size of the data set.
      batch_size: rows of the global batch.
      seed: seed of the permutations.
      repeats: how many times in succession each example is in the stream.
      num_groups: batch norm groups of equal size that the batch consists of; must divide `batch_size`. Without
        repeats it has no effect. If a group has few rows or a prime number of rows, repeats may end up adjacent.
    """

    num_examples: int
    batch_size: int
    seed: int
    repeats: int = 1
    num_groups: int = 1

    def rows(self, step: int) -> BatchRows:
        """Returns which examples are in the batch of a step."""
        positions = step * self.batch_size + self._deal(np.arange(self.batch_size, dtype=np.int64))
        epoch, offset = np.divmod(positions // self.repeats, self.num_examples)
        indices = permute(offset, self.num_examples, combine(_ORDER_STREAM, self.seed, epoch))
        return BatchRows(positions, indices, np.ones(self.batch_size, bool))

    def _deal(self, offsets: np.ndarray) -> np.ndarray:
        """Reorders the offsets within a batch: group g gets the offsets that equal g modulo `num_groups`."""
        return offsets if self.repeats == 1 else offsets.reshape(-1, self._stride(), self.num_groups).T.ravel()

    def _stride(self) -> int:
        """Returns the stride with which `_deal` reorders a batch norm group to keep repeats of an image apart.

        With stride s, pile i consists of the rows i, i + s, i + 2 s, ... of the group, and the rows of a pile become
        adjacent. For example, 6 rows and s = 2 make 2 piles of 3 rows, the columns of the table:

            before:  0 1      after:  0 2 4 | 1 3 5
                     2 3
                     4 5

        Returns:
          The smallest divisor of the group size that is at least the number of repeats per group and leaves piles of
          at least 2 rows; 1 (no reordering) if there is none.
        """
        group_size, repeats_per_group = self.batch_size // self.num_groups, -(-self.repeats // self.num_groups)
        return next((stride for stride in range(repeats_per_group, group_size) if group_size % stride == 0), 1)


@dataclasses.dataclass(frozen=True)
class EvalOrder:
    """The order of evaluation: every example once, in the order of the source; masked rows pad the last batch."""

    num_examples: int
    batch_size: int

    def rows(self, step: int) -> BatchRows:
        """Returns which examples are in the batch of a step."""
        positions = step * self.batch_size + np.arange(self.batch_size, dtype=np.int64)
        mask = positions < self.num_examples
        return BatchRows(positions, np.where(mask, positions, 0), mask)


Order = TrainOrder | EvalOrder
