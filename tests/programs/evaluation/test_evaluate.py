import csv
import dataclasses
import errno
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

from resnet_jax import experiment
from resnet_jax.checkpoints.checksums import sha256_of_arrays
from resnet_jax.data.class_names import fingerprint
from resnet_jax.data.feed import feed
from resnet_jax.distributed.mesh import put_on_devices, replicated
from resnet_jax.distributed.signals import STOPPED
from resnet_jax.distributed.stop_requests import StopRequests
from resnet_jax.errors import UsageError
from resnet_jax.experiment.compile import EvalStepWithAnswers, compile_eval_step
from resnet_jax.programs.evaluation import result_directory
from resnet_jax.programs.evaluation.evaluate import evaluate
from resnet_jax.programs.evaluation.wilson import wilson
from resnet_jax.programs.train.run import train
from resnet_jax.reporting import run_record
from resnet_jax.reporting.workdir import Workdir
from resnet_jax.training.steps import EvalStep
from resnet_jax.weights import read_weights
from tests.end_to_end import processes
from tests.tiny import replace_in, tiny_config

FILES = {"certificate.json", "answers.npz", "per_class.csv", "confusion.csv", "errors.csv"}
FILES |= {"confusion.png", "calibration.png"}


class Stop(StopRequests):
    """Stop requests that always, or never, report one."""

    def __init__(self, came):
        super().__init__()
        self.came = came

    def stop_here(self):
        return self.came


STEPS = {"train.total_steps": 6, "eval.every_steps": 2, "ema.decay": 0.9}


def build(changes=None, **options):
    return experiment.build_evaluation(tiny_config(STEPS | (changes or {})), **options)


