"""What a network is and what it wants to be given, as a config says it: kept beside weights, and asked of them."""

import json
from typing import Any

from ml_collections import ConfigDict

from resnet_jax.nested import flatten
from resnet_jax.weights.compatibility import NETWORK_KEYS


def network_settings(config: ConfigDict) -> dict[str, Any]:
    """The keys, dotted, that weights depend on, in JSON values: {'model.depth': 50, 'input.mean': [...], ...}."""
    settings = flatten(json.loads(config.to_json()))
    return {key: settings[key] for key in NETWORK_KEYS}
