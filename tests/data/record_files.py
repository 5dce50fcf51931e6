"""TFRecord files and the examples in them, for the tests."""

import struct

import google_crc32c
from tensorflow_datasets.proto import tf_example_pb2


def framed(data):
    """Returns the TFRecord record that holds `data`."""
    length = struct.pack("<Q", len(data))
    return length + _checksum(length) + data + _checksum(data)


def write_tfrecord(path, records):
    path.write_bytes(b"".join(map(framed, records)))


def serialised(features):
    """Returns a serialized `tf.train.Example`; values are bytes, int, or a list of floats."""
    kinds = {bytes: "bytes_list", int: "int64_list", list: "float_list"}
    example = tf_example_pb2.Example()
    for key, value in features.items():
        feature = getattr(example.features.feature[key], kinds[type(value)])
        feature.value.extend(value if isinstance(value, list) else [value])
    return example.SerializeToString()


def _checksum(data):
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | (crc & 0x7FFF) << 17) + 0xA282EAD8) % 2**32)
