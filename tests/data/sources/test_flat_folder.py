"""Image files without class folders: Kaggle's layout, the development kit, lists of labels."""

import tarfile

import numpy as np
import pytest
from scipy.io import savemat

from resnet_jax.data import imagenet_classes
from resnet_jax.data.sources import open_source
from resnet_jax.errors import UsageError
from tests.data.sources.conftest import FOLDER

SYNSETS = imagenet_classes.synsets()[:3]
# The classes of ILSVRC2012_val_00000001 and so on, by number; none of the first images is of the first classes.
VALIDATION = imagenet_classes.validation_synsets()


def write(root, *files):
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file)
    return root


def trained(root, classes=SYNSETS):
    return write(root, *(f"train/{name}/{name}_{k}.JPEG" for name in classes for k in range(2)))


def labeled(root, **options):
    """Opens the evaluation split; returns the class of each file, by its name."""
    source = open_source("folder", training=False, data_dir=str(root), **FOLDER | options)
    assert len(source) > 0
    names = (source.where(index).rpartition("/")[2] for index in range(len(source)))
    return {name: source.class_names[source[index].label] for index, name in enumerate(names)}


A, B, C = SYNSETS
KAGGLE = "LOC_val_solution.csv"


@pytest.mark.parametrize(
    ("file", "content"),
    [
        (KAGGLE, f"ImageId,PredictionString\nb,{B} 85 1 499 272 {B} 3 4 5 6 \na,{A} 1 2 3 4 \nz,{C} 0 0 1 1\n"),
        ("val.txt", "a.JPEG 0\nb.JPEG 1\n"),
        ("val.txt", f"val/a.JPEG {A}\nval/b.JPEG {B}\n"),
        ("val_annotations.txt", f"a.JPEG\t{A}\t0\t32\t44\t62\nb.JPEG\t{B}\t0\t32\t44\t62\n"),
        ("val/labels.csv", f"a.JPEG,{A}\nb.JPEG,{B}"),
        ("val.csv", f"label,split,filename\n{B},val,b.JPEG\n{A},val,a.JPEG\n"),
        ("val_labels.tsv", f"file\tclass\na.JPEG\t{A}\nb.JPEG\t{B}\n"),
    ],
)
def test_files_of_labels(tmp_path, file, content):
    write(trained(tmp_path), "val/a.JPEG", "val/b.JPEG")
    (tmp_path / file).write_text(content)
    assert labeled(tmp_path) == {"a.JPEG": A, "b.JPEG": B}


def test_the_order_is_that_of_class_folders(tmp_path):
    trained(tmp_path / "flat"), trained(tmp_path / "sorted")
    classes = {"3.JPEG": A, "1.JPEG": B, "2.JPEG": A}
    for name, synset in classes.items():
        write(tmp_path / "flat", f"val/{name}"), write(tmp_path / "sorted", f"val/{synset}/{name}")
    (tmp_path / "flat" / "val.csv").write_text("".join(f"{name},{synset}\n" for name, synset in classes.items()))
    write(tmp_path / "sorted", f"val/{C}/4.JPEG")
    flat, folders = labeled(tmp_path / "flat"), labeled(tmp_path / "sorted")
    assert list(flat) == list(folders)[:3] == ["2.JPEG", "3.JPEG", "1.JPEG"]


@pytest.mark.parametrize("inside", ["", "ILSVRC", "ILSVRC/Data/CLS-LOC"])
def test_kaggles_layout_is_found_from_each_of_its_folders(tmp_path, inside):
    images = tmp_path / "ILSVRC" / "Data" / "CLS-LOC"
    write(trained(images), "val/a.JPEG", "test/t.JPEG")
    (tmp_path / KAGGLE).write_text(f"ImageId,PredictionString\na,{C} 1 2 3 4\n")
    (tmp_path / "LOC_synset_mapping.txt").write_text("".join(f"{name} a word, or two\n" for name in (*SYNSETS, "n9")))
    assert labeled(tmp_path / inside) == {"a.JPEG": C}
    train = open_source("folder", training=True, data_dir=str(tmp_path / inside), **FOLDER)
    assert (train.class_names, len(train), train.name) == (SYNSETS, 6, "folder/train")


def test_the_order_of_the_synset_mapping(tmp_path):
    write(trained(tmp_path, ("tench", "goldfish")), "val/a.JPEG")
    (tmp_path / "LOC_synset_mapping.txt").write_text("tench\ngoldfish\n")
    (tmp_path / "val.csv").write_text("a.JPEG,goldfish")
    assert open_source("folder", training=True, data_dir=str(tmp_path), **FOLDER).class_names == ("tench", "goldfish")
    assert labeled(tmp_path) == {"a.JPEG": "goldfish"}


def test_the_classes_of_imagenet_are_in_the_order_of_their_wordnet_ids(tmp_path):
    trained(tmp_path)
    (tmp_path / "LOC_synset_mapping.txt").write_text(f"{B} goldfish\n{A} tench\n{C} shark\n")
    with pytest.raises(
        UsageError, match=rf"mapping.txt gives the classes of ImageNet in another order than .* .class 0 is {B}"
    ):
        open_source("folder", training=True, data_dir=str(tmp_path), **FOLDER)


