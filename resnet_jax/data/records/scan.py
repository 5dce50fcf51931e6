"""Inspects many files at once before training starts, with a progress bar."""

import concurrent.futures
from collections.abc import Callable, Sequence
from typing import TypeVar

from tqdm import tqdm

_THREADS = 16  # may exceed the number of cores: the threads mostly wait for a disk or a network

T = TypeVar("T")
R = TypeVar("R")


def scan(function: Callable[[T], R], items: Sequence[T], *, title: str) -> list[R]:
    """Applies a function to each item, in threads, and returns the results in the order of the items.

    Raises the error of the first item that fails.

    Args:
      function: inspects one file.
      items: one item per file, for example its path.
      title: label of the progress bar, which appears on a terminal if the scan takes more than a second.
    """
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        results = pool.map(function, items)
        return list(
            tqdm(
                results,
                title,
                total=len(items),
                unit=" file",
                dynamic_ncols=True,
                leave=False,
                delay=1,
                disable=None,  # shows no bar if stderr is not a terminal
            )
        )
