"""Compares two runs: config, versions, devices, data and code."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from resnet_jax.config_keys import Effect
from resnet_jax.configs.default import KEYS
from resnet_jax.nested import flatten
from resnet_jax.programs.difference.runs import Run
from resnet_jax.reporting.code_state import changed_files, files_between
from resnet_jax.text import some_of

CONFIG, INTERVALS, VERSIONS, DEVICES, DATA, CODE = "config", "intervals", "versions", "devices", "data", "code"
# Kinds of differences that can change the losses of a run. The other kind, `INTERVALS`, cannot.
CAUSES = (CONFIG, VERSIONS, DEVICES, DATA, CODE)

# Keys that may be changed when a run is resumed, but count as `CONFIG` here: they change the order of summation, and so
# the rounding.
_ROUNDING_KEYS = ("train.accumulate", "train.per_device_limit")
_OF_OTHER_MODES = ("predict", "export", "show", "check_data", "plan", "benchmark", "prepare", "replay")


class Difference(NamedTuple):
    """A setting, version or other recorded value that differs between two runs."""

    kind: str  # `CONFIG`, `INTERVALS` (config keys that do not affect training), `VERSIONS`, ...
    name: str  # what differs, such as 'schedule.base_lr' or 'jax'
    first: str  # the value in the first run, as text
    second: str


def differences(first: Run, second: Run) -> list[Difference]:
    """Returns all differences between two runs; those that can change the losses (`CAUSES`) come first."""
    found = [
        *_config(first, second),
        *_mapping(VERSIONS, first.start.get("versions"), second.start.get("versions")),
        *_mapping(DEVICES, _devices(first.start), _devices(second.start)),
        *_mapping(DATA, first.start.get("data"), second.start.get("data")),
        *_code(first, second),
    ]
    return sorted(found, key=lambda one: one.kind == INTERVALS)


def changes_within(run: Run) -> list[str]:
    """Returns a line for each later start of a run that differs from its first start in versions, devices or code."""
    lines = []
    for start in run.starts[1:]:
        earlier = run._replace(starts=run.starts[:1])
        later = run._replace(starts=[start])
        found = [one for one in differences(earlier, later) if one.kind in (VERSIONS, DEVICES, CODE)]
        if found:
            names = some_of([f"{one.name} {one.first} -> {one.second}" for one in found])
            lines.append(f"from step {start.get('start_step')}: {names}")
    return lines


def _config(first: Run, second: Run) -> Iterator[Difference]:
    for key in KEYS:
        one, other = first.settings[key.name], second.settings[key.name]
        if _plain(one) != _plain(other) and key.name.split(".")[0] not in _OF_OTHER_MODES:
            free = key.effect is Effect.FREE or key.name.startswith("eval.")
            free = free and key.name not in _ROUNDING_KEYS
            yield Difference(INTERVALS if free else CONFIG, key.name, str(_plain(one)), str(_plain(other)))


def _plain(value: Any) -> Any:
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value


def _devices(start: Mapping[str, Any]) -> dict[str, Any] | None:
    """Returns number and kind of the devices, and the number of processes, of a start; None if they are unknown."""
    devices = start.get("devices")
    if devices is None:
        return None
    kinds = sorted(set(devices))
    return {"devices": f"{len(devices)} x {', '.join(kinds)}", "processes": start.get("processes")}


def _mapping(kind: str, first: Mapping[str, Any] | None, second: Mapping[str, Any] | None) -> Iterator[Difference]:
    """Yields the differences between the values of two nested dicts; nothing if one dict is None (unknown)."""
    if first is None or second is None:
        return
    one, other = flatten(dict(first)), flatten(dict(second))
    for name in sorted(one.keys() | other.keys()):
        if one.get(name) != other.get(name):
            yield Difference(kind, name, str(one.get(name, "absent")), str(other.get(name, "absent")))


def _code(first: Run, second: Run) -> Iterator[Difference]:
    commits = [_commit(run) for run in (first, second)]
    if commits[0] != commits[1]:
        between = files_between(*commits) if all(map(_is_commit, commits)) else None
        note = "" if between is None else f" ({len(between)} files differ: {some_of(between)})"
        yield Difference(CODE, "commit", commits[0], commits[1] + note)
    changes = [_uncommitted(run) for run in (first, second)]
    if changes[0] != changes[1]:
        yield Difference(CODE, "uncommitted changes", *(_changes_in_words(run) for run in (first, second)))
    hashes = [(run.start.get("code") or {}).get("sources_sha256") for run in (first, second)]
    alike = commits[0] == commits[1] and changes[0] == changes[1]
    if alike and None not in hashes and hashes[0] != hashes[1]:
        yield Difference(CODE, "hash of the sources", *(str(sha256)[:12] for sha256 in hashes))


def _commit(run: Run) -> str:
    return (run.start.get("git_commit") or "unknown").removesuffix("-dirty")


def _is_commit(text: str) -> bool:
    return bool(re.fullmatch("[0-9a-f]{40}", text))


def _uncommitted(run: Run) -> str | None:
    """Returns the hash of the uncommitted code changes of a run; None if there were none.

    Returns 'unknown' if there were some, but an earlier version of this program did not record their hash.
    """
    code = run.start.get("code")
    if code is None:
        return "unknown" if (run.start.get("git_commit") or "").endswith("-dirty") else None
    changes = code.get("uncommitted")
    return None if changes is None else str(changes.get("sha256"))


def _changes_in_words(run: Run) -> str:
    sha256 = _uncommitted(run)
    if sha256 is None or sha256 == "unknown":
        return "none" if sha256 is None else "some, not recorded"
    name = run.start["code"]["uncommitted"].get("file")
    path = run.workdir.code / str(name)
    if not isinstance(name, str) or Path(name).name != name or not path.is_file():
        return f"a diff of hash {sha256[:12]}"
    files = changed_files(path.read_text(encoding="utf-8", errors="replace"))
    return f"{some_of(files)} ({path})"
