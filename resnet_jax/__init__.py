"""A functional ResNet trainer in JAX/Flax; `docs/architecture.md` says which file does what."""

__version__ = "0.1.0"
