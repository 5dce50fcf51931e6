"""Damaged checkpoints are never restored, and never cost an undamaged one."""

import errno
import functools
import json
import os
import re
import shutil
from pathlib import Path
from random import Random

import jax
import numpy as np
import pytest

from resnet_jax.checkpoints import arrays, files
from resnet_jax.checkpoints.manager import Checkpoints
from resnet_jax.errors import UsageError
from resnet_jax.nested import by_path
from resnet_jax.weights import read_weights
from tests.checkpoints.states import abstract, fill, state, steps_on_disk

SIZE = 3000  # length of the float array whose bits are flipped


@pytest.fixture
def open_checkpoints(tmp_path):
    return functools.partial(Checkpoints, tmp_path / "checkpoints", keep_latest=3, keep_best=1)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """Checkpoints 1, 2 and 3, of random arrays, which compression does not shrink."""
    with Checkpoints(tmp_path_factory.mktemp("original"), keep_latest=3, keep_best=1) as checkpoints:
        for step in (1, 2, 3):
            noise = {"w": jax.random.normal(jax.random.key(step), SIZE)}
            checkpoints.save(step, state(step, SIZE).replace(params=noise), meta={"step": step}, top1=step / 10)
    return checkpoints.directory


@pytest.fixture
def written(original, open_checkpoints):
    """The directory of a copy of these checkpoints, for one test."""
    return shutil.copytree(original, open_checkpoints.args[0])


