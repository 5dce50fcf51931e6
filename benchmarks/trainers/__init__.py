"""Training steps of ResNet-50 that `side_by_side.py` compares, each on random images that are on the device already."""

import dataclasses
import importlib
from types import ModuleType

TRAINERS = {
    "ours": "benchmarks.trainers.ours",
    "flax": "benchmarks.trainers.flax_style",
    "torch": "benchmarks.trainers.pytorch",
}


@dataclasses.dataclass(frozen=True)
class Task:
    """What all are asked for."""

    depth: int
    batch_size: int
    image_size: int
    num_classes: int
    dtype: str  # of the activations: 'bfloat16' or 'float32'
    compiled: bool  # by torch.compile; the others always are


def load(name: str) -> ModuleType:
    """The module of a trainer: `make(task)` returns what it is, in words, and a function that makes so many steps.

    Raises:
      ImportError: what it needs is not installed.
    """
    return importlib.import_module(TRAINERS[name])
