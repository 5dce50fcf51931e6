"""The work directory of a run: its paths, its JSON files, and the check that a continued run has the same config."""

import contextlib
import logging
import math
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from resnet_jax.data.class_names import check_same
from resnet_jax.errors import UsageError
from resnet_jax.files import (
    locked,
    new_directories_removed_on_error,
    numbered,
    read_json,
    set_aside_as_damaged,
    write_json,
)
from resnet_jax.local_paths import is_bucket, kind_of, local_path
from resnet_jax.nested import difference, flatten, has_shape
from resnet_jax.old_settings import ADDED, translated
from resnet_jax.reporting.failed_start import undone_if_start_fails
from resnet_jax.storage.mirror import Mirror

logger = logging.getLogger(__name__)

FINISHED = ("completed", "stop_at", "max_steps")  # values of 'stop_reason' in `result.json` if the run is finished


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _are_seconds(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_number, value.values()))


# Defaults and types (see `nested.has_shape`) of the values of `result.json` that other commands read. The top-1
# accuracy of an evaluation may be NaN.
_RESULT_DEFAULTS: dict[str, Any] = {
    "eval": None,
    "best": None,
    "bad_examples": 0,
    "failed_step": None,
    "images_per_second": None,
    "seconds": {},
}
_RESULT_SHAPE = {
    "step": int,
    "total_steps": int,
    "stop_reason": str,
    "eval": ({"count": int, "top1": (int, float), "top5": (int, float, None)}, None),
    "best": ({"step": int, "top1": _is_number}, None),
    "bad_examples": int,
    "failed_step": (int, None),
    "images_per_second": (_is_number, None),
    "seconds": _are_seconds,
}
_STARTS_SHAPE = {"starts": [dict]}
_FROM_CONFIG = "restore it from a copy; or move it away and run again with the same --config and keys as before"


