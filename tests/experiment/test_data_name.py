import pytest

from resnet_jax.experiment.inputs import data_name
from tests.tiny import tiny_config


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"source": "tfds", "name": "imagenette/320px-v2"}, "imagenette/320px-v2"),
        ({"source": "folder", "data_dir": "/data/solar cells/"}, "solar cells"),
        ({"source": "folder", "data_dir": "/"}, "folder"),
        ({"source": "tfrecord", "data_dir": "/data/imagenet-r1"}, "imagenet-r1"),
        ({"source": "synthetic"}, "synthetic"),
    ],
)
def test_data_are_named_by_what_they_are(changes, expected):
    assert data_name(tiny_config({f"data.{key}": value for key, value in changes.items()})) == expected
