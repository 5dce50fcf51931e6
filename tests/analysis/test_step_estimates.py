import pytest

from resnet_jax.analysis.gpu_kernels import gpu_kernels
from resnet_jax.analysis.program_cost import ProgramCost
from resnet_jax.analysis.roofline import PEAKS
from resnet_jax.analysis.step_estimates import estimates_json, estimates_lines
from resnet_jax.analysis.tpu_cycles import EstimatedCycles
from tests.analysis.gpu_program import PROGRAM

PLAIN = ProgramCost(flops=2e12, bytes_accessed=60e9, hbm_bytes=49e9, peak_memory=4_000, collectives={})
ON_GPU = PLAIN._replace(kernels=gpu_kernels(PROGRAM))
ON_TPU = PLAIN._replace(cycles=EstimatedCycles(87_500_000, 846, 9_900, {"all-reduce": 95, "copy": 5}))
H100, V5E = PEAKS["NVIDIA H100 80GB HBM3"], PEAKS["TPU v5 lite"]
KEYS = {
    *("kernels", "small_kernels", "scatters", "images_per_second_ideal", "images_per_second_cautious"),
    *("estimated_cycles", "estimated_cycles_coverage"),
}


def test_programs_for_cpus_have_no_estimates():
    assert estimates_lines(PLAIN, None, 64, flops_peak=None) == {}
    for cost in (PLAIN, None):
        assert estimates_json(cost, None, 64) == dict.fromkeys(KEYS)


def test_a_gpu_program_has_kernels_and_a_range_of_images_per_second():
    found = estimates_json(ON_GPU, H100, 64)
    assert (found["kernels"], found["small_kernels"], found["scatters"]) == (15, 6, 1)
    ideal = 64 / found["images_per_second_ideal"]
    assert 64 / found["images_per_second_cautious"] > ideal / 0.7 + 15 * 2.5e-6
    lines = estimates_lines(ON_GPU, H100, 64, flops_peak=1e15)
    assert lines["kernels"].startswith("15 a step and device, 6 of them move less than 2 MB; 1 scatter: ")
    assert "70% of the bandwidth, 40% of the FLOPs and 2.5 µs" in lines["range"]


def test_without_the_peaks_of_a_gpu_there_is_no_range():
    assert estimates_json(ON_GPU, None, 64)["images_per_second_ideal"] is None
    assert set(estimates_lines(ON_GPU, None, 64, flops_peak=None)) == {"kernels"}


def test_a_tpu_program_has_cycles_their_coverage_and_what_they_mean():
    found = estimates_json(ON_TPU, V5E, 512)
    assert (found["estimated_cycles"], found["kernels"]) == (87_500_000, None)
    assert found["estimated_cycles_coverage"] == pytest.approx(0.99)
    line = estimates_lines(ON_TPU, V5E, 512, flops_peak=197e12)["cycles"]
    assert line.startswith(
        "87.50 M estimated by the compiler for 846 operations with 99.0% of the bytes (none for all-"
    )
    # 87.5 M / 1.5 GHz = 58.3 ms; 512 / 58.3 ms = 8,777; 2e12 / 58.3 ms / 197e12 = 17.4 %.
    assert "58.3 ms at 1.50 GHz, 8,777 images/s, 17.4% of the peak FLOPs; an estimate" in line


def test_the_clock_of_a_v6e_is_not_published():
    line = estimates_lines(ON_TPU, PEAKS["TPU v6 lite"], 512, flops_peak=None)["cycles"]
    assert line.endswith("the clock of this device is unknown")


@pytest.mark.parametrize(("kind", "units"), [("TPU v3", 2), ("TPU v4", 8), ("TPU v5 lite", 4), ("TPU v5", 8)])
def test_clocks_are_those_at_which_the_matrix_units_reach_the_peak(kind, units):
    assert units * 128 * 128 * 2 * PEAKS[kind].clock == pytest.approx(PEAKS[kind].bf16_flops, rel=0.01)
