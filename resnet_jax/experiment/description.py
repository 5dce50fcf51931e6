"""What a person wants to read about a run before it starts."""

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from resnet_jax.data.sources import Source, share_with_boxes
from resnet_jax.experiment.computation import trained_norms
from resnet_jax.experiment.milestones import Plan
from resnet_jax.models.batch_norm import is_trained
from resnet_jax.training.schedules import Schedule, rate_table
from resnet_jax.training.state import TrainState, parameter_count
from resnet_jax.training.trainable import only_trained, trainable_pattern


def describe(
    config: ConfigDict,
    mesh: Mesh,
    parts: int,
    sources: tuple[Source, Source],
    plan: Plan,
    schedule: Schedule,
    abstract: TrainState,
) -> dict[str, str]:
    """What to print of each part of a run, by the name of the part."""
    model, batch_size = config.model, config.data.batch_size
    epochs = plan.total_steps / plan.steps_per_epoch
    lines = {
        "devices": _devices(mesh),
        "data": _data(config, *sources),
        "model": f"{model.name}-{model.depth} {model.version}, {parameter_count(abstract.params):,} parameters, "
        f"{model.dtype}, batch norm {_batch_norm(config)}",
        "inputs": _inputs(config),
        "training": f"{plan.total_steps:,} steps of {batch_size:,} images = {epochs:.4g} epochs of "
        f"{plan.steps_per_epoch:,.5g} steps{_training(config, parts)}",
        "trained": _trained(config, abstract),
        "evaluation": f"every {plan.eval_every_steps:,.5g} steps and at the end{_evaluation(config)}",
        "rate": _rates(plan, schedule),
    }
    return {part: line for part, line in lines.items() if line}


def _devices(mesh: Mesh) -> str:
    kind, processes = mesh.devices.flat[0].device_kind, jax.process_count()
    return f"{mesh.size} x {kind}" + (f" of {processes} processes" if processes > 1 else "")


def _data(config: ConfigDict, train_source: Source, eval_source: Source) -> str:
    sizes = (*config.data.progressive.sizes, config.data.image_size)
    return (
        f"{train_source.name} {len(train_source):,} images, {eval_source.name} {len(eval_source):,}, "
        f"{len(train_source.class_names):,} classes, {' then '.join(map(str, sizes))} px{_boxes(config, train_source)}"
    )


def _boxes(config: ConfigDict, source: Source) -> str:
    """For whom crops are to be guided by boxes: whether there are any."""
    if config.data.train_crop.name != "box_guided":
        return ""
    return f", boxes around objects in {share_with_boxes(source):.0%} of a sample of the images"


def _batch_norm(config: ConfigDict) -> str:
    batch_size, group_size = config.data.batch_size, config.model.bn_group_size
    if group_size is None:
        return f"over the whole batch of {batch_size}"
    if batch_size <= group_size:
        return f"over the whole batch of {batch_size}, which is no larger than a group of {group_size}"
    return f"in {batch_size // group_size} groups of {group_size}"


def _inputs(config: ConfigDict) -> str:
    """What training images go through besides crops and flips; nothing, often."""
    data, mixing, erasing = config.data, config.mixing, config.input.erasing
    parts = {
        f"{data.repeats} times each": data.repeats > 1,
        f"{data.augment.name}": data.augment.name != "none",
        f"erasing {erasing.probability:g}": erasing.probability,
        f"mixup {mixing.mixup_alpha:g}": mixing.mixup_alpha and mixing.probability,
        f"cutmix {mixing.cutmix_alpha:g}": mixing.cutmix_alpha and mixing.probability,
    }
    return ", ".join(part for part, is_on in parts.items() if is_on)


def _training(config: ConfigDict, parts: int) -> str:
    ema, loss = config.ema, config.loss
    lines = {
        f", from {config.model.init_from}": config.model.init_from,
        f", each in {parts} parts": parts > 1,
        f", averaged by {ema.decay:g}": ema.decay,
        f", loss times {loss.scale:g}{' at first' if loss.scale_growth_steps else ''}": loss.scale != 1,
    }
    return "".join(line for line, is_on in lines.items() if is_on)


def _trained(config: ConfigDict, abstract: TrainState) -> str:
    """Which parameters, and which statistics, change how; nothing where all do alike."""
    pattern, parts = config.train.trainable, []
    if pattern is not None:
        trained = parameter_count(only_trained(abstract.params, trainable_pattern(pattern)))
        parts.append(f"{trained:,} of {parameter_count(abstract.params):,} parameters ({pattern!r})")
        parts.append(_statistics(config, abstract))
    parts += [f"rate of {scaled!r} times {factor:g}" for scaled, factor in config.optimizer.lr_scales]
    return ", ".join(parts)


def _statistics(config: ConfigDict, abstract: TrainState) -> str:
    paths = {
        tuple(key.key for key in path[:-1]) for path, _ in jax.tree_util.tree_leaves_with_path(abstract.batch_stats)
    }
    kept = sum(not is_trained(path, trained_norms(config)) for path in paths)
    return f"{kept} of {len(paths)} batch norms keep their statistics"


def _evaluation(config: ConfigDict) -> str:
    size, stop_at = config.eval.image_size, config.eval.stop_at
    at_size = f", at {size} px" if size not in (None, config.data.image_size) else ""
    return at_size + (f"; the run ends at top-1 {100 * stop_at:g} %" if stop_at is not None else "")


def _rates(plan: Plan, schedule: Schedule) -> str:
    """The table of learning rates, to stand beside the name of the part."""
    table = rate_table(schedule, total_steps=plan.total_steps, steps_per_epoch=plan.steps_per_epoch)
    return ("\n" + " " * 13).join(table)
