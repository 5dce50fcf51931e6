import pytest

from resnet_jax.old_settings import translated, translated_flag


@pytest.mark.parametrize(("stored", "names"), [(True, ["tensorboard"]), (False, [])])
def test_a_stored_key_that_has_another_name_now_is_replaced(stored, names):
    settings = {"log": {"inputs": True, "tensorboard": stored}, "data": {}}
    assert translated(settings) == {"log": {"inputs": True, "trackers": names}, "data": {}}
    assert "tensorboard" in settings["log"]  # not changed


def test_settings_of_this_version_are_unchanged():
    for settings in ({}, {"log": {"trackers": ["wandb"]}}):
        assert translated(settings) == settings


@pytest.mark.parametrize(
    ("word", "now"),
    [
        ("--config.log.tensorboard=False", "--config.log.trackers=()"),
        ("-config.log.tensorboard=1", "-config.log.trackers=('tensorboard',)"),
        ("--config.log.tensorboard=true", "--config.log.trackers=('tensorboard',)"),
        ("--config.log.tensorboard=maybe", "--config.log.tensorboard=maybe"),
        ("--config.log.trackers=()", "--config.log.trackers=()"),
        ("--workdir=--config.log.tensorboard=False", "--workdir=--config.log.tensorboard=False"),
    ],
)
def test_a_flag_that_has_another_name_now_is_replaced(word, now):
    assert translated_flag(word) == now
