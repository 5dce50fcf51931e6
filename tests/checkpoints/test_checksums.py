import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax.checkpoints import checksums
from resnet_jax.nested import by_path
from tests.checkpoints.states import state


def test_the_check_value_of_crc_32c():
    # The check value of CRC-32C (RFC 3720) in the catalogue of parametrised CRC algorithms, for the input "123456789".
    digits = np.frombuffer(b"123456789", np.uint8)
    assert checksums.of_arrays({"digits": digits}) == {"digits": 0xE3069283}


def test_a_state_and_dicts_of_its_fields_have_the_same_paths():
    paths = list(by_path(state(1)))
    assert {"step", "params/w", "batch_stats/m", "opt_state/0/v"} < set(paths)
    as_dicts = {"step": 1, "params": {"w": 1}, "batch_stats": {"m": 1}, "opt_state": [{"v": 1}]}
    assert set(by_path(as_dicts)) == {path for path in paths if not path.startswith("loss_scale")}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "int32", "bool"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0, 4)])
def test_every_bit_of_an_array_changes_the_checksum(dtype, shape):
    array = np.ones(shape, jnp.dtype(dtype))
    before = checksums.of_arrays(array)
    assert checksums.of_arrays(array.copy()) == before
    data = array.reshape(-1).view(np.uint8)
    for byte in range(data.size):
        data[byte] ^= 1 << (byte % 8)
        assert checksums.of_arrays(array) != before
        data[byte] ^= 1 << (byte % 8)


def test_the_checksum_does_not_depend_on_the_memory_layout():
    array = np.arange(6.0).reshape(2, 3)
    assert checksums.of_arrays(np.asfortranarray(array)) == checksums.of_arrays(array)
    assert checksums.of_arrays(array[:, ::-1][:, ::-1]) == checksums.of_arrays(array)


def test_the_checksum_of_json_survives_writing_and_reading():
    content = {"b": (1, 2.5), "a": {3: None, "x": float("nan")}}
    assert checksums.of_json(content) == checksums.of_json({"a": {"x": float("nan"), "3": None}, "b": [1, 2.5]})
    assert checksums.of_json(content) != checksums.of_json({**content, "b": [1, 2.25]})
