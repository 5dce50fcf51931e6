"""Makes the function that continues a run of the r1.x ResNet of the TensorFlow Models repository.

The checkpoints of that run are in the work directory.
"""

import functools
from collections.abc import Callable
from pathlib import Path

from ml_collections import ConfigDict

from resnet_jax.experiment.network import training_settings
from resnet_jax.training.state import TrainState
from resnet_jax.weights.r1_run import continue_r1


def make_continue_r1(config: ConfigDict) -> Callable[[Path, TrainState], TrainState]:
    """Returns the function that loads a checkpoint of that ResNet, given by its prefix, into the state of step 0."""
    return functools.partial(
        continue_r1,
        optimizer=dict(config.optimizer),
        network=training_settings(config),
        any_input=config.model.init_any_input,
    )
