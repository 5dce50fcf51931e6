import json
import math

import numpy as np
import pytest

from resnet_jax.errors import NonFiniteError
from resnet_jax.reporting import run_log
from resnet_jax.reporting.progress import Progress
from resnet_jax.reporting.run_log import Course, Machine, RunLog, StepFlops
from resnet_jax.reporting.time_accounting import PHASES, TRAINING, TimeAccounting
from resnet_jax.reporting.writers import Writers
from resnet_jax.text import duration
from resnet_jax.training.loss_scale import LossScale
from resnet_jax.training.metrics import StepTotals, Totals

FLOPS = StepFlops(model=1e9, hardware=1.25e9)


def totals(loss=1.0, grad_norm=2.0, top1=3):
    examples = Totals(count=np.int32(8), top1=np.int32(top1), top5=np.int32(4), loss=np.float32(8 * loss))
    return StepTotals(examples=examples, grad_norm=np.float32(grad_norm), lr=np.float32(0.1))


@pytest.fixture
def open_log(tmp_path):
    def opened(total_steps=7, num_classes=10):
        writers = Writers(tmp_path / "metrics.jsonl").__enter__()
        progress = Progress(start=0, total_steps=total_steps, visible=False)
        log = RunLog(
            writers=writers,
            progress=progress,
            accounting=TimeAccounting(),
            machine=Machine(2, 1e12, {"source": "tfds", "num_workers": 0, "num_threads": 1, "cores": 2}),
            course=Course(total_steps, 2.0, lambda step: step % 3 == 0 or step == total_steps),
            num_classes=num_classes,
        )
        opened.writers, opened.path = writers, tmp_path / "metrics.jsonl"
        return log

    yield opened
    opened.writers.__exit__(None, None, None)


def lines(opened):
    return [json.loads(line) for line in opened.path.read_text().splitlines()]


def test_a_window_is_the_mean_over_its_examples(open_log):
    log = open_log()
    for step, loss in enumerate([1.0, 2.0, 6.0, 5.0], start=1):
        log.add(step, totals(loss=loss, grad_norm=loss), flops=FLOPS)
    (line,) = lines(open_log)
    assert (line["step"], line["split"], line["loss"], line["grad_norm"]) == (3, "train", 3.0, 3.0)
    assert (line["top1"], line["top5"], line["lr"], line["epoch"]) == (0.375, 0.5, pytest.approx(0.1), 1.5)
    assert line["images_per_second"] > 0


def test_a_window_says_how_fast_it_was_and_where_its_time_went(open_log):
    log = open_log()
    for step in (1, 2, 3):
        log.add(step, totals(), flops=FLOPS)
    (line,) = lines(open_log)
    shares = {name: value for name, value in line.items() if name.startswith("share_")}
    assert tuple(shares) == tuple(f"share_{phase}" for phase in PHASES)
    assert sum(shares.values()) == pytest.approx(1.0)
    trained = line["seconds"] * sum(shares[f"share_{phase}"] for phase in TRAINING)
    assert line["images_per_second"] == pytest.approx(24 / trained)
    assert line["images_per_second_per_device"] == pytest.approx(12 / trained)
    assert line["mfu"] == pytest.approx(3e9 / trained / 1e12)
    assert line["hfu"] == pytest.approx(1.25 * line["mfu"])


def test_the_last_window_is_reported_full_or_not(open_log):
    log = open_log()
    for step in range(1, 8):
        log.add(step, totals(), flops=FLOPS)
    assert [line["step"] for line in lines(open_log)] == [3, 6, 7]
    log.finish()
    assert len(lines(open_log)) == 3


def test_a_stopped_run_reports_what_it_has(open_log):
    log = open_log()
    log.add(1, totals(loss=4.0), flops=FLOPS)
    log.finish()
    assert [(line["step"], line["loss"]) for line in lines(open_log)] == [(1, 4.0)]


@pytest.mark.parametrize(
    "bad", [{"loss": math.nan}, {"loss": math.inf}, {"grad_norm": math.nan}, {"grad_norm": math.inf}]
)
def test_what_is_not_finite_names_the_step(open_log, bad):
    with pytest.raises(NonFiniteError, match="^step 5: loss "):
        open_log().add(5, totals(**bad), flops=FLOPS)


