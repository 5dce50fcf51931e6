"""--mode=plan from the command line."""

import importlib.util
import json
import os
import subprocess

import pytest

from tests.end_to_end.processes import ROOT, SMALL, command, environment

KEYS = {
    *("steps_per_epoch", "total_steps", "per_device", "hbm_bytes_per_image", "collectives", "images_per_second_bound"),
    *("mfu_bound", "evaluations", "checkpoints", "topology", "device_kind", "compile_seconds", "versions"),
}
LIBTPU = os.environ.get("LIBTPU")  # installed by `make test-slow`
needs_libtpu = pytest.mark.skipif(LIBTPU is None and importlib.util.find_spec("libtpu") is None, reason="needs libtpu")


def with_libtpu(env):
    return env | ({"PYTHONPATH": LIBTPU} if LIBTPU else {})


def run_plan(config, changes, env, timeout=300):
    arguments = [*command(config, "none", changes), "--mode=plan"]
    return subprocess.run(arguments, cwd=ROOT, env=env, capture_output=True, text=True, timeout=timeout, check=False)


def plan_for(topology, batch_size, path, **more):
    """Plans configs/resnet50.py for TPUs, in an environment without variables of JAX; returns the JSON."""
    env = with_libtpu({name: value for name, value in os.environ.items() if not name.startswith(("JAX", "TPU", "XLA"))})
    changes = {"data.source": "synthetic", "data.batch_size": batch_size, "plan.topology": topology, "plan.json": path}
    done = run_plan("configs/resnet50.py", changes | more, env, timeout=1800)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(path.read_text())


def test_a_plan_trains_nothing_and_writes_only_its_file(tmp_path, data_dir):
    path = tmp_path / "plan.json"
    done = run_plan("configs/digits.py", SMALL | {"plan.json": path}, environment(data_dir, 2))
    assert (done.returncode, done.stderr) == (0, "")
    assert list(tmp_path.iterdir()) == [path] and not (ROOT / "none").exists()
    plan = json.loads(path.read_text())
    assert plan.keys() >= KEYS
    assert plan["per_device"].keys() >= {"flops", "hbm_bytes", "peak_memory_bytes"}
    assert (plan["total_steps"], plan["evaluations"]["count"], plan["checkpoints"]["count"]) == (60, 2, 6)
    assert plan["images_per_second_bound"] is None
    labels = ("devices", "data", "model", "rate", "evaluations", "checkpoints", "FLOPs", "traffic", "memory", "bound")
    for part in labels:
        assert any(line.startswith(f"{part} ") for line in done.stdout.splitlines()), part
    assert "HBM" not in done.stdout  # a CPU has none


@needs_libtpu
@pytest.mark.slow
def test_an_unknown_topology_is_one_line(data_dir):
    done = run_plan("configs/digits.py", {"plan.topology": "v5e:3x3"}, with_libtpu(environment(data_dir)))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: config.plan.topology='v5e:3x3' is not a topology (INVALID_ARGUMENT: ")


@needs_libtpu
@pytest.mark.slow
def test_the_main_recipe_exchanges_little_and_reads_no_more_than_it_must(tmp_path):
    on_four_chips = plan_for("v5e:2x2", 4 * 128, tmp_path / "plan.json")
    # The limits are what a plain linen ResNet-50 compiles to, and, for batch norm over the whole batch, 99 all-reduces.
    assert on_four_chips["device_kind"] == "TPU v5 lite" and on_four_chips["devices"] == 4
    assert on_four_chips["collectives"].keys() == {"all-reduce"}
    assert on_four_chips["collectives"]["all-reduce"]["count"] <= 2
    assert on_four_chips["bytes_accessed_per_image"] <= 360e6  # the plain ResNet-50: 384 MB
    assert on_four_chips["hbm_bytes_per_image"] <= 170e6  # the plain ResNet-50: 222 MB
    assert on_four_chips["per_device"]["fits"] is True
    # Forward and backward three times 4.1 GFLOP of multiply-adds (He et al. 2016; v1.5 has 4.1), of two FLOPs each.
    assert on_four_chips["per_device"]["flops"] == pytest.approx(128 * 3 * 2 * 4.1e9, rel=0.05)
    assert 4800 < on_four_chips["images_per_second_bound"] / 4 < 5500


@needs_libtpu
@pytest.mark.slow
def test_the_cost_per_chip_is_the_same_on_four_and_sixty_four_chips(tmp_path):
    # A small network: what grows with the number of chips is in the exchange of the gradients, not in the depth.
    small = {"model.depth": 18, "data.image_size": 64}
    few = plan_for("v5e:2x2", 4 * 128, tmp_path / "few.json", **small)
    many = plan_for("v5e:8x8", 64 * 128, tmp_path / "many.json", **small)
    assert (few["devices"], many["devices"]) == (4, 64)
    assert few["collectives"].keys() == many["collectives"].keys() == {"all-reduce"}
    for what in ("flops", "hbm_bytes", "peak_memory_bytes"):
        assert many["per_device"][what] == pytest.approx(few["per_device"][what], rel=0.02)


@needs_libtpu
@pytest.mark.slow
def test_a_plan_reports_a_batch_that_exceeds_the_memory(tmp_path):
    small = {"model.depth": 18, "data.image_size": 64}  # compiles in seconds, to 49 GB a device
    plan = plan_for("v5e:2x2", 4 * 131072, tmp_path / "plan.json", **small)
    assert plan["per_device"]["fits"] is False and plan["images_per_second_bound"] is None
    assert "HBM" in plan["problem"]
