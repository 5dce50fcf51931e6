"""The network of a command with its weights and class names, for predictions and exports."""

from collections.abc import Sequence
from typing import NamedTuple

import jax

from resnet_jax import experiment
from resnet_jax.experiment import Inference
from resnet_jax.programs.command import Command
from resnet_jax.reporting.workdir import Workdir
from resnet_jax.weights.select import SelectedWeights, outputs_and_names, read_selected, select_weights


class TrainedNetwork(NamedTuple):
    """A network with trained weights, ready to predict."""

    inference: Inference
    weights: SelectedWeights
    class_names: tuple[str, ...]  # the name of each output of the network


def load_network(
    command: Command, *, dtype: str | None = None, devices: Sequence[jax.Device] | None = None
) -> TrainedNetwork:
    """Loads the weights that config.eval.checkpoint names into the network of the config.

    Args:
      command: names the config and the work directory.
      dtype: dtype of the activations; None: the dtype of training.
      devices: the devices to compute on; None: all.

    Raises:
      UsageError: the weights do not exist, or they do not fit the network.
    """
    options = experiment.weights_options(command.config)
    stored = read_selected(options.checkpoint, Workdir(command.workdir).checkpoints, kind=options.kind)
    num_classes, class_names = outputs_and_names(
        stored, num_classes=options.num_classes, class_names_file=options.class_names_file
    )
    inference = experiment.build_inference(command.config, num_classes=num_classes, dtype=dtype, devices=devices)
    weights = select_weights(stored, inference.shapes, network=inference.network, any_input=options.any_input)
    return TrainedNetwork(inference, weights, class_names)
