"""Smaller copies of images, for machines whose CPUs cannot decode the originals fast enough."""

import dataclasses

import numpy as np
import simplejpeg

from resnet_jax.data.decode import decode
from resnet_jax.data.resize import area


@dataclasses.dataclass(frozen=True)
class Shrink:
    """Re-encodes images that are larger than `short_side` pixels on their shorter side."""

    short_side: int
    quality: int  # of the JPEG, 1 to 100

    @property
    def name(self) -> str:
        """What this is called in the name of a data set: 'short320_q90'."""
        return f"short{self.short_side}_q{self.quality}"

    def __call__(self, encoded: bytes) -> bytes:
        """Returns a JPEG of 4:2:0, as most originals are, resampled by area average; what is no larger stays as it is.

        Raises:
          ValueError: it cannot be decoded.
        """
        image = decode(encoded)
        height, width = image.shape[:2]
        factor = self.short_side / min(height, width)
        if factor >= 1:
            return encoded
        smaller = np.empty((round(height * factor), round(width * factor), 3), np.uint8)
        area(image, smaller)
        return simplejpeg.encode_jpeg(smaller, quality=self.quality, colorspace="RGB", colorsubsampling="420")
