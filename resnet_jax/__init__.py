"""ResNet training in JAX and Flax, as a program and as a library: `import resnet_jax as rj` (docs/library.md).

Importing the package loads nothing else: each name below is imported from its module when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resnet_jax.checkpoints.manager import Checkpoints as Checkpoints
    from resnet_jax.data.crops import create_eval_crop as create_eval_crop
    from resnet_jax.data.crops import create_train_crop as create_train_crop
    from resnet_jax.data.feed import feed as feed
    from resnet_jax.data.loader import Loader as Loader
    from resnet_jax.data.sources import Example as Example
    from resnet_jax.data.sources import Source as Source
    from resnet_jax.data.sources import open_source as open_source
    from resnet_jax.distributed.mesh import make_mesh as make_mesh
    from resnet_jax.distributed.mesh import replicated as replicated
    from resnet_jax.errors import UsageError as UsageError
    from resnet_jax.experiment import build as build
    from resnet_jax.experiment import build_evaluation as build_evaluation
    from resnet_jax.experiment.compile import compile_eval_step as compile_eval_step
    from resnet_jax.experiment.compile import compile_train_step as compile_train_step
    from resnet_jax.experiment.compile import initial_state as initial_state
    from resnet_jax.models.variants import create_model as create_model
    from resnet_jax.programs.recipes import get_recipe as get_recipe
    from resnet_jax.programs.train.main import train_recipe as train  # noqa: F401
    from resnet_jax.training.gradients import imagenet_input as imagenet_input
    from resnet_jax.training.losses import create_loss as create_loss
    from resnet_jax.training.metrics import merge as merge_totals  # noqa: F401
    from resnet_jax.training.metrics import scalars as scalars
    from resnet_jax.training.metrics import zero as zero_totals  # noqa: F401
    from resnet_jax.training.optimizers import create_optimizer as create_optimizer
    from resnet_jax.training.schedules import create_schedule as create_schedule
    from resnet_jax.training.state import TrainState as TrainState
    from resnet_jax.training.state import abstract_state as abstract_state
    from resnet_jax.training.state import make_init as make_init
    from resnet_jax.training.steps import EvalStep as EvalStep
    from resnet_jax.training.steps import make_train_step as make_train_step
    from resnet_jax.weights.load import load_weights as load_weights

__version__ = "0.1.0"

# Public name -> module that defines it, and the name that it has there, if different.
_HOMES: dict[str, tuple[str, ...]] = {
    "Checkpoints": ("checkpoints.manager",),
    "EvalStep": ("training.steps",),
    "Example": ("data.sources",),
    "Loader": ("data.loader",),
    "Source": ("data.sources",),
    "TrainState": ("training.state",),
    "UsageError": ("errors",),
    "abstract_state": ("training.state",),
    "build": ("experiment",),
    "build_evaluation": ("experiment",),
    "compile_eval_step": ("experiment.compile",),
    "compile_train_step": ("experiment.compile",),
    "create_eval_crop": ("data.crops",),
    "create_loss": ("training.losses",),
    "create_model": ("models.variants",),
    "create_optimizer": ("training.optimizers",),
    "create_schedule": ("training.schedules",),
    "create_train_crop": ("data.crops",),
    "feed": ("data.feed",),
    "get_recipe": ("programs.recipes",),
    "imagenet_input": ("training.gradients",),
    "initial_state": ("experiment.compile",),
    "load_weights": ("weights.load",),
    "make_init": ("training.state",),
    "make_mesh": ("distributed.mesh",),
    "make_train_step": ("training.steps",),
    "merge_totals": ("training.metrics", "merge"),
    "open_source": ("data.sources",),
    "replicated": ("distributed.mesh",),
    "scalars": ("training.metrics",),
    "train": ("programs.train.main", "train_recipe"),
    "zero_totals": ("training.metrics", "zero"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'resnet_jax' has no attribute {name!r}; it has {', '.join(_HOMES)}")
    module, *renamed = _HOMES[name]
    value = getattr(importlib.import_module(f"resnet_jax.{module}"), renamed[0] if renamed else name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