def run_training(workdir, changes=None):
    settings = experiment.resolve(tiny_config())
    assert train(experiment.build(tiny_config(STEPS | (changes or {}))), workdir, settings, Stop(came=False)) == 0


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = Workdir(tmp_path_factory.mktemp("trained"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_record, "_write_report", lambda workdir: None)
        run_training(workdir)
    return workdir


@pytest.fixture
def trained(run, tmp_path, monkeypatch):
    """The run, with an empty directory for evaluations, whose pictures are empty (test_confusion_picture.py)."""
    for plot in ("plot_confusion", "plot_calibration"):
        monkeypatch.setattr(result_directory, plot, lambda *_, **options: Figure((1, 1)))
    monkeypatch.setattr(run, "evaluations", tmp_path / "evaluations")
    return run


def recorded(workdir):
    records = [json.loads(line) for line in workdir.metrics.read_text().splitlines()]
    return {record["step"]: record for record in records if record["split"] == "eval"}


def certified(built, workdir):
    """Evaluates, and returns the only certificate."""
    assert evaluate(built, workdir, Stop(came=False)) == 0
    (directory,) = workdir.evaluations.iterdir()
    return json.loads((directory / "certificate.json").read_text())


@pytest.mark.parametrize(("which", "step"), [("latest", 6), ("4", 4)])
def test_a_checkpoint_is_evaluated_as_it_was_in_training(trained, which, step):
    written = certified(build({"eval.checkpoint": which}), trained)
    assert (written["weights"]["step"], written["weights"]["kind"]) == (step, "ema")
    assert written["eval"] == {key: recorded(trained)[step][key] for key in ("loss", "top1", "top5", "count")}


def test_the_best_checkpoint_is_found(trained):
    best = json.loads(trained.result.read_text())["best"]
    assert certified(build({"eval.checkpoint": "best"}), trained)["weights"]["step"] == best["step"]


def test_weights_are_evaluated_by_path_in_a_directory_without_a_run(trained, tmp_path):
    nowhere = Workdir(tmp_path / "nowhere")
    path = trained.checkpoints / "4"
    written = certified(build({"eval.checkpoint": str(path)}), nowhere)
    assert written["weights"]["path"] == str(path)
    assert written["eval"]["loss"] == recorded(trained)[4]["loss"]
    assert [entry.name for entry in nowhere.path.iterdir()] == ["evaluations"]


def test_the_trained_weights_can_be_evaluated_instead(trained):
    written = certified(build({"eval.weights": "trained"}), trained)
    assert written["weights"]["kind"] == "trained"
    assert written["eval"]["loss"] != recorded(trained)[6]["loss"]


def test_the_certificate_describes_the_subject_and_has_intervals(trained):
    built = build({"eval.batch_size": 16})
    written = certified(built, trained)
    (directory,) = trained.evaluations.iterdir()
    assert {path.name for path in directory.iterdir()} == FILES
    top1 = written["right"]["top1"]
    assert written["interval"]["top1"] == list(wilson(top1, 21)) and written["eval"]["top1"] == top1 / 21
    stored = read_weights(str(trained.checkpoints / "6"), kind="ema")
    variables = built.computation.shapes
    arrays = jax.tree_util.tree_map_with_path(
        lambda path, _: stored.arrays[jax.tree_util.keystr(path, simple=True, separator="/")], variables
    )
    assert written["weights"]["sha256"] == sha256_of_arrays(arrays)
    assert written["classes"] == {"number": 10, "outputs": 10, "fingerprint": fingerprint(built.data.class_names)}
    picture = {"image_size": 12, "crop": "central", "fraction": 0.875, "resize": "area", "enlarge_to": None}
    assert written["preprocessing"] == picture
    assert written["batch_size"] == 16 and written["unreadable"]["count"] == 0
    rows = list(csv.reader((directory / "confusion.csv").read_text().splitlines()))
    counts = [[int(cell) for cell in row[1:]] for row in rows[1:]]
    assert sum(map(sum, counts)) == 21 and sum(counts[k][k] for k in range(10)) == top1


def test_only_an_evaluation_of_the_same_subject_replaces_the_first(trained):
    for changes in ({}, {}, {"eval.checkpoint": "4"}, {"data.resize": "bicubic"}):
        assert evaluate(build(changes), trained, Stop(came=False)) == 0
    names = [path.name for path in trained.evaluations.iterdir()]
    assert len(names) == 3 and all(
        {file.name for file in path.iterdir()} == FILES for path in trained.evaluations.iterdir()
    )
    assert sum(name.startswith("6-synthetic") and "-12px-ema-" in name for name in names) == 2


class Broken:
    """A source whose image `index` cannot be read."""

    def __init__(self, source, index):
        self._source, self._index = source, index

    def __getattr__(self, name):
        return getattr(self._source, name)

    def __len__(self):
        return len(self._source)

    def __getitem__(self, index):
        if index == self._index:
            raise ValueError("cut short")
        return self._source[index]


def broken(**changes):
    built = build()
    loader = dataclasses.replace(built.data.eval_loader, source=Broken(built.data.eval_loader.source, 4))
    return replace_in(built, "data", eval_loader=loader, reading=built.data.reading._replace(**changes))


def test_images_that_cannot_be_read_count_as_wrong_and_are_listed_beside_the_certificate(trained):
    written = certified(broken(), trained)
    (directory,) = trained.evaluations.iterdir()
    assert written["unreadable"] == {"count": 1, "counted_as": "wrong"} and written["eval"]["count"] == 21
    (line,) = (directory / "bad_examples.jsonl").read_text().splitlines()
    assert json.loads(line)["index"] == 4
    assert not trained.bad_examples.exists()
    *_, row = csv.reader((directory / "confusion.csv").read_text().splitlines())
    assert row == ["(unreadable)", *["0"] * 10, "1"]


def test_too_many_unreadable_images_are_an_error_that_names_their_list(trained):
    with pytest.raises(
        UsageError, match=r"1 images cannot be read, more than .*=0: repair those that (\S+) lists"
    ) as error:
        evaluate(broken(max_bad_examples=0), trained, Stop(came=False))
    (directory,) = trained.evaluations.iterdir()
    assert directory.name.endswith(".part") and str(directory / "bad_examples.jsonl") in str(error.value)
    certified(build(), trained)  # removes the directory with the list


@pytest.mark.parametrize("which", ["5", "7"])
def test_the_error_for_a_missing_checkpoint_lists_the_present_ones(trained, which):
    message = rf"no checkpoint '{which}' in .*, which has .*4, 6: set .* latest, best, a step"
    with pytest.raises(UsageError, match=message):
        evaluate(build({"eval.checkpoint": which}), trained, Stop(came=False))


def test_weights_of_other_classes_are_refused_with_and_without_their_names(trained, tmp_path):
    other = replace_in(build(), "data", class_names=build().data.class_names[::-1])
    with pytest.raises(UsageError, match=r"another list of classes than the data \(class 0 is"):
        evaluate(other, trained, Stop(came=False))
    shutil.copytree(trained.checkpoints / "6", tmp_path / "alone" / "6")
    weights = other.weights._replace(checkpoint=str(tmp_path / "alone" / "6"))
    nameless = dataclasses.replace(other, weights=weights)
    with pytest.raises(UsageError, match=r"alone/6 was trained on other classes than the data have"):
        evaluate(nameless, trained, Stop(came=False))


def test_a_signal_leaves_nothing(trained):
    assert evaluate(build(), trained, Stop(came=True)) == STOPPED
    assert list(trained.evaluations.iterdir()) == []


def test_a_full_disk_is_one_line_and_keeps_the_previous_certificate(trained, monkeypatch):
    before = certified(build(), trained)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "confusion.csv")

    monkeypatch.setattr(result_directory, "_write_csv", full)
    with pytest.raises(
        UsageError, match=r"^confusion.csv: No space left on device: .*evaluations/6-.* free disk space"
    ):
        evaluate(build(), trained, Stop(came=False))
    (directory,) = trained.evaluations.iterdir()
    assert json.loads((directory / "certificate.json").read_text()) == before


