"""TFDS builder of the bundled data set: 1,797 handwritten digits of 8x8 pixels."""

import gzip
import importlib.resources
import io
from collections.abc import Iterator
from typing import NoReturn

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

_TEST_PER_CLASS = 36
_MAX_VALUE = 16  # a stored value is the number of set pixels in a 4x4 block


class Digits(tfds.core.GeneratorBasedBuilder):
    """Optical Recognition of Handwritten Digits (UCI), as scikit-learn ships it.

    E. Alpaydin and C. Kaynak, https://doi.org/10.24432/C50P49, CC BY 4.0. Each image is [8, 8, 1] uint8, scaled from
    0..16 to 0..255 and stored as PNG.
    """

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="Handwritten digits of 8x8 pixels: 1,437 for training, 360 (36 of each class) for testing.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(8, 8, 1), dtype=np.uint8, encoding_format="png"),
                    "label": tfds.features.ClassLabel(num_classes=10),
                }
            ),
            supervised_keys=("image", "label"),
            homepage="https://doi.org/10.24432/C50P49",
            license="CC BY 4.0",
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        del dl_manager  # nothing to download: the data are in the package
        images, labels = load()
        is_test = test_rows(labels)
        return {
            "train": _examples(images[~is_test], labels[~is_test]),
            "test": _examples(images[is_test], labels[is_test]),
        }

    def _generate_examples(self) -> NoReturn:
        raise NotImplementedError("_split_generators yields the examples itself")


def load() -> tuple[np.ndarray, np.ndarray]:
    """Returns all images of the digits, [1797, 8, 8] uint8 in 0..255, and their labels, [1797] int64."""
    packed = importlib.resources.files(__package__).joinpath("digits.csv.gz").read_bytes()
    table = np.loadtxt(io.BytesIO(gzip.decompress(packed)), delimiter=",")
    images = np.round(table[:, :-1] * (255 / _MAX_VALUE)).astype(np.uint8)
    return images.reshape(-1, 8, 8), table[:, -1].astype(np.int64)


def test_rows(labels: np.ndarray) -> np.ndarray:
    """Selects the test digits, 36 of each class, evenly spaced over the file: [N] labels -> [N] bool.

    The file is ordered by writer, so even spacing puts digits of every writer into both splits.
    """
    is_test = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        (rows,) = np.nonzero(labels == label)
        is_test[rows[(2 * np.arange(_TEST_PER_CLASS) + 1) * len(rows) // (2 * _TEST_PER_CLASS)]] = True
    return is_test


def _examples(images: np.ndarray, labels: np.ndarray) -> Iterator[tuple[int, dict]]:
    for key, (image, label) in enumerate(zip(images, labels, strict=True)):
        png = io.BytesIO()
        Image.fromarray(image).save(png, format="PNG")
        png.seek(0)  # TFDS reads from the current position
        yield key, {"image": png, "label": int(label)}
