import jax
import numpy as np
from jax.sharding import AxisType

from resnet_jax.distributed.mesh import make_mesh, over_batch, replicated


def test_devices_are_ordered_by_process():
    mesh = make_mesh(jax.devices()[::-1])
    assert [device.id for device in mesh.devices.flat] == list(range(8))
    assert mesh.axis_names == ("data",)
    assert mesh.axis_types == (AxisType.Auto,)
    assert make_mesh().size == 8


def test_a_batch_is_split_into_slices_and_a_state_is_replicated():
    mesh = make_mesh(jax.devices()[:4])
    rows = jax.device_put(np.arange(12), over_batch(mesh))
    by_device = {shard.device.id: np.asarray(shard.data).tolist() for shard in rows.addressable_shards}
    assert by_device == {0: [0, 1, 2], 1: [3, 4, 5], 2: [6, 7, 8], 3: [9, 10, 11]}
    whole = jax.device_put(np.arange(12), replicated(mesh))
    assert all(shard.data.shape == (12,) for shard in whole.addressable_shards)
