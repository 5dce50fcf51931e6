"""Our training step, that of `configs/resnet50.py`, built and compiled as in training."""

from collections.abc import Callable

import jax

from benchmarks.trainers import Task
from resnet_jax import experiment
from resnet_jax.analysis.measure.step import StepRunner
from resnet_jax.configs import resnet50
from resnet_jax.experiment.compile import compile_train_step


def make(task: Task) -> tuple[str, Callable[[int], None]]:
    """See `load` of the package."""
    config = resnet50.get_config()
    changes = {
        "data.source": "synthetic",
        "data.synthetic.num_classes": task.num_classes,
        "data.batch_size": task.batch_size,
        "data.image_size": task.image_size,
        "model.depth": task.depth,
        "model.dtype": task.dtype,
        "model.bn_group_size": None,  # statistics over the whole batch, as in the other trainers
    }
    config.update_from_flattened_dict(changes)
    built = experiment.build(config, devices=jax.devices()[:1])
    runner = StepRunner(built, compile_train_step(built, task.image_size), task.image_size)
    return f"JAX {jax.__version__}, {built.reporting.description['model']}", runner
