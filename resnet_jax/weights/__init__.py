"""Reads weights of this program, of PyTorch and of TensorFlow's r1 ResNet; matches them with a network; writes them.

TensorFlow's r1 ResNet is the ResNet in the r1.x releases of the TensorFlow Models repository.
"""

from resnet_jax.weights.compatibility import check_settings
from resnet_jax.weights.formats.safetensors import check_named, write_safetensors
from resnet_jax.weights.known_networks import pytorch_network
from resnet_jax.weights.load import load_weights, read_weights
from resnet_jax.weights.match import MatchedVariables, match_variables
from resnet_jax.weights.stored import StoredWeights

__all__ = [
    "MatchedVariables",
    "StoredWeights",
    "check_named",
    "check_settings",
    "load_weights",
    "match_variables",
    "pytorch_network",
    "read_weights",
    "write_safetensors",
]
