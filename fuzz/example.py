"""Target 'example': a record is a labeled image, with boxes of any numbers, or it is one ValueError or UsageError.

An unlabeled or damaged record must not end a run: only ValueError makes the loader take another example.
"""

import warnings

import numpy as np
from hypothesis import strategies
from hypothesis.strategies import SearchStrategy
from tensorflow_datasets.proto import tf_example_pb2

from fuzz.target import Target, check_message, damaged, silent
from resnet_jax.data.crops import BoxGuided
from resnet_jax.data.loader import Loader
from resnet_jax.data.sources.tfrecord import TFRecordSource
from resnet_jax.errors import UsageError

_SIDES = [f"image/object/bbox/{side}" for side in ("ymin", "xmin", "ymax", "xmax")]
# A gray PPM file of 3 x 2 pixels, the smallest kind of image.
_IMAGE = b"P5 3 2 255\n" + bytes(range(0, 240, 40))


class _OneRecord:
    """Implements what `TFRecordSource` uses of `Records`, for a single record."""

    ranges = ()

    def __init__(self, record: bytes):
        self._record = record

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> bytes:
        return self._record

    def where(self, index: int) -> str:
        return f"record {index}"


def inputs() -> SearchStrategy[bytes]:
    """Returns a strategy for records with odd values, and for damaged ones."""
    boxes = strategies.lists(strategies.floats(width=32), max_size=3)
    names = strategies.sampled_from(["image/encoded", "image/class/label", "image/class/synset", *_SIDES])
    values = strategies.one_of(
        strategies.lists(strategies.one_of(strategies.just(_IMAGE), strategies.binary(max_size=8)), max_size=2),
        strategies.lists(strategies.integers(-(2**63), 2**63 - 1), max_size=2),
        boxes,
    )
    record = strategies.builds(_record, strategies.integers(0, 6), boxes, strategies.dictionaries(names, values))
    whole = _record(1, [0.0, 0.25], {side: [0.0, 0.25] if "min" in side else [0.5, 1.0] for side in _SIDES})
    return strategies.one_of(record, damaged([whole]))


def check(record: bytes) -> None:
    """Reads a record as a source and a loader do."""
    source = TFRecordSource("fuzz", _OneRecord(record), class_names=tuple("abcde"), label_offset=1)
    with silent(), warnings.catch_warnings():
        warnings.simplefilter("error")
        for read in (source.check, source.__getitem__, lambda _: _crop(source)):
            try:
                read(0)
            except (ValueError, UsageError) as error:
                check_message(error)


def _crop(source: TFRecordSource) -> None:
    loader = Loader(source, batch_size=1, training=False, crops=BoxGuided(8), max_image_pixels=10_000)
    batch = loader.batch(0).batch
    assert batch.image.shape == (1, 8, 8, 3) and batch.image.dtype == np.uint8


def _record(label: int, boxes: list[float], features: dict[str, list]) -> bytes:
    """Serializes an example; `features` replace those of a labeled image with `boxes`."""
    example = tf_example_pb2.Example()
    given = {"image/encoded": [_IMAGE], "image/class/label": [label], **dict.fromkeys(_SIDES, boxes), **features}
    for name, values in given.items():
        feature = example.features.feature[name]
        kind = type(values[0]) if values else float
        field = {bytes: feature.bytes_list, int: feature.int64_list, float: feature.float_list}[kind]
        field.value.extend(values)
    return example.SerializeToString()


TARGET = Target(inputs, check)
