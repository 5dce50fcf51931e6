import csv
import json
import re
import struct
import subprocess
import sys

import numpy as np
import pytest

from resnet_jax import experiment
from resnet_jax.data.order import TrainOrder
from resnet_jax.errors import UsageError
from resnet_jax.programs.command import Command
from resnet_jax.programs.difference import main as program
from resnet_jax.programs.difference.batches import compare_batches
from resnet_jax.programs.difference.compare import changes_within, differences
from resnet_jax.programs.difference.lines import conclusion
from resnet_jax.programs.difference.parting import Parting, Together, find_parting
from resnet_jax.programs.difference.runs import read_run
from tests.paths import ROOT
from tests.tiny import tiny_config

DATA = {"train": {"name": "synthetic/train", "examples": 100}, "eval": {"name": "synthetic/eval", "examples": 21}}
COMMIT = "a" * 40
START = {
    "start_step": 0,
    "versions": {"jax": "0.10", "flax": "0.12"},
    "devices": ["cpu cpu"] * 2,
    "processes": 1,
    "git_commit": COMMIT,
    "data": DATA,
    "code": {"sources_sha256": "1" * 64, "uncommitted": None},
}


def made(path, changes=None, *, losses=(), start=None, later=(), lines=()):
    """Writes a work directory: config, starts, the loss sums of each step (its norm is twice that), and metrics."""
    path.mkdir()
    (path / "config.json").write_text(json.dumps(experiment.resolve(tiny_config(changes))))
    starts = [START | (start or {}), *(START | one for one in later)]
    (path / "run.json").write_text(json.dumps({"starts": starts}))
    if losses:
        (path / "steps.f32").write_bytes(b"".join(struct.pack("<ff", loss, 2 * loss) for loss in losses))
    text = "".join(json.dumps({"step": step, "split": "train", "loss": loss}) + "\n" for step, loss in lines)
    (path / "metrics.jsonl").write_text(text)
    return read_run(str(path))


@pytest.fixture
def pair(tmp_path):
    """Returns two runs, the first without changes."""
    return lambda changes=None, **options: (made(tmp_path / "a"), made(tmp_path / "b", changes, **options))


def names(found, kind):
    return [one.name for one in found if one.kind == kind]


def test_equal_runs_do_not_differ(pair):
    assert differences(*pair()) == []


def test_config_keys_that_affect_training_are_told_from_those_that_do_not(pair):
    changes = {
        "seed": 3,
        "input.mean": (1.0, 2.0, 3.0),
        "log.every_steps": 7,
        "train.accumulate": 2,
        "predict.top_k": 2,
    }
    found = differences(*pair(changes | {"eval.image_size": 16}))
    assert names(found, "config") == ["seed", "input.mean", "train.accumulate"]
    assert names(found, "intervals") == ["eval.image_size", "log.every_steps"] and found[-1].kind == "intervals"
    assert (found[0].first, found[0].second) == ("0", "3")


def test_versions_devices_and_data_are_compared(pair):
    start = {
        "versions": {"jax": "0.12", "flax": "0.12"},
        "devices": ["gpu H100"] * 8,
        "data": DATA | {"train": {"name": "synthetic/train", "examples": 99}},
    }
    found = differences(*pair(start=start))
    assert [(one.kind, one.name, one.first, one.second) for one in found] == [
        ("versions", "jax", "0.10", "0.12"),
        ("devices", "devices", "2 x cpu cpu", "8 x gpu H100"),
        ("data", "train.examples", "100", "99"),
    ]


def test_code_is_compared_by_commit_changes_and_sources(tmp_path):
    first = made(tmp_path / "a")
    diff = "diff --git a/resnet_jax/x.py b/resnet_jax/x.py\n"
    changed = made(
        tmp_path / "b",
        start={"code": {"sources_sha256": "2" * 64, "uncommitted": {"sha256": "f" * 64, "file": "f.diff"}}},
    )
    changed.workdir.code.mkdir()
    (changed.workdir.code / "f.diff").write_text(diff)
    (one,) = differences(first, changed)
    assert (one.name, one.first) == ("uncommitted changes", "none") and one.second.startswith("resnet_jax/x.py (")
    other = made(tmp_path / "c", start={"git_commit": "b" * 40 + "-dirty", "code": None})  # of an earlier version
    found = differences(first, other)
    assert [(one.name, one.second) for one in found] == [
        ("commit", "b" * 40),
        ("uncommitted changes", "some, not recorded"),
    ]
    untracked = made(tmp_path / "d", start={"code": {"sources_sha256": "3" * 64, "uncommitted": None}})
    assert names(differences(first, untracked), "code") == ["hash of the sources"]


def test_a_run_that_changed_its_versions_on_the_way_says_so(tmp_path):
    run = made(
        tmp_path / "a", later=[{"start_step": 40}, {"start_step": 60, "versions": {"jax": "0.12", "flax": "0.12"}}]
    )
    assert changes_within(run) == ["from step 60: jax 0.10 -> 0.12"]


def parting(tmp_path, one, other, **options):
    runs = made(tmp_path / "a", losses=one), made(tmp_path / "b", losses=other, **options)
    return find_parting(*runs, batch_sizes=(48, 48))


