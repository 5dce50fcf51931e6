import dataclasses
import json

import jax
import numpy as np
import pytest

from resnet_jax.data.class_names import fingerprint
from resnet_jax.data.feed import device_batches, host_batches
from resnet_jax.data.order import TrainOrder
from resnet_jax.distributed.signals import STOPPED
from resnet_jax.distributed.stop_requests import StopRequests
from resnet_jax.errors import UsageError
from resnet_jax.experiment.compile import initial_state
from resnet_jax.programs.train import loop
from resnet_jax.programs.train.run import train
from resnet_jax.reporting.workdir import Workdir
from tests.programs.train_runs import build, compile_once, restore
from tests.tiny import replace_in

pytestmark = pytest.mark.usefixtures("quick_runs")


@pytest.fixture
def workdir(tmp_path):
    made = Workdir(tmp_path / "run")
    with made.lock():
        yield made


def lines(workdir, split):
    records = [json.loads(line) for line in workdir.metrics.read_text().splitlines()]
    return {record["step"]: record for record in records if record["split"] == split}


def test_every_step_is_logged_once_and_the_run_equals_a_plain_loop(workdir):
    built = build({})
    assert train(built, workdir, {"seed": 0}, StopRequests()) == 0
    state, step_fn, losses = initial_state(built), compile_once(built)[12], {}
    batches = host_batches(built.data.train_loader, start=0, stop=6, num_threads=0, num_workers=0)
    for step, batch in enumerate(device_batches((b.batch for b in batches), mesh=built.computation.mesh), start=1):
        state, totals = step_fn(state, batch)
        losses[step] = float(totals.examples.loss) / 48
    assert {step: line["loss"] for step, line in lines(workdir, "train").items()} == pytest.approx(losses)
    assert sorted(lines(workdir, "eval")) == [4, 6]
    restored, meta = restore(workdir, built)
    assert (meta["step"], meta["images_seen"], meta["evaluation"]["count"]) == (6, 6 * 48, 21)
    jax.tree.map(np.testing.assert_array_equal, restored, state)


def test_a_stop_request_saves_the_step_at_which_it_is_met(workdir):
    class AfterSomeSteps(StopRequests):
        def stop_here(self):
            return workdir.metrics.exists() and len(lines(workdir, "train")) >= 2

    built = build({})
    assert train(built, workdir, {}, AfterSomeSteps()) == STOPPED
    restored, meta = restore(workdir, built)
    assert meta["step"] == int(restored.step) == max(lines(workdir, "train"))
    assert json.loads(workdir.result.read_text())["stop_reason"] == "signal"


def test_a_save_request_saves_its_step_and_training_continues(workdir, caplog):
    class AfterTwoSteps(StopRequests):
        def save_here(self):
            due = workdir.metrics.exists() and len(lines(workdir, "train")) == 2 and not asked
            asked.extend([True] * due)
            return due

    asked, built = [], build({"eval.every_steps": 100})
    with caplog.at_level("INFO", logger="resnet_jax"):
        assert train(built, workdir, {}, AfterTwoSteps()) == 0
    saved = [record.getMessage() for record in caplog.records if record.getMessage().startswith("saved ")]
    assert saved == [f"saved        step 3: {workdir.checkpoints / '3'}"]
    assert sorted(path.name for path in workdir.checkpoints.iterdir()) == ["3", "6"]


def broken_batches(good):
    """Returns a `host_batches` that fails after `good` batches."""

    def batches(loader, *, start, stop, **how):
        yield from host_batches(loader, start=start, stop=start + good, num_threads=0, num_workers=0)
        raise RuntimeError("Worker process was terminated unexpectedly")

    return batches


def test_an_error_of_the_input_workers_is_raised_after_saving(workdir, monkeypatch):
    monkeypatch.setattr(loop, "host_batches", broken_batches(3))
    built = build({"eval.every_steps": 100})
    with pytest.raises(RuntimeError, match="terminated unexpectedly"):
        train(built, workdir, {}, StopRequests())
    assert restore(workdir, built)[1]["step"] in (1, 2, 3)


def test_an_error_before_the_first_step_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "host_batches", broken_batches(0))
    workdir = Workdir(tmp_path / "runs" / "one")
    with pytest.raises(RuntimeError, match="terminated unexpectedly"), workdir.lock():
        train(build({}), workdir, {}, StopRequests())
    assert list(tmp_path.iterdir()) == []


def test_a_state_that_is_not_finite_is_never_saved(workdir, caplog):
    built = build({"schedule.base_lr": 1e9, "schedule.warmup_epochs": 0.0, "checkpoint.every_steps": 1})
    with caplog.at_level("INFO", logger="resnet_jax"):
        assert train(built, workdir, {}, StopRequests()) == 3
    restored, meta = restore(workdir, built)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(restored))
    assert f"the last good checkpoint is {workdir.checkpoints / str(meta['step'])}" in caplog.text
    assert json.loads(workdir.result.read_text())["stop_reason"] == "non_finite"


