"""Finds the columns of images and labels of Parquet files, and the class names, as Hugging Face describes them."""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from resnet_jax.data.regular_files import open_regular, read_regular
from resnet_jax.errors import UsageError
from resnet_jax.text import printable, some_of


class Columns(NamedTuple):
    """The columns of image files and labels."""

    image: str  # dotted name of the column of encoded images
    path: str | None  # dotted name of the column of the images' file names; None: there is none
    label: str
    class_names: tuple[str, ...] | None  # None: the files do not name the classes


def find_columns(path: str) -> Columns:
    """Finds the columns by the description that Hugging Face stores in the file, or by their types."""
    schema = open_parquet(path).schema_arrow
    features = _features(schema)
    image, label = (
        _choose([name for name in found if features.get(name, {}).get("_type") == kind] or found, usual)
        for found, kind, usual in (
            ([field.name for field in schema if _is_image(field)], "Image", "image"),
            ([field.name for field in schema if pa.types.is_integer(field.type)], "ClassLabel", "label"),
        )
    )
    if image is None or label is None:
        has = some_of([f"{field.name} ({field.type})" for field in schema], shown=6)
        raise UsageError(
            f"{path} has no column of {'images' if image is None else 'labels'}: expected 'image' with 'bytes' "
            f"and an integer 'label', as imagenet-1k of Hugging Face has; its columns are {has}"
        )
    kind = schema.field(image).type
    parts = {field.name for field in kind} if pa.types.is_struct(kind) else set()
    named = features.get(label, {}).get("names")
    return Columns(
        image=f"{image}.bytes" if parts else image,
        path=f"{image}.path" if "path" in parts else None,
        label=label,
        class_names=tuple(map(str, named)) if isinstance(named, list) and named else None,
    )


def _choose(names: list[str], usual: str) -> str | None:
    """Returns `usual` if it is among the names, else the only name; None if there is neither."""
    return usual if usual in names else names[0] if len(names) == 1 else None


def _is_image(field: Any) -> bool:
    """Whether a column may hold image files: it is binary, or has a binary field 'bytes'."""
    kind = field.type
    if pa.types.is_struct(kind):
        return any(part.name == "bytes" and _is_binary(part.type) for part in kind)
    return _is_binary(kind)


def _is_binary(kind: Any) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _features(schema: Any) -> dict[str, dict[str, Any]]:
    """Returns the description of the columns by Hugging Face; {} if the file has none."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (LookupError, TypeError, ValueError, RecursionError):
        return {}
    return {name: one for name, one in features.items() if isinstance(one, dict)} if isinstance(features, dict) else {}


def open_parquet(path: str) -> Any:
    """Returns a `pyarrow.parquet.ParquetFile`, a context manager. Raises UsageError if the file cannot be read."""
    try:
        os.close(open_regular(path))  # raises OSError for a FIFO, at which Arrow would wait
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise UsageError(
            f"{path} cannot be read as a Parquet file ({printable(str(error))[:200]}): copy it again"
        ) from None


def card_names(card: Path, label: str) -> tuple[str, ...] | None:
    """Returns the class names that the YAML header of a dataset card lists for a column; None if it lists none."""
    try:
        header = yaml.safe_load(read_regular(card).decode().split("---")[1])
        infos = header["dataset_info"]
        for info in infos if isinstance(infos, list) else [infos]:
            for feature in info["features"]:
                if feature["name"] == label and isinstance(feature["dtype"], dict):
                    names = feature["dtype"]["class_label"]["names"]
                    return tuple(str(names[key]) for key in sorted(names, key=int))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, yaml.YAMLError):
        pass
    return None
