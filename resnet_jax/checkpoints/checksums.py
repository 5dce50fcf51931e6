"""CRC-32C detects corruption, which Orbax restores silently; SHA-256 identifies a set of weights."""

import hashlib
import json
from typing import Any

import google_crc32c
import numpy as np

from resnet_jax.nested import by_path


def of_arrays(tree: Any) -> dict[str, int]:
    """The CRC-32C of each numpy array of a pytree, over its bytes in C order, by path."""
    return {path: _of_array(leaf) for path, leaf in by_path(tree).items()}


def sha256_of_arrays(tree: Any) -> str:
    """The SHA-256 of a pytree of arrays, which depends on their values alone, not on the file they were read from.

    The hashed bytes, for each leaf in the order of the paths: a line 'path dtype HxWx...', then the elements, in C
    order and little-endian.

    Returns:
      64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for path, leaf in sorted(by_path(tree).items()):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{path} {array.dtype.name} {'x'.join(map(str, np.shape(leaf)))}\n".encode())
        digest.update(_bytes(array.astype(array.dtype.newbyteorder("<"), copy=False)).data)
    return digest.hexdigest()


def of_json(content: Any) -> int:
    """The CRC-32C of JSON values in a canonical layout: sorted keys, default separators."""
    # The round trip turns tuples into lists and keys into strings, as writing and reading a file does.
    return google_crc32c.value(json.dumps(json.loads(json.dumps(content)), sort_keys=True).encode())


def _of_array(array: np.ndarray) -> int:
    return google_crc32c.value(_bytes(np.ascontiguousarray(array)))


def _bytes(array: np.ndarray) -> np.ndarray:
    """The array's memory as [n] uint8: Python's buffer protocol has no bfloat16."""
    return array.reshape(-1).view(np.uint8)
