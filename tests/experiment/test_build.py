import importlib

import jax
import pytest
from absl import flags
from ml_collections import config_flags

from resnet_jax import experiment
from resnet_jax.configs import default, resnet50_fast
from resnet_jax.data.batch import abstract_batch
from resnet_jax.distributed.mesh import over_batch
from resnet_jax.errors import UsageError
from resnet_jax.experiment import Milestones, inputs
from resnet_jax.models import variants
from resnet_jax.programs.recipes import recipes
from resnet_jax.training.state import parameter_count
from tests.tiny import tiny_config

CONFIGS = ["default", *(name for name, _ in recipes())]


@pytest.fixture
def fewer_blocks(monkeypatch):
    """Leaves out the blocks that repeat the first one of their stage and make tracing slow."""
    monkeypatch.setitem(variants.IMAGENET_STAGES, 50, ("bottleneck", (1, 1, 1, 1)))


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_builds_abstractly(name, fewer_blocks):
    config = importlib.import_module(f"resnet_jax.configs.{name}").get_config()
    config.data.source = "synthetic"
    if config.model.name == "resnet_cifar":
        config.model.depth = 8
    built = experiment.build(config)
    state = jax.eval_shape(built.computation.init)
    shapes = jax.tree.map(lambda a: (a.shape, a.dtype), state)
    for size in built.data.train_loader.image_sizes:
        batch = abstract_batch(
            batch_size=built.data.train_loader.batch_size, image_size=size, sharding=over_batch(built.computation.mesh)
        )
        after, totals = jax.eval_shape(built.computation.train_step, state, batch)
        assert jax.tree.map(lambda a: (a.shape, a.dtype), after) == shapes
        assert totals.grad_norm.shape == ()
    assert built.data.eval_loader.batch_size % 8 == 0
    parts = {"devices", "data", "model", "training", "evaluation", "rate"}
    computed = {"computed"} if name == "photos" else set()
    assert set(built.reporting.description) - {"inputs", "trained"} == parts | computed


def test_the_main_recipe_is_what_its_docstring_says():
    config = importlib.import_module("resnet_jax.configs.resnet50").get_config()
    config.data.source = "synthetic"
    built = experiment.build(config)
    assert parameter_count(jax.eval_shape(built.computation.init).params) == 25_557_032
    assert built.milestones.total_steps == 112_603  # 90 * 1,281,167 / 1,024 = 112,602.57
    assert built.milestones.steps_per_epoch == pytest.approx(1251.14, abs=0.01)
    assert "batch norm in 8 groups of 128" in built.reporting.description["model"]


def test_the_description_says_when_a_batch_is_no_larger_than_a_group():
    built = experiment.build(tiny_config({"model.bn_group_size": 64}))
    assert "over the whole batch of 48, which is no larger than a group of 64" in built.reporting.description["model"]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({}, None),
        ({"train.trainable": "head"}, "170 of 5,214 parameters ('head'), 9 of 9 batch norms keep their statistics"),
        (
            {"train.trainable": "head", "train.freeze_statistics": False},
            "170 of 5,214 parameters ('head'), 0 of 9 batch norms keep their statistics",
        ),
        ({"optimizer.lr_scales": (("^head/", 10.0),)}, "rate of '^head/' times 10"),
        (
            {"train.trainable": "^stage3_|^head/", "optimizer.lr_scales": [["^head/", 2.5]]},
            "3,850 of 5,214 parameters ('^stage3_|^head/'), 6 of 9 batch norms keep their statistics, "
            "rate of '^head/' times 2.5",
        ),
    ],
)
def test_the_description_names_trained_parameters_and_scaled_rates(changes, line):
    assert experiment.build(tiny_config(changes)).reporting.description.get("trained") == line


