"""The work directory of a run: its paths, its JSON files, and the check that a continued run has the same config."""

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from resnet_jax.data.class_names import check_same
from resnet_jax.errors import UsageError
from resnet_jax.files import locked, new_directories_removed_on_error, read_json, write_json
from resnet_jax.local_paths import local_path
from resnet_jax.nested import difference, flatten
from resnet_jax.old_settings import translated
from resnet_jax.reporting.failed_start import undone_if_start_fails

FINISHED = ("completed", "stop_at", "max_steps")  # the values of `stop_reason` of a finished run


class Workdir:
    """The paths and JSON files of one run. Only process 0 writes."""

    def __init__(self, path: str | os.PathLike):
        self.path = local_path(path, name="--workdir", only_utf8=True).resolve()
        self.checkpoints = self.path / "checkpoints"
        self.metrics = self.path / "metrics.jsonl"
        self.log = self.path / "train.log"
        self.result = self.path / "result.json"
        self.report = self.path / "report.png"
        self.inputs = self.path / "inputs.png"
        self.evaluations = self.path / "evaluations"  # one directory for each use of --mode=eval
        self._config = self.path / "config.json"
        self.bad_examples = self.path / "bad_examples.jsonl"
        self._run = self.path / "run.json"
        self._classes = self.path / "classes.json"
        self._has_begun = False

    @contextlib.contextmanager
    def lock(self, *, patience: float = 0.0) -> Iterator[None]:
        """Creates the directory and locks it against other processes in the `with` block. See also `files.locked`.

        If the block raises before `begin` was called, the directory is left as it was: what a failed start has created
        is removed, files of the user stay.
        """
        lock = self.path / ".lock"
        is_new, what = not lock.exists(), f"work directory {self.path}"
        cure = "choose another directory with --workdir=DIR"
        with new_directories_removed_on_error(self.path), locked(lock, what=what, cure=cure, patience=patience):
            try:
                with undone_if_start_fails(self.path, lambda: self._has_begun):
                    yield
            except BaseException:
                if is_new and not self._has_begun:
                    lock.unlink(missing_ok=True)
                raise

    def begin(self) -> None:
        """Declares that the run has results to keep: from now on, an error removes nothing from the directory."""
        self._has_begun = True

    @contextlib.contextmanager
    def marker(self) -> Iterator[str]:
        """Creates a file inside the `with` block and yields its name; other processes look for it with `has_marker`."""
        # Each marker file has a new name, because network file systems cache that a file does not exist.
        name = f".sign-{secrets.token_hex(8)}"
        path = self.path / name
        path.touch()
        try:
            yield name
        finally:
            path.unlink(missing_ok=True)

    def has_marker(self, name: str) -> bool:
        """Whether this process sees the marker file `name` of another process, so that the two share the directory."""
        return (self.path / name).exists()

    def check(
        self,
        settings: dict[str, Any],
        *,
        may_change: tuple[str, ...],
        defaults: dict[str, Any] | None = None,
        cure: Callable[[], str] = lambda: "choose another directory with --workdir=DIR",
    ) -> None:
        """Checks that a run with the config `settings` can start or continue in this directory; writes nothing.

        Args:
          settings: the resolved config, nested dicts of JSON values.
          may_change: dotted keys, or whole sections, that may differ from those of the run in this directory.
          defaults: default of every key, nested as `settings`; used for keys that were added to the project after
            the run was started. None treats such keys as differences.
          cure: makes the end of the error message: what the user can do.

        Raises:
          UsageError: the directory holds checkpoints of a run with another config.
        """
        if self.holds_checkpoints():  # without checkpoints there is nothing to continue
            stored = read_json(self._config, cure="choose another directory with --workdir=DIR")
            changes = difference(flatten(defaults or {}) | flatten(translated(stored)), settings, ignore=may_change)
            if changes:
                raise UsageError(
                    f"work directory {self.path} holds a run of another config ({'; '.join(changes)}): {cure()}"
                )

    def must_hold_a_run(self) -> None:
        """Raises UsageError if no run was started in this directory."""
        if not self._config.exists():
            raise UsageError(f"work directory {self.path} holds no run: name the directory of a run with --workdir=DIR")

    def check_classes(self, class_names: Sequence[str]) -> None:
        """Raises UsageError if `class_names`, those of the data, differ from those of the run in this directory."""
        if self._classes.exists() and self.holds_checkpoints():
            stored = read_json(self._classes, cure="choose another directory with --workdir=DIR")
            check_same(stored, class_names, owner=f"the run in {self.path}")

    def record_start(self, settings: dict[str, Any], start: dict[str, Any], *, class_names: Sequence[str]) -> None:
        """Writes `config.json` and `classes.json`, appends `start` to `run.json`, and removes an earlier `result.json`.

        Args:
          settings: the resolved config.
          start: JSON values of `provenance.describe_start`.
          class_names: names of the classes, in the order of the outputs.
        """
        self.result.unlink(missing_ok=True)
        write_json(self._config, settings)
        write_json(self._classes, list(class_names))
        starts = (
            read_json(self._run, cure="move this file elsewhere and run again")["starts"] if self._run.exists() else []
        )
        write_json(self._run, {"starts": [*starts, start]})

    def write_result(self, result: dict[str, Any]) -> None:
        """Writes `result.json`."""
        write_json(self.result, result)

    def finished(self, settings: dict[str, Any]) -> dict[str, Any] | None:
        """Returns the result of the run in this directory if it is finished under the config `settings`, else None.

        A run that ended at `train.max_steps` or `eval.stop_at` is not finished if that key has changed since.
        """
        result = read_json(self.result, cure="move this file elsewhere and run again") if self.result.exists() else None
        if result is None or result["stop_reason"] not in FINISHED:
            return None
        if result["stop_reason"] == "completed":
            return result
        limits = {"max_steps": ("train", "max_steps"), "stop_at": ("eval", "stop_at")}
        section, key = limits[result["stop_reason"]]
        stored = read_json(self._config, cure="choose another directory with --workdir=DIR")
        return result if stored[section].get(key) == settings[section].get(key) else None

    def holds_checkpoints(self) -> bool:
        """Whether a run in this directory has saved a checkpoint, from which it can continue."""
        return self._config.exists() and any(step.name.isdigit() for step in self.checkpoints.glob("*"))
