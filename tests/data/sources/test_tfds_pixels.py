from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow_datasets as tfds

from resnet_jax.data.sources.tfds_features import classification
from resnet_jax.errors import UsageError


def described(**image):
    """Returns what is read of a prepared data set to find its features."""
    features = {"image": tfds.features.Image(**image), "label": tfds.features.ClassLabel(num_classes=2)}
    return SimpleNamespace(name="x", info=SimpleNamespace(supervised_keys=("image", "label"), features=features))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pixels_of_8_and_16_bits_are_read(dtype):
    keys, class_names = classification(described(shape=(None, None, 1), dtype=dtype))
    assert keys == ("image", "label", None, None) and class_names == ("0", "1")


def test_floating_point_pixels_are_refused_by_name():
    # TFDS stores their bytes as the colors and alpha of a PNG file, which would be read as an image.
    with pytest.raises(UsageError, match="data set 'x' has images of floating-point numbers, .*: prepare it with"):
        classification(described(shape=(None, None, 1), dtype=np.float32))
