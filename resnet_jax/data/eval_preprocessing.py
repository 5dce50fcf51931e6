"""What evaluation makes of an image file before the network sees it."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class EvalPreprocessing:
    """How evaluation cuts and resizes: the settings of an evaluation's `Loader`.

    Attributes:
      image_size: side of the square result in pixels.
      crop: 'central' or 'resize' (`CentralCrop`, `ResizeCrop`).
      padding: of that crop.
      resize: a key of `RESIZES`.
      enlarge_to: see `enlarge`; None: not at all.
    """

    image_size: int
    crop: str
    padding: int
    resize: str
    enlarge_to: int | None
