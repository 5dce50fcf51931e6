"""Random numbers as pure functions of integers, identical on every platform and with every library version."""

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, rounded to an odd number


def mix64(x: np.ndarray) -> np.ndarray:
    """Scrambles uint64 values bijectively by the finalizer of SplitMix64 (Steele, Lea and Flood 2014)."""
    x = x.astype(np.uint64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def combine(*values: int | np.ndarray) -> np.ndarray:
    """Hashes several integers to a uint64; arrays are broadcast and hashed elementwise; the result is at least 1-D."""
    state = np.zeros(1, np.uint64)
    for value in values:
        state = mix64((state ^ np.asarray(value).astype(np.uint64)) + _GOLDEN)
    return state


def uniforms(seed: int, positions: np.ndarray, count: int) -> np.ndarray:
    """Returns `count` uniform random numbers in [0, 1) for each of the integers `positions`: [B, count] float64."""
    keys = combine(seed, positions)[:, None]
    bits = mix64(keys + np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def permute(indices: np.ndarray, size: int, key: int | np.ndarray) -> np.ndarray:
    """Applies the permutation of 0..size-1 that `key` selects to each index, in O(1) memory.

    A Feistel network over the smallest even number of bits that can represent size - 1. Results of `size` or more are
    permuted again until they are in range (cycle walking, Black and Rogaway 2002).

    Args:
      indices: [B] integers in 0..size-1.
      size: number of elements that are permuted.
      key: one integer for all indices, or [B] integers, one for each.

    Returns:
      [B] int64 in 0..size-1.
    """
    half = np.uint64(max(1, (int(size - 1).bit_length() + 1) // 2))
    low = np.uint64((1 << int(half)) - 1)
    key = np.broadcast_to(np.asarray(key, np.uint64), np.shape(indices))
    result = np.asarray(indices).astype(np.uint64)
    walking = np.ones(result.shape, bool)
    while walking.any():
        result[walking] = _feistel(result[walking], key[walking], half, low)
        walking = result >= np.uint64(size)
    return result.astype(np.int64)


def _feistel(x: np.ndarray, key: np.ndarray, half: np.uint64, low: np.uint64) -> np.ndarray:
    left, right = x >> half, x & low
    for round_number in range(6):
        left, right = right, left ^ (combine(key, round_number, right) & low)
    return (left << half) | right
