import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
from flax.traverse_util import unflatten_dict

from resnet_jax import experiment
from resnet_jax.checkpoints import files
from resnet_jax.checkpoints.manager import Checkpoints
from resnet_jax.data.sources import open_source
from resnet_jax.distributed.stop_requests import StopRequests
from resnet_jax.errors import UsageError
from resnet_jax.experiment import inputs
from resnet_jax.experiment.compile import initial_state
from resnet_jax.experiment.network import network_settings, training_settings
from resnet_jax.programs.train.run import train
from resnet_jax.reporting.workdir import Workdir
from resnet_jax.training.optimizers import leaf_path
from resnet_jax.weights import read_weights, write_safetensors
from resnet_jax.weights.class_outputs import Classes
from resnet_jax.weights.warm_start import warm_start_variables
from tests.tiny import tiny_config

STEPS = {"train.total_steps": 4, "eval.every_steps": 2, "model.zero_init_last_bn": False}


def build(changes=None):
    return experiment.build(tiny_config(STEPS | (changes or {})), devices=jax.devices()[:1])


def run(path, changes=None):
    path.mkdir(exist_ok=True)
    assert train(build(changes), Workdir(path), {}, StopRequests()) == 0
    return path


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return run(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def averaged(tmp_path_factory, plain):
    """Returns the work directory of a run with a moving average, which differs from the trained weights."""
    path = tmp_path_factory.mktemp("averaged")
    state = initial_state(build())
    with Checkpoints(path / "checkpoints") as checkpoints:
        meta, _ = files.read_meta(plain / "checkpoints" / "4")
        checkpoints.save(4, state.replace(average=jax.tree.map(lambda leaf: leaf + 1, state.variables)), meta=meta)
    return path


def read_variables(path, *, kind=None):
    return unflatten_dict(read_weights(path, kind=kind).arrays, sep="/")


def leaves(tree):
    return {leaf_path(key): np.asarray(leaf) for key, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def test_all_but_the_head_comes_from_the_other_run(plain):
    fresh = leaves(initial_state(build()).variables)
    begun = leaves(initial_state(build({"model.init_from": str(plain)})).variables)
    there = leaves(read_variables(plain))
    for name, leaf in begun.items():
        expected = fresh if name.startswith("params/head/") else there
        np.testing.assert_array_equal(leaf, expected[name])
    for name in ("params/stem_conv/kernel", "params/head/kernel"):
        assert not np.array_equal(there[name], fresh[name])


def loaded(changes):
    """Returns the variables of an experiment; those that the initial weights do not give are shapes."""
    computation = build(changes).computation
    return computation.warm_start(jax.eval_shape(computation.init)).variables


def begin(changes, path, **others):
    """Calls `warm_start_variables` for the network of the tiny config with changes."""
    config = tiny_config(STEPS | changes)
    options = {"head": False, "classes": Classes(()), "allow_missing": (), "any_input": False} | others
    variables = jax.eval_shape(experiment.build(config).computation.init).variables
    return warm_start_variables(read_weights(str(path)), variables, settings=network_settings(config), **options)


def test_a_checkpoint_contains_the_settings_of_its_network(plain):
    stored = read_weights(plain)
    assert stored.settings == training_settings(tiny_config(STEPS))
    assert (stored.step, stored.kind, len(stored.class_names)) == (4, "trained", 10)
    assert stored.path == str(plain / "checkpoints" / "4")


def test_the_settings_of_a_checkpoint_without_any_are_unknown(tmp_path, plain):
    """For example of a checkpoint that a user's own loop saved; its work directory is not consulted."""
    copy = shutil.copytree(plain, tmp_path / "run")
    meta, top1 = files.read_meta(copy / "checkpoints" / "4")
    del meta["network"]
    files.replace_meta(copy / "checkpoints" / "4", meta, top1=top1)
    (copy / "config.json").write_text(json.dumps(experiment.resolve(tiny_config(STEPS))))
    assert read_weights(copy).settings == {}


def test_other_input_is_refused_without_any_input(plain, caplog):
    changes = {"input.mean": (0.0, 0.0, 0.0), "input.std": (1.0, 1.0, 1.0)}
    with pytest.raises(UsageError, match=r"set --config.input.mean='\(123.675, .*' --config.input.std='\(58.395, "):
        begin(changes, plain)
    with caplog.at_level("INFO"):
        begin(changes, plain, any_input=True)
    assert "other input  input.mean is [0.0, 0.0, 0.0], the weights were trained with [123.675," in caplog.text


def test_every_name_is_in_the_log(plain, caplog):
    with caplog.at_level("DEBUG"):
        begin({}, plain)
    assert ": checkpoint of this program, trained weights" in caplog.text
    assert "skipped      params/head/bias, params/head/kernel: the last layer is a new one" in caplog.text
    table = next(record for record in caplog.records if "name by name" in record.message)
    assert table.levelname == "DEBUG"
    assert table.message.count("\nloaded") + table.message.count("\nskipped") == len(read_weights(plain).arrays)


def test_a_safetensors_file_starts_a_run(tmp_path, plain):
    config = tiny_config(STEPS)
    file = tmp_path / "weights.safetensors"
    there, options = read_variables(plain), {"class_names": "abcdefghij", "metadata": {}}
    write_safetensors(file, there, settings=network_settings(config), **options)
    begun = leaves(begin({}, file, head=True, classes=Classes("abcdefghij")))
    for name, leaf in leaves(there).items():
        np.testing.assert_array_equal(begun[name], leaf)
    with pytest.raises(UsageError, match="was trained on other classes, or in another order"):
        begin({}, file, head=True, classes=Classes("jihgfedcba"))


def test_init_head_loads_the_last_layer(plain):
    begun = leaves(loaded({"model.init_from": str(plain), "model.init_head": True}))
    for name, leaf in leaves(read_variables(plain)).items():
        np.testing.assert_array_equal(begun[name], leaf)


def test_one_checkpoint_can_be_named(plain):
    newest, first = read_variables(plain), read_variables(plain / "checkpoints" / "2")
    np.testing.assert_array_equal(
        read_variables(plain / "checkpoints" / "4")["params"]["head"]["kernel"], newest["params"]["head"]["kernel"]
    )
    assert not np.array_equal(first["params"]["head"]["kernel"], newest["params"]["head"]["kernel"])


def test_the_average_is_loaded_if_there_is_one(averaged):
    average, trained = read_variables(averaged), read_variables(averaged, kind="trained")
    assert not np.array_equal(average["params"]["head"]["kernel"], trained["params"]["head"]["kernel"])
    for one, other in zip(jax.tree.leaves(average), jax.tree.leaves(read_variables(averaged, kind="ema")), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_run_starts_from_the_average(averaged):
    begun = loaded({"model.init_from": str(averaged), "model.init_head": True})
    for one, other in zip(jax.tree.leaves(begun), jax.tree.leaves(read_variables(averaged, kind="ema")), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_missing_average_is_an_error(plain):
    with pytest.raises(UsageError, match=r"checkpoints/4 has no moving average: set config.eval.weights='trained'"):
        read_variables(plain, kind="ema")


@pytest.mark.parametrize("name", ["plain", "plain/checkpoints/4", "~/plain"])
def test_the_path_may_be_relative(plain, tmp_path, monkeypatch, name):
    shutil.copytree(plain, tmp_path / "plain")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    begun = loaded({"model.init_from": name, "model.init_head": True})
    np.testing.assert_array_equal(begun["params"]["head"]["kernel"], read_variables(plain)["params"]["head"]["kernel"])


def test_a_new_average_starts_from_the_loaded_weights(plain):
    state = initial_state(build({"model.init_from": str(plain), "ema.decay": 0.9}))
    for one, other in zip(jax.tree.leaves(state.average), jax.tree.leaves(state.variables), strict=True):
        np.testing.assert_array_equal(one, other)


def test_other_classes_get_a_new_head_or_an_error_with_the_cure(plain):
    changes = {"model.init_from": str(plain), "data.synthetic.num_classes": 7}
    assert loaded(changes)["params"]["head"]["bias"].shape == (7,)
    with pytest.raises(UsageError, match=r"was trained on other classes, .*: set .*init_head=False"):
        loaded(changes | {"model.init_head": True})


def test_more_outputs_than_trained_classes_are_an_error_with_the_cure(plain):
    changes = {"model.init_from": str(plain), "model.init_head": True, "model.num_classes": 12}
    with pytest.raises(UsageError, match=r"has 10 classes, the network 12: set .*init_head=False"):
        initial_state(build(changes))


def test_a_head_of_other_classes_is_refused_even_if_it_fits(plain, monkeypatch):
    changes = {"model.init_from": str(plain), "model.init_head": True}

    def renamed(*args, **options):
        return dataclasses.replace(open_source(*args, **options), class_names=tuple("abcdefghij"))

    monkeypatch.setattr(inputs, "open_source", renamed)
    with pytest.raises(UsageError, match=r"trained on other classes, or in another order: set .*init_head=False"):
        initial_state(build(changes))
    assert loaded(changes | {"model.init_head": False})["params"]["head"]["bias"].shape == (10,)


def test_another_network_is_named(plain):
    for key, value, wanted in (("model.depth", 14, 8), ("model.features", 8, 4)):
        with pytest.raises(UsageError, match=rf"is a ResNet-8 of the 32-pixel family .*: set --config.{key}={wanted}$"):
            begin({key: value}, plain)


def test_paths_without_a_checkpoint_are_an_error(tmp_path, plain):
    for path in (tmp_path / "none", tmp_path, plain / "checkpoints"):
        problem, cure = "(holds no checkpoint|does not exist)", "give the path of a work directory"
        with pytest.raises(UsageError, match=rf"{path} {problem}: {cure}"):
            initial_state(build({"model.init_from": str(path)}))


def test_a_mistake_is_found_before_anything_is_compiled(tmp_path, monkeypatch):
    built = build({"model.init_from": str(tmp_path)})
    workdir = Workdir(tmp_path / "run")
    monkeypatch.setattr(jax, "jit", lambda *args, **options: pytest.fail("compiles"))
    with workdir.lock(), pytest.raises(UsageError, match="holds no checkpoint"):
        train(built, workdir, {}, StopRequests())


def test_a_newest_checkpoint_that_is_not_whole_is_named(tmp_path, plain):
    copy = shutil.copytree(plain, tmp_path / "run")
    shutil.rmtree(copy / "checkpoints" / "4" / "state")
    damaged = r"/run/checkpoints/4 is damaged \(state is missing\): name another checkpoint"
    with pytest.raises(UsageError, match=damaged):
        initial_state(build({"model.init_from": str(copy)}))


def test_a_damaged_checkpoint_is_one_line(tmp_path, plain):
    copy = shutil.copytree(plain / "checkpoints" / "4", tmp_path / "4")
    for file in copy.rglob("d/*"):
        file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(UsageError, match=r"is damaged \(.*\): name another checkpoint") as error:
        initial_state(build({"model.init_from": str(copy)}))
    assert "\n" not in str(error.value)


def test_a_continued_run_does_not_need_the_initial_weights(tmp_path, plain):
    source = shutil.copytree(plain, tmp_path / "source")
    changes = {"model.init_from": str(source), "train.max_steps": 2}
    run(tmp_path / "run", changes)
    shutil.rmtree(source)
    run(tmp_path / "run", changes | {"train.max_steps": None})
