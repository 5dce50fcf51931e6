import io
import tarfile

import numpy as np
import pytest

from resnet_jax.data import imagenet_classes
from resnet_jax.errors import UsageError
from resnet_jax.programs.prepare import completeness
from resnet_jax.programs.prepare.archives import opened, scan_train, scan_validation
from resnet_jax.programs.prepare.in_order import in_order
from tests.data import ilsvrc

IMAGE = {"n01440764_1.JPEG": b"tench"}


def scanned(scan, path, *, sequential=False):
    """Returns names, labels and bytes in the order of the archive, and the reported counts."""
    told = []
    images = scan(path, told.append, sequential=sequential)
    with opened(path, sequential=sequential) as descriptor:
        files = {images.name(row): images.read(descriptor, row) for row in range(len(images))}
    return files, images.labels.tolist(), sum(told)


@pytest.mark.parametrize("sequential", [False, True])
def test_images_are_found_and_labeled_by_name_in_any_order(tmp_path, sequential):
    files = ilsvrc.make_files(num_classes=5, per_class=4, num_validation=9)
    ilsvrc.write(tmp_path, files, seed=3)
    train, labels, told = scanned(scan_train, tmp_path / "ILSVRC2012_img_train.tar", sequential=sequential)
    assert train == files.train and told == len(files.train) == 23
    assert list(train) != sorted(train)
    assert [imagenet_classes.synsets()[label] for label in labels] == [name.split("_")[0] for name in train]
    validation, labels, told = scanned(scan_validation, tmp_path / "ILSVRC2012_img_val.tar", sequential=sequential)
    assert validation == files.validation and told == 9
    by_name = dict(zip(validation, labels, strict=True))
    # From val.txt of Caffe's ImageNet example.
    assert [by_name[f"ILSVRC2012_val_{number:08d}.JPEG"] for number in (1, 2, 3)] == [65, 970, 230]


def test_the_lists_of_classes():
    assert len(imagenet_classes.synsets()) == 1000 and list(imagenet_classes.synsets()) == sorted(
        set(imagenet_classes.synsets())
    )
    counts = np.bincount([imagenet_classes.labels()[synset] for synset in imagenet_classes.validation_synsets()])
    assert counts.tolist() == [50] * 1000


def test_missing_images_are_described():
    whole = np.repeat(np.arange(1000), 50)
    assert completeness.describe_missing("validation", whole) == ""
    assert completeness.describe_missing("validation", whole[:-1]) == (
        "validation has 49,999 images instead of 50,000, fewer than 50 images per class in 1 classes (n15075141)"
    )
    moved = np.append(whole[1:], 3)
    assert completeness.describe_missing("validation", moved) == (
        "validation has fewer than 50 images per class in 1 classes (n01440764), "
        "more than 50 images per class in 1 classes (n01491361)"
    )
    train = np.repeat(np.arange(1000), 1281)
    assert completeness.describe_missing("train", np.append(train, range(167))) == ""
    assert "no image in 1 classes (n01440764)" in completeness.describe_missing("train", train[1281:])


