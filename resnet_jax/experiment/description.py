"""Describes a run before it starts, in lines for the log."""

from collections.abc import Sequence

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from resnet_jax.data.sources import Counted, Divided, Selective, Source, share_with_boxes
from resnet_jax.data.views import Views
from resnet_jax.experiment.computation import trained_norms
from resnet_jax.experiment.data_warnings import data_warnings
from resnet_jax.experiment.geometry import view_warnings
from resnet_jax.experiment.inputs import data_name, eval_image_size, train_image_sizes
from resnet_jax.experiment.milestones import Milestones
from resnet_jax.experiment.parts import Computation, Data, EvalComputation
from resnet_jax.models.batch_norm import is_trained
from resnet_jax.text import printable
from resnet_jax.training.schedules import Schedule, rate_table
from resnet_jax.training.state import parameter_count
from resnet_jax.training.trainable import only_trained


def describe_experiment(
    config: ConfigDict,
    data: Data,
    computation: Computation,
    milestones: Milestones,
    schedule: Schedule,
    *,
    computed: str,
    views: Views | None,
) -> dict[str, str]:
    """Returns the lines logged when training starts, by label; `computed` is the log line of `with_computed`."""
    epochs = milestones.total_steps / milestones.steps_per_epoch
    train_source, eval_source = data.train_loader.source, data.eval_loader.source
    lines = {
        "devices": _devices(computation.mesh),
        "data": _data(config, train_source, eval_source),
        "classes": _classes(train_source),
        "split": _division(train_source),
        "left out": _left_out(train_source, eval_source),
        "computed": computed,
        "model": _model(config, computation),
        "inputs": describe_augmentations(config),
        "training": f"{milestones.total_steps:,} steps of {config.data.batch_size:,} images = {epochs:.4g} epochs of "
        f"{milestones.steps_per_epoch:,.5g} steps{_training(config, computation.num_microbatches)}",
        "trained": _trained(config, computation),
        "evaluation": f"{evaluated_steps(milestones)}{_evaluation(config)}",
        "rate": _rates(milestones, schedule),
        "warning": _indented(
            [
                *data_warnings(config.data.batch_size, train_source, eval_source),
                *view_warnings(config, views),
                *schedule_warnings(milestones, schedule),
            ]
        ),
    }
    return {label: line for label, line in lines.items() if line}


def describe_evaluation(config: ConfigDict, source: Source, computation: EvalComputation) -> dict[str, str]:
    """Returns the lines printed at the start of an evaluation, by label."""
    lines = {
        "devices": _devices(computation.mesh),
        "model": _model(config, computation),
        "data": f"{_evaluated(config, source)}, {eval_image_size(config)} px",
        "split": _division(source),
        "left out": _left_out(source),
    }
    return {label: line for label, line in lines.items() if line}


def _devices(mesh: Mesh) -> str:
    kind, processes = mesh.devices.flat[0].device_kind, jax.process_count()
    return f"{mesh.size} x {kind}" + (f" of {processes} processes" if processes > 1 else "")


def _data(config: ConfigDict, train_source: Source, eval_source: Source) -> str:
    sizes, number = " then ".join(map(str, train_image_sizes(config))), f"{len(eval_source):,}"
    evaluated = f"{number} held out" if _division(eval_source) else f"{_title(config, eval_source)} {number}"
    return (
        f"{_title(config, train_source)} {len(train_source):,} images, {evaluated}, "
        f"{len(train_source.class_names):,} classes, {sizes} px{_boxes(config, train_source)}"
    )


def _evaluated(config: ConfigDict, source: Source) -> str:
    if _division(source):
        return f"{printable(data_name(config))} {len(source):,} images, held out from training"
    return f"{_title(config, source)} {len(source):,} images"


def _title(config: ConfigDict, source: Source) -> str:
    """Returns the name of a split; if the data are files of the user, it begins with the name of their directory."""
    if config.data.source not in ("folder", "tfrecord"):
        return source.name
    return printable(f"{data_name(config)}/{source.name.split('/', 1)[1]}")


def _classes(source: Source) -> str:
    """Describes how many images the classes have; '' if the source has no class counts."""
    if not isinstance(source, Counted):
        return ""
    counts, names = source.class_counts, source.class_names
    largest = int(counts.argmax())
    share = f"{printable(names[largest])} has {counts[largest] / counts.sum():.0%} of the training images"
    if len(names) > 6:
        return f"{counts.min():,} to {counts.max():,} training images each, {share}"
    return f"{', '.join(f'{printable(name)} {count:,}' for name, count in zip(names, counts, strict=True))}; {share}"


def _division(source: Source) -> str:
    """Describes the rule by which images were held out for evaluation; '' if there is none."""
    return source.division if isinstance(source, Divided) else ""


def _left_out(*sources: Source) -> str:
    """Describes the files in the data directories that are not used as examples; '' if there are none."""
    found = dict.fromkeys(source.left_out for source in sources if isinstance(source, Selective))
    return "; ".join(filter(None, found))


