"""The loader of this package with `configs/resnet50.py`, as in training: uint8 batches in host memory."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import resnet_jax
from resnet_jax import experiment
from resnet_jax.configs import resnet50
from resnet_jax.data import feed
from resnet_jax.errors import UsageError

_ENDLESS = 10**7  # number of batches, more than any measurement takes


def version() -> str:
    """See the package."""
    return f"resnet_jax {resnet_jax.__version__}"


def batches(
    *, folder: Path, batch_size: int, image_size: int, cores: int, overrides: Mapping[str, str]
) -> Iterator[int]:
    """See the package; `overrides` maps config keys such as 'data.resize' to values as text."""
    config = resnet50.get_config()
    config.data.source = "folder"
    config.data.data_dir = str(folder)
    config.data.batch_size = batch_size
    config.data.image_size = image_size
    config.data.num_threads = cores
    try:
        config.update_from_flattened_dict({key: _value(text) for key, text in overrides.items()})
    except (AttributeError, KeyError, TypeError) as error:
        raise UsageError(
            f"--ours {overrides} has an unknown config key or a value of the wrong type ({error})"
        ) from None
    data = experiment.build(config).data
    loaded = feed.host_batches(
        data.train_loader,
        start=0,
        stop=_ENDLESS,
        num_threads=data.reading.num_threads,
        num_workers=data.reading.num_workers,
    )
    for _ in loaded:
        yield data.train_loader.batch_size


def _value(text: str) -> object:
    """Parses the text as a Python literal; returns the text itself if it is not one."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
