"""A kill before any file operation on checkpoints never costs a complete one."""

import functools
import shutil
from pathlib import Path

import pytest

from resnet_jax.checkpoints import arrays, files
from resnet_jax.checkpoints.manager import Checkpoints
from tests.checkpoints.states import abstract, fill, steps_on_disk

OPERATIONS = [
    (Path, "mkdir"),
    (Path, "write_text"),
    (Path, "write_bytes"),
    (Path, "unlink"),
    (Path, "rename"),
    (Path, "replace"),
    (shutil, "rmtree"),
    (files, "_flush"),
    (arrays, "write"),
]


class KilledError(BaseException):
    """Stands for the end of the process. Every later file operation raises it too."""


@pytest.fixture
def kill_before(monkeypatch):
    """Returns a function that runs an action, kills it before its n-th file operation, and returns whether it did."""

    def run(number, action):
        count = 0

        def counted(operation, *args, **kwargs):
            nonlocal count
            count += 1
            if count > number:
                raise KilledError
            return operation(*args, **kwargs)

        with monkeypatch.context() as patch:
            for owner, name in OPERATIONS:
                operation = getattr(owner, name)
                # A function, not a partial: only functions become methods of Path.
                patch.setattr(owner, name, lambda *a, operation=operation, **k: counted(operation, *a, **k))
            try:
                action()
            except KilledError:
                return True
        return False

    return run


@pytest.fixture
def moments(tmp_path, kill_before):
    """Yields the checkpoints that a kill leaves on disk, for each file operation of an action."""

    def each(prepare, act, *, at_least):
        for number in range(100):
            open_checkpoints = functools.partial(
                Checkpoints, tmp_path / str(number) / "checkpoints", keep_latest=1, keep_best=1
            )
            with open_checkpoints() as checkpoints:
                prepare(checkpoints)
            if not kill_before(number, lambda: act(open_checkpoints)):  # noqa: B023  called at once
                assert number >= at_least
                return
            yield open_checkpoints

    return each


def saves(top1_by_step):
    def act(open_checkpoints):
        checkpoints = open_checkpoints()
        fill(checkpoints, top1_by_step)
        checkpoints.wait()

    return act


def test_a_killed_save_costs_no_checkpoint(moments):
    seen = set()
    for open_checkpoints in moments(lambda c: fill(c, {1: 0.5, 2: 0.25}), saves({3: 0.125}), at_least=6):
        there = {path.name for path in open_checkpoints.args[0].iterdir()}
        assert {"1", "2"} <= there or {"1", "3"} <= there
        with open_checkpoints() as checkpoints:
            assert checkpoints.best() == (1, 0.5)
            latest = max(int(name) for name in there if name.isdigit())
            assert int(checkpoints.restore_latest(abstract())[0].step) == latest
            assert {str(step) for step in steps_on_disk(checkpoints)} == {name for name in there if name.isdigit()}
            seen.add(latest)
    assert seen == {2, 3}


def test_a_kill_while_an_evaluation_is_added_costs_no_checkpoint(moments):
    seen = set()
    for open_checkpoints in moments(lambda c: fill(c, {1: 0.5, 2: None}), saves({2: 0.75}), at_least=2):
        with open_checkpoints() as checkpoints:
            assert checkpoints.latest_step == 2
            assert int(checkpoints.restore_latest(abstract())[0].step) == 2
            assert checkpoints.best() in ((1, 0.5), (2, 0.75))
            assert not list(checkpoints.directory.rglob("*.part"))
            seen.add(checkpoints.best())
            fill(checkpoints, {2: 0.75})  # the continued run repeats the evaluation if it was lost
            assert checkpoints.best() == (2, 0.75)
    assert seen == {(1, 0.5), (2, 0.75)}


def test_a_kill_while_damage_is_moved_aside_costs_no_checkpoint(moments):
    def prepare(checkpoints):
        fill(checkpoints, {1: 0.5, 2: 0.25})
        checkpoints.wait()
        shutil.rmtree(checkpoints.directory / "2" / "state")

    def act(open_checkpoints):
        open_checkpoints().restore_latest(abstract())

    for open_checkpoints in moments(prepare, act, at_least=2):
        with open_checkpoints() as checkpoints:
            assert int(checkpoints.restore_latest(abstract())[0].step) == 1
        assert steps_on_disk(checkpoints) == [1]
        assert [path.name for path in (checkpoints.directory.parent / "damaged_checkpoints").iterdir()] == ["2"]
