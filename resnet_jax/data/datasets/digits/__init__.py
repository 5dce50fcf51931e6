"""The handwritten digits that come with this package, as a TFDS data set."""

from resnet_jax.data.datasets.digits.builder import Digits

__all__ = ["Digits"]
