"""Divides labeled files by hashes of their names, class by class: the same division on every machine.

Every class is divided alike (the split is stratified): the k images of a class whose names have the smallest hashes are
held out, where k is a fraction of the size of the class, rounded. If an image is added to a class, at most one other
image of this class moves from training to evaluation or back, and no image of another class does.
"""

import hashlib
import os
import unicodedata
from collections.abc import Iterable

import numpy as np


def name_hash(name: str) -> int:
    """Returns the first 8 bytes of the SHA-256 of a path as an integer.

    macOS may store the letter é as two characters (Unicode form NFD), and other systems store it as one (NFC), so the
    name is converted to NFC and UTF-8 first.
    """
    text = os.fsencode(name).decode("utf-8", "surrogateescape")
    data = unicodedata.normalize("NFC", text).encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.sha256(data).digest()[:8])


def name_hashes(names: Iterable[str]) -> np.ndarray:
    """Returns `name_hash` of each path, [N] uint64."""
    return np.fromiter(map(name_hash, names), np.uint64)


def stratified_order(labels: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    """Returns an order of all images in which every class is spread evenly, so that any slice has similar class shares.

    Of the n images of a class, the one whose hash has rank r (from 0) is at the fraction (r + 1/2) / n of the order.

    Args:
      labels: [N] int, class of each image.
      hashes: [N] uint64, from `name_hashes`.

    Returns:
      [N] int64, the indices of the images in the new order.
    """
    ranks, sizes = _ranks(labels, hashes)
    return np.lexsort((hashes, (ranks + 0.5) / sizes))


def held_out(labels: np.ndarray, hashes: np.ndarray, fraction: float) -> np.ndarray:
    """Returns which images are held out for evaluation: in each class those with the smallest hashes.

    Of a class of n images, fraction * n are held out, rounded to the nearest number, but at least one and at most
    n - 1. If a class has a single image, it is not held out.

    Args:
      labels: [N] int, class of each image.
      hashes: [N] uint64, from `name_hashes`.
      fraction: fraction of the images to hold out, between 0 and 1.

    Returns:
      [N] bool, True for images that are held out.
    """
    ranks, sizes = _ranks(labels, hashes)
    return ranks < np.minimum(np.maximum(np.floor(fraction * sizes + 0.5), 1), sizes - 1)


def fingerprint(hashes: np.ndarray) -> str:
    """Returns 8 hexadecimal digits that identify a set of names by their hashes, whatever their order."""
    return hashlib.sha256(np.sort(hashes).astype("<u8").tobytes()).hexdigest()[:8]


def _ranks(labels: np.ndarray, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns, for each image, the rank of its hash in its class, from 0, and the number of images of its class."""
    sizes = np.bincount(labels)
    by_class = np.lexsort((hashes, labels))
    ranks = np.empty(len(labels), np.int64)
    ranks[by_class] = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return ranks, sizes[labels]