def test_lr_scales_can_be_set_on_the_command_line_and_survive_json(monkeypatch):
    argv = ["main.py", "--config.optimizer.lr_scales=(('^head/', 10.0), ('bn', 2))"]
    monkeypatch.setattr("sys.argv", argv)  # ml_collections looks for overrides there
    given = flags.FlagValues()
    config_flags.DEFINE_config_dict("config", default.get_config(), flag_values=given)
    given(argv)
    config = given["config"].value
    assert config.optimizer.lr_scales == (("^head/", 10.0), ("bn", 2))
    stored = experiment.resolve(config)["optimizer"]["lr_scales"]
    assert stored == [["^head/", 10.0], ["bn", 2]]
    for scales in (config.optimizer.lr_scales, stored):
        built = experiment.build(tiny_config({"optimizer.lr_scales": scales}))
        assert built.reporting.description["trained"] == "rate of '^head/' times 10, rate of 'bn' times 2"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"data.batch_size": 50},
            r"batch_size=50 cannot be divided over 8 devices and .* groups of 6 images: take 48 or",
        ),
        ({"data.batch_size": 5}, r"batch_size=5 cannot be divided over 8 devices: take 8, or use 5 devices$"),
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
        ({"data.source": "imagenet"}, r"data.source='imagenet' is not one of .*folder, parquet, synthetic"),
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
        (
            {"train.accumulate": 16},
            r"accumulate=16 splits the batch of 48 images, .* of 6: set .* to 3 or a divisor",
        ),
        ({"train.accumulate": 4}, r"over 8 devices and batch norm groups of 6 images and 4 micro-batches: take 96"),
        ({"train.accumulate": 2, "model.bn_group_size": None}, r"its batch norm group of 48: set .* to 24 or"),
        ({"loss.name": "hinge"}, r"loss.name='hinge' is not one of cross_entropy, binary_cross_entropy"),
        ({"loss.target_threshold": 0.2}, r"loss.target_threshold=0.2 has no meaning for 'cross_entropy'"),
        ({"eval.weights": "ema"}, r"eval.weights='ema' without an average: set config.ema.decay"),
        ({"eval.weights": "best"}, r"eval.weights='best' is not one of trained, ema"),
        ({"data.progressive.sizes": (8,)}, "until_epochs has 0 entries, but config.data.progressive.sizes has 1: give"),
        (
            {"data.progressive.sizes": (8,), "data.progressive.until_epochs": (0.0,)},
            r"data.progressive.until_epochs=\(0.0,\) is out of range: it must be increasing numbers above 0",
        ),
        (
            {"data.progressive.sizes": (8,), "data.progressive.until_epochs": (50.0,)},
            r"until_epochs=\(50.0,\): the run has 10.08 epochs and would end before it trains at 12 pixels",
        ),
        ({"data.progressive.sizes": (8.5,)}, r"progressive.sizes=\(8.5,\) .* whole numbers of pixels, each at least 1"),
        ({"model.init_head": True}, r"init_head=True has no effect without config.model.init_from: set"),
        ({"model.bn_group_size": 1, "mixing.mixup_alpha": 0.2}, r"bn_group_size=1 leaves no second image"),
        ({"train.accumulate": 100}, r"accumulate=100 is more than the 48 images of a batch"),
        ({"data.augment.name": "auto"}, r"data.augment.name='auto' is not one of none, trivial_augment, rand_augment"),
        ({"data.augment.magnitude": 11.0}, r"augment.magnitude=11.0 is out of range"),
        ({"mixing.mixup_alpha": -0.1}, r"mixing.mixup_alpha=-0.1 is out of range"),
        (
            {"schedule.factors": (1.0,), "schedule.name": "piecewise"},
            r"config.schedule.factors has 1 entries and config.schedule.boundaries 3: ",
        ),
        ({"schedule.boundaries": (3.0, 2.0)}, r"schedule.boundaries=\(3.0, 2.0\) .* increasing numbers above 0"),
        (
            {"model.name": "resnet", "model.depth": 18, "model.stem": "space_to_depth", "eval.image_size": 13},
            r"images of 13 pixels cannot be folded into squares of 2 x 2: take even sizes",
        ),
        ({"optimizer.lr_scales": (("^tail/", 2.0),)}, r"lr_scales has '\^tail/', which matches no trained parameter"),
        (
            {"train.trainable": "head", "optimizer.lr_scales": (("conv", 2.0),)},
            r"lr_scales has 'conv', which matches no",
        ),
        ({"ema.decay": 1.0}, r"ema.decay=1.0 is out of range"),
        ({"seed": 2**32}, r"seed=4294967296 is out of range"),
    ],
)
def test_mistakes_in_a_config_are_found_before_anything_is_compiled(changes, message):
    with pytest.raises(UsageError, match=message) as error:
        experiment.build(tiny_config(changes))
    assert "\n" not in str(error.value)


