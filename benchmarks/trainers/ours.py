"""Our training step, that of `configs/resnet50.py`, built and compiled as in training."""

from collections.abc import Callable

import jax

from benchmarks.switches import switched_off
from benchmarks.trainers import Task
from resnet_jax import experiment
from resnet_jax.analysis.measure.step import StepRunner
from resnet_jax.configs import resnet50
from resnet_jax.experiment import Experiment
from resnet_jax.experiment.compile import compile_train_step


def build(task: Task) -> Experiment:
    """Returns the training of a task on one device."""
    config = resnet50.get_config()
    changes = {
        "data.source": "synthetic",
        "data.synthetic.num_classes": task.num_classes,
        "data.batch_size": task.batch_size,
        "data.image_size": task.image_size,
        "model.depth": task.depth,
        "model.dtype": task.dtype,
        "model.bn_group_size": task.group_size,
    }
    config.update_from_flattened_dict(changes)
    return experiment.build(config, devices=jax.devices()[:1])


def make(task: Task) -> tuple[str, Callable[[int], None]]:
    """See `load` of the package."""
    with switched_off(task.without):
        built = build(task)
        runner = StepRunner(built, compile_train_step(built, task.image_size), task.image_size)
    return f"JAX {jax.__version__}, {built.reporting.description['model']}", runner
