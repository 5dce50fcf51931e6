"""Weights in files: of this program, PyTorch and TensorFlow's r1; read, compared with a network, and written."""

from resnet_jax.weights.compatibility import check_settings
from resnet_jax.weights.formats.safetensors import check_named, write_safetensors
from resnet_jax.weights.load import read_weights
from resnet_jax.weights.match import MatchedVariables, match_variables
from resnet_jax.weights.stored import StoredWeights

__all__ = [
    "MatchedVariables",
    "StoredWeights",
    "check_named",
    "check_settings",
    "match_variables",
    "read_weights",
    "write_safetensors",
]
