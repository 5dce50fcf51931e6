"""From a config to the parts of a run: the only package that reads a config."""

from resnet_jax.experiment.build import EVALUATION_MAY_CHANGE, MAY_CHANGE, Experiment, build, default_settings, resolve
from resnet_jax.experiment.inference import Inference, build_inference
from resnet_jax.experiment.milestones import Plan
from resnet_jax.experiment.options import (
    BenchmarkOptions,
    ExportOptions,
    PlanOptions,
    PredictOptions,
    WeightsOptions,
    benchmark_options,
    export_options,
    plan_options,
    predict_options,
    prepare_options,
    weights_options,
)

__all__ = [
    "EVALUATION_MAY_CHANGE",
    "MAY_CHANGE",
    "BenchmarkOptions",
    "Experiment",
    "ExportOptions",
    "Inference",
    "Plan",
    "PlanOptions",
    "PredictOptions",
    "WeightsOptions",
    "benchmark_options",
    "build",
    "build_inference",
    "default_settings",
    "export_options",
    "plan_options",
    "predict_options",
    "prepare_options",
    "resolve",
    "weights_options",
]
