"""python -m resnet_jax.programs.r1_flags --FLAG ...: translates a command line of r1."""

import sys

from resnet_jax.programs.r1_flags.translate import main

main(sys.argv[1:])
