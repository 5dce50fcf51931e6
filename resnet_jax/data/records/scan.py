"""A look at many files at once before training starts, with a progress bar."""

import concurrent.futures
from collections.abc import Callable, Sequence
from typing import TypeVar

from tqdm import tqdm

_THREADS = 16  # most of the time they wait for a disk or a network

T = TypeVar("T")
R = TypeVar("R")


def scan(function: Callable[[T], R], items: Sequence[T], *, title: str) -> list[R]:
    """Returns the function of each item, in order; the first error ends it.

    Args:
      function: is called in threads.
      items: one a file.
      title: in front of the bar, which is shown on a terminal only, and only of what takes more than a second.
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
                disable=None,  # where stderr is no terminal
            )
        )
