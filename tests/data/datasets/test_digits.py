import hashlib
import importlib.resources

import numpy as np

from resnet_jax.data.datasets.digits.builder import load
from resnet_jax.data.datasets.digits.builder import test_rows as rows_for_testing


def test_the_file_is_the_one_scikit_learn_ships():
    packed = importlib.resources.files("resnet_jax.data.datasets.digits").joinpath("digits.csv.gz").read_bytes()
    assert hashlib.sha256(packed).hexdigest() == "09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22"


def test_images_and_labels():
    images, labels = load()
    assert images.shape == (1797, 8, 8) and images.dtype == np.uint8
    assert images.min() == 0 and images.max() == 255
    # Counts of classes 0 to 9 that UCI states for this file.
    np.testing.assert_array_equal(np.bincount(labels), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180])


def test_the_split_is_fixed_and_stratified():
    _, labels = load()
    is_test = rows_for_testing(labels)
    assert (~is_test).sum() == 1437
    np.testing.assert_array_equal(np.bincount(labels[is_test]), [36] * 10)
    for label in range(10):  # spread over the file, which is ordered by writer
        of_class = np.cumsum(labels == label)[is_test & (labels == label)]
        assert set(np.diff(of_class)) <= {4, 5, 6}
        assert of_class[0] <= 3
        assert of_class[-1] >= (labels == label).sum() - 3
