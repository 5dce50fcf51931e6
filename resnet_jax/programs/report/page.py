"""Makes report.html of a run: a single file that needs no other file, so that it can be sent to others."""

import datetime
from collections.abc import Sequence

import numpy as np

from resnet_jax.programs.report.contents import RunContents
from resnet_jax.programs.report.curves import Curve, panel
from resnet_jax.programs.report.evaluated import Images, evaluation
from resnet_jax.programs.report.html import cards, section, table, text
from resnet_jax.programs.report.pictures import picture
from resnet_jax.programs.report.settings import DEFAULT, settings
from resnet_jax.programs.report.style import STYLE
from resnet_jax.reporting.metrics_file import Columns
from resnet_jax.reporting.time_accounting import PHASES
from resnet_jax.text import duration

REPORT = "report.html"
_MOST_EVALUATIONS = 4  # only the newest evaluations are shown, because each may have dozens of images


def run_page(run: RunContents, images: Images | None, *, note: str = "") -> str:
    """Returns the page of a run.

    Args:
      run: the contents of the files of the run.
      images: the evaluation set of the run, whose images are shown; None: no images.
      note: text that says why there are no images; '' if there are images.
    """
    shown = run.evaluations[:_MOST_EVALUATIONS]
    parts = [
        section("Curves", run_curves([run])),
        section("Time", ledger(run)),
        section("Evaluations", *(evaluation(one, images) for one in shown), note and f"<p>{text(note)}</p>"),
        section("Inputs", picture(run.workdir.inputs, about="training and evaluation images as the network sees them")),
        section("Unreadable images", _bad_examples(run)),
        section("Settings", _settings(run)),
        section("Starts", _starts(run)),
    ]
    return document(run.name, cards(_numbers(run)), parts)


def document(title: str, head: str, sections: Sequence[str]) -> str:
    """Returns a complete HTML page with a title, the HTML `head` below it, links to the sections, and the sections."""
    shown = [one for one in sections if one]
    names = [(one.split('id="', 1)[1].split('"', 1)[0], one.split("<h2>", 1)[1].split("</h2>", 1)[0]) for one in shown]
    links = "".join(f'<a href="#{name}">{label}</a>' for name, label in names)
    made = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    body = "\n".join(shown)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{text(title)}</title><style>{STYLE}</style></head>
