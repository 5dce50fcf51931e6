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


def line(outcome: Outcome) -> str:
    """One kill as a line of text, with its problems below."""
    cells = (f"{name} {cell}" for name, cell in zip(_HEADER, _cells(outcome), strict=True))
    return ", ".join(cells) + "".join(f"\n    WRONG: {problem}" for problem in outcome.problems)


def table(outcomes: Sequence[Outcome]) -> str:
    """All kills as a Markdown table."""
    return markdown([_HEADER, *map(_cells, outcomes)])


def summary(outcomes: Sequence[Outcome]) -> list[str]:
    """Steps lost and time until the processes had ended, by kind of kill."""
    lines = []
    for name in dict.fromkeys(outcome.kill.name for outcome in outcomes):
        of_kind = [outcome for outcome in outcomes if outcome.kill.name == name]
        lines.append(
            f"{name}: {len(of_kind)} times, at most {max(outcome.lost for outcome in of_kind)} steps lost, all "
            f"processes ended after at most {max(outcome.seconds for outcome in of_kind):.1f} s"
        )
    return lines


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
