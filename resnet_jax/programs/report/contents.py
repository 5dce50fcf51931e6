"""Reads the files of a run for its report. Missing and damaged files are skipped."""

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from resnet_jax.configs.default import KEYS
from resnet_jax.errors import UsageError
from resnet_jax.files import read_json
from resnet_jax.nested import flatten
from resnet_jax.old_settings import translated
from resnet_jax.programs.evaluation.answers import ANSWERS, StoredAnswers, read
from resnet_jax.reporting.metrics_file import Columns, read_columns
from resnet_jax.reporting.workdir import Workdir

_MOST_BAD = 50  # maximum number of unreadable images that are listed


class Evaluated(NamedTuple):
    """An evaluation of a run."""

    name: str  # name of its result directory
    certificate: dict[str, Any]
    answers: StoredAnswers | None  # the predictions; None: `answers.npz` is damaged, or missing as in earlier versions


class RunContents(NamedTuple):
    """The contents of the files of a run."""

    name: str
    workdir: Workdir
    config: dict[str, Any]  # dotted config key -> value
    starts: list[dict[str, Any]]  # the record of each start of the run, from `run.json`
    result: dict[str, Any] | None
    metrics: Mapping[str, Columns]
    bad_examples: list[dict[str, Any]]
    evaluations: list[Evaluated]  # the newest first


def read_run(path: str | Path) -> RunContents:
    """Reads a run. Raises UsageError if the directory holds no run, or if one of its files is a directory or a pipe."""
    workdir = Workdir(path)
    workdir.must_hold_a_run()
    workdir.check_kinds()
    metrics: Mapping[str, Columns] = {}
    with contextlib.suppress(OSError, ValueError):
        metrics = read_columns(workdir.metrics)
    run = _json(workdir.path / "run.json", {"starts": [dict]})
    return RunContents(
        name=workdir.path.name,
        workdir=workdir,
        config=_config(workdir.path / "config.json"),
        starts=run["starts"] if run else [],
        result=workdir.stored_result(),
        metrics=metrics,
        bad_examples=_lines(workdir.bad_examples),
        evaluations=_evaluations(workdir.evaluations),
    )


def _config(path: Path) -> dict[str, Any]:
    """Returns the config of a run by dotted key; keys that were added to the program later have their defaults."""
    defaults = {key.name: key.default for key in KEYS}
    try:
        return defaults | flatten(translated(_json(path, dict) or {}))
    except (AttributeError, KeyError, TypeError, ZeroDivisionError, RecursionError):  # the file is not a run's config
        return defaults


def _json(path: Path, shape: Any) -> Any:
    try:
        return read_json(path, cure="", shape=shape)
    except UsageError:
        return None


def _lines(path: Path) -> list[dict[str, Any]]:
    """Returns the first `_MOST_BAD` objects of a JSON Lines file."""
    found: list[dict[str, Any]] = []
    with contextlib.suppress(OSError, ValueError), path.open(encoding="utf-8") as file:
        for line in file:
            record = json.loads(line)
            if isinstance(record, dict) and len(found) < _MOST_BAD:
                found.append(record)
    return found


def _evaluations(directory: Path) -> list[Evaluated]:
    found = []
    shape = {"eval": {"top1": (int, float, None), "count": int}, "data": {"name": str}, "provenance": {"time": str}}
    for file in directory.glob("*/certificate.json"):
        certificate = _json(file, shape)
        if certificate is not None:
            found.append(Evaluated(file.parent.name, certificate, _answers(file.parent / ANSWERS)))
    return sorted(found, key=lambda one: one.certificate["provenance"]["time"], reverse=True)


def _answers(path: Path) -> StoredAnswers | None:
    try:
        return read(path)
    except UsageError:
        return None
