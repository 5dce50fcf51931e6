import functools
import json
import math
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from resnet_jax.checkpoints import checksums
from resnet_jax.checkpoints.manager import Checkpoints
from resnet_jax.distributed.mesh import make_mesh, replicated
from resnet_jax.errors import UsageError
from tests.checkpoints.states import abstract, fill, state, steps_on_disk


@pytest.fixture
def open_checkpoints(tmp_path):
    return functools.partial(Checkpoints, tmp_path / "checkpoints", keep_latest=2, keep_best=1)


def test_round_trip(open_checkpoints):
    with open_checkpoints() as checkpoints:
        assert checkpoints.restore_latest(abstract()) is None
        assert checkpoints.latest_step is None and checkpoints.best() is None
        fill(checkpoints, {7: 0.25})
    with open_checkpoints() as checkpoints:
        restored, meta = checkpoints.restore_latest(abstract())
        assert checkpoints.best() == (7, 0.25)
    assert meta == {"step": 7}
    assert jax.tree.structure(restored) == jax.tree.structure(state(7))
    jax.tree.map(np.testing.assert_array_equal, restored, state(7))


def test_latest_and_best_are_kept(open_checkpoints):
    with open_checkpoints() as checkpoints:
        fill(checkpoints, {0: 0.1, 10: 0.5, 20: 0.3, 25: None, 30: 0.2, 40: 0.4, 50: None, 60: 0.36})
    assert steps_on_disk(checkpoints) == [10, 50, 60]
    with open_checkpoints() as checkpoints:
        assert checkpoints.latest_step == 60
        assert checkpoints.best() == (10, 0.5)


def test_nan_is_never_the_best(open_checkpoints):
    with open_checkpoints() as checkpoints:
        fill(checkpoints, {1: 0.3, 2: math.nan, 3: 0.1, 4: math.nan, 5: 0.2})
        assert checkpoints.best() == (1, 0.3)
    assert steps_on_disk(checkpoints) == [1, 4, 5]


def test_a_step_is_never_overwritten(open_checkpoints):
    with open_checkpoints() as checkpoints:
        fill(checkpoints, {3: 0.1})
        checkpoints.save(3, state(99), meta={"step": 99}, top1=0.9)
        checkpoints.wait()
        restored, meta = checkpoints.restore_latest(abstract())
    assert meta == {"step": 3} and int(restored.step) == 3


def test_the_state_may_be_donated_right_after_save(open_checkpoints):
    add_one = jax.jit(lambda s: jax.tree.map(lambda a: a + 1, s), donate_argnums=0)
    current = jax.device_put(state(5, size=2_000_000))
    with open_checkpoints() as checkpoints:
        checkpoints.save(5, current, meta={}, top1=None)
        for _ in range(5):
            current = add_one(current)
        checkpoints.wait()
        restored, _ = checkpoints.restore_latest(abstract(size=2_000_000))
    jax.tree.map(np.testing.assert_array_equal, restored, state(5, size=2_000_000))


def test_a_step_saved_before_its_evaluation_gets_its_accuracy_later(open_checkpoints):
    with open_checkpoints() as checkpoints:
        fill(checkpoints, {1: 0.5, 2: None})
    with open_checkpoints() as checkpoints:
        fill(checkpoints, {2: 0.75})
        assert checkpoints.best() == (2, 0.75)
    assert steps_on_disk(checkpoints) == [1, 2]
    with open_checkpoints() as checkpoints:
        assert int(checkpoints.restore_latest(abstract())[0].step) == 2


@pytest.mark.parametrize(("before", "after"), [(1, 8), (8, 1), (4, 2)])
def test_the_number_of_devices_may_change(open_checkpoints, before, after):
    sharding = replicated(make_mesh(jax.devices()[:before]))
    with open_checkpoints() as checkpoints:
        checkpoints.save(1, jax.device_put(state(1), sharding), meta={}, top1=None)
    with open_checkpoints() as checkpoints:
        restored, _ = checkpoints.restore_latest(abstract(devices=after))
    jax.tree.map(np.testing.assert_array_equal, restored, state(1))
    assert restored.params["w"].sharding.num_devices == after


def test_unfinished_checkpoints_are_removed_and_ignored(open_checkpoints):
    with open_checkpoints() as checkpoints:
        fill(checkpoints, {1: None})
    for step in (2, 9):
        shutil.copytree(checkpoints.directory / "1", checkpoints.directory / f"{step}.orbax-checkpoint-tmp")
    with open_checkpoints() as checkpoints:
        assert checkpoints.latest_step == 1
        fill(checkpoints, {2: None})
    assert steps_on_disk(checkpoints) == [1, 2]