@pytest.mark.parametrize(
    ("tars", "message"),
    [
        ({"n00000001.tar": b""}, r"img_train.tar contains n00000001.tar \(n00000001 is not one of the 1,000"),
        ({"notes.txt": b""}, r"contains notes.txt \(expected a name such as n01440764.tar\)"),
        (
            {"n01443537.tar": ilsvrc.pack(IMAGE)},
            r"n01443537.tar in .* contains n01440764_1.JPEG \(it is an image of class n01440764",
        ),
        ({"n01440764.tar": ilsvrc.pack({"a.JPEG": b""})}, r"n01440764.tar in .* contains a.JPEG .*_10026.JPEG"),
        ({"n01440764.tar": b"no tar" * 200}, "n01440764.tar in .* is truncated or damaged"),
        (
            {"n01440764.tar": ilsvrc.pack(IMAGE)[:512]},
            "n01440764.tar in .* is truncated or damaged .*download the archive again",
        ),
        ({"n01440764.tar": ilsvrc.pack(IMAGE)[:1024]}, "n01440764.tar in .* is truncated or damaged .*byte 1,024"),
        ({"n01440764.tar": ilsvrc.pack(IMAGE)[:1024] + b"x" * 512}, "n01440764.tar in .* is truncated or damaged"),
    ],
)
def test_what_does_not_belong_in_the_training_archive_is_reported(tmp_path, tars, message):
    path = tmp_path / "ILSVRC2012_img_train.tar"
    path.write_bytes(ilsvrc.pack(tars))
    with pytest.raises(UsageError, match=message):
        scan_train(path, lambda count: None, sequential=False)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"ILSVRC2012_val_00050001.JPEG": b""}, r"ILSVRC2012_val_00050001.JPEG .* is not in 1..50,000"),
        ({"ILSVRC2012_val_00000000.JPEG": b""}, "the number in its name is not in 1..50,000"),
        ({"ILSVRC2012_val_1.JPEG": b""}, "expected a name such as ILSVRC2012_val_00000001.JPEG"),
        ({f"{folder}/ILSVRC2012_val_00000001.JPEG": b"" for folder in "ab"}, "this name occurs twice in the archive"),
    ],
)
def test_what_does_not_belong_in_the_validation_archive_is_reported(tmp_path, files, message):
    path = tmp_path / "ILSVRC2012_img_val.tar"
    path.write_bytes(ilsvrc.pack(files))
    with pytest.raises(UsageError, match=message):
        scan_validation(path, lambda count: None, sequential=False)


def test_links_are_rejected(tmp_path):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        link = tarfile.TarInfo("n01440764.tar")
        link.type, link.linkname = tarfile.SYMTYPE, "elsewhere"
        tar.addfile(link)
    path = tmp_path / "ILSVRC2012_img_train.tar"
    path.write_bytes(packed.getvalue())
    with pytest.raises(UsageError, match="img_train.tar contains n01440764.tar, which is not a regular file"):
        scan_train(path, lambda count: None, sequential=False)


@pytest.mark.parametrize("kept", [100, 5_000, 20_480])
def test_a_truncated_archive_is_reported(tmp_path, kept):
    ilsvrc.write(tmp_path, ilsvrc.make_files(num_classes=3, per_class=4, num_validation=20))
    for name, scan in {"ILSVRC2012_img_train.tar": scan_train, "ILSVRC2012_img_val.tar": scan_validation}.items():
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:kept])
        with pytest.raises(UsageError, match=rf"{name} is truncated or damaged .*: download the archive again"):
            scan(tmp_path / name, lambda count: None, sequential=False)


@pytest.mark.parametrize("scan", [scan_train, scan_validation])
def test_an_unreadable_archive_is_reported(tmp_path, scan):
    with pytest.raises(UsageError, match=r"/none.tar cannot be read \(No such file or directory\): check its"):
        scan(tmp_path / "none.tar", lambda count: None, sequential=False)
    with pytest.raises(UsageError, match=rf"{tmp_path} cannot be read \(Is a directory\)"):  # a directory can be opened
        scan(tmp_path, lambda count: None, sequential=False)


def test_an_unreadable_image_is_reported(tmp_path):
    ilsvrc.write(tmp_path, ilsvrc.make_files(num_classes=1, per_class=1, num_validation=1))
    images = scan_train(tmp_path / "ILSVRC2012_img_train.tar", lambda count: None, sequential=False)
    with (
        opened(tmp_path, sequential=False) as descriptor,
        pytest.raises(UsageError, match=r"img_train.tar cannot be read \(Is a directory\)"),
    ):
        images.read(descriptor, 0)


def test_in_order_yields_results_and_errors_in_order():
    begun = []

    def work(item):
        begun.append(item)
        if item == 40:
            raise OSError("forty")
        return item * item

    results = in_order(work, range(10_000), num_threads=4, ahead=6)
    assert [next(results) for _ in range(40)] == [item * item for item in range(40)]
    with pytest.raises(OSError, match="forty"):
        next(results)
    assert max(begun) <= 40 + 6
