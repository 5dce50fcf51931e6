"""Loss and gradient norm of every training step, bit for bit, in the file `steps.f32` of a work directory.

`metrics.jsonl` has means over many steps. This file has 8 bytes for each step, two float32 numbers in little-endian
order: the sum of the losses of the batch and the gradient norm, as the devices computed them. Step 1 comes first.
"""

import logging
from pathlib import Path

import numpy as np

logger = logging.getLogger(__name__)

_UNKNOWN = 0x7FC0DEAD  # bits that mark a step that was not recorded: a NaN that no computation produces
_RECORD = np.dtype([("loss", "<f4"), ("grad_norm", "<f4")])


class StepFile:
    """Appends steps to `steps.f32`. If the process is killed, the steps since the last `flush` may be lost."""

    def __init__(self, path: Path):
        """Opens the file, which is created if it does not exist."""
        path.touch()
        self._file = path.open("r+b")

    def add(self, step: int, loss: float, grad_norm: float) -> None:
        """Writes the numbers of a step, counted from 1. If steps before it are missing, marks them as not recorded."""
        start, end = (step - 1) * _RECORD.itemsize, self._file.seek(0, 2)
        if end < start:
            end -= end % _RECORD.itemsize
            self._file.seek(end)
            self._file.write(np.full((start - end) // 4, _UNKNOWN, "<u4").tobytes())
        self._file.seek(start)
        self._file.write(np.array((loss, grad_norm), _RECORD).tobytes())

    def flush(self) -> None:
        """Hands buffered steps to the operating system, which writes them even if this process is killed."""
        self._file.flush()

    def close(self) -> None:
        """Flushes and closes the file."""
        self._file.close()


def drop_steps_after(path: Path, step: int) -> None:
    """Removes the steps after `step` from the file: a run that continues from `step` writes them again."""
    if path.exists() and path.stat().st_size > step * _RECORD.itemsize:
        with path.open("r+b") as file:
            file.truncate(step * _RECORD.itemsize)


def read_bits(path: Path) -> np.ndarray:
    """Returns the bits of loss and gradient norm of all steps, [N, 2] uint32; [0, 2] if there is no such file."""
    if not path.is_file():
        return np.zeros((0, 2), np.uint32)
    content = path.read_bytes()
    return np.frombuffer(content[: len(content) // 8 * 8], "<u4").reshape(-1, 2)


def as_numbers(bits: np.ndarray) -> np.ndarray:
    """Returns the numbers with the given bits: [..., 2] uint32 -> [..., 2] float32; NaN for steps not recorded."""
    return bits.view("<f4")


def is_known(bits: np.ndarray) -> np.ndarray:
    """Returns which steps were recorded: [N, 2] uint32 -> [N] bool."""
    return bits[:, 0] != _UNKNOWN
