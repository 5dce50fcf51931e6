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
from resnet_jax.analysis.roofline import StepTime
from resnet_jax.analysis.run_forecast import evaluation_steps, make_forecast
from resnet_jax.analysis.step_cost import StepCost, scaled
from resnet_jax.analysis.tpu_topology import topology_devices
from resnet_jax.errors import UsageError
from resnet_jax.experiment import Plan, build
from resnet_jax.programs.plan import plan
from tests.tiny import tiny_config

NEEDS = StepCost(
    image_size=224,
    batch_size=512,
    devices=4,
    device_kind="TPU v5 lite",
    compile_seconds=80.0,
    cost=ProgramCost(
        flops=3e12,
        bytes_accessed=60e9,
        hbm_bytes=49e9,
        peak_memory=4_000,
        collectives={"all-reduce": Collectives(2, 5)},
    ),
    problem=None,
    memory=16_000.0,
    least_time=StepTime(flops=0.25, hbm=0.5, links=None),
)


def plan_of(**changes) -> Plan:
    values = {
        "total_steps": 20,
        "schedule_steps": 20,
        "steps_per_epoch": 6.5,
        "eval_every_steps": 6.5,
        "eval_before_training": False,
        "stop_at": None,
        "checkpoint_every_steps": None,
        "log_every_steps": 1,
    }
    return Plan(**(values | changes))


@pytest.mark.parametrize("every", [1.0, 1.3, 1.5, 2.0, 6.5, 7.0, 19.9, 20.0, 300.0])
@pytest.mark.parametrize("first", [True, False])
def test_the_evaluations_are_those_of_the_loop(every, first):
    plan = plan_of(eval_every_steps=every, eval_before_training=first, total_steps=97)
    assert evaluation_steps(plan) == [step for step in range(98) if plan.evaluation_due(step)]


@pytest.mark.parametrize("every", [None, 1, 2, 5, 50])
def test_as_many_checkpoints_as_the_loop_writes(every):
    plan = plan_of(checkpoint_every_steps=every)
    forecast = make_forecast(dataclasses.replace(build(tiny_config()), plan=plan))
    assert forecast.checkpoints == sum(plan.evaluation_due(step) or plan.checkpoint_due(step) for step in range(21))
    assert forecast.kept_checkpoints == min(forecast.checkpoints, 3)


def test_a_checkpoint_has_the_parameters_their_velocities_and_the_statistics():
    experiment = build(tiny_config())
    state = jax.eval_shape(experiment.init)
    parameters, statistics = (sum(leaf.size for leaf in jax.tree.leaves(part)) for part in state.variables.values())
    assert make_forecast(experiment).checkpoint_bytes == 4 * (2 * parameters + statistics + 1)  # and the step


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


def test_what_is_in_a_loop_over_parts_is_taken_as_often_as_it_runs():
    def multiply(matrix, parts):
        return jax.lax.scan(lambda product, part: (product @ part, None), matrix, parts)[0]

    square, parts = jnp.ones((64, 64)), jnp.ones((5, 64, 64))
    cost = program_cost(jax.jit(multiply).lower(square, parts).compile(), parts=5)
    assert cost.flops == pytest.approx(5 * 2 * 64**3, rel=0.01)


def test_what_bounds_a_step():
    assert NEEDS.images_per_second_bound == 1024.0
    assert NEEDS.as_json()["mfu_bound"] == 0.5
    line = NEEDS.as_lines()["bound"]
    assert line == "at most 1,024 images/s and 50.0% of the peak FLOPs: a step takes 250 ms for FLOPs, 500 ms for HBM"


@pytest.mark.parametrize(
    ("changes", "fits", "said"),
    [
        ({}, True, "25% of 16 kB: it fits"),
        ({"memory": 3_000.0}, False, "it does not fit: set config.train.per_device_limit"),
        ({"memory": None}, None, "how much a TPU v5 lite has is not known"),
        (
            {"cost": None, "least_time": None, "problem": "Ran out"},
            False,
            "it does not fit (Ran out): set config.train",
        ),
    ],
)
def test_whether_it_fits(changes, fits, said):
    needs = dataclasses.replace(NEEDS, **changes)
    assert needs.as_json()["per_device"]["fits"] is fits
    assert said in needs.as_lines()["memory"]


def test_a_compiler_that_finds_no_room_is_an_answer(monkeypatch, tmp_path):
    def compile_train_step(experiment, image_size):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 16.14G exceeds available HBM (15.75G).\nSee elsewhere")

    monkeypatch.setattr(step_cost, "compile_train_step", compile_train_step)
    path = tmp_path / "plan.json"
    assert plan(build(tiny_config()), json_path=str(path)) == 0
    found = json.loads(path.read_text())
    assert found["problem"] == "RESOURCE_EXHAUSTED: 16.14G exceeds available HBM (15.75G)."
    assert found["per_device"]["fits"] is False and found["per_device"]["flops"] is None


@pytest.mark.parametrize("name", ["missing/plan.json", "."])
def test_a_file_that_cannot_be_written_is_said_before_anything_is_compiled(name, monkeypatch, tmp_path):
    monkeypatch.setattr(step_cost, "compile_train_step", None)
    with pytest.raises(UsageError, match="config.plan.json=.*cannot be written"):
        plan(build(tiny_config()), json_path=str(tmp_path / name))


def test_a_topology_needs_libtpu(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"'v5e:4x4' needs libtpu.*pip install -e '\.\[tpu\]'"):
        topology_devices("v5e:4x4")


def test_quantities_have_three_digits_and_a_prefix():
    assert [scaled(value, "B") for value in (49026293760.0, 614e6, 1398, 999, 0.05986)] == [
        *("49 GB", "614 MB", "1.4 kB", "999 B", "59.9 mB")
    ]
