"""The parts of an experiment and of an evaluation, as frozen dataclasses; `build.py` makes them from a config."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh

from resnet_jax.data.batch import HostBatch
from resnet_jax.data.eval_preprocessing import EvalPreprocessing
from resnet_jax.data.loader import Loader
from resnet_jax.data.several_labels import Labels
from resnet_jax.experiment.milestones import Milestones
from resnet_jax.experiment.options import WeightsOptions
from resnet_jax.models.resnet import ResNet
from resnet_jax.training.gradients import ForwardFn, GradientFn
from resnet_jax.training.state import TrainState, WeightsKind
from resnet_jax.training.steps import EvalStep, TrainStep


class Reading(NamedTuple):
    """How examples are read and decoded."""

    num_threads: int | None  # number of decoding threads; None: the function `data.feed.decoding_threads` chooses it
    num_workers: int  # number of decoding processes; 0: this process decodes
    max_bad_examples: int  # number of unreadable examples that a run tolerates
    source: str  # `data.source` of the config


@dataclasses.dataclass(frozen=True)
class EvalData:
    """The evaluation set."""

    eval_loader: Loader
    class_names: tuple[str, ...]
    reading: Reading


@dataclasses.dataclass(frozen=True)
class Data(EvalData):
    """The training and the evaluation set."""

    train_loader: Loader
    identity: dict[str, Any]  # JSON values; a run continues only on data sets with the same identity


@dataclasses.dataclass(frozen=True)
class EvalComputation:
    """The network, and its evaluation on the devices."""

    mesh: Mesh
    model: ResNet
    dtype: str  # dtype of the activations
    network: dict[str, Any]  # the config keys that define the function of the network, with values
    shapes: dict[str, Any]  # shapes and dtypes of 'params' and 'batch_stats'
    eval_step: EvalStep


@dataclasses.dataclass(frozen=True)
class Computation(EvalComputation):
    """The network, and its training and evaluation on the devices."""

    num_microbatches: int  # number of micro-batches into which a step divides its batch
    trainable: str  # regular expression for the paths of the parameters that are trained; '': all are trained
    init: Callable[[], TrainState]  # makes the state of step 0
    warm_start: Callable[[TrainState], TrainState] | None  # loads weights into the state; None: no weights are loaded
    continue_r1: Callable[[Path, TrainState], TrainState]  # loads an r1.x checkpoint, see `experiment/r1_run.py`
    train_step: TrainStep
    forward_fn: ForwardFn  # the forward pass of a micro-batch in training
    gradient_fn: GradientFn  # the gradients of a whole batch, as `train_step` computes them
    seed: int  # seed of the random numbers on the devices; the key of step s is fold_in(key(seed), s)
    eval_weights: WeightsKind  # which weights of the state are evaluated during training


class Reporting(NamedTuple):
    """What a run prints, traces and keeps on disk."""

    description: dict[str, str]  # the lines printed at the start, by label
    views: str  # which part of an image the crops of training and evaluation show; '' if no image can be read
    profile: range  # training steps to record in a profiler trace
    keep_latest: int  # number of newest checkpoints to keep
    keep_best: int  # number of checkpoints with the highest accuracy to keep besides the newest
    draws_inputs: bool  # whether a new run writes a picture of its first inputs, see `Experiment.show_inputs`
    trackers: tuple[str, ...]  # names of the trackers that get the metrics, for example 'tensorboard'
    data_name: str  # name of the data set, or of the directory of the user's images
    settings: dict[str, Any]  # config values that trackers show, by dotted key; None is replaced by the computed value


class ShownInputs(NamedTuple):
    """N inputs of the network, converted back to pixels, with their labels."""

    about: str  # a title: which inputs they are, and how the images were cropped and augmented
    images: np.ndarray  # [N, H, W, 3] uint8
    labels: np.ndarray  # [N] int32, class index, or `batch.UNREADABLE`
    partners: np.ndarray  # [N] int32, class index of the image that is mixed in
    shares: np.ndarray  # [N] float32, share of the image's own label; 1 if nothing is mixed in
    partner_rows: np.ndarray | None = None  # [N] int, index in the batch of the image that is mixed in; None: unknown

    def of_rows(self, rows: Sequence[int]) -> "ShownInputs":
        """Returns those of the N inputs that have the indices `rows`."""
        chosen, partners = list(rows), self.partner_rows
        arrays = (self.images[chosen], self.labels[chosen], self.partners[chosen], self.shares[chosen])
        return ShownInputs(self.about, *arrays, partner_rows=None if partners is None else partners[chosen])


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A training run: its data, pure functions and reports, and the steps at which it evaluates, saves and ends."""

    data: Data
    computation: Computation
    milestones: Milestones
    reporting: Reporting
    show_inputs: Callable[[], tuple[ShownInputs, ShownInputs]]  # returns some inputs of training and of evaluation
    # Takes a step, counted from 0, its whole batch and indices in this batch; returns the training inputs there.
    show_rows: Callable[[int, HostBatch, Sequence[int]], ShownInputs]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """An evaluation without training. Nothing is compiled yet."""

    data: EvalData
    computation: EvalComputation
    preprocessing: EvalPreprocessing  # how an image file is cropped and resized
    weights: WeightsOptions  # the weights to evaluate
    description: dict[str, str]  # the lines printed at the start, by label
    right_labels: Callable[[], Labels | None]  # returns all correct labels of each image; None if each has only one
    group: str = ""  # group of evaluation sets, such as 'imagenet-c', whose results are averaged; '': no group
    set_name: str = ""  # name of an entry of `eval.sets`; '': the evaluation set of the section `data`
