"""The input pipelines that `input_pipeline.py` compares, one per file, each as its project recommends.

A file has the functions `version()`, which returns name and version, and `batches(*, folder, batch_size, image_size,
cores, ...)`, an endless generator that yields the number of images of each batch when the batch is ready. All pipelines
read the files of <folder>/train, take a random crop with 8 to 100 % of the area and an aspect ratio of 3/4 to 4/3, and
resize it to a square. None flips images, which costs almost nothing.
"""

import dataclasses
import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any


@dataclasses.dataclass(frozen=True)
class Contender:
    """A pipeline and its options."""

    name: str  # name in the table
    module: str  # name of its module in this folder
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # further keyword arguments of its `batches`


RIVALS = (
    Contender("tf.data", "tf_data"),
    Contender("torchvision", "torchvision"),
    Contender("DALI", "dali", {"normalize": True}),
    Contender("DALI uint8", "dali", {"normalize": False}),
)


def ours(overrides: Mapping[str, str], *, markers: bool = False, evaluation: bool = False) -> Contender:
    """Returns our loader with the given config keys; `markers` and `evaluation` as in `pipelines/ours.py`."""
    kind = ["ours", *["evaluation"] * evaluation, *["restart markers"] * markers]
    name = " ".join([", ".join(kind), *(f"{key}={value}" for key, value in overrides.items())])
    return Contender(name, "ours", {"overrides": dict(overrides), "markers": markers, "evaluation": evaluation})


def load(contender: Contender) -> ModuleType:
    """Imports the module of a pipeline.

    Raises:
      ImportError: a package that it needs is not installed.
    """
    return importlib.import_module(f"{__name__}.{contender.module}")
