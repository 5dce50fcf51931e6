import json
import os
import subprocess
import sys

import jax.numpy as jnp
import pytest

from benchmarks import on_a_gpu, step_report
from tests.analysis.gpu_program import PROGRAM
from tests.paths import ROOT

PROGRAM_FIGURES = {"bytes": 104e9, "kernels": 1202}
RESULTS = {
    "repeat 1": {"result": {"digest": "a", "steps": 20, "program": PROGRAM_FIGURES}},
    "repeat 2": {"result": {"digest": "b", "steps": 20, "program": PROGRAM_FIGURES}},
    "plan": {"result": {"per_device": {"hbm_bytes": 100e9}, "kernels": 1100}},
    "side_by_side 10": {"result": {"steps": 2, "task": {"batch_size": 10}, "seconds": {"ours": [1.0, 2.0, 4.0]}}},
    "without max_pool": {"result": {"slower": 1.05}},
}


def report(path, *, seconds=60.0):
    return on_a_gpu.Report(path, {"device": "cpu"}, seconds)


def test_the_summary_has_the_figures_that_decide():
    assert on_a_gpu.summary(RESULTS).splitlines() == [
        "two runs of 20 steps are NOT equal",
        "bytes 104.00 GB, planned 100.00; kernels 1,202, planned 1,100",
        "side_by_side 10: ours 10.0 images/s",
        "without max_pool: 1.050 times the time of the step",
    ]
    equal = RESULTS | {"repeat 2": RESULTS["repeat 1"]}
    assert on_a_gpu.summary(equal).startswith("two runs of 20 steps are equal bit by bit\n")
    assert on_a_gpu.summary({}) == ""


def test_what_the_file_has_is_not_measured_again(tmp_path):
    path = tmp_path / "all.json"
    report(path).measure("one", lambda: 1)
    later = report(path)
    later.measure("one", lambda: 1 / 0)
    later.measure("two", lambda: 2)
    found = json.loads(path.read_text())
    assert {name: one["result"] for name, one in found["results"].items()} == {"one": 1, "two": 2}
    assert found["left_out"] == {} and found["about"] == {"device": "cpu"}


def test_parts_without_time_and_parts_that_fail_are_named_and_the_others_kept(tmp_path):
    def fails():
        subprocess.run(
            [sys.executable, "-c", "raise SystemExit('error: no GPU')"], check=True, capture_output=True, text=True
        )

    path = tmp_path / "all.json"
    own = report(path)
    own.measure("broken", fails)
    own.measure("one", lambda: 1)
    late = report(path, seconds=0.0)
    late.measure("two", lambda: 2)
    assert set(late.results) == {"one"}
    assert json.loads(path.read_text())["left_out"] == {"two": "no time left: run the same command again"}
    own.measure("three", lambda: 3)
    assert json.loads(path.read_text())["left_out"] == {"broken": "error: no GPU"}


def test_the_digest_is_that_of_every_bit_of_the_state():
    state = {"a": jnp.zeros((2, 3)), "b": jnp.ones(4)}
    same, other = (
        {"a": jnp.zeros((2, 3)), "b": jnp.ones(4)},
        {"a": jnp.zeros((2, 3)).at[1, 2].set(-0.0), "b": jnp.ones(4)},
    )
    assert step_report.digest(state) == step_report.digest(same) != step_report.digest(other)
    assert step_report.digest(state) != step_report.digest({"a": jnp.zeros((3, 2)), "b": jnp.ones(4)})


def test_the_products_of_a_program_have_what_autotuning_chose():
    config = 'backend_config={"fusion_backend_config":{"kind":"__triton_gemm","triton_gemm_config":{"block_m":"128"}}}'
    tuned = PROGRAM.replace("kind=kCustom, calls=%gemm_fusion", f"kind=kCustom, calls=%gemm_fusion, {config}")
    found = {product["name"]: product for product in step_report.products(tuned)}
    assert set(found) == {"logits", "gemm"}
    assert found["logits"]["chosen"] == ['"kind":"__triton_gemm"', '"triton_gemm_config":{"block_m":"128"}']
    assert found["gemm"]["chosen"] == ["__cublas$gemm"]


@pytest.mark.slow
def test_the_whole_command_on_a_cpu_at_a_small_size(tmp_path):
    path = tmp_path / "all.json"
    small = ["--depth", "18", "--image-size", "32", "--batch-sizes", "8", "--dtype", "float32", "--classes", "10"]
    few = ["--steps", "2", "--windows", "1", "--no-compile", "--minutes", "12", "--json", str(path)]
    few += ["--without", "max_pool", "final_relu"]
    done = subprocess.run(
        [sys.executable, "benchmarks/on_a_gpu.py", *small, *few],
        cwd=ROOT,
        env=os.environ | {"JAX_NUM_CPU_DEVICES": "1"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    record = json.loads(path.read_text())
    assert record["left_out"] == {}, done.stdout
    found = {name: one["result"] for name, one in record["results"].items()}
    assert found["repeat 1"]["digest"] == found["repeat 2"]["digest"]
    assert 0 < len(found["repeat 1"]["trace"]["operations"]) <= 10
    assert found["plan"]["per_device"]["flops"] == found["repeat 1"]["program"]["flops"]
    assert set(found["side_by_side 8"]["seconds"]) == {"ours", "flax", "torch"}
    assert all(found[f"without {name}"]["slower"] > 0 for name in ("max_pool", "final_relu"))
    assert set(found["benchmark"]["measured"]) == {"step", "loader", "together"}
    assert "equal bit by bit" in done.stdout
