"""Networks."""

from resnet_jax.models.variants import create_model

__all__ = ["create_model"]
