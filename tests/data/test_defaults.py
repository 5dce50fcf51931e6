"""Library calls without options do what the main recipe does."""

import dataclasses
import importlib
import inspect

import jax
import numpy as np
import pytest

from configs import resnet50
from resnet_jax.data.crops import create_eval_crop, create_train_crop
from resnet_jax.data.feed import feed
from resnet_jax.data.host_augment import create_policy
from resnet_jax.data.loader import Loader
from resnet_jax.data.sources import SOURCES, Example, open_source
from resnet_jax.distributed.mesh import make_mesh
from resnet_jax.errors import UsageError
from tests.data.test_loader import Smooth, train_loader

CONFIG = resnet50.get_config()
DATA = CONFIG.data.to_dict()


def defaults(function):
    parameters = inspect.signature(function).parameters.values()
    return {parameter.name: parameter.default for parameter in parameters}


@pytest.mark.parametrize(
    ("function", "section", "others"),
    [
        (create_train_crop, "train_crop", {"size": DATA["image_size"]}),
        (create_eval_crop, "eval_crop", {"size": DATA["image_size"]}),
        (create_policy, "augment", {}),
    ],
)
def test_crops_and_policies(function, section, others):
    assert defaults(function) == DATA[section] | others


@pytest.mark.parametrize("kind", SOURCES)
def test_sources(kind):
    expected = DATA | DATA["synthetic"] | {"training": True, "num_classes": None, "cache_dir": None}
    if kind.startswith("synthetic"):
        expected["num_classes"] = DATA["synthetic"]["num_classes"]
    found = defaults(importlib.import_module(SOURCES[kind]).open_source)
    assert found == {name: expected[name] for name in found}


def test_loader():
    found = {field.name: field.default for field in dataclasses.fields(Loader)}
    recipe = {name: DATA[name] for name in ("batch_size", "resize", "enlarge_to", "repeats")}
    assert found | recipe | {"seed": CONFIG.seed} == found
    loader = Loader(Smooth(), batch_size=4)
    assert loader.crop_stages.crops == (create_train_crop(),) and loader.augment is create_policy()
    assert Loader(Smooth(), batch_size=4, training=False).crop_stages.crops == (create_eval_crop(),)


class Squares:
    """A user's source with only the members of `Source`."""

    name, class_names = "squares", ("dark", "bright")

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return Example(np.full((8, 8, 3), 200 * (index % 2), np.uint8), index % 2)

    def where(self, index):
        return f"square {index}"


def test_a_user_defined_source():
    batch = Loader(Squares(), batch_size=4).batch(0).batch
    assert batch.image.shape == (4, 224, 224, 3)
    np.testing.assert_array_equal(batch.image[:, 0, 0, 0], 200 * batch.label)
    batches = list(feed(Loader(Squares(), batch_size=4, training=False), mesh=make_mesh(jax.devices()[:2])))
    assert [int(batch.mask.sum()) for batch in batches] == [4, 2]


def test_the_feed_reports_what_cannot_be_read(caplog):
    batches = feed(train_loader(batch_size=10, source=Smooth(broken=(3,))), mesh=make_mesh(jax.devices()[:1]))
    assert len(list(batches)) == 1
    assert "smooth-3.jpg cannot be read (" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size=0 is not a positive multiple of the 1 processes"),
        ({"batch_size": 5, "process_count": 2}, "batch_size=5 is not a positive multiple of the 2 processes"),
        ({"resize": "lanczos"}, "data.resize='lanczos' is not one of bilinear, "),
    ],
)
def test_loader_options_that_cannot_work(options, message):
    with pytest.raises(UsageError, match=message):
        Loader(Smooth(), **options)


def test_an_empty_source_is_named():
    empty = open_source("synthetic", num_train=0)
    with pytest.raises(UsageError, match="synthetic/train has no examples"):
        Loader(empty)


def test_unknown_options_of_a_source():
    with pytest.raises(
        UsageError, match="source 'folder' has no option 'dir', its options are data_dir, train_split, "
    ):
        open_source("folder", dir="photos")
