"""The bundled handwritten digits."""

from resnet_jax.data.datasets.digits.builder import Digits

__all__ = ["Digits"]
