"""A work directory in a bucket: kills at every write, other machines, deletions, and a second run."""

import contextlib
import json
import threading

import pytest

from resnet_jax.errors import UsageError
from resnet_jax.storage import lease, uploads
from resnet_jax.storage.objects import BucketError
from tests.storage.buckets import Killed, Machine, Store, files, newest, save, session, start, steps_in_metrics

LAST = 50


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def machine(tmp_path, store, monkeypatch):
    for name, value in (("EXPIRES_AFTER", 0.2), ("_POLLED_EVERY", 0.02)):
        monkeypatch.setattr(lease, name, value)
    monkeypatch.setattr(uploads, "_LOOKED_EVERY", 100.0)  # no thread uploads: the tests do it
    monkeypatch.setattr(uploads, "_LAST_TRIES", 0.0)
    return lambda name: Machine(tmp_path / name, store, monkeypatch)


def upload_once(mirror):
    with session(mirror):
        pass


def train(mirror, *, until=LAST):
    """Trains from the newest checkpoint, and uploads after each one."""
    with session(mirror):
        step = start(mirror.path)
        while step < until:
            step += 10
            save(mirror.path, step)
            mirror.upload_now()
        if until == LAST:
            (mirror.path / "result.json").write_text(json.dumps({"step": step}))


def in_bucket(store):
    """The objects that the mirror of a new machine would have."""
    content = store.content()
    return {name: value for name, value in content.items() if not name.rpartition("/")[2].startswith(".")}


def test_another_machine_continues(machine, store):
    train(machine("a").mirror(), until=30)
    other = machine("b").mirror()
    train(other)
    assert steps_in_metrics(other.path) == [10, 20, 30, 40, 50]
    assert newest(other.path) == LAST
    assert files(other.path) == in_bucket(store)
    assert {name for name in in_bucket(store) if name.startswith("checkpoints/") and "/40/" not in name} == {
        name for name in files(other.path) if name.startswith("checkpoints/50/")
    }
    first = machine("a").mirror()
    first.pull()
    assert files(first.path) == in_bucket(store)  # and what it had, such as checkpoint 20, is gone


# Between the writes of the lease, of plain files, of the files of a checkpoint and of its marker.
WRITES = [(1, "a"), (6, "b"), (9, "a"), (10, "b"), (14, "b"), (17, "a"), (21, "b"), (25, "a"), (28, "b"), (33, "a")]


@pytest.mark.parametrize(("writes", "next_machine"), WRITES)
def test_a_kill_loses_nothing_that_was_complete(writes, next_machine, machine, store):
    check_kill(writes, next_machine, machine, store)


@pytest.mark.slow
@pytest.mark.parametrize("writes", range(75))
@pytest.mark.parametrize("next_machine", "ab")
def test_a_kill_at_any_write_loses_nothing_that_was_complete(writes, next_machine, machine, store):
    check_kill(writes, next_machine, machine, store)


def check_kill(writes, next_machine, machine, store):
    store.writes_left = writes
    with contextlib.suppress(Killed):
        train(machine("a").mirror())
    store.writes_left = None
    looked_at = machine("c").mirror()
    looked_at.pull()
    saved = newest(looked_at.path)
    if saved:
        assert set(range(10, saved + 1, 10)) <= set(steps_in_metrics(looked_at.path))
        for path in (looked_at.path / "checkpoints").iterdir():
            assert {file.name for file in path.rglob("*")} >= {"meta", "metadata", "state", "d"}
            assert [file.read_text() for file in (path / "state" / "d").iterdir()] == [f"array of step {path.name}"]
        assert not (looked_at.path / "result.json").exists() or saved == LAST
    following = machine(next_machine).mirror()
    train(following)
    assert steps_in_metrics(following.path) == [10, 20, 30, 40, 50]
    kept = sorted(int(path.name) for path in (following.path / "checkpoints").iterdir())
    # As on a disk: saving deletes old checkpoints, so one stays if the kill was between the last save and its deletion.
    assert kept == [40, 50] or (kept == [30, 40, 50] and saved == LAST)
    assert files(following.path) == in_bucket(store)
    assert not [name for name in store.content() if name.startswith(("checkpoints/10", "checkpoints/20"))]


def test_the_same_machine_loses_not_even_what_was_not_uploaded(machine, store):
    mirror = machine("a").mirror()
    train(mirror, until=20)
    store.writes_left = 0
    with pytest.raises(Killed), session(mirror):
        pytest.fail("the lease cannot be taken")
    start(mirror.path)
    save(mirror.path, 30)  # a process that was killed before it could upload
    store.writes_left = None
    train(machine("a").mirror())
    assert steps_in_metrics(mirror.path) == [10, 20, 30, 40, 50]


