"""How a batch is divided over devices, and into parts that go through the network one after the other."""

import math

from ml_collections import ConfigDict

from resnet_jax.errors import UsageError


def count_parts(config: ConfigDict, devices: int) -> int:
    """The number of parts: `train.accumulate`, or the least that gives no device more than `train.per_device_limit`.

    What is computed does not depend on it, up to rounding: batch norm groups are not taken apart.

    Raises:
      UsageError: the batch cannot be divided over devices, batch norm groups and parts.
    """
    batch_size, limit, parts = config.data.batch_size, config.train.per_device_limit, config.train.accumulate or 1
    _check_groups(config, parts)
    _check_division(config, devices, parts)
    if config.train.accumulate is not None or limit is None:
        return parts
    unit = math.lcm(devices, _group_size(config))
    for parts in range(1, batch_size // unit + 1):
        if batch_size % (parts * unit) == 0 and batch_size // (parts * devices) <= limit:
            return parts
    raise UsageError(
        f"config.train.per_device_limit={limit}: the least that {devices} device{'s' * (devices > 1)} can take of "
        f"batch norm groups of {_group_size(config)} images is {unit // devices} each: raise it, or use more devices"
    )


def at_most_at_once(config: ConfigDict, devices: int, batch_size: int) -> int:
    """A batch size for evaluation: no more than all devices may take at once."""
    limit = config.train.per_device_limit
    return batch_size if limit is None else min(batch_size, limit * devices)


def groups_on_devices(config: ConfigDict, devices: int, parts: int) -> bool:
    """Whether no batch norm group of any part is divided among devices."""
    return config.data.batch_size // parts % (devices * _group_size(config)) == 0


def _group_size(config: ConfigDict) -> int:
    """Images in a batch norm group."""
    return min(config.model.bn_group_size or config.data.batch_size, config.data.batch_size)


def _check_groups(config: ConfigDict, parts: int) -> None:
    """Raises UsageError if so many parts would take a batch norm group apart."""
    batch_size, group_size = config.data.batch_size, _group_size(config)
    if parts == 1 or group_size * parts <= batch_size:
        return
    largest = batch_size // parts
    if not largest:
        raise UsageError(f"config.train.accumulate={parts} is more than the {batch_size} images of a batch")
    raise UsageError(
        f"config.train.accumulate={parts} takes the batch of {batch_size} apart, and with it its batch norm group "
        f"of {group_size}: set config.model.bn_group_size to {largest} or a divisor of it"
    )


def _check_division(config: ConfigDict, devices: int, parts: int) -> None:
    batch_size, group_size = config.data.batch_size, _group_size(config)
    grouped = group_size < batch_size
    unit = _unit(devices, group_size if grouped else 1, parts)
    if batch_size % unit == 0:
        return
    why = [f"{devices} device{'s' * (devices > 1)}"]
    why += [f"batch norm groups of {group_size} images"] if grouped else []
    why += [f"{parts} parts"] if parts > 1 else []
    below, above = batch_size // unit * unit, -(-batch_size // unit) * unit
    sizes = f"{below} or {above}" if below else f"{above}"
    fewer = [n for n in range(1, devices) if batch_size % _unit(n, group_size if grouped else 1, parts) == 0]
    cure = f"take {sizes}" + (f", or use {fewer[-1]} device{'s' * (fewer[-1] > 1)}" if fewer else "")
    raise UsageError(f"config.data.batch_size={batch_size} cannot be divided over {' and '.join(why)}: {cure}")


def _unit(devices: int, group_size: int, parts: int) -> int:
    return math.lcm(devices, group_size) * parts