def test_the_first_step_with_other_bits_is_found(tmp_path):
    losses = [5.0, 4.0, 3.0, 2.0]
    found = parting(tmp_path, losses, [5.0, 4.0, float(np.nextafter(np.float32(3), np.float32(4))), 9.0, 1.0])
    assert (found.first, found.last, found.is_exact, found.compared) == (3, 3, True, 4)
    assert found.losses[0] == 3.0 / 48 and 0 < found.losses[1] - found.losses[0] < 1e-8
    assert found.grad_norms[0] == 6.0


def test_equal_steps_never_part_and_nan_equals_nan(tmp_path):
    assert parting(tmp_path, [5.0, float("nan"), 1.0], [5.0, float("nan")]) == Together(2, exact=True)


def test_runs_of_earlier_versions_part_between_lines(tmp_path):
    first = made(tmp_path / "a", lines=[(1, 2.0), (10, 1.5), (20, 1.0)])
    second = made(tmp_path / "b", lines=[(1, 2.0), (5, 9.0), (10, 1.5), (20, 1.1), (30, 3.0)], losses=[1.0] * 3)
    found = find_parting(first, second, batch_sizes=(48, 48))  # only one of them has recorded single steps
    assert (found.first, found.last, found.losses, found.is_exact) == (11, 20, (1.0, 1.1), False)
    assert find_parting(first, first, batch_sizes=(48, 48)) == Together(20, exact=False)


def test_the_batches_are_those_of_the_order(tmp_path):
    first = made(tmp_path / "a")
    again, seeded = made(tmp_path / "b"), made(tmp_path / "c", {"seed": 1})
    found = compare_batches(first, again, 3)
    assert found.are_equal and found.shared == 48
    np.testing.assert_array_equal(found.first, TrainOrder(100, 48, seed=0).rows(2).indices)
    found = compare_batches(first, seeded, 3)
    others = set(TrainOrder(100, 48, seed=1).rows(2).indices)
    assert not found.are_equal and found.shared == sum(index in others for index in found.first.tolist())
    other = made(tmp_path / "d", start={"data": DATA | {"train": {"name": "other", "examples": 100}}})
    assert not compare_batches(first, other, 3).are_equal
    assert compare_batches(first, made(tmp_path / "e", start={"data": None}), 3) is None


def test_the_result_is_one_sentence(pair):
    same = Parting(7, 7, (1.0, 1.5), (1.0, 1.0), 9)
    assert conclusion([], same).startswith("the losses part at step 7, and nothing that was recorded differs")
    found = differences(*pair({"seed": 1, "log.every_steps": 3}))
    assert conclusion(found, same) == "the losses part at step 7; what differs: seed"
    tiny = conclusion(found, Parting(1, 1, (1.0, 1.0 + 1e-7), (1.0, 1.0), 9))
    assert tiny.endswith(
        "what differs: seed; a relative difference of 1e-07 is one of rounding, which grows from step to step"
    )
    assert conclusion(found, Together(9, exact=True)) == "the losses are equal, although seed differ"
    assert conclusion([], Together(9, exact=True)) == "the runs do not differ"
    assert conclusion([], Together(0, exact=False)) == "nothing recorded differs"


def test_the_program_prints_and_writes_everything(tmp_path, capsys):
    made(tmp_path / "a", losses=[5.0, 4.0, 3.0])
    made(tmp_path / "b", {"optimizer.momentum": 0.5}, losses=[5.0, 4.0, 2.5])
    words = (str(tmp_path / "a"), str(tmp_path / "b"))
    assert program.main(Command("diff", None, str(tmp_path / "out"), paths=words)) == 0
    printed = capsys.readouterr().out
    assert f"runs         A  {tmp_path / 'a'}, 3 steps" in printed
    assert "config       optimizer.momentum: 0.9 in A, 0.5 in B" in printed
    assert "versions     no difference" in printed
    assert "losses       part at step 3; all steps before are equal bit for bit" in printed
    assert "batch        of step 3: the same 48 images in the same rows" in printed
    assert "result       the losses part at step 3; what differs: optimizer.momentum" in printed
    assert f"to see it    python main.py --workdir={tmp_path / 'a'} --mode=replay --config.replay.step=3" in printed
    (directory,) = (tmp_path / "out").iterdir()
    assert re.fullmatch("a-b-[0-9a-f]{6}", directory.name)
    written = json.loads((directory / "diff.json").read_text())
    assert (written["parting"]["first"], written["differences"][0]["name"]) == (3, "optimizer.momentum")
    with (directory / "batch.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 48 and all(row["equal"] == "1" for row in rows)
    assert rows[0]["file in A"] == f"synthetic/train[{rows[0]['index in A']}], generated"


def test_mistakes_are_one_line(tmp_path):
    made(tmp_path / "a")
    with pytest.raises(UsageError, match="compares two runs, not 1: --mode=diff RUN RUN"):
        program.main(Command("diff", None, str(tmp_path / "out"), paths=(str(tmp_path / "a"),)))
    with pytest.raises(UsageError, match="none holds no run: name two work directories"):
        read_run(str(tmp_path / "none"))
    (tmp_path / "a" / "config.json").write_text("{")
    with pytest.raises(UsageError, match="is not the config of a run"):
        read_run(str(tmp_path / "a"))


@pytest.mark.slow
def test_the_command_line_takes_two_runs(tmp_path):
    done = subprocess.run(
        [sys.executable, "main.py", "--mode=diff", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and "compares two runs, not 1" in done.stderr
