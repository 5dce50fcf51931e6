"""Reads images from an archive, in threads, and makes the examples of the data set."""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from resnet_jax.programs.prepare.archives import Images, opened
from resnet_jax.programs.prepare.boxes import Boxes
from resnet_jax.programs.prepare.in_order import in_order
from resnet_jax.programs.prepare.marking import Marking
from resnet_jax.programs.prepare.rewriting import Rewrite
from resnet_jax.programs.prepare.shrinking import Shrink

_ROWS_PER_TASK = 16  # images per task; handing a task to a thread costs as much as reading a cached image

Example = tuple[str, dict[str, Any]]  # key (the file name) and features by name


@dataclasses.dataclass(frozen=True)
class ExampleMaker:
    """Makes the examples of a split.

    Attributes:
      images: the images in their archive.
      boxes: the bounding boxes of all splits.
      shrink: re-encodes images at a smaller size; None: images are stored as they are.
      num_threads: threads that read and re-encode.
      not_shrunk: names of the images that could not be decoded and are stored as they are; `examples` appends to it.
      marking: adds restart markers to the images; None: none are added.
      not_marked: names of the images that cannot have restart markers; `examples` appends to it.
    """

    images: Images
    boxes: Boxes
    shrink: Shrink | None
    num_threads: int
    not_shrunk: list[str] = dataclasses.field(default_factory=list)
    marking: Marking | None = None
    not_marked: list[str] = dataclasses.field(default_factory=list)

    def examples(self, rows: np.ndarray) -> Iterator[Example]:
        """Yields the examples of the images with the indices `rows`, in that order.

        At most a few hundred images are in memory at a time.
        """
        tasks = (rows[start : start + _ROWS_PER_TASK] for start in range(0, len(rows), _ROWS_PER_TASK))
        with opened(self.images.path, sequential=bool((np.diff(rows) == 1).all())) as descriptor:
            make = functools.partial(self._make, descriptor)
            for examples in in_order(make, tasks, num_threads=self.num_threads, ahead=2 * self.num_threads):
                yield from examples

    def _make(self, descriptor: int, rows: np.ndarray) -> list[Example]:
        return [self._example(descriptor, int(row)) for row in rows]

    def _example(self, descriptor: int, row: int) -> Example:
        name = self.images.name(row)
        encoded, not_shrunk, not_marked = Rewrite(self.shrink, self.marking)(self.images.read(descriptor, row))
        if not_shrunk:
            self.not_shrunk.append(name)
        if not_marked:
            self.not_marked.append(name)
        boxes = [tfds.features.BBox(*map(float, box)) for box in self.boxes.of(name)]
        return name, {"image": encoded, "label": int(self.images.labels[row]), "file_name": name, "bboxes": boxes}
