"""Weights in files: of this program, PyTorch and TensorFlow's r1; read, compared with a network, and written."""

from resnet_jax.weights.compatibility import check_settings
from resnet_jax.weights.formats.safetensors import check_named, write_safetensors
from resnet_jax.weights.load import read_weights
from resnet_jax.weights.match import Filled, fill
from resnet_jax.weights.stored import StoredWeights

__all__ = ["Filled", "StoredWeights", "check_named", "check_settings", "fill", "read_weights", "write_safetensors"]
