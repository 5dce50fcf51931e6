"""The content of `model.json`: how to preprocess images, name the classes and verify the files of an export."""

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

from resnet_jax.data.class_names import fingerprint
from resnet_jax.programs.export.jax_artifact import PLATFORMS
from resnet_jax.programs.export.model import Model
from resnet_jax.reporting.provenance import versions
from resnet_jax.weights import pytorch_network


def make_metadata(model: Model, *, dtype: str, formats: dict[str, Any]) -> dict[str, Any]:
    """Returns the content of `model.json` as JSON values.

    Args:
      model: the exported network.
      dtype: the activation dtype.
      formats: name of a format -> its file, the SHA-256 of its files, and how its outputs compare with this program's.
    """
    side = model.preprocessing.image_size
    return {
        "class_names": list(model.class_names),
        "class_list": fingerprint(model.class_names),
        "source": model.source,
        "input": {"shape": ["batch", side, side, 3], "dtype": "uint8", "channels": "RGB"},
        "outputs": {
            "probabilities": {"shape": ["batch", len(model.class_names)], "dtype": "float32"},
            "classes": {"shape": ["batch"], "dtype": "int32 (saved_model, onnx: int64)"},
        },
        "preprocessing": {
            # "before": what the user must do to an image before calling the export. "inside": what the export does.
            "before": dataclasses.asdict(model.preprocessing),
            "inside": {key.removeprefix("input."): value for key, value in model.network.items() if "input." in key},
        },
        "saved_model": model.signatures._asdict(),
        "network": model.network,
        "same_as": pytorch_network(model.network),
        "dtype": dtype,
        "platforms": list(PLATFORMS),
        "formats": formats,
        "versions": versions(),
    }


def format_size(path: Path) -> str:
    """Returns the size of a file or directory, such as '97.8 MB'."""
    size = sum(file.stat().st_size for file in _files(path))
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"


def hash_files(path: Path) -> dict[str, str]:
    """Returns the SHA-256 of a file, or of each file in a directory, by path relative to the parent of `path`."""
    digests = {}
    for file in _files(path):
        with file.open("rb") as opened:
            digests[str(file.relative_to(path.parent))] = hashlib.file_digest(opened, "sha256").hexdigest()
    return digests


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
