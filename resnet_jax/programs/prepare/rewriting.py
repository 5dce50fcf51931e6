"""How an image file is changed before it is stored."""

import dataclasses
from typing import NamedTuple

from resnet_jax.programs.prepare.marking import Marking
from resnet_jax.programs.prepare.shrinking import Shrink


class Rewritten(NamedTuple):
    """An image file as it is stored, and why it was not changed as requested."""

    encoded: bytes
    not_shrunk: str = ""  # why the image has its original size although it was to be shrunk; '' otherwise
    not_marked: str = ""  # why the file has no restart markers although it was to have them; '' otherwise


@dataclasses.dataclass(frozen=True)
class Rewrite:
    """Changes image files before they are stored: shrinks the images, adds restart markers, does both or neither.

    Attributes:
      shrink: re-encodes images at a smaller size; None: images keep their size.
      marking: adds restart markers to JPEG files; None: none are added.
    """

    shrink: Shrink | None = None
    marking: Marking | None = None

    @property
    def variant(self) -> str | None:
        """The name of the TFDS config for images rewritten like this; None if they are stored as they are."""
        parts = [] if self.shrink is None else [self.shrink.name]
        return "_".join(parts + ["restart_markers"] * (self.marking is not None)) or None

    def __call__(self, encoded: bytes) -> Rewritten:
        """Returns the file to store. A file that cannot be decoded is stored as it is."""
        not_shrunk = ""
        if self.shrink is not None:
            try:
                encoded = self.shrink(encoded)
            except ValueError as error:
                not_shrunk = str(error)
        if self.marking is not None:
            try:
                encoded = self.marking(encoded)
            except ValueError as error:
                return Rewritten(encoded, not_shrunk, str(error))
        return Rewritten(encoded, not_shrunk)
