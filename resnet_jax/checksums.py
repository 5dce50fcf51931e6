"""CRC-32C of arrays and of JSON, by which damage is found: Orbax would hand out flipped bits as they are."""

import json
from typing import Any

import google_crc32c
import jax
import numpy as np


def by_path(tree: Any) -> dict[str, Any]:
    """The leaves of a tree by path, as 'params/head/kernel': the same for a dataclass and for dicts of its fields."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def of_arrays(tree: Any) -> dict[str, int]:
    """The checksum of each numpy array of a tree, over its bytes in C order, by path."""
    return {path: _of_array(leaf) for path, leaf in by_path(tree).items()}


def of_json(content: Any) -> int:
    """The checksum of JSON values, however they are laid out in a file."""
    # Through JSON first: it makes tuples lists and keys strings.
    return google_crc32c.value(json.dumps(json.loads(json.dumps(content)), sort_keys=True).encode())


def _of_array(array: np.ndarray) -> int:
    # As bytes: buffers know no bfloat16.
    return google_crc32c.value(np.ascontiguousarray(array).reshape(-1).view(np.uint8))
