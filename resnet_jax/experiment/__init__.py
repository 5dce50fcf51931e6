"""Turns a config into the parts of a run; no other package takes a config as argument."""

from resnet_jax.experiment.build import (
    EVALUATION_MAY_CHANGE,
    MAY_CHANGE,
    as_begun,
    build,
    default_settings,
    resolve,
)
from resnet_jax.experiment.checked_data import CheckedData, check_json, open_checked_data
from resnet_jax.experiment.evaluation import build_evaluation, build_evaluations
from resnet_jax.experiment.further_training import FurtherTraining, make_further_training
from resnet_jax.experiment.inference import Inference, build_inference
from resnet_jax.experiment.inputs import open_splits, open_training, train_order
from resnet_jax.experiment.milestones import Milestones
from resnet_jax.experiment.options import (
    AverageOptions,
    BenchmarkOptions,
    ExportOptions,
    PlanOptions,
    PredictOptions,
    ReplayOptions,
    WeightsOptions,
    average_options,
    benchmark_options,
    export_options,
    plan_options,
    predict_options,
    prepare_options,
    replay_options,
    show_png,
    training_changes,
    weights_options,
)
from resnet_jax.experiment.parts import Computation, Data, EvalComputation, EvalData, Evaluation, Experiment, Reading
from resnet_jax.experiment.statistics import Statistics, build_statistics

__all__ = [
    "EVALUATION_MAY_CHANGE",
    "MAY_CHANGE",
    "AverageOptions",
    "BenchmarkOptions",
    "CheckedData",
    "Computation",
    "Data",
    "EvalComputation",
    "EvalData",
    "Evaluation",
    "Experiment",
    "ExportOptions",
    "FurtherTraining",
    "Inference",
    "Milestones",
    "PlanOptions",
    "PredictOptions",
    "Reading",
    "ReplayOptions",
    "Statistics",
    "WeightsOptions",
    "as_begun",
    "average_options",
    "benchmark_options",
    "build",
    "build_evaluation",
    "build_evaluations",
    "build_inference",
    "build_statistics",
    "check_json",
    "default_settings",
    "export_options",
    "make_further_training",
    "open_checked_data",
    "open_splits",
    "open_training",
    "plan_options",
    "predict_options",
    "prepare_options",
    "replay_options",
    "resolve",
    "show_png",
    "train_order",
    "training_changes",
    "weights_options",
]
