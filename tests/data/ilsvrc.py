"""Archives like those of ILSVRC2012, with few and small images."""

import io
import tarfile
from typing import NamedTuple

import numpy as np

from resnet_jax.data import imagenet_classes
from tests.data.encoded import encode, smooth

CMYK, PNG, TRUNCATED = "n01440764_7.JPEG", "n01443537_7.JPEG", "n01484850_7.JPEG"
BOXED = "n01440764_10026"
XML = """<annotation><folder>n01440764</folder><filename>%s</filename><size><width>500</width><height>400</height>
<depth>3</depth></size><segmented>0</segmented>{}</annotation>"""
OBJECT = "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"


class Files(NamedTuple):
    """Image files by name."""

    train: dict[str, bytes]
    validation: dict[str, bytes]


def make_files(num_classes: int, per_class: int, num_validation: int) -> Files:
    """Makes images of 40x32 pixels; the first three training classes have a CMYK JPEG, a PNG and a truncated JPEG."""
    names = [
        f"{synset}_{10026 + k}.JPEG" for synset in imagenet_classes.synsets()[:num_classes] for k in range(per_class)
    ]
    train = {name: encode(smooth(32, 40, seed), "JPEG") for seed, name in enumerate(names)}
    odd = {
        CMYK: encode(smooth(32, 40), "JPEG", "CMYK"),
        PNG: encode(smooth(32, 40), "PNG"),
        TRUNCATED: encode(smooth(32, 40), "JPEG")[:200],
    }
    train |= {name: odd[name] for name in list(odd)[:num_classes]}
    names = [f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, num_validation + 1)]
    validation = {name: encode(smooth(40, 32, seed), "JPEG") for seed, name in enumerate(names, start=10_000)}
    return Files(train, validation)


def write(directory, files: Files, *, seed=None, boxes=True) -> None:
    """Writes the archives; a seed puts their members in random order."""
    directory.mkdir(parents=True, exist_ok=True)
    synsets = sorted({name.split("_")[0] for name in files.train})
    tars = {
        f"{synset}.tar": pack({name: data for name, data in files.train.items() if name.startswith(synset)}, seed)
        for synset in synsets
    }
    (directory / "ILSVRC2012_img_train.tar").write_bytes(pack(tars, seed))
    (directory / "ILSVRC2012_img_val.tar").write_bytes(pack(files.validation, seed))
    if boxes:
        (directory / "ILSVRC2012_bbox_train_v2.tar.gz").write_bytes(pack(annotations(), seed, "w:gz"))


def pack(files: dict[str, bytes], seed=None, mode="w") -> bytes:
    """Returns a tar of the files, in the given or in a random order."""
    names = list(files)
    if seed is not None:
        np.random.default_rng(seed).shuffle(names)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(files[name])
            tar.addfile(member, io.BytesIO(files[name]))
    return packed.getvalue()


def many_annotations(count: int) -> dict[str, bytes]:
    """Returns XML files for images of one class, each with a different box."""
    edges = np.random.default_rng(0).integers([[0, 0], [200, 200]], [[200, 200], [400, 400]], (count, 2, 2))
    objects = [OBJECT.format("n01440764", *one.ravel()) for one in edges]
    return {f"n01440764/n01440764_{k}.xml": XML.format(text).encode() for k, text in enumerate(objects)}


def annotations() -> dict[str, bytes]:
    """Returns XML files: an image with two valid and three invalid boxes, and a file that belongs to no image."""
    objects = [
        OBJECT.format("n01440764", 50, 100, 250, 300),
        OBJECT.format("tench", 450, -8, 100, 200.0),  # named in words, right edge first, above the image
        OBJECT.format("n01443537", 0, 0, 10, 10),  # another class
        OBJECT.format("n01440764", 20, 30, 20, 90),  # no width
        OBJECT.format("n01440764", 510, 0, 520, 90),  # outside the image
    ]
    return {
        f"bbox/deep/n01440764/{BOXED}.xml": XML.format("".join(objects)).encode(),
        "n01440764/n01440764_99999.xml": XML.format(objects[0]).encode(),
        "n00007846/n00007846_64193.xml": b"not of ILSVRC2012, and never read",
        "README": b"",
    }


# The two valid boxes above, computed by hand: ymin, xmin, ymax, xmax relative to 500x400 pixels.
BOXES = [[100 / 400, 50 / 500, 300 / 400, 250 / 500], [0.0, 100 / 500, 200 / 400, 450 / 500]]
