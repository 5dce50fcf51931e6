"""Records that the fuzzer's target 'example' found to be answered badly."""

import warnings

import pytest

from resnet_jax.data.crops import BoxGuided
from resnet_jax.data.loader import Loader
from resnet_jax.data.sources import open_source
from resnet_jax.errors import UsageError
from tests.data.record_files import write_tfrecord
from tests.data.sources.conftest import TFRECORD, r1_example


@pytest.mark.parametrize("synset", [b"P5 3 2 255\n\0(Px\xa0\xc8", b"\x1b[2J", b"n" * 10_000])
def test_a_wordnet_id_of_any_bytes_is_named_on_one_line(tmp_path, synset):
    record = r1_example(0, 1, **{"image/class/synset": synset})
    write_tfrecord(tmp_path / "train-00000-of-00001", [record])
    with pytest.raises(UsageError, match="record 0 has WordNet ID .*, but its label 1 stands for") as caught:
        open_source("tfrecord", **TFRECORD | {"num_classes": 1000}, data_dir=str(tmp_path))
    assert str(caught.value).isprintable() and len(str(caught.value)) < 500


@pytest.mark.parametrize("side", [3.0744574372442276e18, -3e38, 3e38])
def test_boxes_of_any_finite_numbers_are_cropped_without_warnings(tmp_path, side):
    boxes = {f"image/object/bbox/{name}": [side] for name in ("ymin", "xmin", "ymax", "xmax")}
    write_tfrecord(tmp_path / "train-00000-of-00001", [r1_example(7, 1, **boxes)])
    source = open_source("tfrecord", **TFRECORD, data_dir=str(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        batch = Loader(source, batch_size=1, training=False, crops=BoxGuided(8)).batch(0)
    assert not batch.unreadable.any() and (batch.batch.image == 7).all()


@pytest.mark.parametrize("side", [float("nan"), float("inf")])
def test_boxes_of_other_numbers_make_a_record_unreadable(tmp_path, side):
    boxes = {f"image/object/bbox/{name}": [side] for name in ("ymin", "xmin", "ymax", "xmax")}
    write_tfrecord(tmp_path / "train-00000-of-00001", [r1_example(7, 1, **boxes)])
    source = open_source("tfrecord", **TFRECORD, data_dir=str(tmp_path))
    with pytest.raises(ValueError, match="has a value that is not a finite number"):
        source[0]
