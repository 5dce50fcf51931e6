"""From a config to the parts of a run: the only place that reads a config."""

import dataclasses
import functools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from resnet_jax import schedules, sharding, steps
from resnet_jax.class_list import check_same, fingerprint
from resnet_jax.data.crops import create_eval_crop, create_train_crop
from resnet_jax.data.loader import Loader
from resnet_jax.data.order import EvalOrder, TrainOrder
from resnet_jax.data.resize import create_resize
from resnet_jax.data.sources import Source, open_source, share_with_boxes
from resnet_jax.errors import UsageError
from resnet_jax.limits import check_limits
from resnet_jax.models import create_model
from resnet_jax.normalization import normalize
from resnet_jax.optimizers import create_optimizer
from resnet_jax.state import TrainState, make_init, parameter_count
from resnet_jax.workdir import flatten

# What a continued run may change: it decides where and how fast a run goes, not what it computes.
MAY_CHANGE = (
    "data.data_dir",
    "data.num_threads",
    "data.num_workers",
    "data.max_bad_examples",
    "eval.batch_size",
    "checkpoint",
    "log",
    "prepare",
)


@dataclasses.dataclass(frozen=True)
class Plan:
    """When things happen, in steps."""

    total_steps: int
    steps_per_epoch: float
    eval_every_steps: float  # evaluation k comes at the whole step nearest to k times this
    checkpoint_every_steps: int | None  # None: only with an evaluation
    log_every_steps: int

    def evaluation_due(self, step: int) -> bool:
        """Whether the state after `step` updates is to be evaluated; the last one always is."""
        nearest = round(round(step / self.eval_every_steps) * self.eval_every_steps)
        return step == self.total_steps or (step > 0 and step == nearest)

    def checkpoint_due(self, step: int) -> bool:
        """Whether the state after `step` updates is to be saved even if it is not evaluated."""
        return step > 0 and self.checkpoint_every_steps is not None and step % self.checkpoint_every_steps == 0


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Everything a program needs to train: pure functions, loaders and numbers."""

    description: dict[str, str]  # what a person wants to read at the start: name of a part -> one line
    mesh: Mesh
    init: Callable[[], TrainState]
    train_step: steps.TrainStep
    eval_step: steps.EvalStep
    class_names: tuple[str, ...]
    data: dict[str, Any]  # what the data are, in JSON values: a checkpoint goes on with no others
    train_loader: Loader
    eval_loader: Loader
    max_bad_examples: int
    num_threads: int | None
    num_workers: int
    plan: Plan
    keep_latest: int
    keep_best: int
    tensorboard: bool


def resolve(config: ConfigDict) -> dict[str, Any]:
    """The config as nested dicts of JSON values, as `config.json` holds it."""
    return json.loads(config.to_json())


def build(config: ConfigDict, *, cache_dir: Path | None = None) -> Experiment:
    """Checks a config and its data and makes the parts of the run; nothing is compiled.

    Args:
      config: as `configs/default.py` has it.
      cache_dir: where an index of the data is kept if it cannot be beside them.

    Raises:
      UsageError: a value is out of range, an unknown name, or the data are missing.
    """
    if jax.process_count() > 1:
        raise UsageError(f"{jax.process_count()} processes: this version trains on the devices of one process alone")
    check_limits(flatten(config.to_dict()))
    mesh = sharding.make_mesh()
    _check_batch_size(config.data.batch_size, mesh.size, config.model.bn_group_size)
    train_source, eval_source = (_open(config, training=training, cache_dir=cache_dir) for training in (True, False))
    check_same(train_source.class_names, eval_source.class_names, owner=train_source.name)
    model = _model(config, len(train_source.class_names))
    optimizer = create_optimizer(**config.optimizer)
    plan = _plan(config, len(train_source))
    init = make_init(model=model, optimizer=optimizer, image_size=config.data.image_size, seed=config.seed)
    abstract = jax.eval_shape(init)  # finds what does not fit together, as a decay pattern without a parameter
    return Experiment(
        description=_describe(config, mesh, train_source, eval_source, plan, abstract),
        mesh=mesh,
        init=init,
        **_steps(config, model, optimizer, plan),
        class_names=train_source.class_names,
        data=_identify(train_source, eval_source),
        train_loader=_train_loader(config, train_source),
        eval_loader=_eval_loader(config, eval_source, mesh.size),
        max_bad_examples=config.data.max_bad_examples,
        num_threads=config.data.num_threads,
        num_workers=config.data.num_workers,
        plan=plan,
        keep_latest=config.checkpoint.keep_latest,
        keep_best=config.checkpoint.keep_best,
        tensorboard=config.log.tensorboard,
    )


def _check_batch_size(batch_size: int, devices: int, bn_group_size: int | None) -> None:
    grouped = bn_group_size is not None and batch_size > bn_group_size
    unit = math.lcm(devices, bn_group_size) if grouped and bn_group_size else devices
    if batch_size % unit == 0:
        return
    why = f"{devices} device{'s' * (devices > 1)}" + (
        f" and batch norm groups of {bn_group_size} images" if grouped else ""
    )
    below, above = batch_size // unit * unit, -(-batch_size // unit) * unit
    sizes = f"{below} or {above}" if below else f"{above}"
    raise UsageError(f"config.data.batch_size={batch_size} cannot be divided over {why}: take {sizes}")


def _open(config: ConfigDict, *, training: bool, cache_dir: Path | None) -> Source:
    data, synthetic = config.data, dict(config.data.synthetic)
    picture = {key: synthetic.pop(key) for key in ("image_height", "image_width")}
    place = {key: data[key] for key in ("data_dir", "train_split", "eval_split")}
    options = {
        "synthetic": {**synthetic, "image_size": data.image_size},
        "synthetic_jpeg": {**synthetic, **picture},
        "folder": place,
        "tfds": {**place, "name": data.name, "cache_dir": cache_dir},
        "tfrecord": {
            **place,
            "label_offset": data.label_offset,
            "num_classes": config.model.num_classes,
            "cache_dir": cache_dir,
        },
    }
    return open_source(data.source, training=training, **options.get(data.source, {}))


def _identify(train_source: Source, eval_source: Source) -> dict[str, Any]:
    return {
        "train": {"name": train_source.name, "examples": len(train_source)},
        "eval": {"name": eval_source.name, "examples": len(eval_source)},
        "class_list": fingerprint(train_source.class_names),
    }


def _model(config: ConfigDict, num_classes: int):
    options = dict(config.model)
    if options["num_classes"] is None:
        options["num_classes"] = num_classes
    elif options["num_classes"] < num_classes:
        raise UsageError(
            f"config.model.num_classes={options['num_classes']} is less than the {num_classes} classes of the data"
        )
    return create_model(**options)


def _steps(config: ConfigDict, model: Any, optimizer: optax.GradientTransformation, plan: Plan) -> dict[str, Any]:
    """The two step functions by their names in `Experiment`."""
    preprocess = functools.partial(
        normalize, mean=tuple(config.input.mean), std=tuple(config.input.std), dtype=model.dtype
    )
    train_step = steps.make_train_step(
        model=model,
        preprocess=preprocess,
        optimizer=optimizer,
        schedule=schedules.create_schedule(**_schedule_options(config, plan)),
        flip=config.input.flip,
        seed=config.seed,
        **config.loss,
    )
    return {"train_step": train_step, "eval_step": steps.make_eval_step(model=model, preprocess=preprocess)}


def _plan(config: ConfigDict, num_examples: int) -> Plan:
    steps_per_epoch = num_examples / config.data.batch_size
    total_steps = config.train.total_steps or max(1, round(config.train.epochs * steps_per_epoch))
    return Plan(
        total_steps=total_steps,
        steps_per_epoch=steps_per_epoch,
        eval_every_steps=config.eval.every_steps or max(1.0, config.eval.every_epochs * steps_per_epoch),
        checkpoint_every_steps=config.checkpoint.every_steps,
        log_every_steps=config.log.every_steps,
    )


def _schedule_options(config: ConfigDict, plan: Plan) -> dict[str, Any]:
    return {
        "name": config.schedule.name,
        "peak_lr": config.schedule.base_lr * config.data.batch_size / config.schedule.base_batch_size,
        "warmup_steps": round(config.schedule.warmup_epochs * plan.steps_per_epoch),
        "total_steps": plan.total_steps,
    }


def _train_loader(config: ConfigDict, source: Source) -> Loader:
    data = config.data
    return Loader(
        source=source,
        order=TrainOrder(num_examples=len(source), batch_size=data.batch_size, seed=config.seed),
        crop=create_train_crop(size=data.image_size, **data.train_crop),
        replaces=True,
        **_loader_options(config),
    )


def _eval_loader(config: ConfigDict, source: Source, devices: int) -> Loader:
    wanted = min(config.eval.batch_size or config.data.batch_size, len(source))
    batch_size = -(-wanted // devices) * devices  # padded rows are masked
    return Loader(
        source=source,
        order=EvalOrder(num_examples=len(source), batch_size=batch_size),
        crop=create_eval_crop(size=config.data.image_size, **config.data.eval_crop),
        replaces=False,
        **_loader_options(config),
    )


def _loader_options(config: ConfigDict) -> dict[str, Any]:
    return {
        "resize": create_resize(config.data.resize),
        "enlarge_to": config.data.enlarge_to,
        "seed": config.seed,
        "process_index": jax.process_index(),
        "process_count": jax.process_count(),
    }


def _describe(
    config: ConfigDict, mesh: Mesh, train_source: Source, eval_source: Source, plan: Plan, abstract: TrainState
) -> dict[str, str]:
    batch_size, group_size, model = config.data.batch_size, config.model.bn_group_size, config.model
    if group_size is None:
        batch_norm = f"over the whole batch of {batch_size}"
    elif batch_size <= group_size:
        batch_norm = f"over the whole batch of {batch_size}, which is no larger than a group of {group_size}"
    else:
        batch_norm = f"in {batch_size // group_size} groups of {group_size}"
    kind, processes = mesh.devices.flat[0].device_kind, jax.process_count()
    return {
        "devices": f"{mesh.size} x {kind}" + (f" on {processes} hosts" if processes > 1 else ""),
        "data": f"{train_source.name} {len(train_source):,} images, {eval_source.name} {len(eval_source):,}, "
        f"{len(train_source.class_names):,} classes, {config.data.image_size} px{_boxes(config, train_source)}",
        "model": f"{model.name}-{model.depth}, {parameter_count(abstract.params):,} parameters, {model.dtype}, "
        f"batch norm {batch_norm}",
        "training": f"{plan.total_steps:,} steps of {batch_size:,} images = "
        f"{plan.total_steps / plan.steps_per_epoch:.4g} epochs of {plan.steps_per_epoch:,.5g} steps",
        "evaluation": f"every {plan.eval_every_steps:,.5g} steps and at the end",
    }


def _boxes(config: ConfigDict, source: Source) -> str:
    """For whom crops are to be guided by boxes: whether there are any."""
    if config.data.train_crop.name != "box_guided":
        return ""
    return f", boxes around objects in {share_with_boxes(source):.0%} of a sample of the images"
