"""What stands in a `tf.train.Example`, as TFDS and r1 store their images, without TensorFlow."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from tensorflow_datasets.proto import tf_example_pb2

Features = Mapping[str, Any]  # name -> tf.train.Feature


def parse(record: bytes) -> Features:
    """The features of a serialised example.

    Raises:
      ValueError: it is none.
    """
    try:
        return tf_example_pb2.Example.FromString(record).features.feature
    except DecodeError:
        raise ValueError("the record is no tf.train.Example") from None


def one_bytes(features: Features, key: str) -> bytes:
    """The value of a feature that is one string of bytes; ValueError if it is not."""
    return _one(features[key].bytes_list.value if key in features else (), key, "string of bytes")


def one_integer(features: Features, key: str) -> int:
    """The value of a feature that is one integer; ValueError if it is not."""
    return _one(features[key].int64_list.value if key in features else (), key, "integer")


def floats(features: Features, key: str) -> np.ndarray:
    """The values of a feature of floats, which may be absent: [N] float32."""
    return np.array(features[key].float_list.value if key in features else (), np.float32)


def _one(values: Any, key: str, kind: str) -> Any:
    if len(values) != 1:
        raise ValueError(f"feature {key!r} is not one {kind}")
    return values[0]
