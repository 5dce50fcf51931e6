import importlib
from pathlib import Path

import jax
import pytest

from configs import default
from resnet_jax import experiment
from resnet_jax.errors import UsageError
from resnet_jax.experiment import Plan
from resnet_jax.state import parameter_count
from tests.tiny import tiny_config

CONFIGS = sorted(path.stem for path in Path("configs").glob("*.py"))


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_builds_abstractly(name):
    config = importlib.import_module(f"configs.{name}").get_config()
    config.data.source = "synthetic"
    built = experiment.build(config)
    state = jax.eval_shape(built.init)
    loader, evaluation = built.train_loader, built.eval_loader
    size = (loader.order.batch_size, loader.image_size, loader.image_size, 3)
    batch = jax.eval_shape(lambda: experiment_batch(size))
    after, totals = jax.eval_shape(built.train_step, state, batch)
    assert jax.tree.map(lambda a: (a.shape, a.dtype), after) == jax.tree.map(lambda a: (a.shape, a.dtype), state)
    assert totals.grad_norm.shape == ()
    assert evaluation.order.batch_size % 8 == 0
    assert set(built.description) == {"devices", "data", "model", "training", "evaluation"}


def experiment_batch(size):
    import jax.numpy as jnp

    from resnet_jax.batch import Batch

    return Batch(jnp.zeros(size, jnp.uint8), jnp.zeros(size[0], jnp.int32), jnp.ones(size[0], bool))


def test_the_main_recipe_is_what_its_docstring_says():
    config = importlib.import_module("configs.resnet50").get_config()
    config.data.source = "synthetic"
    built = experiment.build(config)
    assert parameter_count(jax.eval_shape(built.init).params) == 25_557_032
    assert built.plan.total_steps == 112_603  # 90 * 1,281,167 / 1,024 = 112,602.57
    assert built.plan.steps_per_epoch == pytest.approx(1251.14, abs=0.01)
    assert "batch norm in 8 groups of 128" in built.description["model"]


def test_a_batch_no_larger_than_the_group_is_said():
    built = experiment.build(tiny_config({"model.bn_group_size": 64}))
    assert "over the whole batch of 48, which is no larger than a group of 64" in built.description["model"]


