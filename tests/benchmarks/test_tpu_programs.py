import importlib.util
import json
import os
import subprocess
import sys

import pytest

from benchmarks import tpu_programs
from tests.paths import ROOT

LIBTPU = os.environ.get("LIBTPU")  # path where `make test-slow` installs libtpu
needs_libtpu = pytest.mark.skipif(LIBTPU is None and importlib.util.find_spec("libtpu") is None, reason="needs libtpu")
FIGURES = {
    "bytes_accessed": 351.8e6,
    "hbm_bytes": 163.8e6,
    "flops": 25.34e9,
    "peak_memory": 3.48e9,
    "all_reduces": 2,
    "all_reduced_bytes": 102.4e6,
    "images_per_second_bound": 5000.4,
    "estimated_cycles": 87_510_000,
    "estimated_cycles_coverage": 0.983,
    "images_per_second_estimated": 2194.1,
    "share_of_peak_estimated": 0.282,
}


def test_the_table_has_the_units_of_its_header():
    lines = [[cell.strip() for cell in row.split("|")[1:-1]] for row in tpu_programs.table({"a": FIGURES}).splitlines()]
    cells = ["a", "351.8 MB", "163.8 MB", "25.34", "3.48 GB", "2 of 102.4 MB", "5,000 images/s per chip"]
    cells += ["87.51 M for 98.3% of the bytes", "2,194 images/s per chip, 28% of peak"]
    assert lines[0][3] == "GFLOP"
    assert lines[2] == cells


@needs_libtpu
@pytest.mark.slow
def test_both_programs_compile_for_four_chips(tmp_path):
    path = tmp_path / "programs.json"
    small = ["--depth", "18", "--image-size", "64", "--batch-per-chip", "8", "--kinds", "--json", str(path)]
    env = {name: value for name, value in os.environ.items() if not name.startswith(("JAX", "TPU", "XLA"))}
    done = subprocess.run(
        [sys.executable, "benchmarks/tpu_programs.py", *small],
        cwd=ROOT,
        env=env | ({"PYTHONPATH": LIBTPU} if LIBTPU else {}),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    record = json.loads(path.read_text())
    ours, flax = record["found"]["ours"], record["found"]["flax"]
    # Three times (forward, backward) the 1.8 G multiply-adds of He et al. 2016 at 224 px, by area, 2 FLOPs each.
    work = 3 * 2 * 1.8e9 * (64 / 224) ** 2
    for figures in (ours, flax):
        assert figures["flops"] == pytest.approx(work, rel=0.25)
        assert sum(figures["kinds"].values()) == pytest.approx(figures["hbm_bytes"])
        assert 0 < figures["hbm_bytes"] < figures["bytes_accessed"]
        assert 0.8 < figures["estimated_cycles_coverage"] <= 1
        # An estimate of time is above what the arithmetic alone takes at the peak.
        assert 0 < figures["share_of_peak_estimated"] < 1
    # One all-reduce of gradients and metrics; a batch norm over all chips needs one more, forward and backward.
    assert ours["all_reduces"] <= 2 and flax["all_reduces"] > 2 * 17
    assert "convolution backward" in done.stdout
