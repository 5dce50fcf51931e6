import json

import jax
import numpy as np
import pytest

from resnet_jax import experiment
from resnet_jax.checkpoints.files import read_meta
from resnet_jax.distributed.stop_requests import StopRequests
from resnet_jax.errors import UsageError
from resnet_jax.nested import by_path
from resnet_jax.programs.averaging import main as program
from resnet_jax.programs.averaging.average import average, average_name, checkpoint_paths
from resnet_jax.programs.command import Command
from resnet_jax.programs.evaluation import main as evaluation
from resnet_jax.programs.train.run import train
from resnet_jax.reporting.workdir import Workdir
from resnet_jax.weights import StoredWeights, read_weights
from tests.programs.train_runs import build
from tests.tiny import tiny_config

CHANGES = {"eval.every_steps": 2, "checkpoint.keep_latest": 9}
BASE = {"train.total_steps": 6, "log.every_steps": 1} | CHANGES


def stored(value, *, step=3, kind="trained", path="w", shape=(2,), classes="c", names=("params/a", "batch_stats/b")):
    arrays = {name: np.full(shape, value, np.float32) for name in names}
    return StoredWeights(path, "test", arrays, {}, {}, (), {}, class_list=classes, step=step, kind=kind)


def test_an_average_is_the_mean_of_each_array():
    rng = np.random.default_rng(0)
    several = [rng.normal(size=(5, 3)).astype(np.float32) for _ in range(7)]
    weights = [StoredWeights("w", "", {"a": one}, {}, {}, (), {}) for one in several]
    found = average(weights)["a"]
    np.testing.assert_array_equal(found, np.mean(np.stack(several).astype(np.float64), axis=0).astype(np.float32))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(average(weights[:1])["a"], several[0])


def test_weights_that_do_not_belong_together_are_refused():
    for other, message in {
        "names": (stored(1, names=("params/a",)), r"different networks \(batch_stats/b\)"),
        "shape": (stored(1, shape=(3,)), "different networks"),
        "classes": (stored(1, classes="d"), "trained on different classes"),
        "kind": (stored(1, kind="ema"), "set config.eval.weights='trained'"),
    }.values():
        with pytest.raises(UsageError, match=message):
            average([stored(0), other])


def test_names_say_what_was_averaged():
    assert (
        average_name([stored(0, step=60), stored(0, step=100), stored(0, step=80)], anew=True)
        == "average-of-3-60-to-100"
    )
    assert average_name([stored(0, step=60, kind="ema")], anew=True) == "average-of-1-ema-60"
    assert average_name([stored(0, step=None)], anew=False) == "average-of-1-averaged-statistics"


def test_checkpoints_are_the_last_the_named_or_all(tmp_path):
    for step in (20, 100, 60):
        (tmp_path / str(step)).mkdir()

    def paths(*names, last=None):
        return [path.removeprefix(f"{tmp_path}/") for path in checkpoint_paths(names, tmp_path, last=last)]

    assert paths() == ["20", "60", "100"] and paths(last=2) == ["60", "100"]
    assert paths("latest", "20", "/other/run") == ["100", "20", "/other/run"]
    with pytest.raises(UsageError, match="has 3 checkpoints, fewer than config.average.last=4: train with a larger"):
        paths(last=4)
    with pytest.raises(UsageError, match="no checkpoint '30'"):
        paths("30")
    with pytest.raises(UsageError, match=r"names .*100 twice"):
        paths("latest", "100")
    with pytest.raises(UsageError, match="set only one of them"):
        experiment.average_options(tiny_config({"average.checkpoints": (20,), "average.last": 2}))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with checkpoints 2, 4 and 6."""
    workdir = Workdir(tmp_path_factory.mktemp("run") / "run")
    with pytest.MonkeyPatch.context() as patched, workdir.lock():
        patched.setattr("resnet_jax.reporting.run_record._write_report", lambda workdir: None)
        assert train(build(CHANGES), workdir, experiment.resolve(tiny_config(BASE)), StopRequests()) == 0
    return workdir


def averaged(run, **options):
    keys = {f"average.{key}": value for key, value in options.items()}
    assert program.main(Command("average", tiny_config(BASE | keys), str(run.path))) == 0


def arrays(path):
    return read_weights(path).arrays


def test_weights_are_averaged_and_written_as_a_checkpoint(run, capsys):
    averaged(run, last=2, images=0)
    path = run.averages / "average-of-2-4-to-6-averaged-statistics"
    printed = capsys.readouterr().out
    assert f"written      {path}" in printed and f"--mode=eval --config.eval.checkpoint={path}" in printed
    one, two, found = (arrays(each) for each in (run.checkpoints / "4", run.checkpoints / "6", path))
    for name, array in found.items():
        expected = ((one[name].astype(np.float64) + two[name]) / 2).astype(np.float32)
        np.testing.assert_array_equal(array, expected, err_msg=name)
    read = read_weights(path)
    assert (read.step, read.class_names) == (6, tuple(map(str, range(10))))
    meta, top1 = read_meta(path)
    assert [one["step"] for one in meta["average"]["of"]] == [4, 6] and top1 is None


def test_statistics_are_computed_anew_whatever_the_micro_batches(run):
    variables = jax.tree.map(
        lambda leaf: np.asarray(leaf, np.float32),
        jax.jit(experiment.build(tiny_config(BASE)).computation.init)().variables,
    )
    found = []
    for accumulate in (1, 2):
        config = tiny_config(BASE | {"train.accumulate": accumulate, "data.batch_size": 96})
        statistics = experiment.build_statistics(config, num_outputs=10)
        assert (statistics.num_batches(97), statistics.num_images(97)) == (2, 192)
        found.append(statistics.compute(variables, 97))
        assert statistics.compute(variables, 97, stopping=lambda: True) is None
    one, two = (by_path(each["batch_stats"]) for each in found)
    for name in one:
        np.testing.assert_allclose(one[name], two[name], rtol=1e-4, atol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, found[0]["params"], variables["params"])


@pytest.mark.slow  # evaluates twice
def test_an_evaluation_with_precise_statistics_is_that_of_the_average_of_one(run):
    averaged(run, checkpoints=(6,), images=96)
    path = run.averages / "average-of-1-6"
    certificates = []
    for changes in ({"eval.checkpoint": str(path)}, {"eval.checkpoint": "6", "eval.precise_statistics": 96}):
        assert evaluation.main(Command("eval", tiny_config(BASE | changes), str(run.path))) == 0
        newest = max(run.evaluations.glob("*/certificate.json"), key=lambda file: file.stat().st_mtime_ns)
        certificates.append(json.loads(newest.read_text()))
    one, two = certificates
    assert one["weights"]["sha256"] == two["weights"]["sha256"] and one["eval"] == two["eval"]
    assert two["weights"]["statistics_images"] == 96 and "statistics_images" not in one["weights"]
