import json
import math

import numpy as np
import pytest

from resnet_jax.programs.replay.recorded import (
    Compared,
    Window,
    as_json,
    compare,
    compare_steps,
    find_window,
    is_recorded,
    mean_scalars,
    steps_as_json,
)
from resnet_jax.reporting.step_file import StepFile
from resnet_jax.reporting.workdir import Workdir
from resnet_jax.training.metrics import StepTotals, Totals


def run(tmp_path, steps, starts=(0,)):
    """A work directory with lines of metrics at some steps, and starts of the run."""
    lines = [{"step": step, "split": "train", "loss": step / 7, "lr": 0.5, "grad_norm": None} for step in steps]
    lines.insert(1, {"step": 2, "split": "eval", "loss": 9.0})
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    begun = [{"start_step": start} for start in starts]
    (tmp_path / "run.json").write_text(json.dumps({"starts": begun}))
    return Workdir(tmp_path)


@pytest.mark.parametrize(
    ("steps", "starts", "step", "window"),
    [
        ([1, 10, 20], [0], 1, (1, 1)),
        ([1, 10, 20], [0], 2, (2, 10)),
        ([1, 10, 20], [0], 11, (11, 20)),
        ([1, 10, 20], [0], 20, (11, 20)),
        ([1, 10, 20], [0], 23, (11, 20)),  # the last line before a step that has none
        ([10, 20], [0, 14], 18, (15, 20)),  # a run that was killed at 17 and continued from checkpoint 14
        ([10, 20], [0, 17, 5], 18, (11, 20)),  # the last start wrote the line
        ([10, 20], [0, 25], 18, (11, 20)),  # a later start did not write it again
    ],
)
def test_a_line_covers_the_steps_since_the_line_before_or_since_the_start(tmp_path, steps, starts, step, window):
    found = find_window(run(tmp_path, steps, starts), step)
    assert (found.first, found.last) == window
    assert found.values["loss"] == found.last / 7 and math.isnan(found.values["grad_norm"])


def test_a_run_without_metrics_has_nothing_to_compare_with(tmp_path):
    assert find_window(Workdir(tmp_path), 1) is None
    (tmp_path / "metrics.jsonl").write_text("")
    assert find_window(Workdir(tmp_path), 1) is None
    assert as_json(None, []) is None


def totals(loss, norm, count=4):
    return StepTotals(
        Totals(np.int32(count), np.int32(1), np.int32(2), np.float32(loss)), np.float32(norm), np.float32(0.1)
    )


def test_means_are_those_of_the_run():
    steps = [totals(1.5, 2.0), totals(3.5, 4.0), totals(0.0, 0.0, count=0)]  # the last update was skipped
    assert mean_scalars(steps) == {"loss": 5.0 / 8, "top1": 3 / 8, "grad_norm": 3.0}
    assert math.isnan(mean_scalars(steps[2:])["grad_norm"])


def test_equal_bits_and_rounding_are_told_apart():
    window = Window(2, 3, {"loss": 5.0 / 8, "top1": 0.25, "grad_norm": 3.0 * (1 + 1e-6), "lr": float(np.float32(0.1))})
    found = {one.name: one for one in compare(window, {2: totals(1.5, 2.0), 3: totals(3.5, 4.0), 4: totals(9, 9)})}
    assert found["loss"].is_equal and found["lr"].is_equal and found["top1"].is_equal
    assert not found["grad_norm"].is_equal and found["grad_norm"].difference == pytest.approx(1e-6, rel=1e-3)
    assert [one.name for one in compare(window, {3: totals(3.5, 4.0)})] == ["lr"]  # step 2 was not computed
    assert compare(window, {1: totals(1, 1)}) == []
    written = json.loads(json.dumps(as_json(window, list(found.values()))))
    assert written["values"]["loss"]["equal"] and not written["values"]["grad_norm"]["equal"]


def test_two_values_that_are_not_finite_are_equal():
    assert Compared("loss", math.nan, math.inf).is_equal
    assert not Compared("loss", math.nan, 1.0).is_equal
    assert Compared("loss", math.nan, 1.0).difference == Compared("loss", 1.0, math.inf).difference == math.inf
    assert Compared("loss", math.nan, math.inf).difference == 0.0


def recorded(tmp_path, **steps):
    """A work directory whose `steps.f32` has these steps: s3=(sum of losses, gradient norm)."""
    workdir = Workdir(tmp_path)
    file = StepFile(workdir.steps)
    for name, (loss, norm) in steps.items():
        file.add(int(name[1:]), loss, norm)
    file.close()
    return workdir


def test_each_step_is_compared_with_what_the_run_recorded(tmp_path):
    workdir = recorded(tmp_path, s3=(1.5, 2.0), s4=(3.5, 4.0), s5=(1 / 3, math.nan))
    assert [is_recorded(workdir, step) for step in range(1, 8)] == [False, False, True, True, True, False, False]
    third = np.float32(1 / 3)
    same = {2: totals(9.0, 9.0), 3: totals(1.5, 2.0), 4: totals(3.5, 4.0), 5: totals(third, math.inf), 6: totals(1, 1)}
    found = compare_steps(workdir, same, 5)
    assert (found.first, found.last, found.first_different) == (3, 5, None)  # step 2 was not recorded
    assert [(one.name, one.is_equal) for one in found.compared] == [("loss", True), ("grad_norm", True)]
    assert found.compared[0].recorded == third / 4  # the mean over the 4 images
    assert compare_steps(workdir, same, 2) is None and steps_as_json(None) is None


def test_the_first_step_with_other_bits_is_found(tmp_path):
    workdir = recorded(tmp_path, s1=(1.5, 2.0), s2=(3.5, 4.0), s3=(2.5, 1.0))
    other = np.nextafter(np.float32(4.0), np.float32(5.0))
    found = compare_steps(workdir, {1: totals(1.5, 2.0), 2: totals(3.5, other), 3: totals(2.5, 1.5)}, 3)
    assert found.first_different == 2
    assert found.compared[0].is_equal and found.compared[1].difference == pytest.approx(1 / 3)
    written = json.loads(json.dumps(steps_as_json(found)))
    assert (written["first_step"], written["last_step"], written["first_different_step"]) == (1, 3, 2)
    assert written["values"]["loss"]["equal"] and not written["values"]["grad_norm"]["equal"]


def test_a_step_that_the_loss_scale_skipped_is_compared_too(tmp_path):
    workdir = recorded(tmp_path, s1=(0.0, 0.0))
    assert compare_steps(workdir, {1: totals(0.0, 0.0, count=0)}, 1).first_different is None
