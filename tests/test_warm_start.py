import dataclasses
import shutil

import jax
import numpy as np
import pytest

from resnet_jax import experiment
from resnet_jax.compilation import initial_state
from resnet_jax.data.sources import open_source
from resnet_jax.errors import UsageError
from resnet_jax.experiment import inputs
from resnet_jax.optimizers import leaf_path
from resnet_jax.stopping import Requests
from resnet_jax.stored_weights import read_variables
from resnet_jax.train import train
from resnet_jax.workdir import Workdir
from tests.tiny import tiny_config

STEPS = {"train.total_steps": 4, "eval.every_steps": 2, "model.zero_init_last_bn": False}


def build(changes=None):
    return experiment.build(tiny_config(STEPS | (changes or {})))


def run(path, changes=None):
    path.mkdir(exist_ok=True)
    assert train(build(changes), Workdir(path), {}, Requests()) == 0
    return path


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return run(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def averaged(tmp_path_factory):
    return run(tmp_path_factory.mktemp("averaged"), {"ema.decay": 0.9, "seed": 1})


def leaves(tree):
    return {leaf_path(key): np.asarray(leaf) for key, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def test_all_but_the_head_comes_from_the_other_run(plain):
    fresh = leaves(initial_state(build({"seed": 5})).variables)
    begun = leaves(initial_state(build({"seed": 5, "model.init_from": str(plain)})).variables)
    there = leaves(read_variables(plain))
    for name, leaf in begun.items():
        expected = fresh if name.startswith("params/head/") else there
        np.testing.assert_array_equal(leaf, expected[name])
    assert not np.array_equal(begun["params/stem_conv/kernel"], fresh["params/stem_conv/kernel"])


def test_the_head_comes_along_where_that_is_asked_for(plain):
    begun = leaves(initial_state(build({"model.init_from": str(plain), "model.init_head": True})).variables)
    for name, leaf in leaves(read_variables(plain)).items():
        np.testing.assert_array_equal(begun[name], leaf)


def test_one_checkpoint_can_be_named(plain):
    newest, first = read_variables(plain), read_variables(plain / "checkpoints" / "2")
    np.testing.assert_array_equal(
        read_variables(plain / "checkpoints" / "4")["params"]["head"]["kernel"], newest["params"]["head"]["kernel"]
    )
    assert not np.array_equal(first["params"]["head"]["kernel"], newest["params"]["head"]["kernel"])


def test_the_average_is_taken_where_there_is_one(averaged):
    average, trained = read_variables(averaged), read_variables(averaged, weights="trained")
    assert not np.array_equal(average["params"]["head"]["kernel"], trained["params"]["head"]["kernel"])
    for one, other in zip(
        jax.tree.leaves(average), jax.tree.leaves(read_variables(averaged, weights="ema")), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_a_run_begins_with_the_average(averaged):
    begun = initial_state(build({"model.init_from": str(averaged), "model.init_head": True}))
    for one, other in zip(
        jax.tree.leaves(begun.variables), jax.tree.leaves(read_variables(averaged, weights="ema")), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_an_average_that_is_not_there_is_an_error(plain):
    with pytest.raises(UsageError, match=r"checkpoints/4 cannot be read \(it has no average\): name another one"):
        read_variables(plain, weights="ema")


@pytest.mark.parametrize("name", ["plain", "plain/checkpoints/4", "~/plain"])
def test_the_path_may_be_relative(plain, tmp_path, monkeypatch, name):
    shutil.copytree(plain, tmp_path / "plain")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    begun = initial_state(build({"model.init_from": name, "model.init_head": True}))
    np.testing.assert_array_equal(begun.params["head"]["kernel"], read_variables(plain)["params"]["head"]["kernel"])


def test_a_new_average_begins_with_the_weights_that_are_given(plain):
    state = initial_state(build({"model.init_from": str(plain), "ema.decay": 0.9}))
    for one, other in zip(jax.tree.leaves(state.average), jax.tree.leaves(state.variables), strict=True):
        np.testing.assert_array_equal(one, other)


def test_other_classes_get_a_new_head_or_an_error_with_the_cure(plain):
    changes = {"model.init_from": str(plain), "data.synthetic.num_classes": 7}
    assert initial_state(build(changes)).params["head"]["bias"].shape == (7,)
    with pytest.raises(UsageError, match=r"was trained on other classes, .*: set .*init_head=False"):
        initial_state(build(changes | {"model.init_head": True}))


def test_more_outputs_than_there_are_an_error_with_the_cure(plain):
    changes = {"model.init_from": str(plain), "model.init_head": True, "model.num_classes": 12}
    with pytest.raises(UsageError, match=r"params/head/bias is \(10,\) there, \(12,\) here; set .*init_head=False"):
        initial_state(build(changes))


def test_what_is_trainable_need_not_be_decayed():
    built = build({"train.trainable": "bias$|scale$"})
    state = jax.eval_shape(built.init)
    assert len(jax.tree.leaves(state.opt_state)) < len(jax.tree.leaves(state.params))


def test_a_head_of_other_classes_is_refused_even_if_it_fits(plain, monkeypatch):
    changes = {"model.init_from": str(plain), "model.init_head": True}

    def renamed(*args, **options):
        return dataclasses.replace(open_source(*args, **options), class_names=tuple("abcdefghij"))

    monkeypatch.setattr(inputs, "open_source", renamed)
    with pytest.raises(UsageError, match=r"trained on other classes, or in another order: set .*init_head=False"):
        initial_state(build(changes))
    assert initial_state(build(changes | {"model.init_head": False})).params["head"]["bias"].shape == (10,)


def test_another_network_is_named(plain):
    with pytest.raises(UsageError, match=r"of another network: .*stage1_block2.* and \d+ more, not there"):
        initial_state(build({"model.init_from": str(plain), "model.depth": 14}))
    with pytest.raises(UsageError, match=r"of another network: batch_stats/.* is \(4,\) there, \(8,\) here"):
        initial_state(build({"model.init_from": str(plain), "model.features": 8}))


def test_what_holds_no_checkpoint_is_named(tmp_path, plain):
    for path in (tmp_path / "none", tmp_path, plain / "checkpoints"):
        with pytest.raises(UsageError, match=rf"{path} holds no checkpoint: name a work directory"):
            initial_state(build({"model.init_from": str(path)}))


def test_a_mistake_is_found_before_anything_is_compiled(tmp_path, monkeypatch):
    built = build({"model.init_from": str(tmp_path)})
    workdir = Workdir(tmp_path / "run")
    monkeypatch.setattr(jax, "jit", lambda *args, **options: pytest.fail("compiles"))
    with workdir.lock(), pytest.raises(UsageError, match="holds no checkpoint"):
        train(built, workdir, {}, Requests())


def test_a_newest_checkpoint_that_is_not_whole_is_named(tmp_path, plain):
    copy = shutil.copytree(plain, tmp_path / "run")
    shutil.rmtree(copy / "checkpoints" / "4" / "state")
    with pytest.raises(UsageError, match=r"/run/checkpoints/4 is damaged \(state is missing\): name another one"):
        initial_state(build({"model.init_from": str(copy)}))


def test_a_damaged_checkpoint_is_one_line(tmp_path, plain):
    copy = shutil.copytree(plain / "checkpoints" / "4", tmp_path / "4")
    for file in copy.rglob("d/*"):
        file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(UsageError, match=r"is damaged \(.*\): name another one") as error:
        initial_state(build({"model.init_from": str(copy)}))
    assert "\n" not in str(error.value)


def test_only_what_is_trainable_changes_and_has_a_velocity(tmp_path):
    built = build({"train.trainable": "^head/"})
    before = leaves(initial_state(built).params)
    after = leaves(read_variables(run(tmp_path, {"train.trainable": "^head/"}))["params"])
    assert {name for name in before if not np.array_equal(before[name], after[name])} == {"head/kernel", "head/bias"}
    shapes = [leaf.shape for leaf in jax.tree.leaves(jax.eval_shape(built.init).opt_state)]
    assert sorted(shapes) == [(10,), (16, 10)]


@pytest.mark.parametrize("name", ["adamw", *(pytest.param(name, marks=pytest.mark.slow) for name in ("lars", "lamb"))])
def test_every_optimizer_leaves_the_rest_alone(name):
    built = build({"train.trainable": "^head/", "optimizer.name": name, "optimizer.clip_norm": 0.1})
    state, batch = initial_state(built), built.train_loader.batch(0).batch
    before, step = leaves(state.params), jax.jit(built.train_step)
    for _ in range(2):  # the first rate is 0
        state, _ = step(state, batch)
    after = leaves(state.params)
    assert {name for name in before if not np.array_equal(before[name], after[name])} == {"head/kernel", "head/bias"}


@pytest.mark.parametrize(
    ("pattern", "message"), [("^tail/", "matches no parameter"), ("(", "is no regular expression")]
)
def test_a_pattern_that_selects_nothing_is_an_error(pattern, message):
    with pytest.raises(UsageError, match=rf"config.train.trainable='.*' .*{message}"):
        build({"train.trainable": pattern})


def test_a_continued_run_needs_the_other_one_no_more(tmp_path, plain):
    source = shutil.copytree(plain, tmp_path / "source")
    changes = {"model.init_from": str(source), "train.max_steps": 2}
    run(tmp_path / "run", changes)
    shutil.rmtree(source)
    run(tmp_path / "run", changes | {"train.max_steps": None})
