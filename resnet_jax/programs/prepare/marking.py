"""Writes JPEG files with restart markers, so that the loader can decode a crop without the rest of the image."""

import dataclasses
import io
import shutil
import subprocess
import zlib

import numpy as np
from PIL import Image

from resnet_jax.data.decode import decode, image_size
from resnet_jax.data.image_limits import MAX_PIXELS, check_size
from resnet_jax.data.jpeg import START as JPEG
from resnet_jax.data.restart_markers import best_interval, has_markers
from resnet_jax.errors import UsageError

_TOOL = "jpegtran"
_SECONDS = 120  # timeout for transcoding a file; after it, the file counts as one that cannot be transcoded
_SAMPLE = 32  # without `verify_all`, about one image in 32 is verified
# A restart marker after every MCU (minimum coded unit of JPEG) makes a file with few bytes per pixel much larger. A
# file that would grow by more than this factor gets a marker only after every row of MCUs.
LARGEST_GROWTH = 1.05


@dataclasses.dataclass(frozen=True)
class Marking:
    """Adds restart markers to JPEG files without changing a pixel: transcodes them with libjpeg-turbo's `jpegtran`.

    Attributes:
      tool: path of `jpegtran`.
      verify_all: whether the pixels of every image are compared before and after, and not only those of a sample.
      max_pixels: number of pixels above which an image is not transcoded.
    """

    tool: str
    verify_all: bool = False
    max_pixels: int = MAX_PIXELS

    def __call__(self, encoded: bytes) -> bytes:
        """Returns the image as a sequential JPEG file with restart markers and optimized Huffman tables.

        Comments, EXIF and color profiles are left out. A file that has restart markers already is returned unchanged.

        Raises:
          ValueError: the file is damaged or not a JPEG file, or its kind of JPEG cannot have restart markers; with
            `verify_all`, also if its pixels would change.
          UsageError: `jpegtran` cannot be run, or, without `verify_all`, it changed the pixels of an image.
        """
        if not encoded.startswith(JPEG):
            raise ValueError("it is not a JPEG file")
        check_size(*image_size(encoded), self.max_pixels)
        if has_markers(encoded):
            return encoded
        marked = self._transcode(encoded, "1B")
        interval = best_interval(marked)
        if interval > 1:
            marked = self._transcode(marked, f"{interval}B")
        if len(marked) > LARGEST_GROWTH * len(encoded):
            marked = self._transcode(marked, "1")
        if not has_markers(marked):
            raise ValueError("it is of a kind of JPEG that must be decoded as a whole")
        self._verify(encoded, marked)
        return marked

    def _transcode(self, encoded: bytes, interval: str) -> bytes:
        """Runs `jpegtran` with a marker after every `interval`: '2' means two rows of MCUs, '2B' two MCUs."""
        command = [self.tool, "-copy", "none", "-optimize", "-restart", interval]
        try:
            done = subprocess.run(command, input=encoded, capture_output=True, check=False, timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            raise ValueError(f"{_TOOL} took more than {_SECONDS} seconds") from None
        except OSError as error:
            raise UsageError(f"{self.tool} cannot be run ({error.strerror}): install libjpeg-turbo again") from None
        if done.returncode:  # status 2 means a warning, for example about missing data, and counts as an error too
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            raise ValueError(lines[-1] if lines else f"{_TOOL} ended with status {done.returncode}")
        return done.stdout

    def _verify(self, encoded: bytes, marked: bytes) -> None:
        if not self.verify_all and zlib.crc32(encoded) % _SAMPLE:
            return
        if np.array_equal(decode(encoded, self.max_pixels), decode(marked, self.max_pixels)):
            return
        if self.verify_all:
            raise ValueError("its pixels would change")
        raise UsageError(
            f"{self.tool} changed the pixels of an image: use another version of it, or keep such images as they are "
            "with --config.prepare.verify_all=True"
        )


def find_tool() -> str:
    """Returns the path of `jpegtran`. Raises UsageError if it is not installed."""
    tool = shutil.which(_TOOL)
    if tool is None:
        raise UsageError(
            f"config.prepare.restart_markers=True needs {_TOOL} of libjpeg-turbo, which is not on the PATH: install it "
            "with apt install libjpeg-turbo-progs, brew install jpeg-turbo or conda install libjpeg-turbo"
        )
    return tool


def encode_with_markers(pixels: np.ndarray, quality: int) -> bytes:
    """Encodes [H, W, 3] RGB uint8 pixels as a JPEG file with 4:2:0 chroma and a restart marker after every MCU."""
    file = io.BytesIO()
    options = {"quality": quality, "subsampling": "4:2:0", "optimize": True, "restart_marker_blocks": 1}
    Image.fromarray(pixels).save(file, "JPEG", **options)
    return file.getvalue()
