"""What --mode=doctor checks of a config: its data, and the shared memory that a run would need."""

from typing import NamedTuple

from ml_collections import ConfigDict

from resnet_jax.config_keys import check_bounds
from resnet_jax.configs.default import KEYS
from resnet_jax.data.sources import Source
from resnet_jax.experiment.computed import EVAL_BATCH_SIZE
from resnet_jax.experiment.inputs import eval_image_size, open_splits, train_image_sizes
from resnet_jax.nested import flatten


class CheckedSplits(NamedTuple):
    """The data sets of a config."""

    splits: dict[str, Source]  # 'train' and 'validation'
    max_pixels: int  # largest number of pixels of an image; a larger image counts as unreadable


def open_checked_splits(config: ConfigDict) -> CheckedSplits:
    """Opens the training and the evaluation set. Raises UsageError as `build` does."""
    check_bounds(KEYS, flatten(config.to_dict()))
    return CheckedSplits(open_splits(config), config.data.max_image_pixels)


def worker_batches(config: ConfigDict) -> tuple[int, int]:
    """Returns the number of decoding processes, and the bytes of the largest batch of images that one of them makes."""
    check_bounds(KEYS, flatten(config.to_dict()))
    largest = max(*train_image_sizes(config), eval_image_size(config))
    images = max(config.data.batch_size or EVAL_BATCH_SIZE, config.eval.batch_size or 0)
    return config.data.num_workers, images * largest**2 * 3
