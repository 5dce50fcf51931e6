"""Finds out what a path holds, by its content, and reads it."""

from collections.abc import Callable
from pathlib import Path

from resnet_jax.errors import UsageError
from resnet_jax.training.state import WeightsKind
from resnet_jax.weights.formats import own, r1, safetensors, torch_pickle
from resnet_jax.weights.stored import StoredWeights

_Reader = Callable[[Path, WeightsKind | None], StoredWeights]

_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"  # what torch.save writes now, and wrote before version 1.6
_FORMATS = "a run, a checkpoint, PyTorch's .safetensors or .pth, or a checkpoint or SavedModel of r1 (docs/weights.md)"
_FIRST = 512  # bytes that tell the formats apart


def read_weights(path: str | Path, *, kind: WeightsKind | None = None) -> StoredWeights:
    """Reads weights of any of the formats.

    Args:
      path: a work directory of this program or one of its checkpoints; a file of tensors of PyTorch; the prefix or the
        directory of a checkpoint of TensorFlow's r1, or its SavedModel.
      kind: 'trained', or 'ema' for their moving average; None: the average if there is one.

    Raises:
      UsageError: there are none, they are damaged, of no known network, or not there as `kind` asks.
    """
    try:
        place = Path(path).expanduser().resolve()
    except (OSError, RuntimeError) as error:  # links in a circle
        raise UsageError(f"{path} cannot be read ({error}): name another one") from None
    prefix = r1.find_prefix(place)
    reader = r1.read if prefix else _reader_of_directory(place) if place.is_dir() else _reader_of_file(place)
    try:
        return reader(prefix or place, kind)
    except OSError as error:
        raise UsageError(f"{place} cannot be read ({error.strerror or error}): name another one") from error


def _reader_of_directory(place: Path) -> _Reader:
    if own.holds_checkpoint(place):
        return own.read
    raise UsageError(f"{place} holds no checkpoint: name {_FORMATS}")


def _reader_of_file(place: Path) -> _Reader:
    try:
        with place.open("rb") as file:
            start = file.read(_FIRST)
    except FileNotFoundError:
        raise UsageError(f"{place} is not there: name {_FORMATS}") from None
    except OSError as error:
        raise UsageError(f"{place} cannot be read ({error.strerror}): name another one") from error
    if safetensors.begins_one(start):  # first: the length of its header may begin as a pickle does
        return safetensors.read
    if start.startswith((_ZIP, _PICKLE)):
        return torch_pickle.read
    raise UsageError(f"{place} is {_what_else(start)}: name {_FORMATS}")


def _what_else(start: bytes) -> str:
    if not start:
        return "empty"
    if start.lstrip().startswith(b"<"):
        return "a web page, not weights (download the file itself)"
    if start.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS, not the weights (run git lfs pull)"
    return "no file of weights that is known"
