"""The config keys that define the function of the network: architecture and input normalization.

They are stored with the weights of a run, and checked when weights are loaded.
"""

import json
from typing import Any

from ml_collections import ConfigDict

from resnet_jax.nested import flatten
from resnet_jax.weights.compatibility import IMAGE_SIZE_KEY, NETWORK_KEYS


def network_settings(config: ConfigDict) -> dict[str, Any]:
    """Returns the config keys `NETWORK_KEYS` with their JSON values: {'model.depth': 50, 'input.mean': [...], ...}."""
    settings = flatten(json.loads(config.to_json()))
    return {key: settings[key] for key in NETWORK_KEYS}


def training_settings(config: ConfigDict) -> dict[str, Any]:
    """Returns `network_settings`, and the training image size, which users of the weights may ignore."""
    return network_settings(config) | {IMAGE_SIZE_KEY: config.data.image_size}
