"""Several evaluations at once, on made-up copies of the evaluation sets of ImageNet."""

import csv
import json

import jax
import numpy as np
import pytest
from matplotlib.figure import Figure

from resnet_jax import experiment
from resnet_jax.data.class_names import fingerprint
from resnet_jax.data.imagenet_classes import synsets
from resnet_jax.distributed.channel import Channel
from resnet_jax.distributed.stop_requests import StopRequests
from resnet_jax.errors import UsageError
from resnet_jax.experiment.compile import EvalStepWithAnswers
from resnet_jax.programs.comparison.runs import find_runs
from resnet_jax.programs.evaluation import evaluator, result_directory
from resnet_jax.programs.evaluation.evaluate import Place, evaluate_all
from resnet_jax.reporting.workdir import Workdir
from resnet_jax.weights import StoredWeights
from tests.data.made_up_sets import imagenet_a, imagenet_c, imagenet_v2, prepare, write_classes
from tests.tiny import tiny_config

# The network answers every image alike: these are its outputs. It prefers output 500, then 11, 0 and 6.
BIAS = np.zeros(1000, np.float32)
BIAS[[500, 11, 0, 6]] = 9, 3, 2, 1


def weights(**changes):
    """Weights of 1,000 outputs, without the names of the classes, whose last layer has only a bias."""
    inference = experiment.build_inference(tiny_config(), num_classes=1000)
    arrays = {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.full(leaf.shape, 0.5, np.float32)
        for path, leaf in jax.tree_util.tree_leaves_with_path(inference.shapes)
    }
    arrays |= {"params/head/bias": BIAS, "params/head/kernel": 0 * arrays["params/head/kernel"]}
    return StoredWeights("/weights/rn", "made up", arrays, {name: name for name in arrays}, {}, (), {}, **changes)


@pytest.fixture
def place(tmp_path, monkeypatch):
    for plot in ("plot_confusion", "plot_calibration"):
        monkeypatch.setattr(result_directory, plot, lambda *_, **options: Figure((1, 1)))
    return Place(Workdir(tmp_path / "run"), StopRequests(), Channel())


def run(place, changes, **of_weights):
    """Evaluates, and returns the certificates by the name of the set, and the common result if there is one."""
    stored = weights(**of_weights)
    built = experiment.build_evaluations(tiny_config(changes), num_outputs=stored.num_outputs)
    assert evaluate_all(built, stored, place) == 0
    found = [json.loads(path.read_text()) for path in place.workdir.evaluations.glob("*/certificate.json")]
    common = [json.loads(path.read_text()) for path in place.workdir.evaluations.glob("*/certificates.json")]
    return {certificate["data"]["name"]: certificate for certificate in found}, common[0] if common else None


