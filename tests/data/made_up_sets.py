"""Tiny copies of the evaluation sets of ImageNet, in the layouts in which they are distributed, and as TFDS sets."""

import contextlib
import io
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from resnet_jax.data.imagenet_classes import synsets
from tests.data.encoded import encode

CORRUPTIONS = ("gaussian_noise", "jpeg_compression")


def image(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(256, size=(14, 16, 3), dtype=np.uint8)
    return encode(pixels, "PNG")


def write_classes(folder: Path, names, *, per_class=1, file="{number}.jpg", first=0) -> Path:
    """Writes DIR/<class>/<image>; `first` is the number of the first image."""
    number = first
    for name in names:
        (folder / name).mkdir(parents=True)
        for _ in range(per_class):
            (folder / name / file.format(number=number)).write_bytes(image(number))
            number += 1
    return folder


def imagenet_a(root: Path) -> Path:
    """imagenet-a/<synset>/<image>, with 5 of the 1,000 classes, and the README that is distributed with it."""
    folder = write_classes(root / "imagenet-a", [synsets()[k] for k in (6, 11, 13, 300, 999)], per_class=2)
    (folder / "README.txt").write_text("names of the classes")
    return folder


def imagenet_v2(root: Path, classes: int = 12) -> Path:
    """Three folders <set>/<number of the class>/<image>."""
    for name in ("matched-frequency", "threshold0.7", "top-images"):
        write_classes(root / "v2" / f"imagenetv2-{name}-format-val", map(str, range(classes)), file="{number}.jpeg")
    return root / "v2"


def imagenet_c(root: Path) -> Path:
    """<kind>/<corruption>/<severity>/<synset>/<image>, as the archives are unpacked."""
    for kind, corruption in zip(("noise", "digital"), CORRUPTIONS, strict=True):
        for severity in range(1, 6):
            folder = root / "imagenet-c" / kind / corruption / str(severity)
            write_classes(folder, synsets()[:2], file="ILSVRC2012_val_{number:08d}.JPEG", first=100 * severity)
    return root / "imagenet-c"


class _Labelled(tfds.core.GeneratorBasedBuilder):
    """Images with one of the 1,000 classes of ImageNet, as all TFDS versions of the sets are described."""

    VERSION = tfds.core.Version("1.0.0")
    pkg_dir_path = None
    split, labels = "test", ()

    def _info(self):
        features = {
            "image": tfds.features.Image(encoding_format="png"),
            "label": tfds.features.ClassLabel(names=list(synsets())),
            "file_name": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features), supervised_keys=("image", "label")
        )

    def _split_generators(self, dl_manager):
        return {self.split: self._generate_examples()}

    def _generate_examples(self):
        for number, label in enumerate(self.labels):
            yield str(number), {"image": io.BytesIO(image(number)), "label": label, "file_name": f"{number}.jpg"}


class _Real(_Labelled):
    split = "validation"
    labels = ((3, (3, 4)), (5, ()), (9, (8,)), (0, (0,)))

    def _info(self):
        label = tfds.features.ClassLabel(names=list(synsets()))
        features = {
            "image": tfds.features.Image(encoding_format="png"),
            "original_label": label,
            "real_label": tfds.features.Sequence(tfds.features.ClassLabel(names=list(synsets()))),
            "file_name": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "real_label"),
            disable_shuffling=True,
        )

    def _generate_examples(self):
        for number, (original, real) in enumerate(self.labels):
            name = f"ILSVRC2012_val_{number + 1:08d}.JPEG"
            features = {"image": io.BytesIO(image(number)), "file_name": name}
            yield number, features | {"original_label": original, "real_label": list(real)}


def prepare(root: Path, name: str, *, labels=(6, 11, 11, 999), configs=(), real=False) -> None:
    """Prepares a data set of this TFDS name, with these configs, in `root`."""
    made = {"name": name, "labels": _Real.labels if real else labels}
    if configs:
        made["BUILDER_CONFIGS"] = [tfds.core.BuilderConfig(name=config, description="") for config in configs]
    with tfds.core.registered.skip_registration(), contextlib.redirect_stdout(io.StringIO()):
        builder = type(name, (_Real if real else _Labelled,), made)
        for config in configs or (None,):
            builder(data_dir=root, file_format="array_record", config=config).download_and_prepare()