def test_more_classes_than_the_data_have_are_allowed():
    built = experiment.build(tiny_config({"model.num_classes": 12}))
    assert jax.eval_shape(built.computation.init).params["head"]["bias"].shape == (12,)


def milestones_of(**changes):
    values = {"total_steps": 674, "schedule_steps": 674, "steps_per_epoch": 22.45, "eval_every_steps": 100.0}
    values |= {"eval_before_training": False, "stop_at": None, "checkpoint_every_steps": None, "log_every_steps": 50}
    values |= {"log_first_step": False}
    return Milestones(**values | changes)


def test_evaluations_come_at_every_epoch_and_at_the_end_without_drift():
    milestones = milestones_of(eval_every_steps=112.27, checkpoint_every_steps=100)
    assert [step for step in range(675) if milestones.evaluation_due(step)] == [112, 225, 337, 449, 561, 674]
    assert [step for step in range(675) if milestones.checkpoint_due(step)] == [100, 200, 300, 400, 500, 600]


def test_the_initial_state_is_evaluated_on_request():
    assert [milestones_of(eval_before_training=wanted).evaluation_due(0) for wanted in (True, False)] == [True, False]


def test_a_run_may_be_cut_short_without_another_schedule():
    built = experiment.build(tiny_config({"train.max_steps": 5}))
    assert (built.milestones.total_steps, built.milestones.schedule_steps) == (5, 21)
    whole = experiment.build(tiny_config())
    assert built.reporting.description["rate"].split()[-1] != "0"
    assert whole.milestones.total_steps == whole.milestones.schedule_steps == 21


def test_evaluation_batches_are_no_larger_than_needed():
    assert experiment.build(tiny_config()).data.eval_loader.batch_size == 24  # 21 images over 8 devices
    assert experiment.build(tiny_config({"eval.batch_size": 5})).data.eval_loader.batch_size == 8


def test_settings_are_plain_json_values():
    settings = experiment.resolve(tiny_config())
    assert settings["data"]["train_crop"]["area"] == [0.08, 1.0]
    assert settings["data"]["data_dir"] is None


def test_trackers_get_the_settings_of_training_alone():
    settings = experiment.build(tiny_config()).reporting.settings
    assert settings["data.batch_size"] == 48 and settings["eval.stop_at"] is None
    assert not {"average", "benchmark", "sweep", "export"} & {key.partition(".")[0] for key in settings}


def test_training_replaces_unreadable_examples_and_evaluation_counts_them():
    built = experiment.build(tiny_config())
    assert (built.data.train_loader.training, built.data.eval_loader.training) == (True, False)
    assert built.data.class_names == tuple("0123456789")


def test_the_description_of_box_guided_crops_gives_the_share_of_images_with_boxes():
    built = experiment.build(tiny_config({"data.train_crop.name": "box_guided"}))
    assert built.reporting.description["data"].endswith("12 px, boxes around objects in 0% of a sample of the images")
    assert "boxes" not in experiment.build(tiny_config()).reporting.description["data"]


def test_splits_with_different_classes_are_refused(monkeypatch):
    def open_part(kind, *, training, num_classes, **options):
        return real(kind, training=training, num_classes=num_classes + training, **options)

    real = inputs.open_source
    monkeypatch.setattr(inputs, "open_source", open_part)
    with pytest.raises(UsageError, match="synthetic/train has another list of classes than the data"):
        experiment.build(tiny_config())


@pytest.mark.parametrize("epochs", list(resnet50_fast.GROWTH))
def test_the_fast_recipe_comes_in_several_lengths(epochs):
    config = resnet50_fast.get_config(str(epochs))
    config.data.source = "synthetic"
    built = experiment.build(config)
    growth = built.data.train_loader.crop_stages.end_steps[0] / built.milestones.steps_per_epoch
    assert 0.7 * epochs < growth < 0.85 * epochs
    assert built.data.train_loader.image_sizes == (160, 192)
    assert built.milestones.schedule_steps == round(epochs * 1_281_167 / 4096)
