"""The parts of a run, put together."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from resnet_jax.config_keys import changeable_when_continued, changeable_when_evaluated, check_bounds
from resnet_jax.configs.default import KEYS, get_config
from resnet_jax.data.class_names import check_same
from resnet_jax.data.eval_preprocessing import EvalPreprocessing
from resnet_jax.data.loader import Loader
from resnet_jax.distributed import mesh as sharding
from resnet_jax.experiment.batch_division import count_parts
from resnet_jax.experiment.computation import (
    check_image_sizes,
    make_first_state,
    make_model,
    make_optimizer,
    make_steps,
    make_warm_start,
    weights_to_evaluate,
)
from resnet_jax.experiment.description import describe
from resnet_jax.experiment.inference import eval_preprocessing
from resnet_jax.experiment.inputs import identify, make_eval_loader, make_train_loader, open_from
from resnet_jax.experiment.milestones import Plan, make_plan, schedule_options
from resnet_jax.experiment.network import network_settings
from resnet_jax.experiment.options import WeightsOptions, weights_options
from resnet_jax.nested import flatten
from resnet_jax.training import steps
from resnet_jax.training.schedules import create_schedule
from resnet_jax.training.state import TrainState, WeightsKind

MAY_CHANGE = changeable_when_continued(KEYS)
EVALUATION_MAY_CHANGE = changeable_when_evaluated(KEYS)


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Everything a program needs to train: pure functions, loaders and numbers."""

    description: dict[str, str]  # what a person wants to read at the start: name of a part -> what it is
    mesh: Mesh
    parts: int  # of a training batch that go through the network in turn
    dtype: str  # of the activations
    init: Callable[[], TrainState]
    warm_start: Callable[[dict[str, Any]], dict[str, Any]] | None  # see `warm_start_variables`
    train_step: steps.TrainStep
    eval_step: steps.EvalStep
    class_names: tuple[str, ...]
    network: dict[str, Any]  # what weights depend on (`network_settings`)
    data: dict[str, Any]  # what the data are, in JSON values: a checkpoint goes on with no others
    train_loader: Loader
    eval_loader: Loader
    max_bad_examples: int
    num_threads: int | None
    num_workers: int
    plan: Plan
    profile: range  # the steps that are traced
    keep: dict[str, int]  # checkpoints: `keep_latest`, `keep_best`
    tensorboard: bool
    eval_weights: WeightsKind
    preprocessing: EvalPreprocessing  # how evaluation crops and resizes an image file
    weights_options: WeightsOptions  # which weights are evaluated without training


def resolve(config: ConfigDict) -> dict[str, Any]:
    """The config as nested dicts of JSON values, as `config.json` holds it."""
    return json.loads(config.to_json())


def default_settings() -> dict[str, Any]:
    """The settings of `configs/default.py`, as `resolve` gives them."""
    return resolve(get_config())


def build(
    config: ConfigDict,
    *,
    cache_dir: Path | None = None,
    training: bool = True,
    devices: Sequence[jax.Device] | None = None,
) -> Experiment:
    """Checks a config and its data and makes the parts of the run; nothing is compiled.

    Args:
      config: as `configs/default.py` has it.
      cache_dir: where an index of the data is kept if it cannot be beside them.
      training: if not, the training images need not be there, and nothing of the experiment that has to do with them
        is of use.
      devices: to compute on, or to compile for; None: all there are.

    Raises:
      UsageError: a value is out of range, an unknown name, or the data are missing.
    """
    check_bounds(KEYS, flatten(config.to_dict()))
    mesh = sharding.make_mesh(devices)
    parts = count_parts(config, mesh.size)
    check_image_sizes(config)
    eval_source = open_from(config, training=False, cache_dir=cache_dir)
    train_source = open_from(config, training=True, cache_dir=cache_dir) if training else eval_source
    check_same(train_source.class_names, eval_source.class_names, owner=train_source.name)
    model = make_model(config, len(train_source.class_names))
    optimizer, plan = make_optimizer(config), make_plan(config, len(train_source))
    eval_loader = make_eval_loader(config, eval_source, mesh.size)
    schedule = create_schedule(**schedule_options(config, plan))
    init = make_first_state(config, model, optimizer)
    abstract = jax.eval_shape(init)  # finds what does not fit together, as a decay pattern without a parameter
    return Experiment(
        description=describe(config, mesh, parts, (train_source, eval_source), plan, schedule, abstract),
        mesh=mesh,
        parts=parts,
        dtype=config.model.dtype,
        init=init,
        warm_start=make_warm_start(config, train_source.class_names),
        **make_steps(config, (mesh, parts), model, optimizer, schedule),
        class_names=train_source.class_names,
        network=network_settings(config),
        data=identify(train_source, eval_source),
        train_loader=make_train_loader(config, train_source, plan) if training else eval_loader,
        eval_loader=eval_loader,
        plan=plan,
        **_options(config, training=training),
    )


def _options(config: ConfigDict, *, training: bool) -> dict[str, Any]:
    """What goes into an experiment as it is."""
    data, train = config.data, config.train
    start = train.profile_at
    return {
        "max_bad_examples": data.max_bad_examples,
        "num_threads": data.num_threads,
        "num_workers": data.num_workers,
        "profile": range(0) if start is None else range(start, start + train.profile_steps),
        "keep": {name: config.checkpoint[name] for name in ("keep_latest", "keep_best")},
        "tensorboard": config.log.tensorboard,
        # Of weights from elsewhere only they themselves say whether there is an average.
        "eval_weights": weights_to_evaluate(config) if training else "trained",
        "preprocessing": eval_preprocessing(config),
        "weights_options": weights_options(config),
    }
