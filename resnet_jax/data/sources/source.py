"""The interface of a source of examples: any object with these members can be given to `Loader`."""

from typing import NamedTuple, Protocol

import numpy as np

NO_BOXES = np.zeros((0, 4), np.float32)


class Example(NamedTuple):
    """One labeled image."""

    image: bytes | np.ndarray  # an encoded image file, or [H, W, 3] uint8 RGB
    label: int  # index of the class in `class_names` of the source
    boxes: np.ndarray = NO_BOXES  # [N, 4] float32, boxes around objects: ymin, xmin, ymax, xmax, relative (0 to 1)


class Source(Protocol):
    """Random access to labeled images.

    A source must be thread-safe, and picklable if worker processes decode. If an example cannot be read,
    `source[index]` raises OSError, after which the loader tries again (except for FileNotFoundError), or ValueError.
    """

    name: str  # identifies the data independently of their location, for example 'imagenet2012:6.0.0/train'
    class_names: tuple[str, ...]  # one name per class; the network has as many outputs

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...

    def where(self, index: int) -> str:
        """Returns the location of an example for messages, usually the path of its file."""
        ...