def test_folders_as_they_are_distributed(place, tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(evaluator, "EvalStepWithAnswers", lambda *of: compiled.append(of) or EvalStepWithAnswers(*of))
    sets = (str(imagenet_a(tmp_path)), str(imagenet_v2(tmp_path)), str(imagenet_c(tmp_path)))
    found, common = run(place, {"eval.sets": sets})
    assert len(found) == 14 and len(compiled) == 3  # one step for each number of classes and images
    # ImageNet-A: of its classes 6, 11, 13, 300 and 999 the network prefers 11, although it prefers 500 to all.
    one = found["imagenet-a"]
    assert (one["right"]["top1"], one["eval"]["count"], one["classes"]["compared"]) == (2, 10, 5)
    assert one["classes"]["output_of_class"] == [6, 11, 13, 300, 999]
    own = BIAS[[6, 11, 13, 300, 999]]
    expected = np.log(np.exp(own).sum()) - own.mean()
    assert one["eval"]["loss"] == pytest.approx(expected, rel=1e-5)
    assert one["calibration"]["nll"] == pytest.approx(expected, rel=1e-5)
    # ImageNet-V2: the folders 0 to 11 are numbers of outputs.
    two = found["v2/imagenetv2-top-images-format-val"]
    assert two["classes"]["output_of_class"][:4] == [0, 1, 10, 11] and two["right"]["top1"] == 1
    (errors,) = place.workdir.evaluations.glob("*v2-imagenetv2-top-images*/errors.csv")
    assert {row["predicted"] for row in csv.DictReader(errors.read_text().splitlines())} == {"11"}
    # ImageNet-C: of two classes always the first.
    assert found["imagenet-c/noise/gaussian_noise/3"]["eval"]["top1"] == 0.5
    groups = {group["group"]: group for group in common["groups"]}
    assert (groups["v2"]["sets"], groups["v2"]["top1"]) == (3, pytest.approx(1 / 12))
    corruption = groups["imagenet-c"]["corruption"]
    assert corruption["corruption_error"]["gaussian_noise"] == pytest.approx(0.5 / 0.886428)
    assert corruption["mce"] is None and len(corruption["missing"]) == 13
    assert len(common["certificates"]) == 14
    (table,) = place.workdir.evaluations.glob("*/table.csv")
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert rows[0]["set"] == "imagenet-a" and float(rows[0]["top1"]) == 0.2 and len(rows) == 14


def test_several_sizes_flips_and_the_classes_of_a_run(place, tmp_path):
    folder = write_classes(tmp_path / "pets", [synsets()[6], synsets()[500]], per_class=3)
    changes = {"eval.sets": (str(folder),), "eval.image_sizes": (8, 12), "eval.flip": True}
    _, common = run(place, changes, class_list=fingerprint(synsets()))
    sizes = [one["preprocessing"]["image_size"] for one in common["certificates"]]
    assert sizes == [8, 12] and all(one["preprocessing"]["flip"] for one in common["certificates"])
    assert [one["right"]["top1"] for one in common["certificates"]] == [3, 3]
    assert find_runs([str(place.workdir.path)])[0].answers.right.tolist() == [False] * 3 + [True] * 3


def test_tfds_names_and_several_labels(place, tmp_path):
    prepare(tmp_path, "imagenet2012_real", real=True)
    prepare(tmp_path, "imagenet_a", labels=(6, 11, 11, 999))
    changes = {"eval.sets": ("imagenet2012_real", "imagenet_a"), "data.data_dir": str(tmp_path)}
    found, common = run(place, changes)
    real = found["imagenet2012_real:1.0.0/validation"]
    # Class 0 for each of 4 images, of which two have labels among the classes 0, 3, 5 and 9.
    assert real["right"]["top1"] == 1
    several = real["several_labels"]
    assert (several["count"], several["right"], several["without_label"]) == (2, 1, 2)
    assert found["imagenet_a:1.0.0/test"]["right"]["top1"] == 2
    assert "several_labels" not in found["imagenet_a:1.0.0/test"] and len(common["groups"]) == 0


def test_real_json_judges_the_validation_images_and_no_other_set(place, tmp_path):
    val = write_classes(tmp_path / "val", synsets()[:3], file="ILSVRC2012_val_{number:08d}.JPEG", first=1)
    (tmp_path / "real.json").write_text("[[2], [0, 1], []]")
    sets = (str(val), str(imagenet_a(tmp_path)))
    found, _ = run(place, {"eval.sets": sets, "eval.labels": str(tmp_path / "real.json")})
    assert found["val"]["several_labels"]["right"] == 1 and found["val"]["several_labels"]["count"] == 2
    assert "several_labels" not in found["imagenet-a"]
    with pytest.raises(UsageError, match="no set of config.eval.sets has images named ILSVRC2012_val"):
        run(place, {"eval.sets": sets[1:], "eval.labels": str(tmp_path / "real.json")})


def test_classes_that_the_weights_do_not_have_are_one_line_before_anything_is_compiled(place, tmp_path):
    folder = write_classes(tmp_path / "pets", ["cat", "dog"])
    with pytest.raises(UsageError, match=r"pets has 2 classes \(cat, dog\) that are no classes of /weights/rn, which"):
        run(place, {"eval.sets": (str(folder),)})
    with pytest.raises(UsageError, match="outputs have no names"):
        run(place, {"eval.sets": (str(folder),)}, class_list="0123")
    assert not place.workdir.evaluations.exists()
    with pytest.raises(UsageError, match=r"image_sizes=\(12, 12\) has 12 twice"):
        run(place, {"eval.image_sizes": (12, 12)})
