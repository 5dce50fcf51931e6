"""The log lines of a replayed step: its metrics, their comparison with those of the run, and what went wrong."""

import math
from collections.abc import Callable, Iterator, Sequence

from resnet_jax.data.loader import RowOrigin
from resnet_jax.programs.replay.finding import BACKWARD, FORWARD, NORM, PARAMETER, Finding, largest_weight
from resnet_jax.programs.replay.recorded import ROUNDING, Compared, mean_scalars
from resnet_jax.programs.replay.replay import Replay
from resnet_jax.text import labelled, labelled_lines, printable
from resnet_jax.training.layer_probe import norms_by_stage

_EARLIER = 5  # maximum number of steps before the replayed one whose losses are listed
_LISTED = 5  # maximum number of examples in a group of lines
_NAMES = {"loss": "loss", "top1": "top-1", "grad_norm": "gradient norm", "lr": "learning rate"}


def replay_lines(replayed: Replay, where: Callable[[int], str], class_names: Sequence[str]) -> list[str]:
    """Returns the lines about the step itself and its comparison with `steps.f32` and `metrics.jsonl`.

    Args:
      replayed: the replayed step.
      where: maps the index of an example to the path of its file.
      class_names: names of the classes.
    """
    totals = replayed.totals[replayed.step]
    scalars = mean_scalars([totals])
    size = replayed.batch.image.shape[1]
    return [
        labelled("step", f"{replayed.step}: {len(replayed.batch.label):,} images of {size} px, {_span(replayed)}"),
        labelled("loss", f"{scalars['loss']:.6g}, top-1 {100 * scalars['top1']:.2f} %, learning rate {totals.lr:.6g}"),
        labelled("gradient", _gradient(replayed)),
        *labelled_lines("replaced", list(_replaced(replayed, where, class_names))),
        *labelled_lines("recorded", _recorded(replayed)),
        *labelled_lines("metrics", _comparison(replayed)),
    ]


def _span(replayed: Replay) -> str:
    positions = [origin.position for origin in replayed.origins]
    return f"positions {min(positions):,} to {max(positions):,} of the run"


def _gradient(replayed: Replay) -> str:
    stages = norms_by_stage(replayed.parameters.squares)
    whole = float(replayed.totals[replayed.step].grad_norm)
    skipped = replayed.totals[replayed.step].examples.count == 0
    note = " (update skipped by the loss scale)" if skipped else ""
    return f"norm {whole:.6g}{note}; " + ", ".join(f"{stage} {norm:.4g}" for stage, norm in stages.items())


def _replaced(replayed: Replay, where: Callable[[int], str], class_names: Sequence[str]) -> Iterator[str]:
    replaced = [(row, origin) for row, origin in enumerate(replayed.origins) if origin.replaced is not None]
    for row, origin in replaced[:_LISTED]:
        yield f"{describe_row(row, origin, where, class_names)}, instead of unreadable example {origin.replaced}"


def _recorded(replayed: Replay) -> list[str]:
    """Returns lines that compare the replayed steps with `steps.f32`; [] if that file does not contain them."""
    found = replayed.recorded
    if found is None:
        return []
    steps = _steps(found.first, found.last)
    if found.first_different is None:
        each = " of each" if found.first < found.last else ""
        return [f"{steps}: loss and gradient norm{each} are those in steps.f32, bit for bit"]
    lines = [f"step {found.last}, compared with steps.f32: {'; '.join(map(_compared, found.compared))}"]
    if found.first < found.last:
        lines.append(f"of {steps}, the first that differs is step {found.first_different}")
    return [*lines, *_verdict(found.compared)]


def _steps(first: int, last: int) -> str:
    return f"step {last}" if first == last else f"steps {first} to {last}"


def _comparison(replayed: Replay) -> list[str]:
    window, compared = replayed.window, replayed.compared
    if window is None:
        return [] if replayed.recorded else ["no line of metrics.jsonl to compare with"]
    steps = _steps(window.first, window.last)
    whole = len(compared) > 1
    lines = [f"{steps}: " + "; ".join(map(_compared, compared))]
    if all(one.is_equal for one in compared):
        lines = [f"{steps}: {', '.join(map(_value, compared))}: equal bit for bit"]
    if not whole:
        lines.append(f"means over {steps} cannot be compared: the nearest checkpoint, {replayed.start}, is later")
    return [*lines, *_verdict(compared)]


