"""Makes the page that compares several runs: curves in common panels, differing settings, and which run is better."""

from collections.abc import Sequence

from resnet_jax.errors import UsageError
from resnet_jax.programs.comparison.compare import compare
from resnet_jax.programs.comparison.lines import sentence
from resnet_jax.programs.comparison.runs import find_runs
from resnet_jax.programs.report.contents import RunContents
from resnet_jax.programs.report.html import section, table, text
from resnet_jax.programs.report.page import document, ledger, percent, run_curves
from resnet_jax.programs.report.settings import differences
from resnet_jax.programs.report.style import SERIES
from resnet_jax.text import duration

_MOST_DIFFERENCES = 60  # maximum number of differing config keys that are listed


def several_page(runs: Sequence[RunContents]) -> str:
    """Returns the page that compares several runs."""
    named = _with_different_names(runs)
    parts = [
        section("Results", _results(named)),
        section("Curves", run_curves(named)),
        section("Which is better", _comparison(named)),
        section("Different settings", _differences(named)),
        section("Time", *(f"<h3>{text(run.name)}</h3>{ledger(run)}" for run in named)),
    ]
    return document(" and ".join(run.name for run in named[:4]), "", parts)


def _with_different_names(runs: Sequence[RunContents]) -> list[RunContents]:
    """Replaces names that several runs have in common by the paths of their work directories."""
    names = [run.name for run in runs]
    return [run if names.count(run.name) == 1 else run._replace(name=str(run.workdir.path)) for run in runs]


def _results(runs: Sequence[RunContents]) -> str:
    rows = []
    for number, run in enumerate(runs):
        key = f'<i class="key" style="background:var(--s{number % SERIES})"></i>{text(run.name)}'
        result = run.result
        if result is None:
            rows.append((key, "", "", "", "", "not finished"))
            continue
        best, last = result["best"], result["eval"] or {}
        rate = result["images_per_second"]
        rows.append(
            (
                key,
                percent(last.get("top1")),
                percent(best["top1"] if best else None),
                f"{rate:,.0f}" if rate else "",
                duration(result["seconds"].get("total", 0.0)),
                f"{result['step']:,} of {result['total_steps']:,} steps, {text(result['stop_reason'])}",
            )
        )
    head = ("run", "top-1 at the end", "best top-1", "images/s", "wall time", "state")
    return table(rows, head=head, numbers=(1, 2, 3, 4))


def _comparison(runs: Sequence[RunContents]) -> str:
    """Returns HTML with a paired comparison of the runs' predictions for the same images, or with why there is none."""
    try:
        found = find_runs([str(run.workdir.path) for run in runs])
        comparison = compare([[run] for run in found])
    except UsageError as error:
        return f"<p>{text(error)}</p>"
    letters = [
        (group.letter, text(run.name), text(group.weights[0]))
        for group, run in zip(comparison.groups, runs, strict=True)
    ]
    lines = "".join(f"<p>{text(sentence(comparison, one))}</p>" for one in comparison.differences)
    return table(letters) + lines + "<p class='faint'>McNemar's exact test; --mode=compare has more.</p>"


def _differences(runs: Sequence[RunContents]) -> str:
    found = list(differences([run.config for run in runs]).items())
    rows = [
        (f"<code>{text(key)}</code>", *(f"<code>{text(repr(value))}</code>" for value in values))
        for key, values in found[:_MOST_DIFFERENCES]
    ]
    more = f"<p>and {len(found) - _MOST_DIFFERENCES} more</p>" if len(found) > _MOST_DIFFERENCES else ""
    return table(rows, head=("key", *(text(run.name) for run in runs))) + more or "<p>None.</p>"
