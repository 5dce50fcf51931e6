"""Observes a run from outside, by its log and its files."""

import json
import re
from collections.abc import Collection
from pathlib import Path

PHASES = ("start", "compile", "train", "save", "evaluation")


class Watch:
    """Observes one start of a run. Construct it before the start."""

    def __init__(self, workdir: Path, *, eval_every: int, damaged: Collection[int] = ()):
        """Takes the work directory, the number of steps between evaluations, and the steps of damaged checkpoints."""
        self._log, self._checkpoints = workdir / "train.log", workdir / "checkpoints"
        self._eval_every, self._damaged = eval_every, damaged
        self._offset = self._log.stat().st_size if self._log.exists() else 0
        self._seen = b""

    @property
    def began(self) -> bool:
        """Whether the log has a line: the imports are done and the config is read."""
        return bool(self._text())

    @property
    def compiled(self) -> bool:
        """Whether this start has compiled its steps."""
        return " compiled " in self._text()

    @property
    def continued_from(self) -> int | None:
        """The step from which this start continues; None: not in the log yet."""
        steps = self._numbers(r" continuing +from step (\d+)")
        return steps[-1] if steps else 0 if self.compiled else None

    @property
    def step(self) -> int:
        """The last step of the run: the last in the log of this start, else the step from which it continues."""
        begin = self.continued_from
        begin = (self.saved or 0) if begin is None else begin
        return max([begin, *self._numbers(r" step +(\d+)/")])

    @property
    def saved(self) -> int | None:
        """The step of the newest complete checkpoint that is not damaged."""
        steps = {int(path.name) for path in self._checkpoints.glob("*") if path.name.isdigit()}
        return max(steps.difference(self._damaged), default=None)

    @property
    def saving(self) -> int | None:
        """The step of the checkpoint that is being written."""
        matches = (re.match(r"(\d+)\.", path.name) for path in self._checkpoints.glob("*tmp*"))
        newest = max((int(match[1]) for match in matches if match), default=None)
        # A temporary directory older than a complete checkpoint is being removed.
        return None if newest is None or newest <= (self.saved or 0) else newest

    @property
    def phase(self) -> str:
        """One of `PHASES`."""
        if not self.began:
            return "start"
        if not self.compiled:
            return "compile"
        if self.saving is not None:
            return "save"
        return "evaluation" if self._evaluating() else "train"

    def _evaluating(self) -> bool:
        step = self.step
        due = step > 0 and step % self._eval_every == 0
        return due and step not in self._numbers(r" eval +(\d+)/") and not self._evaluated(step)

    def _evaluated(self, step: int) -> bool:
        """Whether the checkpoint of a step contains an evaluation."""
        try:
            return (
                json.loads((self._checkpoints / str(step) / "meta" / "metadata").read_text())["evaluation"] is not None
            )
        except (OSError, ValueError, KeyError):
            return False

    def _numbers(self, pattern: str) -> list[int]:
        return [int(number) for number in re.findall(pattern, self._text())]

    def _text(self) -> str:
        """The log lines of this start."""
        if self._log.exists():
            with self._log.open("rb") as file:
                file.seek(self._offset + len(self._seen))
                self._seen += file.read()
        return self._seen.decode(errors="replace")
