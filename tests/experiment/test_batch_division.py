import pytest

from resnet_jax.configs import resnet50
from resnet_jax.errors import UsageError
from resnet_jax.experiment.batch_division import count_microbatches, limit_eval_batch
from tests.tiny import tiny_config


def microbatches(devices, batch_size, group_size, limit=None, accumulate=None):
    changes = {
        "data.batch_size": batch_size,
        "model.bn_group_size": group_size,
        "train.per_device_limit": limit,
        "train.accumulate": accumulate,
    }
    return count_microbatches(tiny_config(changes), devices)


@pytest.mark.parametrize(
    ("devices", "limit", "expected"),
    [(8, None, 1), (8, 128, 1), (4, 128, 2), (2, 128, 4), (1, 128, 8), (1, 511, 4), (1, 1024, 1), (16, 64, 1)],
)
def test_fewer_devices_take_more_microbatches_of_the_main_recipe(devices, limit, expected):
    assert microbatches(devices, 1024, 128, limit) == expected


def test_groups_that_span_devices_stay_whole():
    assert microbatches(8, 1024, 128, limit=32) == 4  # 256 images each: two groups on eight devices
    assert microbatches(8, 1024, 128, limit=17) == 8
    with pytest.raises(UsageError, match="limit=15: with .* of 128 images, .* on 8 devices has 16 images each"):
        microbatches(8, 1024, 128, limit=15)


def test_a_batch_that_is_one_group_is_never_split():
    assert microbatches(2, 48, None, limit=24) == 1
    with pytest.raises(UsageError, match="groups of 48 images, .* on 2 devices has 24 images each"):
        microbatches(2, 48, None, limit=23)


def test_accumulate_takes_precedence_over_the_limit():
    assert microbatches(2, 1024, 128, limit=1, accumulate=4) == 4


def test_an_error_names_batch_sizes_and_device_counts_that_divide():
    with pytest.raises(UsageError, match=r"over 3 devices and .* 128 images: take 768 or 1152, or use 2 devices$"):
        microbatches(3, 1024, 128)
    with pytest.raises(UsageError, match=r"=47 cannot be divided over 2 devices: take 46 or 48, or use 1 device$"):
        microbatches(2, 47, None)


def test_evaluation_keeps_to_the_limit():
    assert limit_eval_batch(tiny_config(), 2, 1000) == 1000
    assert limit_eval_batch(tiny_config({"train.per_device_limit": 64}), 2, 1000) == 128
    assert limit_eval_batch(tiny_config({"train.per_device_limit": 64}), 2, 100) == 100


@pytest.mark.parametrize(
    ("changes", "devices", "expected"),
    [
        ({}, 1, 8),
        ({}, 2, 4),
        ({}, 8, 1),
        ({}, 16, 1),  # groups span devices
        ({"train.accumulate": 1}, 1, 1),
        ({"train.per_device_limit": 512}, 1, 2),
        ({"model.bn_group_size": 32}, 1, 1),  # too few images for a pass of their own
        ({"model.bn_group_size": None}, 1, 1),
        ({"model.depth": 34}, 1, 1),  # blocks that do not end in a 1x1 convolution
        ({"model.version": "v2", "model.zero_init_last_bn": False}, 1, 1),
        ({"model.dtype": "float32"}, 1, 1),
    ],
    ids=str,
)
def test_on_gpus_each_group_of_the_main_recipe_is_a_microbatch(changes, devices, expected):
    config = resnet50.get_config()
    config.update_from_flattened_dict(changes)
    assert count_microbatches(config, devices, on_gpus=True) == expected
    assert count_microbatches(config, devices) == (2 if "train.per_device_limit" in changes else 1)