class Workdir:
    """The paths and JSON files of one run. In a run of several processes, only process 0 writes."""

    def __init__(self, path: str | os.PathLike):
        self.mirror = Mirror(os.fspath(path)) if is_bucket(path) else None  # local copy, if in a bucket
        local = self.mirror.path if self.mirror else path
        self.path = local_path(local, name="--workdir", only_utf8=True).resolve()
        self.checkpoints = self.path / "checkpoints"
        self.metrics = self.path / "metrics.jsonl"
        self.steps = self.path / "steps.f32"  # loss and gradient norm of each step
        self.code = self.path / "code"  # diffs of the uncommitted changes with which the run was started
        self.log = self.path / "train.log"
        self.result = self.path / "result.json"
        self.report, self.report_page = self.path / "report.png", self.path / "report.html"
        self.inputs = self.path / "inputs.png"
        self.data_check = self.path / "data_check.json"  # result of --mode=check_data
        self.averages = self.path / "averages"  # checkpoints that --mode=average writes
        self.replays = self.path / "replays"  # one directory for each step that --mode=replay has computed again
        self.evaluations = self.path / "evaluations"  # one directory for each evaluation by --mode=eval
        self._config = self.path / "config.json"
        self.bad_examples = self.path / "bad_examples.jsonl"
        self._run = self.path / "run.json"
        self._classes = self.path / "classes.json"
        self._has_begun = False

    def check_kinds(self) -> None:
        """Raises UsageError if there is a directory at the path of a file, or a file at the path of a directory."""
        files = (self._config, self._run, self._classes, self.metrics, self.steps, self.log, self.result, self.report)
        for path in (*files, self.report_page, self.inputs, self.bad_examples, self.path / ".lock"):
            if os.path.lexists(path) and not path.is_file() and not _is_link_to_new_file(path):
                raise UsageError(f"{path} is {kind_of(path)}, and a file is needed there: move it away and run again")
        directories = (self.checkpoints, self.evaluations, self.code, self.averages, self.replays)
        for path in (*directories, self.path / "damaged_checkpoints"):
            if os.path.lexists(path) and not path.is_dir():
                raise UsageError(
                    f"{path} is {kind_of(path)}, and a directory is needed there: move it away and run again"
                )

    @contextlib.contextmanager
    def lock(self, *, patience: float = 0.0, lost: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Creates the directory and locks it against other processes in the `with` block.

        For a directory in a bucket, its local copy is locked, updated from the bucket, and uploaded (`Mirror.session`).
        If the block raises before `begin` was called, the files that it has created are removed again; files of the
        user are kept.

        Args:
          patience: seconds to wait for a lock that another process holds, see `files.locked`.
          lost: called if another process takes over the directory in the bucket.

        Raises:
          UsageError: another process has locked the directory, the directory cannot be written, or `check_kinds`
            found a problem.
        """
        self.check_kinds()
        lock = self.path / ".lock"
        is_new, what = not lock.exists(), f"work directory {self.path}"
        cure = "choose another directory with --workdir=DIR"
        with new_directories_removed_on_error(self.path), locked(lock, what=what, cure=cure, patience=patience):
            try:
                with self._mirrored(lost), undone_if_start_fails(self.path, lambda: self._has_begun):
                    yield
            except BaseException:
                if is_new and not self._has_begun:
                    lock.unlink(missing_ok=True)
                raise

    def _mirrored(self, lost: Callable[[], None]) -> contextlib.AbstractContextManager[Any]:
        if self.mirror is None:
            return contextlib.nullcontext()
        return self.mirror.session(has_begun=lambda: self._has_begun, lost=lost)

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
        """Whether this process sees the marker file `name` of another process: if so, they share the directory."""
        return (self.path / name).exists()

    def check(
        self,
        settings: dict[str, Any],
        *,
        may_change: tuple[str, ...],
        without_checkpoints: bool = False,
        defaults: dict[str, Any] | None = None,
        cure: Callable[[], str] = lambda: "choose another directory with --workdir=DIR",
    ) -> None:
        """Checks that a run with the config `settings` can start or continue in this directory; writes nothing.

        Args:
          settings: the resolved config, nested dicts of JSON values.
          may_change: dotted keys, or whole sections, that may differ from those of the run in this directory.
          without_checkpoints: whether a run without checkpoints is checked too. If False, such a run may start again
            with another config.
          defaults: default of every key, nested as `settings`. They replace the missing values of keys that were
            added to this project after the run was started. None: such keys count as differences.
          cure: returns the end of the error message, which says what the user can do.

        Raises:
          UsageError: the directory holds checkpoints of a run with another config, or that config cannot be read.
        """
        if not self._config.exists() and numbered(self.checkpoints):
            logger.warning("%s is missing, so only data and network are compared with those of the run", self._config)
        if self.holds_checkpoints() or (without_checkpoints and self._config.exists()):
            changes = difference(flatten(defaults or {}) | self._stored_config(), settings, ignore=may_change)
            if changes:
                raise UsageError(
                    f"work directory {self.path} holds a run of another config ({'; '.join(changes)}): {cure()}"
                )

    def _stored_config(self) -> dict[str, Any]:
        """Returns the values of `config.json` by dotted key. Raises UsageError if it cannot be read."""
        stored = read_json(self._config, cure=_FROM_CONFIG, shape=dict)
        try:
            return flatten(translated(stored))
        except (AttributeError, KeyError, TypeError, ZeroDivisionError, RecursionError):
            raise UsageError(f"{self._config} is not the config of a run: {_FROM_CONFIG}") from None

    def keys_added_since(self) -> tuple[str, ...]:
        """Returns the keys of `old_settings.ADDED` that did not exist when the run in this directory began."""
        if not (self.holds_checkpoints() and self._config.exists()):
            return ()
        stored = self._stored_config()
        return tuple(key for key in ADDED if key not in stored)

    def must_hold_a_run(self) -> None:
        """Raises UsageError if no run was started in this directory."""
        if not self._config.exists():
            raise UsageError(f"work directory {self.path} holds no run: name the directory of a run with --workdir=DIR")

    def check_classes(self, class_names: Sequence[str]) -> None:
        """Raises UsageError if `class_names`, the names in the data, differ from those of the run in this directory."""
        if self._classes.exists() and self.holds_checkpoints():
            consequence = "the class names of the data are written again"
            stored = self._read_or_set_aside(self._classes, [str], consequence)
            if stored is not None:  # None: the file is damaged, and only the hash in the checkpoints is checked, later
                check_same(stored, class_names, owner=f"the run in {self.path}")

    def record_start(self, settings: dict[str, Any], start: dict[str, Any], *, class_names: Sequence[str]) -> None:
        """Writes `config.json` and `classes.json`, appends `start` to `run.json`, and removes an old `result.json`.

        Args:
          settings: the resolved config.
          start: JSON values that describe this start of the run, see `provenance.describe_start`.
          class_names: names of the classes, in the order of the outputs.
        """
        self.result.unlink(missing_ok=True)
        write_json(self._config, settings)
        write_json(self._classes, list(class_names))
        earlier = self._read_or_set_aside(self._run, _STARTS_SHAPE, "the list of starts begins anew")
        write_json(self._run, {"starts": [*(earlier["starts"] if earlier else []), start]})

    def starts(self) -> list[dict[str, Any]]:
        """Returns the records of the run's starts in `run.json`, oldest first; [] if it is missing or damaged."""
        try:
            starts: list[dict[str, Any]] = read_json(self._run, cure="", shape=_STARTS_SHAPE)["starts"]
        except UsageError:
            return []
        return starts

    def earlier_run_id(self) -> str | None:
        """Returns the `run_id` of the latest start in `run.json`; None if it is missing or damaged."""
        starts = self.starts()
        return starts[-1]["run_id"] if starts and has_shape(starts[-1], {"run_id": str}) else None

    def write_result(self, result: dict[str, Any]) -> None:
        """Writes `result.json`."""
        write_json(self.result, result)

    def finished(self, settings: dict[str, Any]) -> dict[str, Any] | None:
        """Returns `result.json` if the run in this directory is finished and `settings` do not prolong it, else None.

        `settings` is a resolved config. It prolongs a run that ended because of `train.max_steps` or `eval.stop_at` if
        it has another value of this key.
        """
        result = self.stored_result()
        if result is None and self.result.exists():
            self._set_aside(self.result, "the run continues from its newest checkpoint and writes the result again")
        if result is None or result["stop_reason"] not in FINISHED:
            return None
        if result["stop_reason"] == "completed":
            return result
        limits = {"max_steps": ("train", "max_steps"), "stop_at": ("eval", "stop_at")}
        section, key = limits[result["stop_reason"]]
        stored = self._stored_config().get(f"{section}.{key}")
        return result if stored == settings[section].get(key) else None

    def stored_result(self) -> dict[str, Any] | None:
        """Returns the content of `result.json`; None if there is none or it is damaged."""
        try:
            stored = read_json(self.result, cure="", shape=dict)
        except UsageError:
            return None
        result = _RESULT_DEFAULTS | {"total_steps": stored.get("step")} | stored
        return result if has_shape(result, _RESULT_SHAPE) else None

    def holds_checkpoints(self) -> bool:
        """Whether a run in this directory has saved a checkpoint, from which it can continue."""
        return self._config.exists() and bool(numbered(self.checkpoints))

    def _read_or_set_aside(self, path: Path, shape: Any, consequence: str) -> Any:
        """Returns the content of a JSON file; None if there is no file. Renames a damaged file and returns None."""
        if not path.exists():
            return None
        try:
            return read_json(path, cure="", shape=shape)
        except UsageError:
            self._set_aside(path, consequence)
            return None

    def _set_aside(self, path: Path, consequence: str) -> None:
        logger.warning("%s is damaged: it was moved to %s, and %s", path, set_aside_as_damaged(path), consequence)


def _is_link_to_new_file(path: Path) -> bool:
    """Whether a path is a symbolic link to a missing file in an existing directory, so that the file can be created."""
    target = Path(os.path.realpath(path))  # if symbolic links form a cycle, this is one of them
    return path.is_symlink() and not os.path.lexists(target) and target.parent.is_dir()