def test_a_restored_state_can_be_donated_on_several_devices(open_checkpoints):
    with open_checkpoints() as checkpoints:
        fill(checkpoints, {1: None})
        current, _ = checkpoints.restore_latest(abstract(devices=8))
    add_one = jax.jit(lambda s: jax.tree.map(lambda a: a + 1, s), donate_argnums=0)
    for _ in range(3):
        current = add_one(current)
    for shard in current.params["w"].addressable_shards:
        np.testing.assert_array_equal(shard.data, [4.0, 4.0, 4.0])


def test_saves_reuse_the_memory_of_the_host_copy(open_checkpoints):
    with open_checkpoints() as checkpoints:
        fill(checkpoints, dict.fromkeys(range(1, 6)))
        for step in (4, 5):
            restored, _ = checkpoints.restore(abstract(), step=step)
            jax.tree.map(np.testing.assert_array_equal, restored, state(step))


def test_every_array_has_a_checksum_in_the_json(open_checkpoints):
    with open_checkpoints() as checkpoints:
        fill(checkpoints, {1: None})
    content = json.loads((checkpoints.directory / "1" / "meta" / "metadata").read_text())
    as_numpy = jax.tree.map(np.asarray, state(1))
    assert content["checksums"] == checksums.of_arrays(as_numpy)


def test_another_model_is_an_error_and_not_damage(open_checkpoints):
    with open_checkpoints() as checkpoints:
        fill(checkpoints, {1: None, 2: None})
    another = (
        r"checkpoints/2 is of another model \(batch_stats/m: float32\[3\] there, float32\[4\] here; .*\): continue"
    )
    with open_checkpoints() as checkpoints, pytest.raises(UsageError, match=another):
        checkpoints.restore_latest(abstract(size=4))
    unscaled = abstract().replace(loss_scale=None)
    with (
        open_checkpoints() as checkpoints,
        pytest.raises(UsageError, match=r"of another model \(loss_scale/.* absent here"),
    ):
        checkpoints.restore_latest(unscaled)
    half = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, jnp.bfloat16, sharding=a.sharding), abstract())
    with open_checkpoints() as checkpoints, pytest.raises(UsageError, match=r"float32\[3\] there, bfloat16\[3\] here"):
        checkpoints.restore(half, step=2)
    assert steps_on_disk(checkpoints) == [1, 2]


def test_json_without_its_checksum_is_damage(open_checkpoints):
    with open_checkpoints() as checkpoints:
        fill(checkpoints, {1: None, 2: None})
        checkpoints.wait()
        meta = checkpoints.directory / "2" / "meta" / "metadata"
        content = json.loads(meta.read_text())
        del content["own_checksum"]
        meta.write_text(json.dumps(content))
        with pytest.raises(UsageError, match=r"checkpoints/2 is damaged \(meta/metadata does not match its checksum\)"):
            checkpoints.restore(abstract(), step=2)
        assert int(checkpoints.restore_latest(abstract())[0].step) == 1


def test_a_training_loop_of_ones_own_needs_a_directory_and_any_arrays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    array = np.arange(4.0, dtype=np.float32)
    with Checkpoints("mine") as checkpoints:
        assert checkpoints.directory == tmp_path / "mine"
        assert checkpoints.restore_latest({"weights": [array]}) is None
        for step in range(1, 6):
            mutable = {"weights": [step * array], "on_device": jnp.full(2, step)}
            checkpoints.save(step, mutable, top1=0.5 if step == 2 else None)
            mutable["weights"][0][:] = -1  # the copy was made before `save` returned
    assert steps_on_disk(checkpoints) == [2, 4, 5]
    with Checkpoints("mine") as checkpoints:
        restored, meta = checkpoints.restore_latest(mutable)
        assert meta == {} and checkpoints.best() == (2, 0.5)
    np.testing.assert_array_equal(restored["weights"][0], 5 * array)
    np.testing.assert_array_equal(restored["on_device"], [5, 5])
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(restored))


def test_orbax_reads_it_too(open_checkpoints):
    with open_checkpoints() as checkpoints:
        fill(checkpoints, {1: None})
    with ocp.PyTreeCheckpointer() as checkpointer:
        tree = checkpointer.restore(checkpoints.directory / "1" / "state")
    np.testing.assert_array_equal(tree["params"]["w"], [1.0, 1.0, 1.0])
