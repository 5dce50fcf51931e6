"""The loader of this package with `configs/resnet50.py`, in training or evaluation: uint8 batches in host memory."""

import ast
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path

import resnet_jax
from benchmarks import photos
from resnet_jax import experiment
from resnet_jax.configs import resnet50
from resnet_jax.data import feed
from resnet_jax.errors import UsageError

_ENDLESS = 10**7  # number of batches, more than any measurement takes


def version() -> str:
    """See the package."""
    return f"resnet_jax {resnet_jax.__version__}"


def batches(
    *,
    folder: Path,
    batch_size: int,
    image_size: int,
    cores: int,
    overrides: Mapping[str, str],
    markers: bool = False,
    evaluation: bool = False,
) -> Iterator[int]:
    """See the package.

    Args:
      folder: folder of the photos.
      batch_size: images in a batch.
      image_size: side of the square images in pixels.
      cores: number of threads.
      overrides: config keys such as 'data.resize' -> values as text.
      markers: read the photos with restart markers.
      evaluation: make evaluation batches of the photos, again and again, instead of training batches.
    """
    config = resnet50.get_config()
    config.data.source = "folder"
    config.data.data_dir = str(photos.with_markers(folder) if markers else folder)
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
    loader = data.train_loader
    if evaluation:
        loader = dataclasses.replace(data.eval_loader, source=loader.source, batch_size=batch_size)
    threads, workers = data.reading.num_threads, data.reading.num_workers
    while True:
        # An evaluation takes each photo once; only its full batches count.
        stop = len(loader.source) // batch_size if evaluation else _ENDLESS
        for _ in feed.host_batches(loader, start=0, stop=stop, num_threads=threads, num_workers=workers):
            yield batch_size


def _value(text: str) -> object:
    """Parses the text as a Python literal; returns the text itself if it is not one."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
