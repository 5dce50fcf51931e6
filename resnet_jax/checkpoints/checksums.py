"""Checksums of arrays and of JSON: CRC-32C, by which damage is found (Orbax would hand it out), and SHA-256, a name."""

import hashlib
import json
from typing import Any

import google_crc32c
import numpy as np

from resnet_jax.nested import by_path


def of_arrays(tree: Any) -> dict[str, int]:
    """The checksum of each numpy array of a tree, over its bytes in C order, by path."""
    return {path: _of_array(leaf) for path, leaf in by_path(tree).items()}


def sha256_of_arrays(tree: Any) -> str:
    """64 hexadecimal digits that name the values of a tree of arrays, whatever file they are from.

    The SHA-256 over the leaves in the order of their paths: path, type and shape as a line, then the bytes in C order,
    the least significant first.
    """
    digest = hashlib.sha256()
    for path, leaf in sorted(by_path(tree).items()):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{path} {array.dtype.name} {'x'.join(map(str, np.shape(leaf)))}\n".encode())
        digest.update(_bytes(array.astype(array.dtype.newbyteorder("<"), copy=False)).data)
    return digest.hexdigest()


def of_json(content: Any) -> int:
    """The checksum of JSON values, however they are laid out in a file."""
    # Through JSON first: it makes tuples lists and keys strings.
    return google_crc32c.value(json.dumps(json.loads(json.dumps(content)), sort_keys=True).encode())


def _of_array(array: np.ndarray) -> int:
    return google_crc32c.value(_bytes(np.ascontiguousarray(array)))


def _bytes(array: np.ndarray) -> np.ndarray:
    return array.reshape(-1).view(np.uint8)  # buffers know no bfloat16
