"""The interface of a source of examples: any object with these members can be given to `Loader`."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

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
    `source[index]` raises ValueError or OSError. The loader tries again after an OSError that may be temporary.
    """

    name: str  # identifies the data independently of their location, for example 'imagenet2012:6.0.0/train'
    class_names: tuple[str, ...]  # one name per class; the network has as many outputs

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...

    def where(self, index: int) -> str:
        """Returns the location of an example for messages, usually the path of its file."""
        ...


class Origin(NamedTuple):
    """Where examples of a source are stored."""

    path: str  # a file that holds many examples, or a folder
    numbers: Sequence[int] | np.ndarray  # numbers that the examples have within this file or folder


@runtime_checkable
class Located(Protocol):
    """A source that knows where its examples are stored, so that examples shared with another source can be counted."""

    @property
    def origins(self) -> Sequence[Origin]:
        """Where all examples are stored; an example may be listed several times."""
        ...


@runtime_checkable
class Counted(Protocol):
    """A source that knows the number of examples of each class without reading them."""

    @property
    def class_counts(self) -> np.ndarray:
        """The number of examples of each class, [C] int."""
        ...


@runtime_checkable
class Divided(Protocol):
    """A source whose training and evaluation examples may have been divided by a rule, not by the user."""

    division: str  # the rule, in words; '' if there is none


@runtime_checkable
class Selective(Protocol):
    """A source that may leave out files in its folders."""

    left_out: str  # how many files of which kinds are not read, in words; '' if there are none


@runtime_checkable
class Identified(Protocol):
    """A source whose examples have names that do not depend on where the data are stored."""

    def example_id(self, index: int) -> str:
        """Returns the path of a file relative to the data, or the name of its shard and the number of the record."""
        ...


@runtime_checkable
class SeveralLabels(Protocol):
    """A source whose examples may have several correct labels, such as the ReaL labels of ImageNet."""

    def right_labels(self, index: int) -> tuple[int, ...] | None:
        """Returns all correct labels of an example, perhaps none; None if all examples of the source have just one."""
        ...


def example_ids(source: Source, indices: Iterable[int] | None = None) -> Iterator[str]:
    """Yields IDs of examples, the same on every machine: names if the source is `Identified`, else indices.

    Args:
      source: the examples.
      indices: which examples; None: all.
    """
    name = source.example_id if isinstance(source, Identified) else str
    yield from map(name, range(len(source)) if indices is None else indices)


def count_shared(train: Source, evaluation: Source) -> int:
    """Returns how many evaluation examples are also training examples; 0 if one of the sources is not `Located`."""
    if not (isinstance(train, Located) and isinstance(evaluation, Located)):
        return 0
    shared = 0
    for path, numbers in evaluation.origins:
        trained = [np.asarray(other) for name, other in train.origins if name == path]
        shared += int(np.isin(numbers, np.concatenate(trained)).sum()) if trained else 0
    return shared
