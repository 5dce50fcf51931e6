"""Values for the config keys that a recipe leaves at None because they depend on the number of training images."""

import math
from collections.abc import Callable

from ml_collections import ConfigDict

from resnet_jax.errors import UsageError

EVAL_BATCH_SIZE = 64  # images per evaluation batch if neither eval.batch_size nor data.batch_size is set
_STEPS_PER_EPOCH = 64  # the intended number of steps per epoch (training images / batch size)
_BATCH_SIZES = (16, 256)
_EPOCHS = (30.0, 200.0)
_EVALUATIONS = 40


def batch_size(num_images: int) -> int:
    """Returns the power of two nearest to num_images / 64, at least 16 and at most 256.

    For 1,024 to 16,384 images, an epoch thus has 45 to 91 steps: enough updates for a small data set, and batches that
    use the devices well for a large one.
    """
    smallest, largest = _BATCH_SIZES
    return min(max(2 ** round(math.log2(max(1.0, num_images / _STEPS_PER_EPOCH))), smallest), largest)


def epochs(num_images: int, *, pretrained: bool) -> float:
    """Returns 200 * sqrt(1000 / num_images), at least 30 and at most 200; a quarter of that for pretrained weights.

    Four times as many images are thus trained for half as many epochs. The constants are this project's choice: with
    the batch sizes of `batch_size`, a run from random weights has 2,500 to 12,500 steps for 200 to 100,000 images.
    """
    fewest, most = _EPOCHS
    whole = min(max(most * math.sqrt(1000 / num_images), fewest), most)
    return float(round(whole / 4 if pretrained else whole))


def base_lr(batch: int, *, pretrained: bool) -> float:
    """Returns `schedule.base_lr` for SGD; the peak learning rate is this value times batch size / 256.

    The peak grows with the square root of the batch size (Krizhevsky 2014, arXiv 1404.5997, section 5): it is 0.05 for
    a batch of 16, 0.14 for 128 (0.1 in He et al. 2015, section 4.2), and 0.2 for 256. For pretrained weights it is half
    as large, see docs/own_photos.md.

    Args:
      batch: number of images in a batch.
      pretrained: whether training starts from given weights, not from random ones.
    """
    return (0.1 if pretrained else 0.2) * math.sqrt(256 / batch)


def epochs_between_evaluations(num_epochs: float) -> float:
    """Returns num_epochs / 40, at least 1: at most 40 evaluations, because each of them also saves a checkpoint."""
    return max(1.0, num_epochs / _EVALUATIONS)


def with_computed(config: ConfigDict, num_images: int) -> tuple[ConfigDict, str]:
    """Computes values for the config keys that are None because they depend on the number of training images.

    Args:
      config: has the keys of `configs/default.py`; it is not changed.
      num_images: number of training images.

    Returns:
      The config with these values, and a line for the log that lists the values; '' if nothing was computed.
    """
    complete, words = config.copy_and_resolve_references(), []
    rules: dict[str, Callable[[], float]] = {
        "data.batch_size": lambda: batch_size(num_images),
        "train.epochs": lambda: epochs(num_images, pretrained=config.model.init_from is not None),
        "schedule.base_lr": lambda: _base_lr(complete),
        "eval.every_epochs": lambda: epochs_between_evaluations(_num_epochs(complete, num_images)),
    }
    for key, rule in rules.items():
        section, name = key.split(".")
        if config[section][name] is None:
            complete[section][name] = rule()
            words.append(f"{key}={complete[section][name]:.4g}")
    return complete, f"{', '.join(words)} for {num_images:,} training images" if words else ""


def _base_lr(config: ConfigDict) -> float:
    if config.optimizer.name != "sgd":
        raise UsageError(
            "config.schedule.base_lr=None: a learning rate is computed for 'sgd' only, not for "
            f"{config.optimizer.name!r}: set --config.schedule.base_lr=RATE"
        )
    for_256 = base_lr(config.data.batch_size, pretrained=config.model.init_from is not None)
    return for_256 * config.schedule.base_batch_size / 256


def _num_epochs(config: ConfigDict, num_images: int) -> float:
    """Returns the length of the run in epochs; `data.batch_size` and `train.epochs` must not be None."""
    steps = config.train.total_steps
    return config.train.epochs if steps is None else steps * config.data.batch_size / num_images
