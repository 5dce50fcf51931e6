"""The data of every source, as small as they can be."""

import numpy as np
import pytest

from resnet_jax.data.sources import SOURCES, open_source
from tests.data.encoded import encode

SYNTHETIC = {"num_train": 50, "num_eval": 7, "num_classes": 5, "image_size": 6}
DIGITS = {"name": "digits", "train_split": "train", "eval_split": None}
FOLDER = {"train_split": "train", "eval_split": None}


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    return str(tmp_path_factory.mktemp("tfds"))


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Three classes with 5, 6 and 7 training images and 2 for evaluation each; file k of class c has colour (c, k)."""
    root = tmp_path_factory.mktemp("flowers")
    for split, counts in {"train": (5, 6, 7), "val": (2, 2, 2)}.items():
        for label, (name, count) in enumerate(zip(("aster", "lily", "Rose"), counts, strict=True)):
            directory = root / split / name
            directory.mkdir(parents=True)
            (directory / "notes.txt").write_text("no image")
            for number in range(count):
                pixels = np.full((4, 5, 3), 80 * label + 10 * number + 5 * (split == "val"), np.uint8)
                (directory / f"{number}.PNG").write_bytes(encode(pixels, "PNG"))
    return root


@pytest.fixture(params=SOURCES)
def open_part(request, data_dir, folder):
    options = {
        "folder": {**FOLDER, "data_dir": str(folder)},
        "synthetic": SYNTHETIC,
        "tfds": {**DIGITS, "data_dir": data_dir},
    }[request.param]
    return lambda *, training: open_source(request.param, training=training, **options)
