import functools

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import PartitionSpec

from resnet_jax.analysis.hlo_collectives import find_collectives
from resnet_jax.distributed.mesh import make_mesh
from tests.training import tiny_runs

FLOAT = 4  # bytes


SPLIT = PartitionSpec("data")


def in_program(exchange, *shapes):
    """What devices exchange when each of the eight runs `exchange` on arrays of such shapes of its own."""
    mesh = make_mesh()
    arrays = [jax.ShapeDtypeStruct((8 * shape[0], *shape[1:]), jnp.float32) for shape in shapes]
    mapped = jax.shard_map(exchange, mesh=mesh, in_specs=SPLIT, out_specs=SPLIT, check_vma=False)
    return find_collectives(jax.jit(mapped).lower(*arrays).compile().as_text())


def test_a_sum_over_the_devices():
    assert in_program(lambda x: jax.lax.psum(x, "data"), (3, 5)) == {"all-reduce": (1, 3 * 5 * FLOAT)}


def test_sums_of_several_arrays_are_added_up_whether_they_are_combined_or_not():
    found = in_program(lambda *xs: jax.lax.psum(xs, "data"), (3, 5), (7,))
    assert set(found) == {"all-reduce"}
    assert found["all-reduce"].bytes == (3 * 5 + 7) * FLOAT


def test_the_bytes_of_other_kinds_are_those_of_their_results():
    gather = functools.partial(jax.lax.all_gather, axis_name="data", tiled=True)
    assert in_program(gather, (3, 5)) == {"all-gather": (1, 8 * 3 * 5 * FLOAT)}
    permute = functools.partial(jax.lax.ppermute, axis_name="data", perm=[(i, (i + 1) % 8) for i in range(8)])
    assert in_program(permute, (3, 5)) == {"collective-permute": (1, 3 * 5 * FLOAT)}
    scatter = functools.partial(jax.lax.psum_scatter, axis_name="data", tiled=True)
    assert in_program(scatter, (16, 5)) == {"reduce-scatter": (1, 2 * 5 * FLOAT)}


def test_a_program_of_one_device_exchanges_nothing():
    assert find_collectives(jax.jit(jnp.sum).lower(jnp.ones(3)).compile().as_text()) == {}


def test_batch_norm_in_groups_that_fit_a_device_exchanges_nothing_inside_the_network():
    within_a_device, over_all = (
        find_collectives(tiny_runs.train_step(8, changes).as_text()) for changes in ({}, {"model.bn_group_size": None})
    )
    state = jax.eval_shape(tiny_runs.build(8).computation.init)
    summed = sum(leaf.size for leaf in jax.tree.leaves(state.variables)) + 4  # and loss, top-1, top-5, count
    # The norms that end a branch and its shortcut have the same gradient of their biases, which is summed once.
    twice = sum(block["shortcut_bn"]["bias"].size for block in state.params.values() if "shortcut_bn" in block)
    assert within_a_device == {"all-reduce": (1, (summed - twice) * FLOAT)} and twice == 8 + 16
    layers = len(jax.tree.leaves(state.batch_stats)) // 2
    assert over_all["all-reduce"].operations > layers


# Lines of programs compiled for v5e:2x4 and v5e:2x2, shortened behind the operands.
TUPLE = """
  %all-reduce.268 = (bf16[1,1,64,64]{3,2,1,0:T(8,128)(2,1)S(1)}, bf16[3,3,64,64]{3,2,1,0:T(8,128)(2,1)S(1)}, \
/*index=5*/f32[64]{0:T(128)S(1)}, s32[]{:T(128)}) all-reduce(%fusion.1, %fusion.2), channel_id=9, \
metadata={op_name="jit(train_step)/transpose(jvp(ResNet))/stage1_block1/conv1/conv_general_dilated"}
  %get-tuple-element.1349 = bf16[1,1,64,64]{3,2,1,0:T(8,128)(2,1)S(1)} get-tuple-element(%all-reduce.268), index=0
""".replace("\\\n", "")
PERMUTE = """
  %collective-permute-start = (f32[256,512]{1,0:T(8,128)}, f32[256,512]{1,0:T(8,128)S(1)}, u32[]{:S(2)}, \
u32[]{:S(2)}) collective-permute-start(%param.1), channel_id=1, source_target_pairs={{0,1},{1,0}}
  %collective-permute-done = f32[256,512]{1,0:T(8,128)S(1)} collective-permute-done(%collective-permute-start)
""".replace("\\\n", "")


def test_the_arrays_of_a_tuple_are_added_up():
    assert find_collectives(TUPLE) == {"all-reduce": (1, 2 * (64 * 64 + 9 * 64 * 64) + 4 * 64 + 4)}


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (PERMUTE, {"collective-permute": (1, 256 * 512 * 4)}),
        (
            "%a = f32[8]{0} all-reduce-start(%p), to_apply=%add\n%b = f32[8]{0} all-reduce-done(%a)",
            {"all-reduce": (1, 32)},
        ),
        ("%a = (f32[8]{0}, bf16[2]{0}) all-reduce-start(%p, %q), to_apply=%add", {"all-reduce": (1, 36)}),
        ("%a = ((f32[8]{0}), f32[8]{0}, u32[]) all-reduce-start(%p), to_apply=%add", {"all-reduce": (1, 32)}),
        ("%a = (f32[2]{0}, f32[8]{0}) all-gather-start(%p), dimensions={0}", {"all-gather": (1, 32)}),
        (
            "%a = ((s8[2], pred[3]), (s8[8], pred[12])) all-gather-start(%p, %q), dimensions={0}",
            {"all-gather": (1, 20)},
        ),
    ],
)
def test_an_operation_in_two_halves_counts_once_with_its_result(program, expected):
    assert find_collectives(program) == expected


def test_each_kind_is_counted_by_itself():
    found = find_collectives(TUPLE + PERMUTE + PERMUTE)
    assert {kind: count for kind, (count, _) in found.items()} == {"all-reduce": 1, "collective-permute": 2}