def test_another_list_of_classes_is_refused_before_anything_is_touched(workdir):
    built = build({"train.max_steps": 1})
    assert train(built, workdir, {}, StopRequests()) == 0
    classes = json.loads((workdir.path / "classes.json").read_text())
    assert classes == [str(label) for label in range(10)]
    start = json.loads((workdir.path / "run.json").read_text())["starts"][0]
    assert start["data"] == restore(workdir, built)[1]["data"]
    assert start["data"] == {
        "train": {"name": "synthetic/train", "examples": 100},
        "eval": {"name": "synthetic/eval", "examples": 21},
        "class_list": fingerprint(classes),
    }
    other = replace_in(
        built,
        "data",
        class_names=(*built.data.class_names[:9], "daisy"),
        identity=built.data.identity | {"class_list": "another"},
    )
    with pytest.raises(UsageError, match="class 9 is '9', not 'daisy'"):
        train(other, workdir, {}, StopRequests())
    (workdir.path / "classes.json").unlink()  # the checkpoint holds a hash of the classes, too
    with pytest.raises(UsageError, match="checkpoints/1 was trained on other data .class_list: .* there, another here"):
        train(other, workdir, {}, StopRequests())


def test_other_data_are_refused(workdir):
    built = build({"train.max_steps": 1})
    assert train(built, workdir, {}, StopRequests()) == 0
    identity = built.data.identity | {"train": {"name": "synthetic:2/train", "examples": 100}}
    with pytest.raises(
        UsageError, match="other data .train.name: synthetic/train there, synthetic:2/train here.: give"
    ):
        train(replace_in(built, "data", identity=identity), workdir, {}, StopRequests())


def spotted(built):
    """The experiment on sources of which an example cannot be read."""
    train_loader = dataclasses.replace(built.data.train_loader, source=Spotted(built.data.train_loader.source))
    eval_loader = dataclasses.replace(built.data.eval_loader, source=Spotted(built.data.eval_loader.source))
    return replace_in(built, "data", train_loader=train_loader, eval_loader=eval_loader)


def test_too_many_bad_examples_end_the_run_after_saving(workdir):
    built = build({"data.max_bad_examples": 0})
    # Of the fifth batch and the second epoch; two batches are loaded ahead.
    source = Spotted(built.data.train_loader.source, int(TrainOrder(100, 48, seed=0).rows(4).indices[0]), good_reads=1)
    built = replace_in(built, "data", train_loader=dataclasses.replace(built.data.train_loader, source=source))
    with pytest.raises(UsageError, match="^1 images cannot be read, more than config.data.max_bad_examples=0: repair"):
        train(built, workdir, {}, StopRequests())
    assert restore(workdir, built)[1]["step"] in range(1, 5)


def test_bad_examples_are_listed_and_the_run_continues(workdir, caplog):
    with caplog.at_level("INFO", logger="resnet_jax"):
        assert train(spotted(build({})), workdir, {}, StopRequests()) == 0
    assert f"unreadable   2 images: {workdir.bad_examples}" in caplog.text
    assert "another example replaces it" in caplog.text and "it counts as a wrong prediction" in caplog.text
    lines = [json.loads(line) for line in (workdir.path / "bad_examples.jsonl").read_text().splitlines()]
    assert sorted((line["source"], line["index"]) for line in lines) == [("synthetic/eval", 7), ("synthetic/train", 7)]
    assert json.loads(workdir.result.read_text())["eval"]["count"] == 21


class Spotted:
    """A source of which an example cannot be read more than `good_reads` times."""

    def __init__(self, source, spot=7, good_reads=0):
        self.source, self.name, self.spot, self.good_reads = source, source.name, spot, good_reads

    def __len__(self):
        return len(self.source)

    def __getitem__(self, index):
        if index == self.spot:
            self.good_reads -= 1
        if index == self.spot and self.good_reads < 0:
            raise ValueError("no image")
        return self.source[index]

    def where(self, index):
        return f"file {index}"


def result(workdir):
    return json.loads(workdir.result.read_text())


def test_a_run_ends_when_it_reaches_stop_at(workdir):
    assert train(build({"eval.stop_at": 0.0}), workdir, {}, StopRequests()) == 0
    assert (result(workdir)["stop_reason"], result(workdir)["step"]) == ("stop_at", 4)
    assert train(build({"eval.stop_at": 1.0}), workdir, {}, StopRequests()) == 0
    assert (result(workdir)["stop_reason"], result(workdir)["step"]) == ("completed", 6)


