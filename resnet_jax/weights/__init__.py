"""Weights in files: of this program, PyTorch and TensorFlow's r1; read, compared with a network, and written."""

from resnet_jax.weights.filling import Filled, fill
from resnet_jax.weights.reading import read_weights
from resnet_jax.weights.settings import check_settings
from resnet_jax.weights.stored import StoredWeights
from resnet_jax.weights.tensor_files import check_named, write_safetensors

__all__ = ["Filled", "StoredWeights", "check_named", "check_settings", "fill", "read_weights", "write_safetensors"]
