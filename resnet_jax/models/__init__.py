"""The networks: ResNet in all its variants, and the layers it is made of."""

from resnet_jax.models.resnet import ResNet
from resnet_jax.models.variants import create_model

__all__ = ["ResNet", "create_model"]
