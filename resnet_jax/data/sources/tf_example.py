"""Reads the features of a `tf.train.Example`, the format of records in TFDS and `tfrecord.py`, without TensorFlow."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from tensorflow_datasets.proto import tf_example_pb2

Features = Mapping[str, Any]  # name -> tf.train.Feature


def parse(record: bytes) -> Features:
    """Returns the features of a serialized example.

    Raises:
      ValueError: the record is not a serialized example.
    """
    try:
        return tf_example_pb2.Example.FromString(record).features.feature
    except DecodeError:
        raise ValueError("the record is not a tf.train.Example") from None


def one_bytes(features: Features, key: str) -> bytes:
    """Returns the value of feature `key`. Raises ValueError if the feature does not have exactly one byte string."""
    return _one(features[key].bytes_list.value if key in features else (), key, "string of bytes")


def one_integer(features: Features, key: str) -> int:
    """Returns the value of feature `key`. Raises ValueError if the feature does not have exactly one integer."""
    return _one(features[key].int64_list.value if key in features else (), key, "integer")


def integers(features: Features, key: str) -> tuple[int, ...]:
    """Returns the values of an integer feature, () if absent."""
    return tuple(features[key].int64_list.value) if key in features else ()


def floats(features: Features, key: str) -> np.ndarray:
    """Returns the values of a float feature: [N] float32, empty if absent. Raises ValueError if one is not finite."""
    values = np.array(features[key].float_list.value if key in features else (), np.float32)
    if not np.isfinite(values).all():
        raise ValueError(f"feature {key!r} has a value that is not a finite number")
    return values


def _one(values: Any, key: str, kind: str) -> Any:
    if len(values) != 1:
        raise ValueError(f"feature {key!r} is not one {kind}")
    return values[0]
