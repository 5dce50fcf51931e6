"""Reads weights from a file or directory. The content determines which of the supported formats it has."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from resnet_jax.errors import UsageError
from resnet_jax.local_paths import is_bucket, is_hub_address, kind_of, local_path
from resnet_jax.models.resnet import ResNet
from resnet_jax.nested import by_path
from resnet_jax.storage.mirror import restored
from resnet_jax.text import some_of
from resnet_jax.training.state import WeightsKind
from resnet_jax.weights import hub
from resnet_jax.weights.compatibility import check_model
from resnet_jax.weights.formats import own, r1, safetensors, torch_pickle
from resnet_jax.weights.match import match_variables
from resnet_jax.weights.stored import StoredWeights

logger = logging.getLogger(__name__)

_Reader = Callable[[Path, WeightsKind | None], StoredWeights]

_ZIP, _PICKLE = b"PK", b"\x80"  # first bytes of a file of torch.save: since PyTorch 1.6, and before 1.6
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf")  # gzip, bzip2, xz, zstd, 7z
_FORMATS = (
    "a work directory, a checkpoint, a .safetensors or .pth file of PyTorch, or a checkpoint or SavedModel of "
    "TensorFlow's r1 ResNet (docs/weights.md)"
)
_START = 512  # bytes read to recognize the format of a file
_IMAGE_SIZE = 32  # pixels; every network accepts this size, and no parameter's shape depends on it


def load_weights(
    path: str | Path,
    model: ResNet,
    *,
    kind: WeightsKind | None = None,
    variables: dict[str, Any] | None = None,
    head: bool = True,
    allow_missing: Sequence[str] = (),
    any_input: bool = False,
) -> dict[str, Any]:
    """Loads weights for a model: `model.apply(load_weights(path, model), images, train=False)`.

    The file must hold weights of the architecture and number of classes of `model`, trained on images normalized with
    ImageNet's mean and standard deviation (`training.gradients.imagenet_input`).

    Args:
      path: see `read_weights`.
      model: a model from `create_model`.
      kind: see `read_weights`.
      variables: variables of the model, from `model.init(...)`, which supply the arrays that are not loaded.
        None: every array must be in the file.
      head: load the last layer too; False needs `variables`, and allows another number of classes.
      allow_missing: regular expressions; arrays whose names match may be missing, unknown or of another shape.
      any_input: accept weights that were trained with another input normalization. The caller must then normalize the
        images as `read_weights(path).settings` says.

    Returns:
      'params' and 'batch_stats': float32 numpy arrays where loaded, else the leaves of `variables`.

    Raises:
      UsageError: the weights cannot be read, are of another network, were trained with another input
        normalization, or lack an array.
    """
    stored = read_weights(path, kind=kind)
    check_model(stored, model, any_input=any_input)
    images = jnp.zeros((1, _IMAGE_SIZE, _IMAGE_SIZE, 3))
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), images, train=False))
    matched = match_variables(stored, variables or shapes, head=head, allow_missing=allow_missing)
    absent = [name for name, leaf in by_path(matched.variables).items() if isinstance(leaf, jax.ShapeDtypeStruct)]
    if absent:
        raise UsageError(
            f"{some_of(absent)} are not loaded from {stored.path}: pass variables=model.init(...) to keep its values"
        )
    for line in matched.report:
        logger.debug("%s", line)
    return matched.variables


def read_weights(path: str | Path, *, kind: WeightsKind | None = None) -> StoredWeights:
    """Reads weights of any supported format.

    Args:
      path: a work directory of this program or one of its checkpoints; a .safetensors or .pth file of PyTorch, or the
        directory of a `model.safetensors`; hf://org/name or hf://org/name@revision, a repository of the Hugging Face
        Hub; the prefix or the directory of a checkpoint of the r1.x ResNet of the TensorFlow Models repository, or its
        SavedModel.
      kind: 'trained', or 'ema': the moving average of the trained weights; None: 'ema' if there is one, else 'trained'.

    Raises:
      UsageError: the path does not exist, is no file or directory, is damaged, is of no known format or network, or
        lacks the requested kind; or the weights cannot be downloaded.
    """
    resolved = hub.download(str(path)) if is_hub_address(path) else _resolve(path)
    if resolved.exists() and not (resolved.is_file() or resolved.is_dir()):
        raise UsageError(f"{resolved} is {kind_of(resolved)}, not a file: give the path of {_FORMATS}")
    prefix = r1.find_prefix(resolved)
    if prefix:
        reader: _Reader = r1.read
    else:
        reader = _reader_of_directory(resolved) if resolved.is_dir() else _reader_of_file(resolved)
    try:
        return reader(prefix or resolved, kind)
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"{resolved} cannot be read ({reason}): give the path of other weights") from error


def _resolve(path: str | Path) -> Path:
    """Returns the absolute path, with links to directories resolved; for a run in a bucket, its local copy.

    A link to a file is not resolved: in the cache of the Hugging Face Hub, timm's `config.json` lies beside the link to
    the weights and not beside its target.
    """
    if is_bucket(path):
        return restored(str(path))
    given = local_path(path, name="path of weights", only_utf8=True)
    return given.parent.resolve() / given.name if given.is_file() else given.resolve()


def _reader_of_directory(path: Path) -> _Reader:
    if own.holds_checkpoint(path):
        return own.read
    if (path / hub.SAFETENSORS).is_file():
        return lambda directory, kind: safetensors.read(directory / hub.SAFETENSORS, kind)
    raise UsageError(f"{path} holds no checkpoint: give the path of {_FORMATS}")


def _reader_of_file(path: Path) -> _Reader:
    try:
        with path.open("rb") as file:
            start = file.read(_START)
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist: give the path of {_FORMATS}") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}): give the path of other weights") from error
    # Check for safetensors before pickle: a .safetensors file starts with a length, which may begin with `_PICKLE`.
    if safetensors.is_safetensors(start):
        return safetensors.read
    if start.startswith(_ZIP):
        torch_pickle.check_zip(path)
    if start.startswith((_ZIP, _PICKLE)):
        return torch_pickle.read
    raise UsageError(f"{path} is {_describe(start)}: give the path of {_FORMATS}")


def _describe(start: bytes) -> str:
    """Describes a file of unknown format by its first bytes, for an error message."""
    if not start:
        return "empty"
    if start.lstrip().startswith(b"<"):
        return "a web page, not weights (download the file itself)"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not weights (run git lfs pull)"
    if start.startswith(_COMPRESSED) or start[257:262] == b"ustar":
        return "an archive or a compressed file, not weights (unpack it)"
    return "not a weights file of a known format"
