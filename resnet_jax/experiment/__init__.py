"""From a config to the parts of a run: the only package that reads a config."""

from resnet_jax.experiment.build import EVALUATION_MAY_CHANGE, MAY_CHANGE, Experiment, build, resolve
from resnet_jax.experiment.inference import Inference, build_inference, requested
from resnet_jax.experiment.measuring import BenchmarkRequest, benchmark_requested
from resnet_jax.experiment.milestones import Plan

__all__ = [
    "EVALUATION_MAY_CHANGE",
    "MAY_CHANGE",
    "BenchmarkRequest",
    "Experiment",
    "Inference",
    "Plan",
    "benchmark_requested",
    "build",
    "build_inference",
    "requested",
    "resolve",
]
