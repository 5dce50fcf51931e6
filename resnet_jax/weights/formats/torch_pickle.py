"""Reads `.pth` files of `torch.save` with PyTorch, without executing code that they contain."""

import argparse
import dataclasses
import errno
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from resnet_jax.checkpoints.files import cause
from resnet_jax.errors import UsageError
from resnet_jax.text import printable, some_of
from resnet_jax.training.state import WeightsKind
from resnet_jax.weights.formats.safetensors import from_state_dict
from resnet_jax.weights.stored import StoredWeights

# Keys under which training programs, torchvision's and timm's included, save the weights.
_WRAPPERS: dict[WeightsKind, tuple[str, ...]] = {
    "trained": ("state_dict", "model", "model_state_dict"),
    "ema": ("state_dict_ema", "model_ema", "model_state_dict_ema"),
}
_DAMAGE = re.compile("truncated|magic number|EOF")  # words in the message of an UnpicklingError due to damage
_NAME_OF_CODE = re.compile(r"GLOBAL ([\w.]+)|global:? (?:GLOBAL )?`?([\w.]+)")


def read(path: Path, kind: WeightsKind | None) -> StoredWeights:
    """Reads a state dict, or the one inside the checkpoint of a training program.

    Args:
      path: the file.
      kind: 'trained', or 'ema': the moving average of the trained weights; None: the average if there is one.

    Raises:
      UsageError: PyTorch is not installed; or the file is damaged, holds more than weights, or has no weights of this
        kind.
    """
    content = _load(path)
    if not isinstance(content, Mapping):
        raise UsageError(f"{path} holds a {type(content).__name__} instead of named weights: save a state_dict")
    key, found_kind = _find_state_dict(content, kind, path)
    state_dict = content if key is None else content[key]
    tensors = {name: value for name, value in state_dict.items() if hasattr(value, "detach")}
    arrays = {str(name): _to_numpy(name, tensor, path) for name, tensor in tensors.items()}
    stored = from_state_dict(arrays, path, found_in="" if key is None else f", in {key!r}")
    others = {str(name): "not a tensor" for name in state_dict if name not in tensors}
    outside = {} if key is None else {str(name): "outside of the weights" for name in content if name != key}
    return dataclasses.replace(stored, skipped=stored.skipped | others | outside, kind=found_kind)


def _load(path: Path) -> Any:
    try:
        import torch  # noqa: PLC0415, optional
    except ImportError:
        raise UsageError(
            f"{path} is a file of PyTorch, which is not installed: pip install torch, or convert the file to "
            ".safetensors where PyTorch is installed"
        ) from None
    try:
        _verify_checksums(path)
        # Training programs save their parsed arguments, a Namespace of plain values, along with the weights.
        with warnings.catch_warnings(action="ignore"), torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file makes torch.load raise many types of errors
        if (
            isinstance(error, OSError) and error.errno != errno.EINVAL
        ):  # EINVAL: torch.load, misled by damage, seeks to a negative offset
            raise
        if "TorchScript" in str(error):
            raise UsageError(f"{path} is a TorchScript program: save the state_dict of the network instead") from None
        if isinstance(error, pickle.UnpicklingError) and not _DAMAGE.search(str(error)):
            raise UsageError(
                f"{path} holds more than weights{_class_in(error)}, which may be code, or is damaged; no code was run: "
                "save only the state_dict, or convert it to .safetensors"
            ) from None
        raise UsageError(f"{path} is damaged ({cause(error)}): copy or download it again") from error


def check_zip(path: Path) -> None:
    """Raises UsageError if a zip file was not written by PyTorch, whose zip files contain `<name>/data.pkl`.

    If the list of its members cannot be read, nothing is raised here: `read` reports the damage.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return
    if any(name.rpartition("/")[2] == "data.pkl" for name in names):
        return
    inside = f"it contains {some_of(names)}" if names else "it is empty"
    kind = "a file of numpy.savez" if names and all(name.endswith(".npy") for name in names) else "a zip archive"
    raise UsageError(
        f"{path} is {kind} that PyTorch has not written ({printable(inside)}): unpack it and give the path of the "
        "weights in it, or save the state_dict with torch.save or as .safetensors"
    )


def _verify_checksums(path: Path) -> None:
    """Raises BadZipFile if a member of a zip file does not match its CRC-32, which PyTorch does not verify."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():
                raise zipfile.BadZipFile(f"{damaged} does not match its checksum")


def _to_numpy(name: str, tensor: Any, path: Path) -> np.ndarray:
    try:
        if not tensor.is_complex():
            return tensor.detach().float().numpy()
    except (TypeError, RuntimeError, NotImplementedError):  # a sparse tensor, or one without data
        pass
    raise UsageError(f"{path} holds {name}, which is not a dense tensor of real numbers: save it as one")


def _class_in(error: Exception) -> str:
    """Returns the name of the class or function in an error of torch.load as ' (NAME)'; '' if there is none."""
    match = _NAME_OF_CODE.search(str(error))
    return f" ({match[1] or match[2]})" if match else ""


def _find_state_dict(
    content: Mapping[Any, Any], kind: WeightsKind | None, path: Path
) -> tuple[str | None, WeightsKind | None]:
    """Returns the key in `content` of the state dict, and the kind of its weights.

    (None, None): `content` is itself the state dict, and the kind of its weights is unknown.
    """
    found = {which: key for which, keys in _WRAPPERS.items() for key in keys if _is_filled(content.get(key))}
    if not found and kind != "ema":
        return None, None
    wanted: WeightsKind = kind or ("ema" if "ema" in found else "trained")
    if wanted not in found:
        missing = "a moving average" if wanted == "ema" else "trained weights"
        raise UsageError(f"{path} is not known to hold {missing}: leave config.eval.weights unset")
    return found[wanted], wanted


def _is_filled(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value)
