"""What every source of examples offers."""

from typing import NamedTuple, Protocol

import numpy as np

NO_BOXES = np.zeros((0, 4), np.float32)


class Example(NamedTuple):
    """One labelled image."""

    image: bytes | np.ndarray  # an encoded file, or [H, W, 3] uint8
    label: int  # its class, as an index of `class_names`
    boxes: np.ndarray = NO_BOXES  # [N, 4] float32 around its objects: ymin, xmin, ymax, xmax in 0..1


class Source(Protocol):
    """Random access to labelled images, safe in threads and picklable for worker processes.

    What cannot be read raises OSError or ValueError: the loader decides what becomes of it.
    """

    name: str  # the same wherever the data lie: 'imagenet2012:6.0.0/train'
    class_names: tuple[str, ...]  # class k is the k-th

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...

    def where(self, index: int) -> str:
        """The file that holds an example, for messages."""
        ...
