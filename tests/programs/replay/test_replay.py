import csv
import dataclasses
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from resnet_jax import experiment
from resnet_jax.data.sources import Example
from resnet_jax.distributed.stop_requests import StopRequests
from resnet_jax.errors import UsageError
from resnet_jax.programs.command import Command
from resnet_jax.programs.replay import main as program
from resnet_jax.programs.replay.lines import replay_lines
from resnet_jax.programs.replay.recorded import COMPARED, Window
from resnet_jax.programs.replay.replay import reason
from resnet_jax.programs.replay.replay import replay as compute
from resnet_jax.programs.train.run import train
from resnet_jax.reporting.workdir import Workdir
from tests.programs.train_runs import build
from tests.tiny import replace_in, tiny_config

BASE = {"train.total_steps": 6, "eval.every_steps": 4, "log.every_steps": 1}
EVERY_SECOND = {"eval.every_steps": 2, "checkpoint.keep_latest": 9}
HOT = {"schedule.base_lr": 1e9, "schedule.warmup_epochs": 0.0, "checkpoint.every_steps": 1}

pytestmark = pytest.mark.usefixtures("quick_runs")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of six steps with checkpoints 2, 4 and 6, and a line of metrics for each step."""
    workdir, status = trained(tmp_path_factory.mktemp("finished") / "run", EVERY_SECOND)
    assert status == 0
    return workdir


@pytest.fixture
def run(finished, tmp_path):
    """A copy of the run, whose metrics a test may change."""
    shutil.copytree(finished.path, tmp_path / "run")
    return Workdir(tmp_path / "run")


def lines(workdir):
    return [json.loads(line) for line in workdir.metrics.read_text().splitlines()]


def write_lines(workdir, changed):
    workdir.metrics.write_text("".join(json.dumps(line) + "\n" for line in changed))


def trained(path, changes, built=None):
    """Trains the tiny network and returns its work directory and the exit status."""
    workdir = Workdir(path)
    with workdir.lock():
        settings = experiment.resolve(tiny_config(BASE | changes))
        return workdir, train(built or build(changes), workdir, settings, StopRequests())


def replay(workdir, changes, **options):
    keys = {f"replay.{key}": value for key, value in options.items()}
    return program.main(Command("replay", tiny_config(BASE | changes | keys), str(workdir.path)))


def steps_again(workdir, step):
    """Computes a step again without writing anything."""
    return compute(build(EVERY_SECOND), workdir, step, StopRequests())


def text(replayed):
    return "\n".join(replay_lines(replayed, str, [str(label) for label in range(10)]))


def result(workdir, step):
    return json.loads((workdir.path / "replays" / str(step) / "replay.json").read_text())


def rows(workdir, step):
    with (workdir.path / "replays" / str(step) / "batch.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_step_after_a_checkpoint_is_computed_again_bit_for_bit(run, capsys):
    assert replay(run, EVERY_SECOND, step=5, images=4) == 0
    printed = capsys.readouterr().out
    assert "replaying    steps 5 to 5, from checkpoint 4" in printed
    assert "metrics      step 5: loss " in printed and printed.count(": equal bit for bit") == 1
    assert "recorded     step 5: loss and gradient norm are those in steps.f32, bit for bit\n" in printed
    found = result(run, 5)
    assert found["start"] == 4 and list(found["steps"]) == ["5"] and found["not_finite"] is None
    assert all(value["equal"] for value in found["compared"]["values"].values())
    (line,) = [line for line in lines(run) if (line["step"], line["split"]) == (5, "train")]
    assert {name: found["steps"]["5"][name] for name in COMPARED} == {name: line[name] for name in COMPARED}
    norms = found["gradient_norm_by_stage"]
    assert np.sqrt(sum(norm**2 for norm in norms.values())) == pytest.approx(line["grad_norm"], rel=1e-5)
    order = build({}).data.train_loader.order.rows(4)
    table = rows(run, 5)
    assert [int(row["index"]) for row in table] == order.indices.tolist() and len(table) == 48
    assert table[0]["file"] == f"synthetic/train[{order.indices[0]}], generated"
    with Image.open(run.path / "replays" / "5" / "batch.png") as picture:
        assert picture.width >= 800


@pytest.mark.slow
def test_a_rate_that_is_too_large_is_explained_by_the_run_and_one_replay(tmp_path, capsys, caplog):
    with caplog.at_level("INFO", logger="resnet_jax"):
        workdir, status = trained(tmp_path / "run", HOT)
    failed = json.loads(workdir.result.read_text())["failed_step"]
    assert status == 3 and failed > 1
    assert f"--workdir={workdir.path} --mode=replay --config.replay.step={failed}\n" in caplog.text + "\n"
    assert replay(workdir, HOT) == 0  # without replay.step: the step that ended the run
    printed = capsys.readouterr().out
    assert "not finite   first in the " in printed and f"step         {failed}: 48 images" in printed
    assert "cause        not single images: weights or gradients left the range" in printed
    assert "lower schedule.base_lr" in printed and "weights      largest magnitude before the step: " in printed
    found = result(workdir, failed)
    assert found["not_finite"]["name"] and found["steps"][str(failed)]["loss"] is None
    with (workdir.path / "replays" / str(failed) / "layers.csv").open() as file:
        layers = list(csv.DictReader(file))
    broken = next(line for line in layers if line["images_not_finite"] != "0")
    assert found["not_finite"]["where"] == broken["pass"] and found["not_finite"]["name"] == broken["layer"]


class Poisoned:
    """A source of dark images, of which one is white."""

    def __init__(self, source, index):
        self.source, self.name, self.class_names, self.index = source, source.name, source.class_names, index

    def __len__(self):
        return len(self.source)

    def __getitem__(self, index):
        image, label, boxes = self.source[index]
        return Example(np.full_like(image, 255) if index == self.index else image // 8, label, boxes)

    def where(self, index):
        return f"photos/image-{index}.jpg"


@pytest.mark.slow  # a network of float16; tests/training/test_layer_probe.py has a cheap one
def test_one_poisoned_image_is_named(tmp_path, capsys, monkeypatch):
    # White divided by the deviation is 85,000, more than float16 can represent; the other images are at most 10,400.
    changes = {"model.dtype": "float16", "input.mean": (0.0,) * 3, "input.std": (0.003,) * 3, "train.accumulate": 2}
    built = build(changes)
    loader = built.data.train_loader
    spot = int(loader.order.rows(1).indices[40])  # of the second micro-batch of step 2
    loader = dataclasses.replace(loader, source=Poisoned(loader.source, spot))
    built = replace_in(built, "data", train_loader=loader)
    monkeypatch.setattr(experiment, "build", lambda *_, **__: built)
    workdir, status = trained(tmp_path / "run", changes, built)
    assert (status, json.loads(workdir.result.read_text())["failed_step"]) == (3, 2)
    assert replay(workdir, changes) == 0
    printed = capsys.readouterr().out
    assert "first in the forward pass, in 'stem_conv', for 1 of 48 images" in printed
    assert f"row 40, photos/image-{spot}.jpg, class " in printed
    assert "cause        only the images above: this layer is finite for all others." in printed
    assert [row["row"] for row in rows(workdir, 2) if row["not_finite"] == "1"] == ["40"]
    assert result(workdir, 2)["not_finite"]["rows"] == [40]


def means(first, last):
    """A line of metrics of several steps, made from the lines of each of them."""

    def merged(workdir):
        found = {line["step"]: line for line in lines(workdir) if line["split"] == "train"}
        window = [found[step] for step in range(first, last + 1)]
        mean = {name: sum(line[name] for line in window) / len(window) for name in ("loss", "top1", "grad_norm")}
        return {"step": last, "split": "train", **mean, "lr": window[-1]["lr"]}

    return merged


def test_lines_of_several_steps_are_compared_from_an_earlier_checkpoint(run):
    write_lines(run, [means(1, 3)(run), means(4, 6)(run)])
    found = steps_again(run, 5)  # its line covers steps 4 to 6, but steps.f32 has step 5 alone
    assert (found.start, sorted(found.totals), found.window, found.compared) == (4, [5], None, [])
    assert (found.recorded.first, found.recorded.last, found.recorded.first_different) == (5, 5, None)
    assert "metrics" not in text(found)
    run.steps.unlink()  # as in a run of an earlier version
    found = steps_again(run, 5)  # computed from checkpoint 2, not 4
    assert found.recorded is None
    assert (found.start, sorted(found.totals), found.window[:2]) == (2, [3, 4, 5, 6], (4, 6))
    assert len(found.compared) == 4 and max(one.difference for one in found.compared) < 1e-6  # rounded means


def test_without_an_earlier_checkpoint_the_step_is_computed_from_the_nearest(run):
    write_lines(run, [means(1, 1)(run), means(2, 6)(run)])
    run.steps.unlink()
    shutil.rmtree(run.checkpoints / "2")
    found = steps_again(run, 5)
    assert (found.start, [one.name for one in found.compared]) == (4, ["lr"])
    assert "means over steps 2 to 6 cannot be compared: the nearest checkpoint, 4, is later" in text(found)


def test_the_first_steps_are_computed_from_the_initial_state(run):
    found = steps_again(run, 2)
    assert (found.start, [one.is_equal for one in found.compared]) == (0, [True] * 4)


def test_other_values_than_those_of_the_run_are_told_apart(run):
    write_lines(run, [{**line, "grad_norm": 1.01 * line.get("grad_norm", 0.0)} for line in lines(run)])
    assert "gradient norm differs by more than rounding: data, code, config or libraries" in text(steps_again(run, 6))
    write_lines(run, [{**line, "grad_norm": (1 + 1e-6) / 1.01 * line["grad_norm"]} for line in lines(run)])
    assert "these differences are rounding: other devices" in text(steps_again(run, 6))


def test_the_first_step_with_other_bits_than_in_the_run_is_named(run):
    bits = np.fromfile(run.steps, "<f4").reshape(-1, 2)
    bits[4, 1] *= 1.5
    bits.tofile(run.steps)
    shutil.rmtree(run.checkpoints / "4")
    printed = text(steps_again(run, 6))
    assert "recorded     step 6, compared with steps.f32: loss " in printed
    assert "of steps 3 to 6, the first that differs is step 5" in printed


@pytest.mark.parametrize(
    ("start", "step", "window", "words"),
    [
        (40, 60, None, "from checkpoint 40"),
        (0, 1, None, "from the initial state"),
        (0, 20, None, "from the initial state, because the run has no checkpoint before step 20"),
        (
            22,
            40,
            (23, 60),
            "from checkpoint 22; metrics.jsonl has means over steps 23 to 60, and not the values of each step",
        ),
        (4, 5, (5, 5), "from checkpoint 4"),
    ],
)
def test_the_reason_for_further_steps_is_given(start, step, window, words):
    assert reason(start, step, window and Window(*window, {})) == words


def test_mistakes_are_one_line(run, tmp_path):
    with pytest.raises(UsageError, match="has no step whose loss was not finite: name a step, --config.replay.step=N"):
        replay(run, EVERY_SECOND)
    with pytest.raises(UsageError, match="config.replay.step=7: the run has 6 steps"):
        replay(run, EVERY_SECOND, step=7)
    with pytest.raises(
        UsageError, match=r"holds a run of another config \(seed: 0 there, 1 here\): leave out --config"
    ):
        replay(run, EVERY_SECOND | {"seed": 1}, step=1)
    with pytest.raises(UsageError, match="holds no run"):
        replay(Workdir(tmp_path / "none"), {}, step=1)
