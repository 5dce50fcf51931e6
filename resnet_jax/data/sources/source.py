"""What every source of examples offers."""

from typing import NamedTuple, Protocol

import numpy as np


class Example(NamedTuple):
    """One labelled image."""

    image: bytes | np.ndarray  # an encoded file, or [H, W, 3] uint8
    label: int  # 0..num_classes-1


class Source(Protocol):
    """Random access to labelled images, safe in threads and picklable for worker processes."""

    name: str  # for messages: 'imagenet2012/train'
    num_classes: int

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...