def largest_file(path):
    return max((file for file in path.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)


def flip_bits(path):
    """Flips a bit in every 64th byte: up to two thirds of the file lie between the stored arrays and are never read."""
    file = largest_file(path)
    data = bytearray(file.read_bytes())
    for offset in range(0, len(data), 64):
        data[offset] ^= 1
    file.write_bytes(data)


def truncate(path):
    file = largest_file(path)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def change_json(path):
    meta = path / "meta" / "metadata"
    assert '"step": 3' in meta.read_text()
    meta.write_text(meta.read_text().replace('"step": 3', '"step": 2'))


def empty(path):
    shutil.rmtree(path)
    path.mkdir()


def become_a_file(path):
    shutil.rmtree(path)
    path.write_text("")


DAMAGE = {
    "bits flipped": (flip_bits, ""),
    "the data cut short": (truncate, ""),
    "the data missing": (lambda path: largest_file(path).unlink(), ""),
    "the index missing": (lambda path: (path / "state" / "manifest.ocdbt").unlink(), ""),
    "the index empty": (lambda path: (path / "state" / "manifest.ocdbt").write_bytes(b""), ""),
    "the tree missing": (lambda path: (path / "state" / "_METADATA").unlink(), "_METADATA"),
    "the arrays missing": (lambda path: shutil.rmtree(path / "state"), "state is missing"),
    "the JSON missing": (lambda path: shutil.rmtree(path / "meta"), "meta/metadata is missing"),
    "the JSON cut short": (lambda path: (path / "meta" / "metadata").write_text('{"st'), "meta/metadata is not JSON"),
    "the JSON not text": (
        lambda path: (path / "meta" / "metadata").write_bytes(b"\xff\x00"),
        "meta/metadata is not JSON",
    ),
    "the JSON a list": (
        lambda path: (path / "meta" / "metadata").write_text("[3]"),
        "meta/metadata is not a JSON object",
    ),
    "the JSON changed": (change_json, "meta/metadata does not match its checksum"),
    "an empty directory": (empty, "it is empty"),
    "a file": (become_a_file, ""),
}


@pytest.mark.parametrize(("damage", "reason"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_checkpoint_is_moved_aside_and_the_one_before_it_used(
    damage, reason, written, open_checkpoints, caplog
):
    damage(written / "3")
    with open_checkpoints() as checkpoints:
        restored, meta = checkpoints.restore_latest(abstract(SIZE))
        assert meta == {"step": 2} and int(restored.step) == 2
        assert checkpoints.latest_step == 2
        [line] = caplog.messages
        aside = written.parent / "damaged_checkpoints" / "3"
        assert line.startswith(f"checkpoint {written / '3'} is damaged (") and "\n" not in line
        assert line.endswith(f"): it was moved to {aside}, and checkpoint 2 is used instead")
        assert reason in line
        assert aside.exists() and steps_on_disk(checkpoints) == [1, 2]
        fill(checkpoints, {3: 0.5})  # the continued run reaches this step again
    with open_checkpoints() as checkpoints:
        assert checkpoints.best() == (3, 0.5)
        assert int(checkpoints.restore_latest(abstract())[0].step) == 3


@pytest.mark.parametrize("part", ["params/w", "opt_state/0/v", "step"])
def test_the_array_with_a_flipped_bit_is_named(part, written, open_checkpoints, monkeypatch, caplog):
    # Stands for a flipped bit that Orbax does not detect, as in uncompressed data.
    read = arrays.read

    def read_wrongly(path, parts):
        tree = read(path, parts)
        if path.parent.name == "3":
            array = by_path(tree)[part]
            array.reshape(-1).view(np.uint8)[0] ^= 16
        return tree

    monkeypatch.setattr(arrays, "read", read_wrongly)
    with open_checkpoints() as checkpoints:
        checkpoints.restore_latest(abstract(SIZE))
    assert f"({part} of 7 arrays: the data do not match their checksum)" in caplog.text


def test_several_damaged_checkpoints_are_skipped(written, open_checkpoints, caplog):
    flip_bits(written / "3")
    empty(written / "2")
    with open_checkpoints() as checkpoints:
        assert int(checkpoints.restore_latest(abstract(SIZE))[0].step) == 1
    assert len(caplog.messages) == 2 and all("checkpoint 1 is used instead" in line for line in caplog.messages)
    assert sorted(path.name for path in (written.parent / "damaged_checkpoints").iterdir()) == ["2", "3"]


def test_reading_a_checkpoint_with_many_damaged_arrays_prints_nothing(tmp_path, capfd):
    noise = np.random.default_rng(0)
    path = tmp_path / "3"
    files.write(path, {str(i): noise.normal(size=(64, 500)) for i in range(60)}, {}, top1=None)
    flip_bits(path)
    for _ in range(3):
        with pytest.raises(files.DamagedError):
            files.read(path)
    assert capfd.readouterr() == ("", "")


def random_damage(random, path):
    """Damages one file of a checkpoint: bits, length, bytes, or a value of its JSON."""
    file = random.choice(sorted(file for file in path.rglob("*") if file.is_file()))
    data = file.read_bytes()
    at, end = sorted(random.randrange(len(data)) for _ in range(2))
    values = list(re.finditer(rb'"[^"]*"|[0-9]+|true|false|null', data))
    value = random.choice(values) if values else None
    other = random.choice([b"-1", b"99999999999", b"null", b'"x"', b"[]", b"{}", b"1e400", b"[" * 3000])
    damaged = random.choice(
        [
            data[:at],
            data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :],
            data[:at] + random.randbytes(end - at) + data[end:],
            data[:at] + data[end:],
            data[: value.start()] + other + data[value.end() :] if value else b"",
        ]
    )
    file.write_bytes(damaged)


@pytest.mark.parametrize("seed", range(4))
def test_any_damage_is_found_and_prints_nothing(seed, tmp_path, capfd):
    # A damage may also lie between the stored arrays; then the checkpoint is read as it was saved.
    random, noise, reasons = Random(seed), np.random.default_rng(0), []
    saved = {"params": {"w": noise.normal(size=(30, 30))}, "opt_state": [{"v": noise.normal(size=300)}], "step": 3}
    files.write(tmp_path / "3", {**saved, "step": np.int32(3)}, {"step": 3}, top1=0.5)
    for number in range(12):
        path = shutil.copytree(tmp_path / "3", tmp_path / str(number) / "3")
        random_damage(random, path)
        try:
            assert files.read_meta(path) == ({"step": 3}, 0.5)
            jax.tree.map(np.testing.assert_array_equal, files.read(path), saved)
        except files.DamagedError as error:
            reasons.append(str(error))
    assert reasons and not any("\n" in reason for reason in reasons)
    assert capfd.readouterr() == ("", "")


def test_arrays_larger_than_the_memory_are_damage(tmp_path, monkeypatch):
    files.write(tmp_path / "3", {"w": np.ones((1000, 1000))}, {}, top1=None)
    monkeypatch.setattr(os, "sysconf", lambda name: 2000)
    with pytest.raises(files.DamagedError, match="its arrays would take 0 GB, more than the memory of this machine"):
        files.read(tmp_path / "3")


def test_moving_a_damaged_checkpoint_overwrites_nothing(written, open_checkpoints):
    for number in (1, 2, 3):
        flip_bits(written / "3")
        with open_checkpoints() as checkpoints:
            checkpoints.restore_latest(abstract(SIZE))
            checkpoints.save(3, state(number, SIZE), meta={"step": 3}, top1=None)
    aside = written.parent / "damaged_checkpoints"
    assert sorted(path.name for path in aside.iterdir()) == ["3", "3-2", "3-3"]


def test_nothing_is_moved_if_all_are_damaged(written, open_checkpoints):
    for step in (1, 2, 3):
        empty(written / str(step))
    with open_checkpoints() as checkpoints, pytest.raises(UsageError) as caught:
        checkpoints.restore_latest(abstract(SIZE))
    assert str(caught.value) == (
        f"all checkpoints in {written} are damaged (3: it is empty; 2: it is empty; 1: it is empty); nothing was "
        "changed: restore one from a copy, or move that directory away to start a new run"
    )
    assert steps_on_disk(checkpoints) == [1, 2, 3]
    assert not (written.parent / "damaged_checkpoints").exists()


def test_nothing_is_moved_if_the_one_before_is_of_another_model(written, open_checkpoints):
    flip_bits(written / "3")
    with open_checkpoints() as checkpoints, pytest.raises(UsageError, match="checkpoints/2 is of another model"):
        checkpoints.restore_latest(abstract(SIZE + 1))
    assert steps_on_disk(checkpoints) == [1, 2, 3]


def test_restoring_a_damaged_step_is_an_error(written, open_checkpoints):
    empty(written / "2")
    with (
        open_checkpoints() as checkpoints,
        pytest.raises(UsageError, match=r"checkpoints/2 is damaged \(it is empty\): name another checkpoint"),
    ):
        checkpoints.restore(abstract(SIZE), step=2)
    assert steps_on_disk(checkpoints) == [1, 2, 3]


def test_a_damaged_checkpoint_is_never_outdated(written, open_checkpoints):
    (written / "1" / "meta" / "metadata").write_text("{")
    with open_checkpoints() as checkpoints:
        assert checkpoints.best() == (3, 0.3)
        fill(checkpoints, {4: 0.4, 5: 0.5, 6: 0.6})
    assert steps_on_disk(checkpoints) == [1, 4, 5, 6]


@pytest.mark.parametrize("damage", [flip_bits, truncate, empty, change_json])
def test_weights_alone_are_verified_too(damage, written):
    assert read_weights(written.parent).arrays["params/w"].shape == (SIZE,)
    damage(written / "3")
    with pytest.raises(UsageError, match=r"checkpoints/3 is damaged \(.*\): name another checkpoint"):
        read_weights(written.parent)


def test_weights_with_broken_json_are_not_read(written):
    change_json(written / "3")
    with pytest.raises(UsageError, match=r"checkpoints/3 is damaged \(.*\): name another checkpoint"):
        read_weights(written.parent)


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ESTALE])
def test_an_unreadable_file_is_not_damage(number, written, open_checkpoints, monkeypatch):
    truncate(written / "3")  # makes Orbax fail
    file = largest_file(written / "3")
    open_file = Path.open

    def refuse(path, *args, **kwargs):
        if path == file:
            raise OSError(number, "refused", str(path))
        return open_file(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)
    with open_checkpoints() as checkpoints, pytest.raises(UsageError) as caught:
        checkpoints.restore_latest(abstract(SIZE))
    assert str(caught.value) == (
        f"checkpoint {written / '3'} cannot be read (refused: {file}): repair the disk or the permissions and run "
        "again; nothing was changed"
    )
    assert steps_on_disk(checkpoints) == [1, 2, 3]


def test_a_checkpoint_that_another_process_finds_damaged_is_not_used(written, open_checkpoints, caplog):
    answers = iter([["", None], ["", None], [1, "bad bits"], None, ["", None]])

    def gather(text):
        answer = next(answers)
        return [text, json.dumps(answer)]

    with open_checkpoints(gather=gather) as checkpoints:
        assert int(checkpoints.restore_latest(abstract(SIZE))[0].step) == 2
    assert "checkpoints/3 is damaged (process 1: bad bits): it was moved to" in caplog.text
    assert list(answers) == []


def test_an_unreadable_disk_of_another_process_is_not_damage(written, open_checkpoints):
    flip_bits(written / "3")
    answers = iter([["", None], ["", None], [0, "no disk"]])

    def gather(text):
        answer = next(answers)
        return [text, json.dumps(answer)]

    with open_checkpoints(gather=gather) as checkpoints, pytest.raises(UsageError, match="^process 1: no disk$"):
        checkpoints.restore_latest(abstract(SIZE))
    assert steps_on_disk(checkpoints) == [1, 2, 3]
