import numpy as np
import pytest

from resnet_jax.data.datasets.imagenet.boxes import Boxes, parse
from resnet_jax.errors import UsageError
from tests.data import ilsvrc


def test_boxes_of_an_archive_by_the_names_of_its_files(tmp_path):
    path = tmp_path / "boxes.tar.gz"
    path.write_bytes(ilsvrc.pack(ilsvrc.annotations(), seed=1, mode="w:gz"))
    boxes, told = Boxes(), []
    boxes.add_archive(path, told.append)
    assert len(boxes) == sum(told) == 2
    found = boxes.of(f"{ilsvrc.BOXED}.JPEG")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, ilsvrc.BOXES, rtol=1e-7)
    assert boxes.of("n01440764_1.JPEG").shape == (0, 4)


def test_boxes_of_validation_images(tmp_path):
    path = tmp_path / "boxes.tgz"
    of_first = ilsvrc.XML.format(ilsvrc.OBJECT.format("n01751748", 0, 0, 500, 200)).encode()
    path.write_bytes(ilsvrc.pack({"val/ILSVRC2012_val_00000001.xml": of_first}, mode="w:gz"))
    boxes = Boxes()
    boxes.add_archive(path, lambda count: None)
    assert boxes.of("ILSVRC2012_val_00000001.JPEG").tolist() == [[0.0, 0.0, 0.5, 1.0]]


def test_an_annotation_without_objects_has_no_boxes():
    assert parse(ilsvrc.XML.format("").encode(), "n01440764").shape == (0, 4)


@pytest.mark.parametrize(
    "xml",
    [
        "<annotation>",
        "<annotation/>",
        ilsvrc.XML.format("<object><name>tench</name></object>"),
        ilsvrc.XML.format(ilsvrc.OBJECT.format("tench", "wide", 0, 1, 1)),
        ilsvrc.XML.format(ilsvrc.OBJECT.format("tench", 0, 0, 1, 1)).replace(">500<", ">0<"),
    ],
)
def test_a_damaged_annotation_is_said(tmp_path, xml):
    path = tmp_path / "boxes.tar.gz"
    path.write_bytes(ilsvrc.pack({"a/n01440764_7.xml": xml.encode()}, mode="w:gz"))
    with pytest.raises(UsageError, match=r"a/n01440764_7.xml in .*boxes.tar.gz holds no bounding boxes \(.*get the"):
        Boxes().add_archive(path, lambda count: None)


@pytest.mark.parametrize("kept", [0, 10, 300])
def test_a_truncated_archive_of_boxes_is_said(tmp_path, kept):
    path = tmp_path / "boxes.tar.gz"
    path.write_bytes(ilsvrc.pack(ilsvrc.annotations(), mode="w:gz")[:kept])
    with pytest.raises(UsageError, match="boxes.tar.gz is cut short or damaged"):
        Boxes().add_archive(path, lambda count: None)
