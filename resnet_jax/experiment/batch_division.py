"""Divides a training batch over devices and into micro-batches, without splitting batch norm groups."""

import math

from ml_collections import ConfigDict

from resnet_jax.errors import UsageError

# Smallest batch norm group, in images, that is a micro-batch of its own on a GPU. With fewer images, launching about a
# thousand kernels for a micro-batch would take longer than executing them.
_SMALLEST_PART = 64


def count_microbatches(config: ConfigDict, num_devices: int, *, on_gpus: bool = False) -> int:
    """Returns into how many micro-batches a training step divides its batch.

    The number is `train.accumulate` if this key is set. Otherwise it is the smallest number with which no micro-batch
    has more than `train.per_device_limit` images on a device. If neither key is set, it is 1, except where one
    micro-batch for each batch norm group is faster on GPUs (`_needs_one_group`). No group is split, so the number of
    micro-batches changes the result of a step only by rounding.

    Args:
      config: has the keys of `configs/default.py`.
      num_devices: number of devices over which the batch is split.
      on_gpus: whether these are GPUs.

    Raises:
      UsageError: the batch cannot be divided over devices, batch norm groups and micro-batches.
    """
    batch_size, limit = config.data.batch_size, config.train.per_device_limit
    if limit is None and on_gpus and _needs_one_group(config, num_devices):
        limit = _group_size(config)
    given = config.train.accumulate or 1
    _check_groups(config, given)
    _check_division(config, num_devices, given)
    if config.train.accumulate is not None or limit is None:
        return given
    unit = math.lcm(num_devices, _group_size(config))
    for number in range(1, batch_size // unit + 1):
        if batch_size % (number * unit) == 0 and batch_size // (number * num_devices) <= limit:
            return number
    raise UsageError(
        f"config.train.per_device_limit={limit}: with batch norm groups of {_group_size(config)} images, the smallest "
        f"micro-batch on {_devices(num_devices)} has {unit // num_devices} images each: raise "
        "config.train.per_device_limit, or use more devices"
    )


def _needs_one_group(config: ConfigDict, num_devices: int) -> bool:
    """Whether a GPU moves fewer bytes if each of its batch norm groups is a micro-batch (docs/compiled_programs.md).

    The last convolution of a bottleneck block, its batch norm, the addition of the shortcut and the ReLU are one call
    of cuDNN only if all images belong to one batch norm group (`models/fused_conv_norm.py`).
    """
    model, group_size = config.model, _group_size(config)
    has_fused_end = model.name == "resnet" and model.depth >= 50 and model.version != "v2"
    return (
        has_fused_end
        and model.dtype != "float32"
        and group_size >= _SMALLEST_PART
        and config.data.batch_size % (num_devices * group_size) == 0
    )


def limit_eval_batch(config: ConfigDict, num_devices: int, batch_size: int) -> int:
    """Returns the smaller of `batch_size` and `train.per_device_limit` times the number of devices."""
    limit = config.train.per_device_limit
    return batch_size if limit is None else min(batch_size, limit * num_devices)


def whole_groups_per_device(config: ConfigDict, num_devices: int, num_microbatches: int) -> bool:
    """Whether every batch norm group of a micro-batch lies on a single device."""
    return config.data.batch_size // num_microbatches % (num_devices * _group_size(config)) == 0


def _group_size(config: ConfigDict) -> int:
    """Returns the number of images in a batch norm group."""
    return min(config.model.bn_group_size or config.data.batch_size, config.data.batch_size)


def _check_groups(config: ConfigDict, num_microbatches: int) -> None:
    """Raises UsageError if a micro-batch would be smaller than a batch norm group."""
    batch_size, group_size = config.data.batch_size, _group_size(config)
    if num_microbatches == 1 or group_size * num_microbatches <= batch_size:
        return
    largest = batch_size // num_microbatches
    if not largest:
        raise UsageError(f"config.train.accumulate={num_microbatches} is more than the {batch_size} images of a batch")
    raise UsageError(
        f"config.train.accumulate={num_microbatches} splits the batch of {batch_size} images, and with it its batch "
        f"norm group of {group_size}: set config.model.bn_group_size to {largest} or a divisor of it"
    )


def _check_division(config: ConfigDict, num_devices: int, num_microbatches: int) -> None:
    """Raises UsageError if the batch cannot be divided evenly over devices, batch norm groups and micro-batches."""
    batch_size, group_size = config.data.batch_size, _group_size(config)
    grouped = group_size < batch_size
    divisor = group_size if grouped else 1
    unit = _unit(num_devices, divisor, num_microbatches)
    if batch_size % unit == 0:
        return
    reasons = [_devices(num_devices)]
    reasons += [f"batch norm groups of {group_size} images"] if grouped else []
    reasons += [f"{num_microbatches} micro-batches"] if num_microbatches > 1 else []
    below, above = batch_size // unit * unit, -(-batch_size // unit) * unit
    sizes = f"{below} or {above}" if below else f"{above}"
    fewer = [n for n in range(1, num_devices) if batch_size % _unit(n, divisor, num_microbatches) == 0]
    cure = f"take {sizes}" + (f", or use {_devices(fewer[-1])}" if fewer else "")
    raise UsageError(f"config.data.batch_size={batch_size} cannot be divided over {' and '.join(reasons)}: {cure}")


def _unit(num_devices: int, group_size: int, num_microbatches: int) -> int:
    return math.lcm(num_devices, group_size) * num_microbatches


def _devices(number: int) -> str:
    return f"{number} device{'s' * (number > 1)}"
