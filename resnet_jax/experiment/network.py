"""What a network is and what it wants to be given, as a config says it: kept beside weights, and asked of them."""

import json
from typing import Any

from ml_collections import ConfigDict

from resnet_jax.workdir import flatten

# The weights mean something else if one of these is changed.
_KEYS = (
    *("model.name", "model.version", "model.depth", "model.features", "model.padding", "model.stem"),
    *("model.shortcut", "model.blur_pool", "model.squeeze_excitation", "model.bn_epsilon"),
    *("input.mean", "input.std", "input.per_image"),
)


def network_settings(config: ConfigDict) -> dict[str, Any]:
    """The keys, dotted, that weights depend on, in JSON values: {'model.depth': 50, 'input.mean': [...], ...}."""
    settings = flatten(json.loads(config.to_json()))
    return {key: settings[key] for key in _KEYS}
