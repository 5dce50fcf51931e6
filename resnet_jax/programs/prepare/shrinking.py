"""Re-encodes images at a smaller size, for machines whose CPUs cannot decode the originals fast enough."""

import dataclasses

import numpy as np
import simplejpeg

from resnet_jax.data.decode import decode
from resnet_jax.data.image_limits import MAX_PIXELS
from resnet_jax.data.resize import area
from resnet_jax.programs.prepare.marking import encode_with_markers


@dataclasses.dataclass(frozen=True)
class Shrink:
    """Re-encodes images whose shorter side has more than `short_side` pixels."""

    short_side: int  # length in pixels of the shorter side of a shrunk image
    quality: int  # JPEG quality, 1 to 100
    max_pixels: int = MAX_PIXELS  # number of pixels above which an image is not decoded
    markers: bool = False  # write restart markers; the encoder that can do so gives slightly different pixels

    @property
    def name(self) -> str:
        """The name of the TFDS config for shrunk images, for example 'short320_q90'."""
        return f"short{self.short_side}_q{self.quality}"

    def __call__(self, encoded: bytes) -> bytes:
        """Returns the image resized by area average as a JPEG with 4:2:0 chroma; small images are returned unchanged.

        Most images of ILSVRC2012 also have 4:2:0 chroma.

        Raises:
          ValueError: the image cannot be decoded, or has more than `max_pixels` pixels.
        """
        image = decode(encoded, self.max_pixels)
        height, width = image.shape[:2]
        factor = self.short_side / min(height, width)
        if factor >= 1:
            return encoded
        smaller = np.empty((round(height * factor), round(width * factor), 3), np.uint8)
        area(image, smaller)
        if self.markers:
            return encode_with_markers(smaller, self.quality)
        return simplejpeg.encode_jpeg(smaller, quality=self.quality, colorspace="RGB", colorsubsampling="420")