def test_evaluations_are_written_with_their_count(open_log):
    scalars = open_log().evaluation(3, Totals(count=21, top1=7, top5=14, loss=42.0))
    assert scalars == {"step": 3, "loss": 2.0, "top1": 1 / 3, "top5": 2 / 3, "count": 21}
    assert lines(open_log) == [{"split": "eval", **scalars}]


def test_five_classes_have_no_top_5(open_log, caplog):
    log = open_log(num_classes=5)
    with caplog.at_level("DEBUG", logger="resnet_jax"):
        for step in (1, 2, 3):
            log.add(step, totals(), flops=FLOPS)
        found = log.evaluation(3, Totals(count=21, top1=7, top5=21, loss=42.0))
    assert [(line["top1"], line["top5"]) for line in lines(open_log)] == [(0.375, None), (1 / 3, None)]
    assert found["top5"] is None
    assert "top-5" not in caplog.text and "eval       3/7  loss 2.0000  top-1 33.33 %  n=21" in caplog.text


def test_the_first_step_alone_predicts_no_time(tmp_path, caplog):
    with Writers(tmp_path / "m.jsonl") as writers:
        log = RunLog(
            writers=writers,
            progress=Progress(start=0, total_steps=3, visible=False),
            accounting=TimeAccounting(),
            machine=Machine(1, None, {}),
            course=Course(3, 2.0, lambda step: True),
            num_classes=10,
        )
        with caplog.at_level("INFO", logger="resnet_jax"):
            for step in (1, 2, 3):
                log.add(step, totals(), flops=FLOPS)
    shown = [record.getMessage() for record in caplog.records if record.getMessage().startswith("step ")]
    assert [" left " in line for line in shown] == [False, True, True]


@pytest.mark.parametrize("every", [1, 100])
def test_advice_is_about_many_steps_and_not_about_the_first(tmp_path, monkeypatch, every):
    judged = []
    monkeypatch.setattr(run_log, "advice", lambda spent, **machine: judged.append(spent))
    log = RunLog(
        writers=None,
        progress=Progress(start=0, total_steps=400, visible=False),
        accounting=TimeAccounting(),
        machine=Machine(1, None, {}),
        course=Course(400, 50.0, lambda step: step % every == 0),
        num_classes=10,
    )
    for step in range(1, 401):
        log.add(step, totals(), flops=FLOPS)
    assert len(judged) == (19 if every == 1 else 3)


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3725, "1:02:05")])
def test_duration(seconds, text):
    assert duration(seconds) == text


def skipped_update(skipped):
    return StepTotals(
        examples=Totals(count=np.int32(0), top1=np.int32(0), top5=np.int32(0), loss=np.float32(0)),
        grad_norm=np.float32(0),
        lr=np.float32(0.1),
        loss_scale=LossScale(scale=np.float32(4.0), good_steps=np.int32(0), skipped=np.int32(skipped)),
    )


def test_skipped_updates_are_counted_and_do_not_enter_the_means(open_log):
    log = open_log()
    log.add(1, totals(loss=2.0, grad_norm=6.0), flops=FLOPS)
    log.add(2, skipped_update(1), flops=FLOPS)
    log.add(3, skipped_update(2), flops=FLOPS)
    (line,) = lines(open_log)
    assert (line["loss"], line["grad_norm"], line["skipped_steps"], line["loss_scale"]) == (2.0, 6.0, 2, 4.0)


def test_a_window_without_updates_has_no_loss(open_log):
    log = open_log()
    for step in (1, 2, 3):
        log.add(step, skipped_update(step), flops=FLOPS)
    (line,) = lines(open_log)
    assert line["loss"] is None and line["grad_norm"] is None


def test_too_many_skipped_updates_in_a_row_end_the_run(open_log):
    log = open_log(total_steps=100)
    with pytest.raises(NonFiniteError, match="step 50: 50 gradients in a row not finite, loss scale 4"):
        for step in range(1, 100):
            log.add(step, skipped_update(step), flops=FLOPS)