def test_a_directory_without_a_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"holds no run: name the directory of a run with --workdir"):
        Workdir(tmp_path / "none").must_hold_a_run()


def test_evaluation_does_not_depend_on_the_training_settings(trained):
    changes = {"data.synthetic.num_train": 1, "data.synthetic.num_eval": 3, "data.batch_size": 96}
    sizes = {"data.progressive.sizes": (8,), "data.progressive.until_epochs": (1.0,)}
    assert certified(build(changes | sizes), trained)["eval"]["count"] == 3


def test_devices_that_do_not_divide_the_training_batch_evaluate_alike(trained):
    changes = {"data.batch_size": 64, "model.bn_group_size": None}
    with pytest.raises(UsageError, match="batch_size=64 cannot be divided over 3 devices"):
        experiment.build(tiny_config(changes), devices=jax.devices()[:3])
    one, three = (certified(build(changes, devices=jax.devices()[:count]), trained) for count in (1, 3))
    assert (one["right"], one["eval"]["count"]) == (three["right"], 21)
    assert one["eval"]["loss"] == pytest.approx(three["eval"]["loss"], rel=1e-6)
    assert (one["batch_size"], three["batch_size"]) == (21, 21)


class Spoilt(EvalStep):
    """Replaces all weights by NaN before it evaluates."""

    def with_logits(self, variables, batch):
        return super().with_logits(jax.tree.map(lambda leaf: leaf * jnp.nan, variables), batch)


def test_weights_that_are_not_finite_have_a_certificate(trained, caplog):
    built = build()
    spoilt = Spoilt(built.computation.eval_step.model, built.computation.eval_step.preprocess)
    with caplog.at_level("INFO"):
        written = certified(replace_in(built, "computation", eval_step=spoilt), trained)
    assert (written["eval"]["loss"], written["eval"]["top1"]) == (None, 0.0)
    assert (written["not_finite"]["count"], written["unreadable"]["count"]) == (21, 0)
    assert "loss         not finite" in caplog.text


