import pytest

from resnet_jax.analysis.hbm_traffic import hbm_traffic

# ruff: noqa: E501

ACTIVATION = 128 * 56 * 56 * 64 * 2  # bytes

# As XLA:TPU writes it: a tensor is copied onto the chip, used there by a convolution, and its result is normalised.
PROGRAM = """HloModule jit_step

%fused.1 (p0: bf16[128,56,56,64], p1: f32[1,1,64,64]) -> bf16[128,56,56,64] {
  %p0 = bf16[128,56,56,64]{0,3,2,1} parameter(0)
  %p1 = f32[1,1,64,64]{3,2,1,0} parameter(1)
  ROOT %c = bf16[128,56,56,64]{0,3,2,1} convolution(%p0, %p1), dim_labels=b01f_01io->b01f
}

%fused.2 (p0: bf16[128,56,56,64]) -> (f32[64], bf16[128,56,56,64]) {
  %p0 = bf16[128,56,56,64]{0,3,2,1} parameter(0)
  ROOT %n = (f32[64]{0}, bf16[128,56,56,64]{0,3,2,1}) custom-call(%p0)
}

ENTRY %main (x: bf16[128,56,56,64], w: f32[1,1,64,64]) -> bf16[128,56,56,64] {
  %x = bf16[128,56,56,64]{0,3,2,1:T(8,128)(2,1)} parameter(0)
  %w = f32[1,1,64,64]{3,2,1,0:T(8,128)} parameter(1)
  %copy-start = (bf16[128,56,56,64]{0,3,2,1:T(8,128)(2,1)S(1)}, bf16[128,56,56,64]{0,3,2,1:T(8,128)(2,1)}, u32[]{:S(2)}) copy-start(%x)
  %copy-done = bf16[128,56,56,64]{0,3,2,1:T(8,128)(2,1)S(1)} copy-done(%copy-start)
  %conv = bf16[128,56,56,64]{0,3,2,1:T(8,128)(2,1)S(1)} fusion(%copy-done, %w), kind=kOutput, calls=%fused.1, metadata={op_name="jit(step)/transpose(jvp(ResNet))/conv1"}
  %norm = (f32[64]{0:T(128)S(1)}, bf16[128,56,56,64]{0,3,2,1:T(8,128)(2,1)}) fusion(%conv), kind=kLoop, calls=%fused.2, metadata={op_name="jit(step)/jvp(ResNet)/bn1"}
  ROOT %y = bf16[128,56,56,64]{0,3,2,1:T(8,128)(2,1)} get-tuple-element(%norm), index=1
}
"""


def test_what_stays_on_the_chip_counts_for_nothing():
    traffic = hbm_traffic(PROGRAM)
    assert traffic.copies == ACTIVATION  # read once; written and used on the chip
    assert traffic.operations == {
        "elementwise forward": ACTIVATION,  # written; what it reads is on the chip
        "convolution backward": 64 * 64 * 4,  # the kernel
    }
    assert traffic.total == 2 * ACTIVATION + 64 * 64 * 4


def test_a_slice_is_copied_and_not_all_that_it_is_cut_from():
    line = (
        "  %slice-start = ((bf16[128,56,56,64]{0,3,2,1}), bf16[32,56,56,64]{0,3,2,1:S(1)}, s32[]{:S(2)})"
        " slice-start(%x), slice={[0:32]}\n  ROOT"
    )
    more = PROGRAM.replace("  ROOT %y", line + " %y")
    assert hbm_traffic(more).copies - hbm_traffic(PROGRAM).copies == pytest.approx(ACTIVATION / 4)
