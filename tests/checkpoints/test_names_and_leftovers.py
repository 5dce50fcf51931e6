"""Names that are not those of checkpoints, and leftovers of any kind, stop no start and cost no checkpoint."""

import functools
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from resnet_jax.checkpoints import checksums, files, on_disk
from resnet_jax.checkpoints.manager import Checkpoints
from resnet_jax.errors import UsageError
from resnet_jax.files import numbered
from tests.checkpoints.states import abstract, fill, state


@pytest.fixture
def open_checkpoints(tmp_path):
    return functools.partial(Checkpoints, tmp_path / "run" / "checkpoints", keep_latest=1, keep_best=0)


@pytest.fixture
def directory(open_checkpoints):
    """A directory with the checkpoint 10."""
    with open_checkpoints() as checkpoints:
        fill(checkpoints, {10: None})
    return open_checkpoints.args[0]


def names(directory):
    return {path.name for path in directory.iterdir()}


def test_a_renamed_checkpoint_is_damaged(directory, open_checkpoints):
    (directory / "10").rename(directory / "999")
    with open_checkpoints() as checkpoints:
        with pytest.raises(UsageError, match=r"999: it was saved as step 10 and renamed: its name must be 10\)"):
            checkpoints.restore_latest(abstract())
        fill(checkpoints, {20: None, 30: None})
    assert names(directory) == {"30", "999"}
    with open_checkpoints() as checkpoints:
        _, meta = checkpoints.restore_latest(abstract())
    assert meta == {"step": 30}
    assert names(directory.parent / "damaged_checkpoints") == {"999"}


def test_a_copy_under_another_step_is_damaged_also_without_values_of_the_user(directory, open_checkpoints, tmp_path):
    with Checkpoints(tmp_path / "mine") as checkpoints:
        checkpoints.save(3, {"w": np.ones(2, np.float32)})
    shutil.copytree(tmp_path / "mine" / "3", tmp_path / "mine" / "7")
    with Checkpoints(tmp_path / "mine") as checkpoints:
        assert checkpoints.restore_latest({"w": np.ones(2, np.float32)})[1] == {}
        assert checkpoints.latest_step == 3


def test_a_copy_under_a_name_that_is_no_step_is_good(directory, tmp_path):
    copy = shutil.copytree(directory / "10", tmp_path / "best of May")
    assert files.read_meta(copy) == ({"step": 10}, None)


def test_a_checkpoint_of_an_earlier_version_is_known_by_the_step_in_its_values(directory, open_checkpoints):
    meta = directory / "10" / "meta" / "metadata"
    content = json.loads(meta.read_text())
    del content["own_step"], content["own_checksum"]
    meta.write_text(json.dumps({**content, "own_checksum": checksums.of_json(content)}))
    assert files.read_meta(directory / "10") == ({"step": 10}, None)
    (directory / "10").rename(directory / "11")
    with pytest.raises(files.DamagedError, match="saved as step 10"):
        files.read_meta(directory / "11")


@pytest.mark.parametrize("name", ["²", "010", "+20", "-1", "1e3", "٣", " 20", "20 ", "20.old", "best", "20-2"])
def test_only_the_plain_number_of_a_step_is_a_name(name, directory, open_checkpoints):
    shutil.copytree(directory / "10", directory / name)
    with open_checkpoints() as checkpoints:
        assert checkpoints.latest_step == 10
        assert checkpoints.restore_latest(abstract())[1] == {"step": 10}
        fill(checkpoints, {20: None})
    assert names(directory) == {"20", name}


def link_to_nothing(path):
    path.symlink_to("nothing")


def link_to_itself(path):
    path.symlink_to(path.name)


def link_to_a_directory(path):
    target = next(parent for parent in path.parents if parent.name == "run").with_name("elsewhere")
    target.mkdir()
    (target / "precious").touch()
    path.symlink_to(target)


def full_directory(path):
    (path / "state" / "deeper").mkdir(parents=True)
    (path / "state" / "deeper" / "file").touch()


