import errno
import gzip
import os

import numpy as np
import pytest

from resnet_jax.errors import UsageError
from resnet_jax.programs.prepare.boxes import Boxes, parse
from tests.data import ilsvrc


def test_boxes_are_found_by_file_name(tmp_path):
    path = tmp_path / "boxes.tar.gz"
    path.write_bytes(ilsvrc.pack(ilsvrc.annotations(), seed=1, mode="w:gz"))
    boxes, told = Boxes(), []
    assert boxes.add_archive(path, told.append) == sum(told) == len(boxes) == 2
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
        "<?xml version='1.0' encoding='none'?><annotation/>",
        ilsvrc.XML.format("<object><name>tench</name></object>"),
        ilsvrc.XML.format(ilsvrc.OBJECT.format("tench", "1e999", 0, 1, 1)),
        ilsvrc.XML.format(ilsvrc.OBJECT.format("tench", "wide", 0, 1, 1)),
        ilsvrc.XML.format(ilsvrc.OBJECT.format("tench", 0, 0, 1, 1)).replace(">500<", ">0<"),
    ],
)
def test_a_damaged_annotation_is_reported(tmp_path, xml):
    path = tmp_path / "boxes.tar.gz"
    path.write_bytes(ilsvrc.pack({"a/n01440764_7.xml": xml.encode()}, mode="w:gz"))
    with pytest.raises(
        UsageError, match=r"a/n01440764_7.xml in .*boxes.tar.gz is not a valid annotation \(.*download the"
    ):
        Boxes().add_archive(path, lambda count: None)


def read(path, packed):
    """Returns the boxes in an archive of these bytes."""
    path.write_bytes(packed)
    boxes = Boxes()
    boxes.add_archive(path, lambda count: None)
    return {name: boxes.of(f"{name}.JPEG").tolist() for name in boxes._packed}


DAMAGED = "boxes.tar.gz is truncated or damaged .*: download it again, or remove it"


@pytest.mark.parametrize("quarter", range(4))
def test_truncated_archives_of_boxes_are_rejected(tmp_path, quarter):
    packed = ilsvrc.pack(ilsvrc.many_annotations(20), mode="w:gz")
    for kept in range(quarter, len(packed), 4):
        with pytest.raises(UsageError, match=DAMAGED):
            read(tmp_path / "boxes.tar.gz", packed[:kept])


@pytest.mark.parametrize("bit", range(8))
def test_a_flipped_bit_never_changes_a_box_silently(tmp_path, bit):
    # The README shifts the other blocks by one: tarfile reads twenty at a time, so headers and contents can be cut.
    files = ilsvrc.many_annotations(20) if bit % 2 else {"README": b""} | ilsvrc.many_annotations(20)
    packed = ilsvrc.pack(files, mode="w:gz")
    whole = read(tmp_path / "boxes.tar.gz", packed)
    noticed = 0
    for place in range(bit // 2, len(packed), 4):
        flipped = bytearray(packed)
        flipped[place] ^= 1 << bit
        try:
            assert read(tmp_path / "boxes.tar.gz", bytes(flipped)) == whole
        except UsageError:
            noticed += 1
    assert noticed > 0.9 * len(packed) / 4  # the other flips are in gzip's header or do not change the content


def test_a_truncated_or_broken_tar_inside_gzip_is_reported(tmp_path):
    tar = ilsvrc.pack(ilsvrc.many_annotations(20))  # 1,024 bytes per file, then zeros
    for kept in range(0, 20 * 1024 + 1, 512):
        with pytest.raises(UsageError, match=DAMAGED):
            read(tmp_path / "boxes.tar.gz", gzip.compress(tar[:kept]))
    with pytest.raises(UsageError, match=DAMAGED):
        read(tmp_path / "boxes.tar.gz", gzip.compress(tar[: 7 * 1024] + b"x" + tar[7 * 1024 + 1 :]))
    assert len(read(tmp_path / "boxes.tar.gz", gzip.compress(tar[: 20 * 1024 + 512]))) == 20  # one block of zeros
    with pytest.raises(UsageError, match=DAMAGED):
        read(tmp_path / "boxes.tar.gz", tar)


def test_an_unreadable_archive_of_boxes_is_reported(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=r"none.tgz cannot be read \(No such file or directory\): check its"):
        Boxes().add_archive(tmp_path / "none.tgz", lambda count: None)

    def fail(self, size=-1):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(gzip.GzipFile, "read", fail)
    with pytest.raises(UsageError, match=r"boxes.tgz cannot be read \(Input/output error\)"):
        read(tmp_path / "boxes.tgz", ilsvrc.pack(ilsvrc.many_annotations(1), mode="w:gz"))
