"""Trains a ResNet: python main.py --config=configs/digits.py. `python main.py --help` lists what else it does."""

from resnet_jax.programs.main import run

if __name__ == "__main__":
    run()
