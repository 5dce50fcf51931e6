import pytest

from resnet_jax.errors import UsageError
from resnet_jax.experiment.batch_division import at_most_at_once, count_parts
from tests.tiny import tiny_config


def parts(devices, batch_size, group_size, limit=None, accumulate=None):
    changes = {
        "data.batch_size": batch_size,
        "model.bn_group_size": group_size,
        "train.per_device_limit": limit,
        "train.accumulate": accumulate,
    }
    return count_parts(tiny_config(changes), devices)


@pytest.mark.parametrize(
    ("devices", "limit", "expected"),
    [(8, None, 1), (8, 128, 1), (4, 128, 2), (2, 128, 4), (1, 128, 8), (1, 511, 4), (1, 1024, 1), (16, 64, 1)],
)
def test_fewer_devices_take_more_parts_of_the_main_recipe(devices, limit, expected):
    assert parts(devices, 1024, 128, limit) == expected


def test_groups_that_span_devices_stay_whole():
    assert parts(8, 1024, 128, limit=32) == 4  # 256 images at once: two groups on eight devices
    assert parts(8, 1024, 128, limit=17) == 8
    with pytest.raises(UsageError, match="limit=15: the least that 8 devices can take of .* of 128 images is 16 each"):
        parts(8, 1024, 128, limit=15)


def test_a_batch_that_is_one_group_is_never_taken_apart():
    assert parts(2, 48, None, limit=24) == 1
    with pytest.raises(UsageError, match="least that 2 devices can take of batch norm groups of 48 images is 24 each"):
        parts(2, 48, None, limit=23)


def test_what_is_said_outright_holds():
    assert parts(2, 1024, 128, limit=1, accumulate=4) == 4


def test_devices_that_do_not_divide_the_batch_are_too_many():
    with pytest.raises(UsageError, match=r"over 3 devices and .* 128 images: take 768 or 1152, or use 2 devices$"):
        parts(3, 1024, 128)
    with pytest.raises(UsageError, match=r"=47 cannot be divided over 2 devices: take 46 or 48, or use 1 device$"):
        parts(2, 47, None)


def test_evaluation_keeps_to_the_limit():
    assert at_most_at_once(tiny_config(), 2, 1000) == 1000
    assert at_most_at_once(tiny_config({"train.per_device_limit": 64}), 2, 1000) == 128
    assert at_most_at_once(tiny_config({"train.per_device_limit": 64}), 2, 100) == 100