def test_the_default_config_is_locked_and_commented():
    with pytest.raises(AttributeError):
        default.get_config().data.no_such_key = 1
    lines = Path("configs/default.py").read_text().splitlines()
    settings = [line for line in lines if " = " in line and "ConfigDict()" not in line]
    assert len(settings) > 45
    assert [line for line in settings if "  # " not in line] == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"data.batch_size": 50},
            r"batch_size=50 cannot be divided over 8 devices and .* groups of 6 images: take 48 or",
        ),
        ({"data.batch_size": 5}, r"batch_size=5 cannot be divided over 8 devices: take 8$"),
        ({"data.batch_size": 0}, r"config.data.batch_size=0 is out of range: it must be at least 1"),
        ({"data.batch_size": -8}, r"out of range"),
        (
            {"data.train_crop.area": (0.5, 0.2)},
            r"train_crop.area=\(0.5, 0.2\) is out of range: .*low <= high <= 1",
        ),
        ({"input.std": (1.0, 0.0, 1.0)}, r"config.input.std.* three numbers above 0"),
        ({"loss.label_smoothing": 1.0}, r"label_smoothing=1.0 is out of range: it must be at least 0, below 1"),
        ({"model.num_classes": 9}, r"model.num_classes=9 is less than the 10 classes of the data"),
        ({"model.depth": 9}, r"model.depth=9 is not 6n\+2"),
        ({"schedule.name": "step"}, r"schedule.name='step' is not one of"),
        ({"optimizer.name": "lion"}, r"optimizer.name='lion' is not one of"),
        ({"optimizer.decay_pattern": "weights"}, r"matches no parameter"),
        ({"data.source": "imagenet"}, r"data.source='imagenet' is not one of folder, synthetic"),
        ({"data.train_crop.name": "random"}, r"data.train_crop.name='random' is not one of random_resized, box_guided"),
        ({"data.eval_crop.name": "ten"}, r"data.eval_crop.name='ten' is not one of central, resize"),
        ({"data.resize": "nearest"}, r"data.resize='nearest' is not one of bilinear, bicubic, area"),
        ({"data.train_crop.padding": -1}, r"data.train_crop.padding=-1 is out of range"),
        ({"data.max_bad_examples": -1}, r"data.max_bad_examples=-1 is out of range"),
        ({"data.train_crop.min_object_covered": 2.0}, r"min_object_covered=2.0 is out of range"),
        ({"train.total_steps": 0}, r"train.total_steps=0 is out of range"),
        ({"train.epochs": float("inf")}, r"train.epochs=inf is out of range"),
        ({"eval.every_epochs": float("nan")}, r"eval.every_epochs=nan is out of range"),
        ({"data.train_crop.area": ("a", "b")}, r"train_crop.area=\('a', 'b'\) is out of range"),
        ({"seed": 2**32}, r"seed=4294967296 is out of range"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_compiled(changes, message):
    with pytest.raises(UsageError, match=message) as error:
        experiment.build(tiny_config(changes))
    assert "\n" not in str(error.value)


def test_several_processes_are_refused(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(UsageError, match="2 processes: this version trains on the devices of one process alone"):
        experiment.build(tiny_config())


def test_more_classes_than_the_data_have_are_allowed():
    built = experiment.build(tiny_config({"model.num_classes": 12}))
    assert jax.eval_shape(built.init).params["head"]["bias"].shape == (12,)


def test_evaluations_come_at_every_epoch_and_at_the_end_without_drift():
    plan = Plan(
        total_steps=674, steps_per_epoch=22.45, eval_every_steps=112.27, checkpoint_every_steps=100, log_every_steps=50
    )
    assert [step for step in range(675) if plan.evaluation_due(step)] == [112, 225, 337, 449, 561, 674]
    assert [step for step in range(675) if plan.checkpoint_due(step)] == [100, 200, 300, 400, 500, 600]


def test_the_learning_rate_is_in_proportion_to_the_batch():
    built = experiment.build(tiny_config({"schedule.warmup_epochs": 0.0}))
    _, totals = jax.jit(built.train_step)(built.init(), built.train_loader.batch(0).batch)
    assert float(totals.lr) == pytest.approx(0.1 * 48 / 256)


def test_evaluation_batches_are_no_larger_than_needed():
    assert experiment.build(tiny_config()).eval_loader.order.batch_size == 24  # 21 images over 8 devices
    assert experiment.build(tiny_config({"eval.batch_size": 5})).eval_loader.order.batch_size == 8


def test_settings_are_plain_json_values():
    settings = experiment.resolve(tiny_config())
    assert settings["data"]["train_crop"]["area"] == [0.08, 1.0]
    assert settings["data"]["data_dir"] is None


def test_training_replaces_what_cannot_be_read_and_evaluation_counts_it():
    built = experiment.build(tiny_config())
    assert (built.train_loader.replaces, built.eval_loader.replaces) == (True, False)
    assert built.class_names == tuple("0123456789")


def test_crops_guided_by_boxes_say_whether_there_are_any():
    built = experiment.build(tiny_config({"data.train_crop.name": "box_guided"}))
    assert built.description["data"].endswith("12 px, boxes around objects in 0% of a sample of the images")
    assert "boxes" not in experiment.build(tiny_config()).description["data"]


def test_two_splits_of_other_classes_are_refused(monkeypatch):
    def open_part(kind, *, training, num_classes, **options):
        return real(kind, training=training, num_classes=num_classes + training, **options)

    real = experiment.open_source
    monkeypatch.setattr(experiment, "open_source", open_part)
    with pytest.raises(UsageError, match="synthetic/train has another list of classes than the data"):
        experiment.build(tiny_config())
