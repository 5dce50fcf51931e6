"""`python -m resnet_jax`: the same command line as main.py and the console script."""

from resnet_jax.programs.main import run

if __name__ == "__main__":
    run()
