"""State dicts and weights for the tests, without PyTorch."""

import jax
import numpy as np

from resnet_jax.nested import by_path
from resnet_jax.weights.naming import Naming, to_torch_layout
from tests.models.networks import DEFAULTS, network, shapes_of_variables

SETTINGS = {
    **{f"model.{key}": DEFAULTS[key] for key in ("name", "version", "depth", "features", "padding", "stem")},
    **{f"model.{key}": DEFAULTS[key] for key in ("shortcut", "blur_pool", "squeeze_excitation", "bn_epsilon")},
    "input.mean": (123.675, 116.28, 103.53),
    "input.std": (58.395, 57.12, 57.375),
    "input.per_image": False,
}
SMALL = {"model.depth": 18, "model.features": 4}


def settings(changes=None):
    return SETTINGS | SMALL | (changes or {})


def model_of(changes=None, classes=10):
    options = {key.removeprefix("model."): value for key, value in settings(changes).items() if "model." in key}
    return network(**options | {"num_classes": classes})


def shapes(changes=None, classes=10):
    return shapes_of_variables(model_of(changes, classes), 32)


def variables(changes=None, classes=10):
    """Returns variables with random values."""
    random = np.random.default_rng(0)
    sample = lambda leaf: random.normal(size=leaf.shape).astype(np.float32)  # noqa: E731
    return jax.tree.map(sample, shapes(changes, classes))


def state_dict(changes=None, classes=10):
    """Returns `variables` under the names of PyTorch, with the counters of its batch norms."""
    pooled = settings(changes)["model.shortcut"] == "average_pool"
    naming = Naming(deep_stem=settings(changes)["model.stem"] == "deep", pooled_shortcut=pooled)
    arrays = by_path(variables(changes, classes)).items()
    named = {naming.to_torch(name): to_torch_layout(array) for name, array in arrays}
    counters = {name.replace("running_mean", "num_batches_tracked") for name in named if "running_mean" in name}
    return named | dict.fromkeys(counters, np.array(7))