def test_the_names_of_validation_images_suffice(tmp_path):
    numbers = [1, 2, 50_000]
    trained(tmp_path, sorted({VALIDATION[number - 1] for number in numbers}))
    names = [f"ILSVRC2012_val_{number:08d}.JPEG" for number in numbers]
    write(tmp_path, *(f"val/{name}" for name in names))
    expected = {name: VALIDATION[number - 1] for name, number in zip(names, numbers, strict=True)}
    assert labeled(tmp_path) == expected
    (tmp_path / "val.txt").write_text("".join(f"{name} 0\n" for name in names))
    with pytest.raises(UsageError, match=r"val.txt gives ILSVRC2012_val_\d+.JPEG class n\d+, but this image of ILSVRC"):
        labeled(tmp_path)


def make_devkit(folder, numbers_of):
    """Writes the two files of the kit: class numbers of all 50,000 images, and the WordNet ID of each number."""
    folder.mkdir(parents=True)
    rows = [(number, synset.encode()) for synset, number in numbers_of.items()] + [(1001, b"n00001740")]
    kinds = np.dtype([("ILSVRC2012_ID", "O"), ("WNID", "O")])
    table = np.array([(number, synset.decode()) for number, synset in rows], kinds)
    savemat(folder / "meta.mat", {"synsets": table.reshape(-1, 1)})
    truth = "".join(f"{numbers_of[synset]}\n" for synset in VALIDATION)
    (folder / "ILSVRC2012_validation_ground_truth.txt").write_text(truth)


@pytest.mark.parametrize("packed", [False, True])
def test_the_development_kit_as_torchvision_has_it(tmp_path, packed):
    numbers_of = {synset: number for number, synset in enumerate(reversed(imagenet_classes.synsets()), start=1)}
    kit = tmp_path / "ILSVRC2012_devkit_t12"
    make_devkit(kit / "data", numbers_of)
    trained(tmp_path, sorted({VALIDATION[0], VALIDATION[1]}))
    write(tmp_path, "val/ILSVRC2012_val_00000001.JPEG", "val/ILSVRC2012_val_00000002.JPEG")
    if packed:
        with tarfile.open(tmp_path / "ILSVRC2012_devkit_t12.tar.gz", "w:gz") as tar:
            tar.add(kit, kit.name)
        kit.rename(tmp_path.parent / f"{tmp_path.name}.kit")
    assert list(labeled(tmp_path).values()) == sorted(VALIDATION[:2])
    damaged = tmp_path / "ILSVRC2012_devkit_t12.tar.gz" if packed else kit / "data" / "meta.mat"
    damaged.write_bytes(damaged.read_bytes()[:100])
    with pytest.raises(
        UsageError, match="is not the development kit of ILSVRC2012, with ILSVRC2012_val.* and meta.mat"
    ):
        labeled(tmp_path)


def test_a_flat_training_folder_has_the_classes_of_its_list(tmp_path):
    write(tmp_path, *(f"train/{number}.jpg" for number in range(40)))
    (tmp_path / "train.csv").write_text(
        "".join(f"{number}.jpg,{'10' if number % 2 else '9'}\n" for number in range(40))
    )
    train, evaluation = (open_source("folder", training=t, data_dir=str(tmp_path), **FOLDER) for t in (True, False))
    assert train.class_names == evaluation.class_names == ("9", "10")
    assert train.class_counts.tolist() == [18, 18] and evaluation.class_counts.tolist() == [2, 2]


def test_tiny_imagenets_folders(tmp_path):
    write(tmp_path, *(f"train/{name}/images/{name}_0.JPEG" for name in SYNSETS), "val/images/val_0.JPEG")
    (tmp_path / "val" / "val_annotations.txt").write_text(f"val_0.JPEG\t{B}\t0\t0\t1\t1\n")
    assert labeled(tmp_path) == {"val_0.JPEG": B}


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (
            None,
            "",
            "/val has no class folders: put the images of each class into .*/val/<class name>/, or add .*val.csv",
        ),
        ("val.csv", f"a.JPEG,{A}\n", "val.csv has no label for 1 of 2 images in .*/val, for example b.JPEG: add them"),
        (
            "val.csv",
            f"a.JPEG,{A}\nb.JPEG,zebra\n",
            r"val.csv names classes that training does not have \(zebra\): give",
        ),
        ("val.txt", "a.JPEG 1\nb.JPEG 3\n", r"val.txt numbers the classes up to 3, outside 0..2: number them from 0"),
        (
            "val.txt",
            f"a.JPEG {A}\na.JPEG {B}\n",
            "val.txt gives a.JPEG two classes, n01440764 and n01443537: correct it",
        ),
        ("val.txt", "a.JPEG\n", "val.txt has line 'a.JPEG', but each line must be FILE,CLASS: correct it"),
        ("val.txt", "", "val.txt has no line, but each line must be FILE,CLASS"),
        ("val.csv", b"\xff\xfe\x00", "val.csv cannot be read .*: write lines FILE,CLASS in UTF-8"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path, file, content, message):
    write(trained(tmp_path), "val/a.JPEG", "val/b.JPEG")
    if file:
        (tmp_path / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UsageError, match=message) as caught:
        labeled(tmp_path)
    assert "\n" not in str(caught.value)


def test_kaggles_folders_given_to_another_source_are_recognised(tmp_path):
    trained(tmp_path / "ILSVRC" / "Data" / "CLS-LOC")
    with pytest.raises(UsageError, match=r"holds folders of images \(train\): add --config.data.source=folder"):
        open_source("tfds", training=True, name="imagenet2012", data_dir=str(tmp_path))
    archives = write(tmp_path / "tars", "ILSVRC2012_img_train.tar")
    with pytest.raises(
        UsageError, match="It holds ILSVRC2012_img_train.tar: prepare such archives with --mode=prepare"
    ):
        open_source("folder", training=True, data_dir=str(archives), **FOLDER)
