"""Inputs of the network (images that were cropped, augmented, mixed and normalized), converted back to pixels."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from resnet_jax.data.batch import Batch, HostBatch
from resnet_jax.data.loader import Loader
from resnet_jax.data.on_device import row_keys
from resnet_jax.experiment.computation import make_preprocess, make_train_input_of
from resnet_jax.experiment.description import describe_augmentations
from resnet_jax.experiment.parts import Data, ShownInputs

# With input.per_image, each image is normalized to mean 0 and standard deviation 1 for the network. To show it, its
# pixels are scaled to this mean and this standard deviation.
_MEAN, _DEVIATION = 128.0, 64.0


_SHOWN = 16  # largest number of training inputs, and of evaluation inputs, that are shown


def show_inputs(config: ConfigDict, data: Data, *, num_microbatches: int) -> tuple[ShownInputs, ShownInputs]:
    """Returns up to 16 training inputs of step 0 and up to 16 evaluation inputs; compiles the preprocessing only.

    Args:
      config: has the keys of `configs/default.py`.
      data: the loaders.
      num_microbatches: number of micro-batches of a step; images of different micro-batches are not mixed.
    """
    rows = data.train_loader.batch_size // num_microbatches
    group_size = min(config.model.bn_group_size or rows, rows)
    return _train_inputs(config, data.train_loader, group_size), _eval_inputs(config, data.eval_loader)


def _train_inputs(config: ConfigDict, loader: Loader, group_size: int) -> ShownInputs:
    """Returns inputs of step 0, after the augmentations of the host and of the devices.

    Mixing blends each image of a batch with the previous image of its batch norm group, and the first image of a group
    with the last one. If a group has more than 16 images, those with the indices 1 to 16 are returned: index 0 would
    need the last image of the group, which is not loaded. Otherwise all images of one or more groups are returned.
    """
    skipped = int(group_size > _SHOWN)
    batch = loader.first_batch(_SHOWN + 1 if skipped else _SHOWN // group_size * group_size)
    step_key = jax.random.fold_in(jax.random.key(config.seed), 0)
    keys = row_keys(step_key, jnp.arange(len(batch.label), dtype=jnp.int32))
    train_input = make_train_input_of(config, group_size=group_size)
    mixed = jax.jit(train_input)(keys, Batch(*map(jnp.asarray, batch)))
    images = _to_pixels(config, np.asarray(mixed.images))
    arrays = (images, batch.label, np.asarray(mixed.partner), np.asarray(mixed.share))
    steps = [f"{config.data.train_crop.name} crop", "flip" * config.input.flip, describe_augmentations(config)]
    about = f"Training inputs, {loader.image_size_at(0)} px: {', '.join(filter(None, steps))}"
    return ShownInputs(about, *(array[skipped:] for array in arrays))


def show_rows(
    config: ConfigDict, step: int, batch: HostBatch, rows: Sequence[int], *, num_microbatches: int
) -> ShownInputs:
    """Returns some training inputs of a batch, as the training step makes them on the devices.

    Args:
      config: has the keys of `configs/default.py`.
      step: number of updates before the batch.
      batch: the whole batch of the step.
      rows: indices in the batch of the inputs to return.
      num_microbatches: number of micro-batches of a step; images of different micro-batches are not mixed.
    """
    size = len(batch.label) // num_microbatches
    size = min(config.model.bn_group_size or size, size)
    step_key = jax.random.fold_in(jax.random.key(config.seed), step)
    train_input = jax.jit(make_train_input_of(config, group_size=size))
    found: dict[int, tuple[np.ndarray, int, float]] = {}  # row -> pixels, class mixed in, share of own class
    for start in sorted({row // size * size for row in rows}):  # one group at a time, because the batch may be large
        keys = row_keys(step_key, jnp.arange(start, start + size, dtype=jnp.int32))
        mixed = train_input(keys, Batch(*(jnp.asarray(array[start : start + size]) for array in batch)))
        for row in (row for row in rows if row // size * size == start):
            pixels = _to_pixels(config, np.asarray(mixed.images[row - start]))
            found[row] = (pixels, int(mixed.partner[row - start]), float(mixed.share[row - start]))
    images, partners, shares = zip(*(found[row] for row in rows), strict=True)
    about = f"What the network gets, {batch.image.shape[1]} px"
    arrays = (np.stack(images), batch.label[list(rows)], np.asarray(partners), np.asarray(shares))
    # An image is mixed with the previous image of its group, see `Mixing`.
    return ShownInputs(about, *arrays, partner_rows=np.array([row // size * size + (row - 1) % size for row in rows]))


def _eval_inputs(config: ConfigDict, loader: Loader) -> ShownInputs:
    """Returns inputs made from images at evenly spaced indices of the evaluation set."""
    batch, crop = loader.spread_batch(_SHOWN), config.data.eval_crop
    images = _to_pixels(config, np.asarray(jax.jit(make_preprocess(config))(batch.image)))
    size = loader.image_size_at(0)
    about = f"Evaluation inputs, {size} px: {crop.name} crop, {100 * crop.fraction:.3g} % of the shorter side"
    return ShownInputs(about, images, batch.label, batch.label, np.ones(len(batch.label), np.float32))


def _to_pixels(config: ConfigDict, inputs: np.ndarray) -> np.ndarray:
    """Inverts the normalization: [..., H, W, 3] float32 -> uint8; NaN becomes 0."""
    mean, std = (_MEAN, _DEVIATION) if config.input.per_image else (config.input.mean, config.input.std)
    return np.rint(np.nan_to_num(inputs) * np.asarray(std) + np.asarray(mean)).clip(0, 255).astype(np.uint8)