KINDS = {
    "a file": Path.touch,
    "a directory": full_directory,
    "a pipe": os.mkfifo,
    "a link to nothing": link_to_nothing,
    "a link to itself": link_to_itself,
    "a link to a directory": link_to_a_directory,
}


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize(
    "name", ["20.orbax-checkpoint-tmp", "9.orbax-checkpoint-tmp-1700000000", "9.removed", "10/meta/metadata.part"]
)
def test_leftovers_of_any_kind_are_removed(make, name, directory, open_checkpoints):
    make(directory / name)
    with open_checkpoints() as checkpoints:
        assert not os.path.lexists(directory / name)
        fill(checkpoints, {20: None})
    assert names(directory) == {"20"}
    assert make != link_to_a_directory or names(directory.parents[1] / "elsewhere") == {"precious"}


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_anything_with_the_name_of_a_step_is_moved_aside(make, directory, open_checkpoints, caplog):
    make(directory / "20")
    with open_checkpoints() as checkpoints:
        assert checkpoints.restore_latest(abstract())[1] == {"step": 10}
        fill(checkpoints, {20: None})
    assert names(directory) == {"20"} and names(directory.parent / "damaged_checkpoints") == {"20"}
    [line] = caplog.messages
    assert "checkpoint 10 is used instead" in line and "\n" not in line


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("name", ["meta/metadata", "state/manifest.ocdbt", "state/_METADATA", "state"])
def test_anything_in_the_place_of_a_file_of_a_checkpoint_is_damage(make, name, directory, open_checkpoints, capfd):
    with open_checkpoints() as checkpoints:
        checkpoints._existing._keep_latest = 2
        fill(checkpoints, {20: None})
    aside = directory / "20" / "aside"
    (directory / "20" / name).rename(aside)
    make(directory / "20" / name)
    capfd.readouterr()
    with open_checkpoints() as checkpoints:
        assert checkpoints.restore_latest(abstract())[1] == {"step": 10}
    assert capfd.readouterr() == ("", "")


def test_a_user_keeps_files_with_similar_names(directory, open_checkpoints):
    kept = {"mine.orbax-checkpoint-tmp", "old.removed", "10.removed.tar", "10.orbax-checkpoint-tmp.tar", "x.part"}
    for name in kept:
        (directory / name).mkdir()
    with open_checkpoints():
        pass
    assert names(directory) == {"10", *kept}


def test_a_leftover_that_cannot_be_removed_is_a_warning(directory, open_checkpoints, monkeypatch, caplog):
    (directory / "9.removed").mkdir()

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(on_disk, "delete", refuse)
    with open_checkpoints() as checkpoints:
        assert checkpoints.restore_latest(abstract())[1] == {"step": 10}
    [line] = caplog.messages
    assert line.endswith("9.removed, left by an earlier start, could not be removed (Permission denied)")


def test_a_checkpoint_that_is_a_link_is_read_and_only_the_link_is_removed(directory, open_checkpoints):
    (directory / "10").rename(directory.parent / "elsewhere")
    (directory / "10").symlink_to(directory.parent / "elsewhere")
    with open_checkpoints() as checkpoints:
        assert checkpoints.restore_latest(abstract())[1] == {"step": 10}
        fill(checkpoints, {20: None})
    assert names(directory) == {"20"}
    assert (directory.parent / "elsewhere" / "meta" / "metadata").exists()


def test_a_damaged_checkpoint_on_another_disk_is_renamed(directory, open_checkpoints, monkeypatch):
    (directory / "20").mkdir()
    rename = Path.rename

    def rename_within(path, target):
        if path.parent != Path(target).parent:
            raise OSError(18, "Invalid cross-device link")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", rename_within)
    with open_checkpoints() as checkpoints:
        assert checkpoints.restore_latest(abstract())[1] == {"step": 10}
    assert names(directory) == {"10", "20.damaged"} and numbered(directory) == [10]


@pytest.mark.parametrize("top1", ["0.5", [1], True, {}])
def test_values_of_another_type_are_damage_even_with_their_checksum(top1, directory, open_checkpoints):
    files.write(directory / "20", {"w": np.ones(2, np.float32)}, {}, top1=top1)
    with open_checkpoints() as checkpoints:
        assert checkpoints.best() is None
        assert checkpoints.restore_latest(abstract())[1] == {"step": 10}


def test_a_checkpoint_of_another_program_is_one_line(directory, open_checkpoints):
    with open_checkpoints() as checkpoints:
        checkpoints.save(20, state(20), meta={"epoch": 3})
        with pytest.raises(UsageError, match="was not saved by --mode=train"):
            checkpoints.check_data({"epoch": 3}, {})


def test_what_is_no_checkpoint_is_not_read(directory, open_checkpoints, tmp_path, monkeypatch):
    """A link named as a step may lead to a directory of any size."""
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "data").write_bytes(b"1")
    (directory / "99").symlink_to(tmp_path / "large")
    monkeypatch.setattr(files, "_read_all", lambda path: pytest.fail(f"read {path}"))
    with open_checkpoints() as checkpoints:
        assert checkpoints.restore_latest(abstract())[1] == {"step": 10}
    assert names(directory.parent / "damaged_checkpoints") == {"99"}
    assert (tmp_path / "large" / "data").exists()
