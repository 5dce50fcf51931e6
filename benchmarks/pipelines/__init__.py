"""What can be measured: one input pipeline a file, each as its own project recommends it.

A file has `version()` and `batches(*, folder, batch_size, image_size, cores, ...)`, which yields the number of images
of each batch as it is ready, without end. All read the files of <folder>/train, take a random crop of 8 to 100 % of
the area and an aspect ratio of 3/4 to 4/3, and resize it to a square. Nobody flips, which costs next to nothing.
"""

import dataclasses
import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any


@dataclasses.dataclass(frozen=True)
class Contender:
    """A pipeline with its options."""

    name: str  # in the table
    module: str  # a file of this folder
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # more keywords of its `batches`


RIVALS = (
    Contender("tf.data", "tf_data"),
    Contender("torchvision", "torchvision"),
    Contender("DALI", "dali", {"normalize": True}),
    Contender("DALI uint8", "dali", {"normalize": False}),
)


def ours(overrides: Mapping[str, str]) -> Contender:
    """Our loader with some keys of its config set."""
    name = " ".join(["ours", *(f"{key}={value}" for key, value in overrides.items())])
    return Contender(name, "ours", {"overrides": dict(overrides)})


def load(contender: Contender) -> ModuleType:
    """Imports a pipeline, and with it the packages that it needs.

    Raises:
      ImportError: they are not installed.
    """
    return importlib.import_module(f"{__name__}.{contender.module}")
