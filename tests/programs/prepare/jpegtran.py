"""A stand-in for libjpeg-turbo's `jpegtran`, for machines without it and for tests of what can go wrong with it.

It knows a few files only: those that `known_files` has encoded twice from the same pixels, without and with restart
markers. The same encoder and quality give the same coefficients, so the second file is what `jpegtran` would make.
"""

import hashlib
import io
import stat
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from tests.data.encoded import encode

_PROGRAM = """#!{python}
import hashlib, pathlib, sys
known = pathlib.Path(__file__).parent / "known"
name = hashlib.sha256(sys.stdin.buffer.read()).hexdigest()
file = known / (name + "-" + sys.argv[-1])
if not file.exists():
    sys.exit("Premature end of JPEG file")
sys.stdout.buffer.write(file.read_bytes())
"""


def install(directory: Path) -> Path:
    """Writes the program into a directory; returns its path."""
    (directory / "known").mkdir(parents=True)
    tool = directory / "jpegtran"
    tool.write_text(_PROGRAM.format(python=sys.executable))
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    return tool


def teach(tool: Path, encoded: bytes, made: bytes, interval: str) -> None:
    """Makes the program turn one file into another for `-restart INTERVAL`."""
    (tool.parent / "known" / f"{hashlib.sha256(encoded).hexdigest()}-{interval}").write_bytes(made)


def known_file(tool: Path, pixels: np.ndarray, *, quality: int = 90, mode: str = "RGB", **options) -> bytes:
    """Encodes pixels as a JPEG file without markers that the program can transcode."""
    plain = encode(pixels, "JPEG", mode, quality=quality, **options)
    optimized = options | {"optimize": True, "progressive": False}
    made = {
        f"{number}B": encode(pixels, "JPEG", mode, quality=quality, restart_marker_blocks=number, **optimized)
        for number in (1, 2, 3, 4)
    }
    made["1"] = encode(pixels, "JPEG", mode, quality=quality, restart_marker_rows=1, **optimized)
    for file in (plain, made["1B"]):
        for interval, transcoded in made.items():
            teach(tool, file, transcoded, interval)
    return plain


def pixels_of(encoded: bytes) -> np.ndarray:
    """Returns the pixels that Pillow reads."""
    return np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))