def _boxes(config: ConfigDict, source: Source) -> str:
    """Describes the share of images with bounding boxes; '' if the training crop does not use boxes."""
    if config.data.train_crop.name != "box_guided":
        return ""
    return f", boxes around objects in {share_with_boxes(source):.0%} of a sample of the images"


def _model(config: ConfigDict, computation: EvalComputation) -> str:
    model = config.model
    return (
        f"{model.name}-{model.depth} {model.version}, {parameter_count(computation.shapes['params']):,} parameters, "
        f"{model.dtype}, batch norm {_batch_norm(config)}"
    )


def _batch_norm(config: ConfigDict) -> str:
    batch_size, group_size = config.data.batch_size, config.model.bn_group_size
    if batch_size is None:
        return "over the whole batch" if group_size is None else f"in groups of {group_size}"
    if group_size is None:
        return f"over the whole batch of {batch_size}"
    if batch_size <= group_size:
        return f"over the whole batch of {batch_size}, which is no larger than a group of {group_size}"
    return f"in {batch_size // group_size} groups of {group_size}"


def describe_augmentations(config: ConfigDict) -> str:
    """Describes the augmentations of training images besides crop and flip; '' if there are none."""
    data, mixing, erasing = config.data, config.mixing, config.input.erasing
    parts = {
        f"{data.repeats} times each": data.repeats > 1,
        f"{data.augment.name}": data.augment.name != "none",
        f"erasing {erasing.probability:g}": erasing.probability,
        f"mixup {mixing.mixup_alpha:g}": mixing.mixup_alpha and mixing.probability,
        f"cutmix {mixing.cutmix_alpha:g}": mixing.cutmix_alpha and mixing.probability,
    }
    return ", ".join(part for part, is_on in parts.items() if is_on)


def _training(config: ConfigDict, num_microbatches: int) -> str:
    ema, loss = config.ema, config.loss
    lines = {
        f", from {config.model.init_from}": config.model.init_from,
        f", each in {num_microbatches} micro-batches": num_microbatches > 1,
        f", averaged by {ema.decay:g}": ema.decay,
        f", loss times {loss.scale:g}{' at first' if loss.scale_growth_steps else ''}": loss.scale != 1,
    }
    return "".join(line for line, is_on in lines.items() if is_on)


def _trained(config: ConfigDict, computation: Computation) -> str:
    """Describes which parameters are trained, how many batch norms are frozen, and the factors of the learning rate.

    Returns '' if all parameters are trained at the same learning rate.
    """
    pattern, parts, params = config.train.trainable, [], computation.shapes["params"]
    if computation.trainable:
        trained = parameter_count(only_trained(params, computation.trainable))
        parts.append(f"{trained:,} of {parameter_count(params):,} parameters ({pattern!r})")
        parts.append(_statistics(config, computation))
    parts += [f"rate of {scaled!r} times {factor:g}" for scaled, factor in config.optimizer.lr_scales]
    return ", ".join(parts)


def _statistics(config: ConfigDict, computation: Computation) -> str:
    statistics = computation.shapes["batch_stats"]
    paths = {tuple(key.key for key in path[:-1]) for path, _ in jax.tree_util.tree_leaves_with_path(statistics)}
    kept = sum(not is_trained(path, trained_norms(config)) for path in paths)
    return f"{kept} of {len(paths)} batch norms keep their statistics"


def evaluated_steps(milestones: Milestones) -> str:
    """Says at which steps a run evaluates."""
    every = milestones.eval_every_steps
    if round(every) >= milestones.total_steps:
        return f"at the end only, because the run is not longer than the interval of {every:,.5g} steps"
    return f"every {every:,.5g} steps and at the end"


def _evaluation(config: ConfigDict) -> str:
    size, stop_at = config.eval.image_size, config.eval.stop_at
    at_size = f", at {size} px" if size not in (None, config.data.image_size) else ""
    return at_size + (f"; the run ends at top-1 {100 * stop_at:g} %" if stop_at is not None else "")


def _rates(milestones: Milestones, schedule: Schedule) -> str:
    """Returns a table of epochs, steps and learning rates."""
    table = rate_table(schedule, total_steps=milestones.total_steps, steps_per_epoch=milestones.steps_per_epoch)
    return _indented(table)


def schedule_warnings(milestones: Milestones, schedule: Schedule) -> list[str]:
    """Returns [] or one sentence if the run ends before the learning rate has reached its peak."""
    steps, warmup = milestones.total_steps, schedule.warmup_steps
    if steps > warmup:
        return []
    return [
        f"the run ends at step {steps:,}, and the learning rate reaches its peak only after a warm-up of {warmup:,} "
        "steps: set a smaller --config.schedule.warmup_epochs, or train longer"
    ]


def _indented(lines: Sequence[str]) -> str:
    """Joins lines; all but the first are indented by the width of the log label."""
    return ("\n" + " " * 13).join(lines)
