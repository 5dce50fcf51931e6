"""What a run does at the moment, seen from outside: by its log and its files."""

import json
import re
from pathlib import Path

PHASES = ("start", "compile", "train", "save", "evaluation")


class Watch:
    """Looks at a run since one of its starts; to be made before it."""

    def __init__(self, workdir: Path, *, eval_every: int):
        """Watches the work directory of a run that is evaluated every `eval_every` steps."""
        self._log, self._checkpoints = workdir / "train.log", workdir / "checkpoints"
        self._eval_every = eval_every
        self._offset = self._log.stat().st_size if self._log.exists() else 0
        self._seen = b""

    @property
    def began(self) -> bool:
        """Whether the run has said anything: imports are over, the config is read."""
        return bool(self._text())

    @property
    def compiled(self) -> bool:
        """Whether this start has compiled its steps."""
        return " compiled " in self._text()

    @property
    def went_on_from(self) -> int | None:
        """The step that this start goes on from; None: it has not come so far as to say."""
        steps = self._numbers(r" continuing +from step (\d+)")
        return steps[-1] if steps else 0 if self.compiled else None

    @property
    def step(self) -> int:
        """The last step that was made and is not lost: reported by this start, or what it goes on from."""
        begin = self.went_on_from
        begin = (self.saved or 0) if begin is None else begin
        return max([begin, *self._numbers(r" step +(\d+)/")])

    @property
    def saved(self) -> int | None:
        """The newest checkpoint that is whole."""
        return max((int(path.name) for path in self._checkpoints.glob("*") if path.name.isdigit()), default=None)

    @property
    def saving(self) -> int | None:
        """The step of the checkpoint that is being written."""
        matches = (re.match(r"(\d+)\.", path.name) for path in self._checkpoints.glob("*tmp*"))
        newest = max((int(match[1]) for match in matches if match), default=None)
        # What is older than a whole one is being removed.
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
        """Whether the checkpoint of a step has an evaluation."""
        try:
            return (
                json.loads((self._checkpoints / str(step) / "meta" / "metadata").read_text())["evaluation"] is not None
            )
        except (OSError, ValueError, KeyError):
            return False

    def _numbers(self, pattern: str) -> list[int]:
        return [int(number) for number in re.findall(pattern, self._text())]

    def _text(self) -> str:
        """The log of this start."""
        if self._log.exists():
            with self._log.open("rb") as file:
                file.seek(self._offset + len(self._seen))
                self._seen += file.read()
        return self._seen.decode(errors="replace")
