"""The results of a drill as a table and as JSON."""

import datetime
import json
import os
import platform
from collections.abc import Sequence
from typing import Any

from benchmarks.table import markdown
from drill.disturbance import Setting
from drill.kills import Kill, Outcome
from drill.moments import INTERVAL
from drill.watching import PHASES

_HEADER = (
    "number",
    "phase",
    "kill",
    "to",
    "exit statuses",
    "ended after",
    "saved",
    "at step",
    "continued from",
    "lost",
)
_SUMMARY_HEADER = ("kill", *PHASES, "kills", "most steps lost", "all ended after at most", "problems")


def line(outcome: Outcome) -> str:
    """One kill as a line of text, with its problems below."""
    cells = (f"{name} {cell}" for name, cell in zip(_HEADER, _cells(outcome), strict=True))
    return ", ".join(cells) + "".join(f"\n    WRONG: {problem}" for problem in outcome.problems)


def table(outcomes: Sequence[Outcome]) -> str:
    """All kills as a Markdown table."""
    return markdown([_HEADER, *map(_cells, outcomes)])


def summary(outcomes: Sequence[Outcome]) -> str:
    """A Markdown table with a row for each kind of kill: its number in each phase, and its largest costs."""
    return markdown([_SUMMARY_HEADER, *(_totals(name, of_kind) for name, of_kind in _by_name(outcomes).items())])


def _by_name(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    """Name of the kill -> its outcomes, in the order of the first of each; then 'all' with all outcomes."""
    found: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        found.setdefault(outcome.kill.name, []).append(outcome)
    return {**found, "all": list(outcomes)}


def _totals(name: str, outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    phases = [sum(outcome.phase == phase for outcome in outcomes) for phase in PHASES]
    lost = max((outcome.lost for outcome in outcomes), default=0)
    seconds = max((outcome.seconds for outcome in outcomes), default=0.0)
    problems = sum(len(outcome.problems) for outcome in outcomes)
    return name, *map(str, (*phases, len(outcomes), lost)), f"{seconds:.1f} s", str(problems)


def record(setting: Setting, seed: int, outcomes: Sequence[Outcome], found: Sequence[str]) -> dict[str, Any]:
    """All results, with versions and machine, as JSON values."""
    runs = setting.undisturbed / "run.json"
    start = json.loads(runs.read_text())["starts"][0] if runs.exists() else {}
    return {
        "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "git_commit": start.get("git_commit"),
        "versions": start.get("versions"),
        "machine": {"platform": platform.platform(), "processor": _processor(), "cores": os.cpu_count()},
        "seed": seed,
        "processes": setting.processes,
        "devices_per_process": setting.devices,
        "total_steps": setting.steps,
        "checkpoint_interval": INTERVAL,
        "kills": [outcome.to_json() for outcome in outcomes],
        "problems": list(found),
    }


def _cells(outcome: Outcome) -> tuple[str, ...]:
    kill = outcome.kill
    missed = "" if kill.phase == outcome.phase else f" (planned: {kill.phase})"
    return (
        str(kill.number),
        outcome.phase + missed,
        kill.name + (" (with workers)" if kill.workers and kill.way != "worker" else ""),
        _victims(kill),
        ", ".join("-" if status is None else str(status) for status in outcome.statuses),
        f"{outcome.seconds:.1f} s",
        "-" if outcome.saved is None else str(outcome.saved),
        str(outcome.step),
        str(outcome.resumed),
        str(outcome.lost),
    )


def _victims(kill: Kill) -> str:
    return "all" if len(kill.victims) > 1 or kill.way == "group" else f"process {kill.victims[0]}"


def _processor() -> str:
    """The model name of the CPU, if the system provides it."""
    try:
        with open("/proc/cpuinfo") as lines:  # noqa: PTH123
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()
