"""`python -m resnet_jax.programs.r1_flags --FLAG ...`, the same as the console script `resnet-jax-r1`."""

from resnet_jax.programs.r1_flags.translate import run

run()
