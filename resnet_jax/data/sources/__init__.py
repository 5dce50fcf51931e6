"""Sources of labeled images: one module per kind of source, imported when a source of this kind is opened."""

import contextlib
import importlib
import inspect
from typing import Any

from resnet_jax.data.sources.source import (
    Counted,
    Divided,
    Example,
    Selective,
    SeveralLabels,
    Source,
    count_shared,
    example_ids,
)
from resnet_jax.errors import UsageError

__all__ = [
    "SOURCES",
    "Counted",
    "Divided",
    "Example",
    "Selective",
    "SeveralLabels",
    "Source",
    "count_shared",
    "example_ids",
    "open_source",
    "share_with_boxes",
]

SOURCES = {
    "cifar_binary": "resnet_jax.data.sources.cifar_binary",
    "folder": "resnet_jax.data.sources.folder",
    "parquet": "resnet_jax.data.sources.parquet",
    "synthetic": "resnet_jax.data.sources.synthetic",
    "synthetic_jpeg": "resnet_jax.data.sources.synthetic_jpeg",
    "tfds": "resnet_jax.data.sources.tfds",
    "tfrecord": "resnet_jax.data.sources.tfrecord",
    "webdataset": "resnet_jax.data.sources.webdataset",
}


def open_source(kind: str, *, training: bool = True, **options: Any) -> Source:
    """Opens the training or the evaluation split of a data set.

    Args:
      kind: a key of `SOURCES`.
      training: open the training split, otherwise the evaluation split.
      **options: keyword arguments of `open_source` in the module of that kind, for example `data_dir`.

    Raises:
      UsageError: the kind or an option is unknown, or the data are missing, damaged or of another format.
    """
    if kind not in SOURCES:
        raise UsageError(f"data.source={kind!r} is not one of {', '.join(SOURCES)}")
    function = importlib.import_module(SOURCES[kind]).open_source
    known = [name for name in inspect.signature(function).parameters if name != "training"]
    unknown = [name for name in options if name not in known]
    if unknown:
        raise UsageError(f"source {kind!r} has no option {unknown[0]!r}, its options are {', '.join(known)}")
    return function(training=training, **options)


def share_with_boxes(source: Source) -> float:
    """Estimates the fraction of images that have boxes around objects, from about 64 evenly spaced examples."""
    indices = range(0, len(source), -(-len(source) // 64))
    found = 0
    for index in indices:
        with contextlib.suppress(OSError, ValueError):  # counts an unreadable example as one without boxes
            found += len(source[index].boxes) > 0
    return found / len(indices)
