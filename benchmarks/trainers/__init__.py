"""The training steps that `side_by_side.py` compares, each on random images that are on the device already."""

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
    """The network and the batch that all trainers use."""

    depth: int
    batch_size: int
    image_size: int
    num_classes: int
    dtype: str  # type of the activations, 'bfloat16' or 'float32'
    compiled: bool  # whether PyTorch uses torch.compile
    group_size: int | None = None  # images of a batch norm group in our step; None: the whole batch, as in the others
    without: str = ""  # optimization of our step that is switched off, from `switches.py`


def load(name: str) -> ModuleType:
    """Imports the module of a trainer.

    Its function `make(task)` returns a description of the trainer and a function that runs a given number of steps.

    Raises:
      ImportError: a package that it needs is not installed.
    """
    return importlib.import_module(TRAINERS[name])
