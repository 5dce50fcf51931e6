"""A disk that is full, lost or read-only is one clear line, and costs no checkpoint that was good."""

import errno
import functools
import resource
import shutil

import jax
import pytest

from resnet_jax.checkpoints import on_disk
from resnet_jax.checkpoints.manager import Checkpoints
from resnet_jax.errors import UsageError
from tests.checkpoints.states import abstract, fill, state, steps_on_disk

SIZE = 3000  # length of a random float array, which compression does not shrink


@pytest.fixture
def open_checkpoints(tmp_path):
    return functools.partial(Checkpoints, tmp_path / "checkpoints", keep_latest=2, keep_best=1)


@pytest.fixture
def largest_file_allowed():
    """Sets the size that no file may exceed, as on a disk that is full there."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(("size", "padding"), [(SIZE, 0), (100_000, 200_000)], ids=["in the arrays", "in the JSON"])
def test_a_full_disk_is_one_line_and_costs_no_checkpoint(size, padding, open_checkpoints, largest_file_allowed):
    with open_checkpoints() as checkpoints:
        fill(checkpoints, {1: 0.5, 2: 0.25})
    # Made before the limit holds: it would cut short what JAX keeps of its compilations, too.
    noisy = state(3, SIZE).replace(params={"w": jax.random.normal(jax.random.key(3), SIZE)})
    checkpoints = open_checkpoints()
    largest_file_allowed(size)
    checkpoints.save(3, noisy, meta={"step": 3, "padding": "x" * padding}, top1=0.9)
    with pytest.raises(
        UsageError, match=r"could not be written to .*checkpoints \(.*File too large.*\): make room"
    ) as caught:
        checkpoints.wait()
    assert "\n" not in str(caught.value)
    assert steps_on_disk(checkpoints) == [1, 2]  # none removed, and what was half written is gone
    largest_file_allowed(resource.RLIM_INFINITY)
    with open_checkpoints() as checkpoints:
        assert checkpoints.latest_step == 2
        assert int(checkpoints.restore_latest(abstract())[0].step) == 2


def test_a_full_disk_when_an_evaluation_is_added_costs_no_checkpoint(open_checkpoints, largest_file_allowed):
    with open_checkpoints() as checkpoints:
        fill(checkpoints, {1: 0.5, 2: None})
    largest_file_allowed(100)
    with open_checkpoints() as checkpoints, pytest.raises(UsageError, match=r"could not be written .*File too large"):
        fill(checkpoints, {2: 0.75})
    with open_checkpoints() as checkpoints:
        assert checkpoints.best() == (1, 0.5)
        assert int(checkpoints.restore_latest(abstract())[0].step) == 2


def test_a_lost_directory_is_an_error_and_not_made_anew(open_checkpoints):
    with open_checkpoints() as checkpoints:
        fill(checkpoints, {1: None})
        checkpoints.wait()
        shutil.rmtree(checkpoints.directory)
        fill(checkpoints, {2: None})
        with pytest.raises(
            UsageError, match=r"could not be written to .*No such file or directory.*: make room or repair"
        ):
            checkpoints.wait()
    assert not checkpoints.directory.exists()


def test_a_checkpoint_that_cannot_be_removed_does_not_end_the_run(open_checkpoints, monkeypatch, caplog):
    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    with open_checkpoints(keep_latest=1, keep_best=0) as checkpoints:
        fill(checkpoints, {1: None})
        checkpoints.wait()
        monkeypatch.setattr(on_disk, "delete", refuse)
        fill(checkpoints, {2: None})
    assert steps_on_disk(checkpoints) == [1, 2]
    assert "checkpoints/1 could not be removed (Permission denied)" in caplog.text