def test_a_run_with_max_steps_has_the_learning_rates_of_the_full_run(workdir):
    assert train(build({"train.max_steps": 3}), workdir, {}, StopRequests()) == 0
    assert (result(workdir)["stop_reason"], result(workdir)["step"]) == ("max_steps", 3)
    assert sorted(lines(workdir, "eval")) == [3]
    assert train(build({}), workdir, {}, StopRequests()) == 0
    schedule = [line["lr"] for _, line in sorted(lines(workdir, "train").items())]
    assert len(schedule) == 6 and schedule[2] > 0
    assert (result(workdir)["stop_reason"], result(workdir)["step"]) == ("completed", 6)


def test_max_steps_below_the_current_step_ends_the_run_at_once(workdir):
    assert train(build({"train.max_steps": 4}), workdir, {}, StopRequests()) == 0
    assert train(build({"train.max_steps": 2}), workdir, {}, StopRequests()) == 0
    assert (result(workdir)["stop_reason"], result(workdir)["step"]) == ("max_steps", 4)


def test_a_run_continues_with_other_intervals_bit_for_bit(workdir, tmp_path):
    whole, built = Workdir(tmp_path / "whole"), build({})
    with whole.lock():
        assert train(built, whole, {}, StopRequests()) == 0
    assert train(build({"train.max_steps": 3}), workdir, {}, StopRequests()) == 0
    changes = {"eval.every_steps": 5, "checkpoint.every_steps": 2, "log.every_steps": 2}
    assert train(build(changes), workdir, {}, StopRequests()) == 0
    assert sorted(lines(workdir, "eval")) == [3, 5, 6]
    jax.tree.map(np.testing.assert_array_equal, restore(workdir, built)[0], restore(whole, built)[0])


def test_before_training_evaluates_the_initial_state(workdir):
    assert train(build({"eval.before_training": True}), workdir, {}, StopRequests()) == 0
    assert sorted(lines(workdir, "eval")) == [0, 4, 6]


def test_progressive_resizing_trains_on_small_images_first(workdir):
    changes = {"data.progressive.sizes": (8,), "data.progressive.until_epochs": (1.5,), "eval.image_size": 16}
    built = build(changes)
    assert built.data.train_loader.image_sizes == (8, 12)
    assert built.data.eval_loader.image_sizes == (16,)
    assert train(built, workdir, {}, StopRequests()) == 0
    assert sorted(lines(workdir, "train")) == [1, 2, 3, 4, 5, 6]


def test_the_loss_scale_is_in_the_log(workdir):
    assert train(build({"loss.scale": 8.0, "loss.scale_growth_steps": 2}), workdir, {}, StopRequests()) == 0
    assert [line["loss_scale"] for line in lines(workdir, "train").values()] == [8, 16, 16, 32, 32, 64]
    assert {line["skipped_steps"] for line in lines(workdir, "train").values()} == {0}


def test_profile_at_traces_the_given_steps(workdir):
    assert train(build({"train.profile_at": 2, "train.profile_steps": 2}), workdir, {}, StopRequests()) == 0
    (trace,) = workdir.path.glob("plugins/profile/*")
    assert list(trace.glob("*.xplane.pb"))


EVERYTHING = {
    "train.total_steps": 12,
    "eval.every_steps": 100,
    "log.every_steps": 4,
    "data.repeats": 2,
    "data.augment.name": "rand_augment",
    "data.progressive.sizes": (8,),
    "data.progressive.until_epochs": (3.0,),
    "input.erasing.probability": 0.5,
    "mixing.mixup_alpha": 0.2,
    "mixing.cutmix_alpha": 1.0,
    "model.stochastic_depth": 0.3,
    "model.zero_init_last_bn": False,
    "loss.scale": 8.0,
    "loss.scale_growth_steps": 3,
    "optimizer.clip_norm": 1.0,
    "ema.decay": 0.9,
    "ema.every_steps": 3,
    "train.accumulate": 2,
    "data.batch_size": 96,
}


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "lars", "lamb", "adamw"])
def test_a_run_with_every_feature_continues_bit_for_bit(tmp_path, optimizer):
    changes = EVERYTHING | {"optimizer.name": optimizer}
    states = {}
    for name, ends in {"whole": (None,), "cut": (5, 8, None)}.items():
        workdir = Workdir(tmp_path / name)
        with workdir.lock():
            for end in ends:
                built = build(changes | {"train.max_steps": end})
                assert train(built, workdir, {}, StopRequests()) == 0
            states[name], _ = restore(workdir, built)
    jax.tree.map(np.testing.assert_array_equal, states["cut"], states["whole"])
