"""Computes and verifies checksums of arrays and JSON: CRC-32C detects damage, SHA-256 identifies a set of weights.

Orbax alone would restore a corrupted checkpoint without an error.
"""

import hashlib
import json
from typing import Any

import google_crc32c
import numpy as np

from resnet_jax.nested import by_path


def of_arrays(tree: Any) -> dict[str, int]:
    """Returns the CRC-32C of each numpy array of a pytree (bytes in C order): 'params/head/kernel' -> checksum."""
    return {path: _of_array(leaf) for path, leaf in by_path(tree).items()}


def verify(got: dict[str, int], expected: dict[str, int]) -> None:
    """Compares the checksums of arrays that were read with the checksums that were saved with them.

    Args:
      got: checksum of each array that was read, by path, as `of_arrays` returns them.
      expected: checksum of each array that was saved, by path.

    Raises:
      ValueError: an array is missing, unexpected, or has another checksum. The message names the first such array.
    """
    wrong = sorted(name for name in got.keys() | expected.keys() if got.get(name) != expected.get(name))
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise ValueError(f"{wrong[0]}{more} of {len(expected)} arrays: the data do not match their checksum")


def sha256_of_arrays(tree: Any) -> str:
    """Returns the SHA-256 of a pytree of arrays. It depends on their paths and values only, not on the file format.

    For each array, in the order of the paths, two things are hashed: a line with path, dtype and shape, for example
    'params/head/kernel float32 2048x1000', and the elements in C order, little-endian.

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
    """Returns the CRC-32C of JSON values, written with sorted keys and the default separators of `json.dumps`."""
    # Encoding and decoding once turns tuples into lists and keys into strings, as writing and reading a file does.
    return google_crc32c.value(json.dumps(json.loads(json.dumps(content)), sort_keys=True).encode())


def _of_array(array: np.ndarray) -> int:
    return google_crc32c.value(_bytes(np.ascontiguousarray(array)))


def _bytes(array: np.ndarray) -> np.ndarray:
    """Returns the bytes of an array as [n] uint8, for hashing: Python's buffer protocol has no bfloat16."""
    return array.reshape(-1).view(np.uint8)
