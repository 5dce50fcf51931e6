"""The log lines of --mode=diff."""

from collections.abc import Sequence

from resnet_jax.programs.difference.batches import Batches
from resnet_jax.programs.difference.compare import CAUSES, INTERVALS, Difference
from resnet_jax.programs.difference.parting import Parting, Together
from resnet_jax.programs.difference.runs import Run
from resnet_jax.text import labelled, labelled_lines, printable, some_of

_LISTED = 40  # maximum number of differences of one kind that are listed
_ROUNDING = 1e-5  # rounding explains relative differences up to this size at the first step that differs


def difference_lines(
    runs: tuple[Run, Run],
    found: Sequence[Difference],
    parting: Parting | Together,
    batches: Batches | None,
    changes: tuple[Sequence[str], Sequence[str]],
) -> list[str]:
    """Returns the lines that describe how two runs differ.

    Args:
      runs: the runs, A and B.
      found: everything in which they differ.
      parting: the first step at which their losses differ, or `Together` if they never differ.
      batches: the batches of that step; None if the losses never differ or the data are unknown.
      changes: for each run the result of `changes_within`.
    """
    described = [
        f"{letter}  {printable(run.word)}, {run.steps:,} steps" for letter, run in zip("AB", runs, strict=True)
    ]
    return [
        *labelled_lines("runs", described),
        *(line for kind in (*CAUSES, INTERVALS) for line in _of_kind(kind, found)),
        *labelled_lines(
            "later starts",
            [f"{letter} {line}" for letter, lines in zip("AB", changes, strict=True) for line in lines],
        ),
        *labelled_lines("losses", _losses(parting)),
        *labelled_lines("batch", _batch(batches) if batches else []),
        labelled("result", conclusion(found, parting)),
    ]


def _of_kind(kind: str, found: Sequence[Difference]) -> list[str]:
    own = [one for one in found if one.kind == kind]
    if not own:
        return [] if kind == INTERVALS else [labelled(kind, "no difference")]
    lines = [f"{one.name}: {printable(one.first)} in A, {printable(one.second)} in B" for one in own[:_LISTED]]
    if kind == INTERVALS:
        return [labelled("no effect", f"on training: {some_of([one.name for one in own], shown=8)}")]
    more = [f"and {len(own) - _LISTED} more, in diff.json"] if len(own) > _LISTED else []
    return labelled_lines(kind, [*lines, *more])


def _losses(parting: Parting | Together) -> list[str]:
    if isinstance(parting, Together):
        if not parting.compared:
            return ["no step to compare: the runs have no line of metrics in common"]
        if parting.exact:
            return [f"equal in all {parting.compared:,} steps that both have recorded, bit for bit"]
        return [f"equal up to step {parting.compared:,} in the lines that both metrics.jsonl have"]
    where = f"at step {parting.first}" if parting.is_exact else f"between steps {parting.first} and {parting.last}"
    before = f"; all steps before are equal {'bit for bit' if parting.is_exact else ''}".rstrip()
    lines = [f"part {where}{before if parting.first > 1 else ''}"]
    for name, (one, other) in (("loss", parting.losses), ("gradient norm", parting.grad_norms)):
        same = one == other
        note = "equal" if same else f"relative difference {relative(one, other):.1e}"
        lines.append(f"{name} {one:.9g} in A, {other:.9g} in B ({note})")
    return lines


def _batch(batches: Batches) -> list[str]:
    count = len(batches.first)
    if batches.are_equal:
        text = f"of step {batches.step}: the same {count:,} images in the same rows"
    elif not batches.same_data:
        text = f"of step {batches.step}: of other data"
    elif count == len(batches.second):
        text = f"of step {batches.step}: {batches.shared:,} of {count:,} images are in both"
    else:
        text = (
            f"of step {batches.step}: {count:,} images in A, {len(batches.second):,} in B, {batches.shared:,} in both"
        )
    return [text]


def conclusion(found: Sequence[Difference], parting: Parting | Together) -> str:
    """Returns the result as one sentence: the first step at which the losses differ, if any, and what else differs."""
    causes = [one for one in found if one.kind in CAUSES]
    names = some_of([one.name for one in causes], shown=5)
    if isinstance(parting, Together):
        if not parting.compared:
            return f"the runs differ in {names}" if causes else "nothing recorded differs"
        return f"the losses are equal, although {names} differ" if causes else "the runs do not differ"
    where = f"step {parting.first}" if parting.is_exact else f"steps {parting.first} to {parting.last}"
    if causes:
        rounding = ""
        largest = max(relative(*parting.losses), relative(*parting.grad_norms))
        if largest < _ROUNDING and parting.is_exact:
            rounding = f"; a relative difference of {largest:.0e} is one of rounding, which grows from step to step"
        return f"the losses part at {where}; what differs: {names}{rounding}"
    return (
        f"the losses part at {where}, and nothing that was recorded differs: files of the data were changed, a device "
        "does not add in a fixed order, or a machine is defective"
    )


def relative(first: float, second: float) -> float:
    """Returns the difference of two numbers relative to the larger magnitude; 1 if one of them is not finite."""
    difference, largest = abs(first - second), max(abs(first), abs(second))
    if first == second:
        return 0.0
    return difference / largest if difference < float("inf") else 1.0