@pytest.mark.slow
def test_outputs_beyond_the_classes_of_the_data_are_named_by_number(tmp_path):
    changes, workdir = {"model.num_classes": 12}, Workdir(tmp_path)
    run_training(workdir, changes | {"train.total_steps": 1})
    written = certified(build(changes), workdir)
    assert (written["classes"]["number"], written["classes"]["outputs"]) == (10, 12)
    (directory,) = workdir.evaluations.iterdir()
    header, *rows = csv.reader((directory / "confusion.csv").read_text().splitlines())
    assert header[-2:] == ["class 10", "class 11"] and len(rows) == 10


@pytest.mark.slow
def test_two_processes_write_the_certificate_of_one(trained, tmp_path):
    one, elsewhere = certified(build(), trained), Workdir(tmp_path / "elsewhere")
    changes = {"eval.checkpoint": trained.checkpoints / "6", "ema.decay": 0.9}
    with processes.start_several(
        f"configs/run.py:{trained.path}", elsewhere.path, tmp_path, changes, count=2, flags=["--mode=eval"]
    ) as several:
        assert several.wait(120) == [0, 0], several.output(0)
    tables = [path.read_text() for workdir in (trained, elsewhere) for path in workdir.evaluations.glob("*/*.csv")]
    assert len(tables) == 6 and len(set(tables)) == 3
    (path,) = elsewhere.evaluations.glob("*/certificate.json")
    two = json.loads(path.read_text())
    assert one["right"] == two["right"] and one["data"] == two["data"]
    assert (one["provenance"]["processes"], two["provenance"]["processes"]) == (1, 2)


def test_the_evaluation_within_training_does_not_gather_answers():
    built = build(devices=jax.devices()[:2])
    assert "all-gather" not in compile_eval_step(built.computation, built.data.eval_loader).as_text()
    assert "all-gather" in EvalStepWithAnswers(built.computation, built.data.eval_loader).answer.as_text()


def test_the_loss_is_bit_for_bit_that_of_the_evaluation_within_training():
    built, random = build(devices=jax.devices()[:1]), np.random.default_rng(0)
    totals, with_answers = (
        form(built.computation, built.data.eval_loader) for form in (compile_eval_step, EvalStepWithAnswers)
    )
    shapes = built.computation.shapes
    for _ in range(20):
        weights = jax.tree.map(lambda leaf: np.abs(random.normal(1, 0.3, leaf.shape)).astype(np.float32), shapes)
        weights = put_on_devices(weights, replicated(built.computation.mesh))
        for batch in feed(built.data.eval_loader, mesh=built.computation.mesh):
            expected, (got, _) = totals(weights, batch), with_answers(weights, batch)
            assert float(got.loss) == float(expected.loss)


def test_the_certificate_distinguishes_data_of_equal_name_and_labels_by_their_pixels(trained):
    class Inverted:
        def __init__(self, source):
            self._source = source
            self.name, self.class_names, self.where = source.name, source.class_names, source.where

        def __len__(self):
            return len(self._source)

        def __getitem__(self, index):
            example = self._source[index]
            return example._replace(image=255 - example.image)

    built = build()
    loader = dataclasses.replace(built.data.eval_loader, source=Inverted(built.data.eval_loader.source))
    for one in (built, replace_in(built, "data", eval_loader=loader)):
        assert evaluate(one, trained, Stop(came=False)) == 0
    first, second = (json.loads((path / "certificate.json").read_text()) for path in trained.evaluations.iterdir())
    assert first["data"]["labels_sha256"] == second["data"]["labels_sha256"]
    assert first["data"]["sample_sha256"] != second["data"]["sample_sha256"]
