"""A bucket in memory, which can die after a number of writes, and a run that writes into its mirror."""

import itertools
import json
import shutil
from pathlib import Path

import tensorstore

from resnet_jax.storage.mirror import Mirror
from resnet_jax.storage.objects import Bucket

ADDRESS = "gs://bucket/runs/first"


class Killed(BaseException):
    """What a kill is in these tests: nothing that follows is executed."""


class Store:
    """A key-value store in memory. After `writes_left` writes and deletions, the next one raises `Killed`."""

    def __init__(self):
        self._store = tensorstore.KvStore.open({"driver": "memory"}, context=tensorstore.Context()).result()
        self.writes_left, self.error = None, Killed()
        self.read, self.list = self._store.read, self._store.list

    def write(self, name, content, **condition):
        if self.writes_left is not None:
            self.writes_left -= 1
            if self.writes_left < 0:
                raise self.error
        return self._store.write(name, content, **condition)

    def content(self):
        return {key.decode(): bytes(self._store[key]) for key in self._store.list().result()}


class Machine:
    """A machine with its own disk, on which mirrors of the bucket `store` lie."""

    def __init__(self, disk: Path, store: Store, monkeypatch):
        self.disk, self.store, self._monkeypatch = disk, store, monkeypatch

    def mirror(self) -> Mirror:
        self._monkeypatch.setenv("XDG_CACHE_HOME", str(self.disk))
        return Mirror(ADDRESS, bucket=Bucket(ADDRESS, store=self.store))


def session(mirror: Mirror, *, lost=lambda: None, begun=True):
    return mirror.session(has_begun=lambda: begun, lost=lost)


_names = itertools.count()


def save(root: Path, step: int, *, keep: int = 2) -> None:
    """Does what a run does at a checkpoint: metrics, a checkpoint with files of random names, deletion of old ones."""
    with (root / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": step}) + "\n")
    part = root / "checkpoints" / f"{step}.orbax-checkpoint-tmp"
    (part / "state" / "d").mkdir(parents=True)
    (part / "meta").mkdir()
    (part / "meta" / "metadata").write_text(json.dumps({"step": step}))
    (part / "state" / "d" / f"array-{next(_names)}").write_text(f"array of step {step}")
    part.rename(root / "checkpoints" / str(step))
    saved = sorted(int(path.name) for path in (root / "checkpoints").iterdir() if path.name.isdigit())
    for old in saved[:-keep]:
        shutil.rmtree(root / "checkpoints" / str(old))


def start(root: Path) -> int:
    """Does what the start of a run does; returns the step from which it continues."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "result.json").unlink(missing_ok=True)
    (root / "config.json").write_text("{}")
    step = newest(root)
    metrics = root / "metrics.jsonl"
    lines = metrics.read_text().splitlines(keepends=True) if metrics.exists() else []
    metrics.write_text("".join(line for line in lines if json.loads(line)["step"] <= step))
    return step


def newest(root: Path) -> int:
    return max((int(path.name) for path in (root / "checkpoints").glob("*") if path.name.isdigit()), default=0)


def steps_in_metrics(root: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (root / "metrics.jsonl").read_text().splitlines()]


def files(root: Path) -> dict[str, bytes]:
    """The content of a mirror, without hidden files outside of checkpoints."""
    paths = [path for path in root.rglob("*") if path.is_file()]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths if not path.name.startswith(".")}