def test_an_upload_that_was_interrupted_does_not_replace_newer_files(machine, store):
    mirror = machine("a").mirror()
    train(mirror, until=10)
    is_alive = lambda: store.writes_left is None  # noqa: E731  a killed process does not upload once more
    with contextlib.suppress(Killed), mirror.session(has_begun=is_alive, lost=lambda: None):
        start(mirror.path)
        save(mirror.path, 20)
        store.writes_left = 3
        mirror.upload_now()
    store.writes_left = None
    assert b'"step": 20' in store.content()["metrics.jsonl"] and "checkpoints/20/.complete" not in store.content()
    save(mirror.path, 30)  # what the killed process had written when it was killed
    train(machine("a").mirror())
    assert steps_in_metrics(mirror.path) == [10, 20, 30, 40, 50]


def test_what_another_machine_has_replaced_is_not_uploaded(machine, store):
    first = machine("a").mirror()
    train(first, until=20)
    save(first.path, 30)
    (first.path / "mine.txt").write_text("not uploaded")
    train(machine("b").mirror(), until=40)
    upload_once(machine("a").mirror())
    assert files(first.path) == in_bucket(store)
    assert newest(first.path) == 40 and not (first.path / "mine.txt").exists()


def test_deletions_in_the_bucket_and_in_the_mirror(machine, store):
    mirror = machine("a").mirror()
    train(mirror, until=30)
    for name in [name for name in store.content() if name.startswith("checkpoints/30/")]:
        store.write(name, None).result()
    store.write("metrics.jsonl", b'{"step": 10}\n').result()
    (mirror.path / "checkpoints" / "20" / "meta" / "metadata").write_text("evaluated")
    upload_once(machine("a").mirror())
    assert newest(mirror.path) == 20 and steps_in_metrics(mirror.path) == [10]
    assert store.content()["checkpoints/20/meta/metadata"] == b"evaluated"
    (mirror.path / "metrics.jsonl").unlink()
    upload_once(machine("a").mirror())
    assert "metrics.jsonl" not in store.content()


def test_a_mirror_whose_files_were_deleted_is_restored(machine, store):
    mirror = machine("a").mirror()
    train(mirror, until=20)
    before = in_bucket(store)
    for path in mirror.path.iterdir():
        if path.is_file() and not path.name.startswith("."):
            path.unlink()
    upload_once(machine("a").mirror())
    assert in_bucket(store) == before == files(mirror.path)


def test_objects_of_others_are_left_alone_and_cannot_leave_the_mirror(machine, store, tmp_path):
    store.write("notes/of the user.txt", b"x").result()
    store.write("../outside", b"x").result()
    store.write("checkpoints/7/.complete", b'{"files": ["checkpoints/7/../../../outside", "config.json"]}').result()
    store.write("checkpoints/8/.complete", b"no JSON").result()
    mirror = machine("a").mirror()
    train(mirror, until=20)
    assert (mirror.path / "notes" / "of the user.txt").read_bytes() == b"x"
    assert not list(tmp_path.rglob("outside"))
    assert store.content()["notes/of the user.txt"] == b"x"


def test_a_start_that_fails_leaves_nothing(machine, store):
    with pytest.raises(UsageError), session(machine("a").mirror(), begun=False):
        raise UsageError("a mistake in the config")
    assert store.content() == {}


def test_a_failed_upload_is_reported_and_done_by_the_next_start(machine, store):
    mirror = machine("a").mirror()
    message = r"could not be written; everything is saved in .*/first: run the same command"
    with pytest.raises(UsageError, match=message), session(mirror):
        start(mirror.path)
        save(mirror.path, 10)
        store.error, store.writes_left = BucketError("no network"), 0
    store.writes_left = None
    upload_once(machine("a").mirror())
    assert files(mirror.path) == in_bucket(store)


def test_a_second_run_is_refused(machine, monkeypatch):
    monkeypatch.setattr(lease, "RENEWED_EVERY", 0.05)
    message = r"another process is at work in gs://bucket/runs/first \(process "
    with session(machine("a").mirror()), pytest.raises(UsageError, match=message), session(machine("b").mirror()):
        pytest.fail("both hold the lease")


def test_a_run_that_was_taken_over_uploads_nothing_more_and_is_stopped(machine, store, monkeypatch):
    monkeypatch.setattr(lease, "RENEWED_EVERY", 0.5)  # longer than the lease: as if the process had been paused
    lost, first = threading.Event(), machine("a").mirror()
    with pytest.raises(UsageError, match="another process has taken over"), session(first, lost=lost.set):
        upload_once(machine("b").mirror())
        start(first.path)
        save(first.path, 90)
        first.upload_now()
        assert lost.wait(30.0)
    assert "metrics.jsonl" not in store.content()


def test_outputs_of_modes_without_a_lease(machine, store):
    train(machine("a").mirror(), until=20)
    mirror = machine("b").mirror()
    mirror.pull()
    (mirror.path / "exports" / "20").mkdir(parents=True)
    (mirror.path / "exports" / "20" / "model.jax").write_text("model")
    (mirror.path / "other.txt").write_text("x")
    mirror.upload_outputs()
    assert store.content()["exports/20/model.jax"] == b"model" and "other.txt" not in store.content()
    train(machine("a").mirror(), until=30)
    assert store.content()["exports/20/model.jax"] == b"model"
