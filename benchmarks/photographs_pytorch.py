"""Trains the recipe of `benchmarks/photographs.py` with PyTorch.

    python -m benchmarks.photographs_pytorch DATA SEED FILE

Network, loss, optimizer and loop are PyTorch's. From this project come the initial weights, the crops and their order
(`Loader`), and the learning rate of each step. Writes a `photographs.Run` as JSON to FILE.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import torch
from ml_collections import ConfigDict
from torch import Tensor, nn
from torch.nn import functional

import resnet_jax as rj
from benchmarks.photographs import CHANGES, RECIPE, Run
from benchmarks.torch_resnet import Basic, conv, norm
from resnet_jax.data.batch import HostBatch
from resnet_jax.data.feed import host_batches
from resnet_jax.data.loader import Loader
from resnet_jax.experiment.computed import with_computed
from resnet_jax.experiment.milestones import schedule_options
from resnet_jax.experiment.parts import Experiment
from resnet_jax.nested import by_path
from resnet_jax.weights.naming import Naming

_NAMING = Naming(deep_stem=False, pooled_shortcut=False)


class CifarResNet(nn.Module):
    """He et al. 2015, section 4.2, with projection shortcuts: 3x3 stem and three stages of depth // 6 basic blocks."""

    def __init__(self, depth: int, features: int, classes: int):
        super().__init__()
        self.conv1, self.bn1, self.relu = conv(3, features, 3), norm(features), nn.ReLU()
        channels = features
        for number in range(3):
            stage = nn.Sequential()
            for index in range((depth - 2) // 6):
                stage.append(Basic(channels, features * 2**number, 2 if number and not index else 1))
                channels = features * 2**number
            self.add_module(f"layer{number + 1}", stage)
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, 3, H, W] to [B, classes]."""
        x = self.relu(self.bn1(self.conv1(x)))
        for stage in (self.layer1, self.layer2, self.layer3):
            x = stage(x)
        return self.fc(x.mean((2, 3)))


def copy_weights(network: nn.Module, variables: dict[str, Any]) -> None:
    """Copies the variables of our network, 'params' and 'batch_stats'; every entry of the PyTorch network is set."""
    state = network.state_dict()
    missing = {name for name in state if not name.endswith("num_batches_tracked")}
    for path, array in by_path(jax.device_get(variables)).items():
        name, values = _NAMING.to_torch(path), np.asarray(array)
        values = values.transpose(3, 2, 0, 1) if values.ndim == 4 else values.T
        state[name].copy_(torch.tensor(values))
        missing.remove(name)
    if missing:
        raise ValueError(f"no values for {', '.join(sorted(missing))}")


def batches(loader: Loader, stop: int) -> Iterator[HostBatch]:
    """Yields the batches of steps 0 to stop - 1."""
    for item in host_batches(loader, start=0, stop=stop, num_threads=2, num_workers=0):
        yield item.batch


class Recipe(NamedTuple):
    """What both trainers share."""

    config: ConfigDict  # complete
    run: Experiment
    learning_rate: Callable[[int], Any]  # of each step

    @classmethod
    def build(cls, data: str, seed: int, **changes: Any) -> "Recipe":
        """Builds the recipe as `main.py` does with the flags of `photographs.py` and further changes by dotted key."""
        config = rj.get_recipe(*RECIPE.split(":"))
        config.update_from_flattened_dict({"data.data_dir": data, "seed": seed} | CHANGES | changes)
        run = rj.build(config)
        config, _ = with_computed(config, len(run.data.train_loader.source))
        return cls(config, run, rj.create_schedule(**schedule_options(config, run.milestones)))

    def network(self) -> CifarResNet:
        """Returns the PyTorch network with the initial weights of our run."""
        model, state = self.config.model, rj.initial_state(self.run)
        network = CifarResNet(model.depth, model.features, len(self.run.data.class_names))
        copy_weights(network, {"params": state.params, "batch_stats": state.batch_stats})
        return network

    def pixels(self, batch: HostBatch) -> Tensor:
        """Returns the normalized images of a batch: [B, 3, H, W] float32."""
        mean, std = (torch.tensor(self.config.input[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
        return (torch.tensor(batch.image).permute(0, 3, 1, 2).float() - mean) / std


def train(recipe: Recipe, network: nn.Module) -> list[float]:
    """Trains to the last step and returns the loss of each step."""
    options, total = recipe.config.optimizer, recipe.run.milestones.total_steps
    kernels = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.ndim == 1]
    groups = [{"params": kernels, "weight_decay": options.weight_decay}, {"params": others}]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=options.momentum, nesterov=options.nesterov)
    flips, losses = torch.Generator().manual_seed(recipe.config.seed), []
    network.train()
    for step, batch in enumerate(batches(recipe.run.data.train_loader, total)):
        images, labels = recipe.pixels(batch), torch.tensor(batch.label, dtype=torch.int64)
        mirrored = torch.rand(len(images), generator=flips) < (0.5 if recipe.config.input.flip else 0)
        images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
        smoothing = recipe.config.loss.label_smoothing
        loss = functional.cross_entropy(network(images), labels, label_smoothing=smoothing)
        optimizer.zero_grad()
        loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = float(recipe.learning_rate(step))
        optimizer.step()
        losses.append(loss.item())
    return losses


def evaluate(recipe: Recipe, network: nn.Module) -> float:
    """Returns the top-1 accuracy on the evaluation set, 0 to 1."""
    loader, right = recipe.run.data.eval_loader, 0
    network.eval()
    with torch.no_grad():
        for batch in batches(loader, loader.num_batches):
            answers = network(recipe.pixels(batch)).argmax(1).numpy()
            right += int(((answers == batch.label) & batch.mask).sum())
    return right / len(loader.source)


def main(argv: Sequence[str] | None = None) -> None:
    """Trains, evaluates and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="folder with the photographs, as `photographs.py` makes it")
    parser.add_argument("seed", type=int, help="seed of the weights, the order and the crops")
    parser.add_argument("file", type=Path, help="JSON file for the result")
    options = parser.parse_args(argv)
    started = time.monotonic()
    recipe = Recipe.build(options.data, options.seed)
    network = recipe.network()
    losses = train(recipe, network)
    window = recipe.config.log.every_steps
    ends = [*range(window, len(losses), window), len(losses)]
    means = [float(np.mean(losses[start:end])) for start, end in zip([0, *ends], ends, strict=False)]
    result = Run(evaluate(recipe, network), ends, means, (time.monotonic() - started) / 60)
    options.file.write_text(json.dumps(result._asdict()))


if __name__ == "__main__":
    main()
