# ruff: noqa: E501

import pytest

from resnet_jax.analysis.tpu_cycles import estimated_cycles

PROGRAM = """HloModule jit_step

%body (state: (s32[], f32[8])) -> (s32[], f32[8]) {
  %state = (s32[], f32[8]{0}) parameter(0)
  %add = f32[8]{0:T(128)} fusion(%state), kind=kLoop, calls=%fused, backend_config={"estimated_cycles":"30"}
  ROOT %next = (s32[], f32[8]{0}) tuple(%state, %add)
}

ENTRY %main (x: bf16[8,56,56,64]) -> bf16[8,56,56,64] {
  %x = bf16[8,56,56,64]{0,3,2,1:T(8,128)(2,1)} parameter(0)
  %copy-start = (bf16[8,56,56,64]{0,3,2,1}, bf16[8,56,56,64]{0,3,2,1}, u32[]{:S(2)}) copy-start(%x)
  %copy-done = bf16[8,56,56,64]{0,3,2,1} copy-done(%copy-start)
  %conv = bf16[8,56,56,64]{0,3,2,1} fusion(%copy-done), kind=kOutput, calls=%fused, backend_config={"flag_configs":[],"estimated_cycles":"1000"}
  %other = bf16[8,56,56,64]{0,3,2,1} fusion(%conv), kind=kLoop, calls=%fused, backend_config={"estimated_cycles":"-1"}
  %sum = f32[64]{0} all-reduce(%other), to_apply=%add_of_two
  %first = (s32[], f32[8]{0}) tuple(%zero, %other)
  %loop = (s32[], f32[8]{0}) while(%first), condition=%condition, body=%body, backend_config={"known_trip_count":{"n":"4"}}
  ROOT %y = bf16[8,56,56,64]{0,3,2,1} select-and-scatter(%x, %conv), select=%ge, scatter=%add_of_two
}
"""


def test_estimates_are_added_up_and_operations_without_one_are_named():
    found = estimated_cycles(PROGRAM)
    assert (found.cycles, found.operations) == (1000 + 4 * 30, 1 + 4)
    array, loop = 8 * 56 * 56 * 64 * 2, 4 * (4 + 8 * 4 + 8 * 4)  # bytes; the state of the loop and its result
    assert found.bytes == 2 * array + loop
    assert found.bytes_without == {"select-and-scatter": 3 * array, "fusion": 2 * array, "all-reduce": array + 64 * 4}
    assert found.coverage == pytest.approx(2 / 8, rel=1e-3)
    assert found.uncovered == ["select-and-scatter", "fusion", "all-reduce"]


def test_operations_on_single_numbers_are_not_listed():
    more = PROGRAM.replace("  %sum =", "  %next = u32[] add(%seed, %seed)\n  %sum =")
    assert "add" in estimated_cycles(more).bytes_without
    assert "add" not in estimated_cycles(more).uncovered


def test_a_program_without_estimates_has_none():
    assert estimated_cycles(PROGRAM.replace("estimated_cycles", "something_else")) is None
