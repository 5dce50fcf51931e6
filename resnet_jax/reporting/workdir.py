"""The work directory: what a run leaves behind, and the check that it is the same run that goes on."""

import contextlib
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from resnet_jax.data.class_names import check_same
from resnet_jax.errors import UsageError
from resnet_jax.files import locked
from resnet_jax.nested import difference, flatten

FINISHED = ("completed", "stop_at", "max_steps")  # stop reasons of runs that need no continuing


class Workdir:
    """Paths and JSON files of one run. Writing is for process 0 alone."""

    def __init__(self, path: str | os.PathLike):
        if "://" in str(path):
            raise UsageError(f"work directory {path} is no local path: mount the bucket, and name the mount")
        self.path = Path(path).expanduser().resolve()
        self.checkpoints = self.path / "checkpoints"
        self.metrics = self.path / "metrics.jsonl"
        self.log = self.path / "train.log"
        self.result = self.path / "result.json"
        self.report = self.path / "report.png"
        self.evaluations = self.path / "evaluations"  # a directory each (`certificate.py`)
        self._config = self.path / "config.json"
        self.bad_examples = self.path / "bad_examples.jsonl"
        self._run = self.path / "run.json"
        self._classes = self.path / "classes.json"

    def lock(self, *, patience: float = 0.0) -> contextlib.AbstractContextManager[None]:
        """Makes the directory and keeps other processes out of it meanwhile; arguments and errors as of `locked`."""
        what = f"work directory {self.path}"
        return locked(self.path / ".lock", what=what, cure="name another with --workdir=DIR", patience=patience)

    @contextlib.contextmanager
    def sign(self) -> Iterator[str]:
        """Puts up a sign that other processes can look for meanwhile; its name."""
        name = f".sign-{secrets.token_hex(8)}"  # never looked for before: a network file system does not say no
        path = self.path / name
        path.touch()
        try:
            yield name
        finally:
            path.unlink(missing_ok=True)

    def shows(self, sign: str) -> bool:
        """Whether the sign is up here."""
        return (self.path / sign).exists()

    def check(
        self, settings: dict[str, Any], *, may_change: tuple[str, ...], defaults: dict[str, Any] | None = None
    ) -> None:
        """Makes sure that a run of `settings` can be started or continued here; writes nothing.

        Args:
          settings: the resolved config, nested dicts of JSON values.
          may_change: dotted keys, or beginnings of them, in which a continued run may differ.
          defaults: of all keys, nested as `settings`: what a run had that was begun before a key was there. None: such
            a key is a difference.

        Raises:
          UsageError: it holds a run of another config.
        """
        if self._holds_checkpoints():  # without any, there is nothing to spoil
            there = _read_json(self._config, cure="name another --workdir")
            changes = difference(flatten(defaults or {}) | flatten(there), settings, ignore=may_change)
            if changes:
                raise UsageError(
                    f"work directory {self.path} holds a run of another config ({'; '.join(changes)}): "
                    "name another with --workdir=DIR, or remove it"
                )

    def must_hold_a_run(self) -> None:
        """Raises UsageError if no run was ever started here."""
        if not self._config.exists():
            raise UsageError(f"work directory {self.path} holds no run: name that of one with --workdir=DIR")

    def check_classes(self, class_names: Sequence[str]) -> None:
        """Raises UsageError if the run here has other classes than `class_names`, those of the data."""
        if self._classes.exists() and self._holds_checkpoints():
            there = _read_json(self._classes, cure="name another --workdir")
            check_same(there, class_names, owner=f"the run in {self.path}")

    def record_start(self, settings: dict[str, Any], start: dict[str, Any], *, class_names: Sequence[str]) -> None:
        """Writes `config.json` and `classes.json`, and adds `start` (versions, devices, command) to `run.json`.

        The result of an earlier start goes: a run under way has none.
        """
        self.result.unlink(missing_ok=True)
        self._write(self._config, settings)
        self._write(self._classes, list(class_names))
        starts = _read_json(self._run, cure="remove it")["starts"] if self._run.exists() else []
        self._write(self._run, {"starts": [*starts, start]})

    def write_result(self, result: dict[str, Any]) -> None:
        """Writes `result.json`."""
        self._write(self.result, result)

    def finished(self, settings: dict[str, Any]) -> dict[str, Any] | None:
        """The result of a run that needs no continuing under `settings`; None if there is no such run here."""
        result = _read_json(self.result, cure="remove it and run again") if self.result.exists() else None
        if result is None or result["stop_reason"] not in FINISHED:
            return None
        if result["stop_reason"] == "completed":
            return result
        limits = {"max_steps": ("train", "max_steps"), "stop_at": ("eval", "stop_at")}
        section, key = limits[result["stop_reason"]]
        there = _read_json(self._config, cure="name another --workdir")
        return result if there[section].get(key) == settings[section].get(key) else None

    def forget_metrics_after(self, step: int) -> None:
        """Drops the lines of `metrics.jsonl` past `step`: the continued run writes them anew."""
        if not self.metrics.exists():
            return
        lines = self.metrics.read_text().splitlines()
        kept = [line for line in lines if (record := _parse(line)) is not None and record["step"] <= step]
        if len(kept) < len(lines):
            self._replace(self.metrics, "".join(line + "\n" for line in kept))

    def _holds_checkpoints(self) -> bool:
        return self._config.exists() and any(step.name.isdigit() for step in self.checkpoints.glob("*"))

    def _write(self, path: Path, content: dict[str, Any] | list[str]) -> None:
        self._replace(path, json.dumps(content, indent=2) + "\n")

    def _replace(self, path: Path, text: str) -> None:
        """Writes a file so that a reader, or a kill, finds the old or the new one, never half of it."""
        part = path.with_name(path.name + ".part")
        part.write_text(text)
        part.replace(path)


def _parse(line: str) -> dict[str, Any] | None:
    """A line of metrics, or None if a kill cut it short."""
    try:
        return json.loads(line)
    except json.JSONDecodeError:
        return None


def _read_json(path: Path, *, cure: str) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise UsageError(f"{path} cannot be read ({error}): {cure}") from None
