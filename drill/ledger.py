"""Keeps what a drill has done so far, so that the same command continues a drill that was interrupted."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from drill.kills import Outcome
from drill.moments import Pace


class Ledger:
    """The files `plan.json`, `pace.json` and `outcomes.jsonl` of a drill."""

    def __init__(self, directory: Path, plan: dict[str, Any]):
        """Opens or begins the drill in a directory.

        Args:
          directory: directory of the drill, created if necessary.
          plan: the options of the drill and the version of the program, JSON values.

        Raises:
          ValueError: the directory has other content, or a drill with another plan.
        """
        self._plan, self._pace = directory / "plan.json", directory / "pace.json"
        self._outcomes = directory / "outcomes.jsonl"
        if directory.exists() and any(directory.iterdir()):
            if not self._plan.is_file():
                raise ValueError(f"{directory} is not empty: remove it, or name a new directory with --workdir")
            if json.loads(self._plan.read_text()) != plan:
                raise ValueError(
                    f"{directory} holds a drill with other options or of another version of the program: name a new "
                    "directory with --workdir"
                )
        directory.mkdir(parents=True, exist_ok=True)
        self._plan.write_text(json.dumps(plan) + "\n")
        if self._outcomes.exists():  # the last line may be incomplete
            self._outcomes.write_text("".join(self._lines()))

    @property
    def pace(self) -> Pace | None:
        """The pace of the undisturbed run; None: that run has not ended yet."""
        return Pace(**json.loads(self._pace.read_text())) if self._pace.exists() else None

    def set_pace(self, pace: Pace) -> None:
        """Records that the undisturbed run has ended."""
        self._pace.write_text(json.dumps(dataclasses.asdict(pace)) + "\n")

    def outcomes(self) -> list[Outcome]:
        """Returns the outcomes of the kills that were made so far."""
        return [Outcome.from_json(json.loads(line)) for line in self._lines()]

    def add(self, outcome: Outcome) -> None:
        """Records the outcome of a kill."""
        with self._outcomes.open("a") as file:
            file.write(json.dumps(outcome.to_json()) + "\n")

    def _lines(self) -> list[str]:
        """The complete lines of `outcomes.jsonl`."""
        lines = self._outcomes.read_text().splitlines(keepends=True) if self._outcomes.exists() else []
        return [line for line in lines if line.endswith("\n")]
