import json

import pytest

from resnet_jax.analysis.gpu_kernels import count_kernels, gpu_kernels
from resnet_jax.analysis.roofline import Efficiency, Peaks, kernels_seconds
from tests.analysis.cuda_plugin import needs_cuda_plugin, run_with_plugin
from tests.analysis.gpu_program import PROGRAM

KERNELS = {kernel.name: kernel for kernel in gpu_kernels(PROGRAM)}
ACTIVATION = 8 * 64 * 64 * 64 * 2  # bytes of %x
OUTPUT, KERNEL = 8 * 32 * 32 * 128 * 2, 3 * 3 * 64 * 128 * 2


def test_views_tuples_and_waiting_are_no_kernels():
    wanted = ["conv", "conv-x", "conv-w", "sums", "logits", "gemm", "positions", "big", "pool", "start", "next"]
    assert list(KERNELS) == wanted


@pytest.mark.parametrize("name", ["conv", "conv-x", "conv-w"])
def test_a_convolution_has_the_same_flops_in_all_three_directions(name):
    kernel = KERNELS[name]
    assert kernel.kind == "convolution"
    assert kernel.flops == 2 * (8 * 32 * 32 * 128) * (3 * 3 * 64)  # per value of the result: the kernel's inputs
    assert kernel.bytes == ACTIVATION + OUTPUT + KERNEL  # without the workspace


@pytest.mark.parametrize(("name", "precision"), [("logits", "tf32"), ("gemm", "float32")])
def test_a_product_in_a_nested_fusion_or_a_library_call(name, precision):
    kernel = KERNELS[name]
    assert (kernel.kind, kernel.precision) == ("product", precision)
    assert kernel.flops == 2 * 512 * 256 * 1000
    assert kernel.bytes == 4 * (512 * 256 + 256 * 1000 + 512 * 1000)


def test_a_kernel_reads_only_the_slice_that_it_uses():
    assert KERNELS["sums"].bytes == ACTIVATION + ACTIVATION + 64 * 4


def test_an_array_that_is_read_twice_counts_once():
    program = PROGRAM.replace("fusion(%x, %all)", "fusion(%x, %same)").replace(
        "  %sums =", "  %same = bf16[4,8,64,64,64]{4,3,2,1,0} bitcast(%x)\n  %sums ="
    )
    (kernel,) = (kernel for kernel in gpu_kernels(program) if kernel.name == "sums")
    assert kernel.bytes == ACTIVATION + 64 * 4


def test_the_body_of_a_loop_counts_for_each_iteration():
    assert KERNELS["next"].times == 5 and KERNELS["conv"].times == 1
    counts = count_kernels(gpu_kernels(PROGRAM))
    assert counts.kernels == len(KERNELS) - 1 + 5
    assert counts.small == 1 + 5  # the all-reduce and the body of the loop
    assert counts.scatters == 1


def test_a_collective_reads_and_writes_its_array_once():
    assert (KERNELS["start"].kind, KERNELS["start"].bytes) == ("collective", 2 * 64 * 4)


def test_each_kernel_is_limited_by_its_bytes_or_its_flops():
    peaks = Peaks(1e9, 1e8, 1e9, 1.0, None, exact_f32_flops=1e7)
    conv, gemm, logits = (KERNELS[name] for name in ("conv", "gemm", "logits"))
    ideal = kernels_seconds([conv, gemm, logits], peaks, Efficiency(1.0, 1.0, 0.0))
    assert ideal == pytest.approx(conv.flops / 1e9 + gemm.flops / 1e7 + logits.flops / 1e8)
    (small,) = (kernel for kernel in gpu_kernels(PROGRAM) if kernel.name == "next")
    assert kernels_seconds([small], peaks, Efficiency(0.5, 1.0, 2.0)) == pytest.approx(5 * (2 + 8000 / 0.5e9))


@needs_cuda_plugin
@pytest.mark.slow
def test_a_program_compiled_for_an_h100_has_the_flops_that_we_count_by_hand():
    forward, backward = json.loads(run_with_plugin("-m", "tests.analysis.small_gpu_program"))
    convolution, product = 2 * (8 * 32 * 32 * 32) * (3 * 3 * 16), 2 * (8 * 16 * 16) * 32 * 32
    assert forward["flops"] == convolution + 5 * product
    assert (forward["scatters"], forward["accessed"]) == (0, None)
    assert forward["memory"] > 8 * 64 * 64 * 16 * 2  # the input
    assert backward["flops"] == 3 * (convolution + 5 * product)
    assert backward["scatters"] == 1  # the gradient of XLA's max-pool
