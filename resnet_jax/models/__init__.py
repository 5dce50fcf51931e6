"""Networks: ResNet in all its variants, and the layers that it is built from."""

from resnet_jax.models.resnet import ResNet
from resnet_jax.models.variants import create_model

__all__ = ["ResNet", "create_model"]
