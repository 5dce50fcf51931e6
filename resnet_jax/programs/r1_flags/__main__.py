"""Translates the flags of r1 on the command line: python -m resnet_jax.programs.r1_flags --FLAG ..."""

import sys

from resnet_jax.programs.r1_flags.translate import main

main(sys.argv[1:])
