"""What `torch.save` wrote, as `.pth`: read with PyTorch, and without running anything that is in it."""

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
from resnet_jax.training.state import WeightsKind
from resnet_jax.weights.formats.safetensors import from_state_dict
from resnet_jax.weights.stored import StoredWeights

# Where training programs put the weights among other things; torchvision's and timm's among them.
_WRAPPERS: dict[WeightsKind, tuple[str, ...]] = {
    "trained": ("state_dict", "model", "model_state_dict"),
    "ema": ("state_dict_ema", "model_ema", "model_state_dict_ema"),
}
_CUT = re.compile("truncated|magic number|EOF")  # else its reader met something that it does not do
_NAME_OF_CODE = re.compile(r"GLOBAL ([\w.]+)|global:? (?:GLOBAL )?`?([\w.]+)")


def read(path: Path, kind: WeightsKind | None) -> StoredWeights:
    """Reads a state dict, on its own or among the other things of a training program.

    Args:
      path: of the file.
      kind: 'trained', or 'ema' for their moving average; None: the average if there is one.

    Raises:
      UsageError: PyTorch is not installed; the file is damaged, holds more than weights, or not those asked for.
    """
    content = _load(path)
    if not isinstance(content, Mapping):
        raise UsageError(f"{path} holds a {type(content).__name__}, no weights by name: save a state_dict")
    key, taken = _choose(content, kind, path)
    state_dict = content if key is None else content[key]
    tensors = {name: value for name, value in state_dict.items() if hasattr(value, "detach")}
    arrays = {str(name): _to_numpy(name, tensor, path) for name, tensor in tensors.items()}
    stored = from_state_dict(arrays, path, found_in="" if key is None else f", in {key!r}")
    others = {str(name): "no tensor" for name in state_dict if name not in tensors}
    beside = {} if key is None else {str(name): "beside the weights" for name in content if name != key}
    return dataclasses.replace(stored, skipped=stored.skipped | others | beside, kind=taken)


def _load(path: Path) -> Any:
    try:
        import torch  # noqa: PLC0415, optional
    except ImportError:
        raise UsageError(
            f"{path} is a file of PyTorch, which is not installed: pip install torch, or convert it to .safetensors "
            "where it is"
        ) from None
    try:
        _check_sums(path)
        # Training programs keep their arguments beside the weights: plain values in a plain object.
        with warnings.catch_warnings(action="ignore"), torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever its parser makes of damage
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # a place before the start of the file
            raise
        if "TorchScript" in str(error):
            raise UsageError(f"{path} is a TorchScript program: save the state_dict of the network alone") from None
        if isinstance(error, pickle.UnpicklingError) and not _CUT.search(str(error)):
            raise UsageError(
                f"{path} holds more than weights{_code_in(error)}, which may be code, or is damaged; nothing of it was "
                "run: save the state_dict alone, or convert it to .safetensors"
            ) from None
        raise UsageError(f"{path} is damaged ({cause(error)}): copy or download it again") from error


def _check_sums(path: Path) -> None:
    """Raises BadZipFile for damage that PyTorch would hand out as it is."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():
                raise zipfile.BadZipFile(f"{damaged} does not match its checksum")


def _to_numpy(name: str, tensor: Any, path: Path) -> np.ndarray:
    try:
        if not tensor.is_complex():
            return tensor.detach().float().numpy()
    except (TypeError, RuntimeError, NotImplementedError):  # sparse, or without values
        pass
    raise UsageError(f"{path} holds {name}, which is no plain tensor of real numbers: save one")


def _code_in(error: Exception) -> str:
    match = _NAME_OF_CODE.search(str(error))
    return f" ({match[1] or match[2]})" if match else ""


def _choose(content: Mapping[Any, Any], kind: WeightsKind | None, path: Path) -> tuple[str | None, WeightsKind | None]:
    """The key of the weights; None: they lie open, and it is not said which they are."""
    there = {which: key for which, keys in _WRAPPERS.items() for key in keys if _is_filled(content.get(key))}
    if not there and kind != "ema":
        return None, None
    taken: WeightsKind = kind or ("ema" if "ema" in there else "trained")
    if taken not in there:
        what = "an average" if taken == "ema" else "trained weights"
        raise UsageError(f"{path} does not say that it holds {what}: leave config.eval.weights unset")
    return there[taken], taken


def _is_filled(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value)