def _verdict(compared: Sequence[Compared]) -> list[str]:
    """Returns a line on whether rounding can explain differences from the run; [] if all values are equal."""
    apart = [one for one in compared if one.difference > ROUNDING]
    if apart:
        return [
            f"{_NAMES[apart[0].name]} differs by more than rounding: data, code, config or libraries are not those of "
            "the run (--mode=diff compares the last three)"
        ]
    if not all(one.is_equal for one in compared):
        return ["these differences are rounding: other devices, another number of them, or other versions"]
    return []


def _compared(one: Compared) -> str:
    verdict = "equal bit for bit" if one.is_equal else f"{one.recorded:.7g} recorded, off by {one.difference:.1e}"
    return f"{_value(one)}, {verdict}"


def _value(one: Compared) -> str:
    return f"{_NAMES[one.name]} {one.replayed:.7g}"


def finding_lines(
    replayed: Replay, finding: Finding | None, where: Callable[[int], str], class_names: Sequence[str]
) -> list[str]:
    """Returns the lines about a step with a NaN or infinity: where it arises, earlier losses, and the likely cause."""
    lines = labelled_lines("not finite", _arises(replayed, finding, where, class_names))
    earlier = [step for step in sorted(replayed.totals) if step < replayed.step][-_EARLIER:]
    if earlier:
        text = ", ".join(f"{mean_scalars([replayed.totals[step]])['loss']:.4g}" for step in earlier)
        steps = f"steps {earlier[0]} to {earlier[-1]}" if len(earlier) > 1 else f"step {earlier[0]}"
        lines.append(labelled("earlier", f"loss of {steps}: {text}"))
    path, largest = largest_weight(replayed.parameters.weights)
    lines.append(labelled("weights", f"largest magnitude before the step: {largest:.3g}, in {path}"))
    return [*lines, labelled("cause", _cause(replayed, finding))]


def _arises(
    replayed: Replay, finding: Finding | None, where: Callable[[int], str], class_names: Sequence[str]
) -> list[str]:
    if finding is None:
        return ["every number is finite when each layer is computed alone: rounding decided it in the training step"]
    places = {
        FORWARD: f"first in the forward pass, in {finding.name!r}",
        BACKWARD: f"first in the backward pass, in the gradient of the output of {finding.name!r}",
        PARAMETER: f"first in the gradient of the parameter {finding.name!r}, a sum over all images",
        NORM: "first in the norm of the gradient: each gradient is finite, the sum of their squares is not",
    }
    place = places[finding.where]
    if not finding.rows:
        return [place]
    count = len(finding.rows)
    lines = [f"{place}, for {'all' if count == finding.images else count} of {finding.images} images"]
    if finding.in_few:
        described = [describe_row(row, replayed.origins[row], where, class_names) for row in finding.rows[:_LISTED]]
        lines += [*described, *([f"and {count - _LISTED} more, in batch.csv"] if count > _LISTED else [])]
    if finding.largest_row is not None:
        row = finding.largest_row
        name = describe_row(row, replayed.origins[row], where, class_names)
        lines.append(f"largest magnitude before it, in {finding.before!r}: {finding.largest_before:.4g}, of {name}")
    return lines


def _cause(replayed: Replay, finding: Finding | None) -> str:
    if finding is not None and finding.in_few:
        return (
            "only the images above: this layer is finite for all others. Look at them in batch.png and at their files; "
            "correct or remove them, or give activations more range (model.dtype=float32)"
        )
    if finding is not None and finding.where == FORWARD and finding.outlier:
        return (
            f"probably the image in row {finding.largest_row}: its numbers in the layer before are far larger than "
            "those of the others, and batch norm mixes the images of a group. Look at it in batch.png and at its file"
        )
    losses = [
        mean_scalars([totals])["loss"] for step, totals in sorted(replayed.totals.items()) if step < replayed.step
    ]
    finite = [loss for loss in losses if math.isfinite(loss)]
    growth = f" (the loss rose from {min(finite):.3g} to {finite[-1]:.3g})" if _rises(finite) else ""
    return (
        f"not single images: weights or gradients left the range of the numbers{growth}. Train with a lower "
        "schedule.base_lr, a longer schedule.warmup_epochs, or optimizer.clip_norm"
    )


def _rises(losses: Sequence[float]) -> bool:
    return bool(losses) and losses[-1] > 1.5 * min(losses)


def describe_row(row: int, origin: RowOrigin, where: Callable[[int], str], class_names: Sequence[str]) -> str:
    """Describes the image in a row of the batch, for example 'row 17, FILE, class cat'."""
    return f"row {row}, {printable(where(origin.example))}, class {printable(class_names[origin.label])}"