<body><header><h1>{text(title)}</h1><p class="faint">report of resnet_jax, {made}</p>{head}<nav>{links}</nav></header>
{body}
</body></html>
"""


def _numbers(run: RunContents) -> list[tuple[str, str]]:
    """Returns (name, value) of the main results of a run, which are shown at the top of the page."""
    result = run.result
    if result is None:
        return [("state", "not finished")]
    last, best = result["eval"] or {}, result["best"]
    return [
        ("top-1 at the end", percent(last.get("top1"))),
        ("top-5 at the end", percent(last.get("top5"))),
        ("images evaluated", f"{last['count']:,}" if last else ""),
        (f"best top-1, step {best['step']:,}" if best else "", percent(best["top1"]) if best else ""),
        ("of the steps", f"{result['step']:,} / {result['total_steps']:,}"),
        ("why it ended", result["stop_reason"]),
        ("images/s", f"{result['images_per_second']:,.0f}" if result["images_per_second"] else ""),
        ("wall time of the last start", duration(result["seconds"].get("total", 0.0))),
        ("devices", _devices(run)),
    ]


def _devices(run: RunContents) -> str:
    devices = run.starts[-1].get("devices") if run.starts else None
    if not isinstance(devices, list) or not devices:
        return ""
    kinds = " ".join(dict.fromkeys(str(devices[0]).split()))
    return f"{len(devices)} x {kinds}"


def percent(share: float | None) -> str:
    """Formats a share, 0 to 1, in percent; '' for None."""
    return "" if share is None else f"{100 * share:.2f} %"


def run_curves(runs: Sequence[RunContents]) -> str:
    """Returns panels with loss, accuracy, learning rate, gradient norm and speed of one run, or of several."""
    alone = len(runs) == 1
    panels = [
        panel("loss", _both(runs, "loss", 1.0, alone=alone)),
        panel("top-1 in percent", _both(runs, "top1", 100.0, alone=alone)),
        panel("learning rate", _curves(runs, "train", "lr", 1.0), zero=True),
        panel("gradient norm", _curves(runs, "train", "grad_norm", 1.0)),
        panel("images per second", _curves(runs, "train", "images_per_second", 1.0), zero=True),
    ]
    if alone:
        panels.append(panel("wall time in percent", _shares(runs[0]), zero=True))
    return f'<div class="curves">{"".join(panels)}</div>'


def _both(runs: Sequence[RunContents], name: str, factor: float, *, alone: bool) -> list[Curve]:
    """Returns the curves of a value that is measured in training and in evaluation.

    For a single run it returns both curves; for several runs one curve each: of the evaluations, or, if a run has none,
    of its training, dashed.
    """
    evaluated = _curves(runs, "eval", name, factor)
    trained = _curves(runs, "train", name, factor)
    if alone:
        return [
            *(curve._replace(name="training", color=0) for curve in trained),
            *(curve._replace(name="evaluation", color=1) for curve in evaluated),
        ]
    with_evaluations = {curve.color for curve in evaluated}
    others = [curve._replace(dashed=True) for curve in trained if curve.color not in with_evaluations]
    return sorted([*evaluated, *others], key=lambda curve: curve.color)


def _curves(runs: Sequence[RunContents], split: str, name: str, factor: float) -> list[Curve]:
    found = []
    for number, run in enumerate(runs):
        columns: Columns = run.metrics.get(split, {})
        if name in columns:
            found.append(Curve(run.name, columns["step"], factor * columns[name], number))
    return found


def _shares(run: RunContents) -> list[Curve]:
    columns = run.metrics.get("train", {})
    numbers = {phase: number for number, phase in enumerate(PHASES) if f"share_{phase}" in columns}
    curves = [
        Curve(phase, columns["step"], 100 * columns[f"share_{phase}"], number) for phase, number in numbers.items()
    ]
    return [curve for curve in curves if np.nanmax(curve.values, initial=0.0) > 2]


def ledger(run: RunContents) -> str:
    """Returns the wall time by phase as a bar and a table."""
    seconds = run.result["seconds"] if run.result else {}
    spent = {phase: seconds.get(phase, 0.0) for phase in PHASES if seconds.get(phase, 0.0) > 0}
    total = sum(spent.values())
    if not total:
        return ""
    colors = {phase: f"var(--s{number % 8})" for number, phase in enumerate(PHASES)}
    bar = "".join(
        f'<i style="width:{100 * s / total:.3f}%;background:{colors[phase]}"></i>' for phase, s in spent.items()
    )
    rows = [
        (f'<i class="key" style="background:{colors[phase]}"></i>{phase}', duration(s), f"{100 * s / total:.1f} %")
        for phase, s in spent.items()
    ]
    return f'<div class="bar">{bar}</div>{table(rows, head=("phase", "time", "share"), numbers=(1, 2))}'


def _bad_examples(run: RunContents) -> str:
    rows = [(f"<code>{text(one.get('where', ''))}</code>", text(one.get("error", ""))) for one in run.bad_examples]
    return table(rows, head=("image", "why"))


def _settings(run: RunContents) -> str:
    """Returns a table of the settings that are not defaults, and a collapsed table of all settings."""
    found = settings(run.config, run.starts)
    rows = [
        (f"<code>{text(one.key)}</code>", f"<code>{text(repr(one.value))}</code>", text(one.source)) for one in found
    ]
    head = ("key", "value", "from")
    changed = [row for row, one in zip(rows, found, strict=True) if one.source != DEFAULT]
    every = f"<details><summary>all {len(rows)} keys</summary>{table(rows, head=head)}</details>"
    return table(changed, head=head) + (every if rows else "")


def _starts(run: RunContents) -> str:
    parts = []
    for start in run.starts:
        versions = start.get("versions")
        known = {name: version for name, version in versions.items() if version} if isinstance(versions, dict) else {}
        command = start.get("command")
        rows = [
            ("time", text(start.get("time", ""))),
            ("from step", text(start.get("start_step", ""))),
            ("command", f"<code>{text(' '.join(map(str, command[1:])) if isinstance(command, list) else '')}</code>"),
            ("host", text(start.get("host", ""))),
            ("git commit", f"<code>{text(start.get('git_commit') or '')}</code>"),
            ("versions", text(", ".join(f"{name} {version}" for name, version in known.items()))),
        ]
        parts.append(table(rows))
    return "<br>".join(parts)
