import dataclasses
import importlib.util
import json
import logging

import jax
import jax.numpy as jnp
import pytest

from resnet_jax.analysis import step_cost
from resnet_jax.analysis.hlo_collectives import Collectives
from resnet_jax.analysis.program_cost import ProgramCost, program_cost
from resnet_jax.analysis.roofline import StepTimeBounds
from resnet_jax.analysis.run_forecast import evaluation_steps, make_forecast
from resnet_jax.analysis.step_cost import StepCost, scaled
from resnet_jax.analysis.topology import topology_devices
from resnet_jax.errors import UsageError
from resnet_jax.experiment import Milestones, build
from resnet_jax.programs.plan import plan
from tests.tiny import tiny_config

COST = StepCost(
    image_size=224,
    batch_size=512,
    devices=4,
    device_kind="TPU v5 lite",
    compile_seconds=80.0,
    model_flops=2.7e12,
    cost=ProgramCost(
        flops=3e12,
        bytes_accessed=60e9,
        hbm_bytes=49e9,
        peak_memory=4_000,
        collectives={"all-reduce": Collectives(2, 5)},
    ),
    problem=None,
    memory=16_000.0,
    time_bounds=StepTimeBounds(flops=0.25, hbm=0.5, links=None),
)


def milestones_of(**changes) -> Milestones:
    values = {
        "total_steps": 20,
        "schedule_steps": 20,
        "steps_per_epoch": 6.5,
        "eval_every_steps": 6.5,
        "eval_before_training": False,
        "stop_at": None,
        "checkpoint_every_steps": None,
        "log_every_steps": 1,
        "log_first_step": False,
    }
    return Milestones(**(values | changes))


@pytest.mark.parametrize("every", [1.0, 1.3, 1.5, 2.0, 6.5, 7.0, 19.9, 20.0, 300.0])
@pytest.mark.parametrize("first", [True, False])
def test_the_forecast_has_the_evaluations_of_the_loop(every, first):
    milestones = milestones_of(eval_every_steps=every, eval_before_training=first, total_steps=97)
    assert evaluation_steps(milestones) == [step for step in range(98) if milestones.evaluation_due(step)]


@pytest.mark.parametrize("every", [None, 1, 2, 5, 50])
def test_the_forecast_counts_the_checkpoints_that_the_loop_writes(every):
    milestones = milestones_of(checkpoint_every_steps=every)
    forecast = make_forecast(dataclasses.replace(build(tiny_config()), milestones=milestones))
    due = [step for step in range(21) if milestones.evaluation_due(step) or milestones.checkpoint_due(step)]
    assert forecast.checkpoints == len(due)
    assert forecast.kept_checkpoints == min(forecast.checkpoints, 3)


def test_a_checkpoint_has_the_parameters_their_velocities_and_the_statistics():
    experiment = build(tiny_config())
    state = jax.eval_shape(experiment.computation.init)
    parameters, statistics = (sum(leaf.size for leaf in jax.tree.leaves(part)) for part in state.variables.values())
    assert make_forecast(experiment).checkpoint_bytes == 4 * (2 * parameters + statistics + 1)  # + 1: the step


def test_a_plan_in_json_for_all_sizes_and_devices(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    config = tiny_config({"data.progressive.sizes": (8,), "data.progressive.until_epochs": (2.0,)})
    path = tmp_path / "plan.json"
    assert plan(build(config), json_path=str(path)) == 0
    found = json.loads(path.read_text())
    assert (found["total_steps"], found["steps_per_epoch"]) == (21, pytest.approx(100 / 48))
    assert found["evaluations"] == {"count": 10, "first": 2, "last": 21}
    assert (found["devices"], found["device_kind"], found["image_size"]) == (8, "cpu", 12)
    assert list(found["image_sizes"]) == ["8", "12"]
    assert found["per_device"] == found["image_sizes"]["12"]["per_device"]
    assert found["per_device"]["flops"] > 1.5 * found["image_sizes"]["8"]["per_device"]["flops"] > 0
    assert found["hbm_bytes_per_image"] == found["per_device"]["hbm_bytes"] / 6
    assert found["per_device"]["peak_memory_bytes"] > 0
    assert found["collectives"]["all-reduce"]["count"] == 1
    assert found["images_per_second_bound"] is None and "no figures of a cpu" in caplog.text
    assert [file.name for file in tmp_path.iterdir()] == ["plan.json"]


def test_the_body_of_the_loop_over_micro_batches_is_counted_once_per_iteration():
    def multiply(matrix, pieces):
        return jax.lax.scan(lambda product, piece: (product @ piece, None), matrix, pieces)[0]

    square, pieces = jnp.ones((64, 64)), jnp.ones((5, 64, 64))
    cost = program_cost(jax.jit(multiply).lower(square, pieces).compile(), num_microbatches=5)
    assert cost.flops == pytest.approx(5 * 2 * 64**3, rel=0.01)


def test_the_bounds_of_a_step():
    assert COST.images_per_second_bound == 1024.0
    assert COST.as_json()["hfu_bound"] == 0.5
    assert COST.as_json()["mfu_bound"] == 0.45
    line = COST.as_lines()["bound"]
    assert line.startswith("at most 1,024 images/s, MFU 45.0% and HFU 50.0%: ")
    assert line.endswith(": a step takes at least 250 ms for FLOPs, 500 ms for HBM")


@pytest.mark.parametrize(
    ("changes", "fits", "said"),
    [
        ({}, True, "25% of 16 kB: it fits"),
        ({"memory": 3_000.0}, False, "it does not fit: set config.train.per_device_limit"),
        ({"memory": None}, None, "the memory of a TPU v5 lite is unknown"),
        (
            {"cost": None, "time_bounds": None, "problem": "Ran out"},
            False,
            "it does not fit (Ran out): set config.train",
        ),
    ],
)
def test_the_plan_says_whether_the_step_fits_in_memory(changes, fits, said):
    cost = dataclasses.replace(COST, **changes)
    assert cost.as_json()["per_device"]["fits"] is fits
    assert said in cost.as_lines()["memory"]


def test_a_step_that_exceeds_the_memory_is_reported(monkeypatch, tmp_path):
    def compile_train_step(experiment, image_size):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 16.14G exceeds available HBM (15.75G).\nSee elsewhere")

    monkeypatch.setattr(step_cost, "compile_train_step", compile_train_step)
    path = tmp_path / "plan.json"
    assert plan(build(tiny_config()), json_path=str(path)) == 0
    found = json.loads(path.read_text())
    assert found["problem"] == "RESOURCE_EXHAUSTED: 16.14G exceeds available HBM (15.75G)."
    assert found["per_device"]["fits"] is False and found["per_device"]["flops"] is None


@pytest.mark.parametrize("name", ["missing/plan.json", "."])
def test_a_file_that_cannot_be_written_is_an_error_before_anything_is_compiled(name, monkeypatch, tmp_path):
    monkeypatch.setattr(step_cost, "compile_train_step", None)
    with pytest.raises(UsageError, match="config.plan.json=.*cannot be written"):
        plan(build(tiny_config()), json_path=str(tmp_path / name))


def test_a_topology_needs_libtpu(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"'v5e:4x4' needs libtpu.*pip install -e '\.\[tpu\]'"):
        topology_devices("v5e:4x4")


def test_quantities_have_three_digits_and_a_prefix():
    shown = [scaled(value, "B") for value in (49026293760.0, 614e6, 1398, 999, 0.05986)]
    assert shown == ["49 GB", "614 MB", "1.4 kB", "999 B", "59.9 mB"]
