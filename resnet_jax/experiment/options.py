"""Reads and checks the config sections that hold the options of a single mode: predict, export, plan and others."""

from typing import Any, NamedTuple, get_args

from ml_collections import ConfigDict

from resnet_jax.config_keys import Effect, check_bounds
from resnet_jax.configs.default import KEYS
from resnet_jax.errors import UsageError
from resnet_jax.local_paths import is_hub_address
from resnet_jax.nested import flatten
from resnet_jax.training.state import WeightsKind

MEASUREMENTS = ("first_step", "step", "loader", "together")


class WeightsOptions(NamedTuple):
    """Which weights are evaluated, used for predictions or exported."""

    checkpoint: str  # 'latest', 'best', a step in digits, or a path
    kind: WeightsKind | None  # 'trained' or 'ema'; None: the average (ema) if there is one, else the trained weights
    class_names_file: str | None
    num_classes: int | None  # number of outputs of the network; None: as many as the weights have
    any_input: bool  # whether to accept weights that were trained with another padding or input normalization
    class_outputs: str | None  # how outputs are assigned to the classes of the data (weights/class_outputs.py)


class PredictOptions(NamedTuple):
    """How predictions are printed."""

    top_k: int  # number of classes to print for each image
    format: str  # 'table' or 'json'
    batch_size: int


class ExportOptions(NamedTuple):
    """Where an export is written, and in which formats."""

    dir: str | None  # output directory, which must not exist; None: <workdir>/exports/<name of weights>
    formats: tuple[str, ...]
    signatures: str  # which signatures the SavedModel has: 'own', 'r1_tensor' or 'r1_image_bytes'
    batch_size: int | None  # fixed batch size of the signature 'r1_tensor'; None: any size
    dtype: str  # dtype of the activations
    license: str | None  # license of the weights, for the model card of the format 'hub'
    push_to: str | None  # repository of the Hugging Face Hub, org/name; None: nothing is uploaded


class PlanOptions(NamedTuple):
    """The devices that a plan is made for, and where the plan is written."""

    topology: str | None  # name of the TPUs or GPUs to compile for; None: the devices of this machine
    json: str | None  # path of the JSON file of the plan; None: none is written


class BenchmarkOptions(NamedTuple):
    """What a benchmark measures, and in how many windows of steps."""

    measurements: tuple[str, ...]  # names from `MEASUREMENTS`
    windows: int
    window_steps: int
    warmup_steps: int
    json: str | None  # path of the JSON file of the results; None: none is written


class AverageOptions(NamedTuple):
    """Which checkpoints of a run are averaged."""

    checkpoints: tuple[str, ...]  # steps, 'latest', 'best' or paths; (): all checkpoints of the run
    last: int | None  # number of newest checkpoints to average; None: all that `checkpoints` names
    images: int  # training images from which batch norm statistics are computed; 0: the statistics are averaged


def average_options(config: ConfigDict) -> AverageOptions:
    """Reads the section `average` of the config.

    Raises:
      UsageError: a value is out of range, or both `checkpoints` and `last` are given.
    """
    check_bounds(KEYS, flatten(config.to_dict()))
    options = dict(config.average)
    names = tuple(map(str, options.pop("checkpoints")))
    if names and options["last"] is not None:
        raise UsageError(
            f"config.average.checkpoints={names} and config.average.last={options['last']}: set only one of them"
        )
    return AverageOptions(names, **options)


class ReplayOptions(NamedTuple):
    """Which step of a run is computed again."""

    step: int | None  # counted from 1; None: the step that ended the run
    images: int  # largest number of images in the picture


def replay_options(config: ConfigDict) -> ReplayOptions:
    """Reads the section `replay` of the config. Raises UsageError if any value of the config is out of range."""
    check_bounds(KEYS, flatten(config.to_dict()))
    return ReplayOptions(**config.replay)


def show_png(config: ConfigDict) -> str | None:
    """Returns the configured path of the picture of --mode=show; None: it is written to the work directory."""
    check_bounds(KEYS, flatten(config.to_dict()))
    return config.show.png


def weights_options(config: ConfigDict) -> WeightsOptions:
    """Reads from the config which weights to load. Raises UsageError if any value of the config is out of range."""
    check_bounds(KEYS, flatten(config.to_dict()))
    kind = config.eval.weights
    if kind not in (None, *get_args(WeightsKind)):
        raise UsageError(f"config.eval.weights={kind!r} is not one of {', '.join(get_args(WeightsKind))}")
    model = config.model
    return WeightsOptions(
        checkpoint=config.eval.checkpoint,
        kind=kind,
        class_names_file=model.class_names,
        num_classes=model.num_classes,
        any_input=model.init_any_input,
        class_outputs=model.class_outputs,
    )


def predict_options(config: ConfigDict) -> PredictOptions:
    """Reads the section `predict` of the config. Raises UsageError for an unknown format."""
    options = PredictOptions(**config.predict)
    if options.format not in ("table", "json"):
        raise UsageError(f"config.predict.format={options.format!r} is not one of table, json")
    return options


def export_options(config: ConfigDict) -> ExportOptions:
    """Reads the section `export` of the config; `check_request` in export.py checks its directory and formats."""
    return ExportOptions(**config.export)


def training_changes(config: ConfigDict) -> dict[str, Any]:
    """Returns the config values that affect training and differ from their defaults, by dotted key; no local paths."""
    values = flatten(config.to_dict())
    changed = {
        key: values[key.name] for key in KEYS if key.effect is not Effect.FREE and values[key.name] != key.default
    }
    return {key.name: value for key, value in changed.items() if not key.is_path or is_hub_address(value)}


def plan_options(config: ConfigDict) -> PlanOptions:
    """Reads the section `plan` of the config."""
    return PlanOptions(**config.plan)


def prepare_options(config: ConfigDict) -> dict[str, Any]:
    """Reads from the config the keyword arguments of the function `prepare`, which checks them."""
    data = config.data
    return {"data_dir": data.data_dir, "max_image_pixels": data.max_image_pixels, **config.prepare}


def benchmark_options(config: ConfigDict) -> BenchmarkOptions:
    """Reads the section `benchmark` of the config. Raises UsageError for an unknown measurement or a bad value."""
    check_bounds(KEYS, flatten(config.to_dict()))
    options = dict(config.benchmark)
    measurements = tuple(options.pop("parts"))
    unknown = [name for name in measurements if name not in MEASUREMENTS]
    if unknown or not measurements:
        wrong = f"{unknown[0]!r} is not a measurement" if unknown else "it is empty"
        raise UsageError(f"config.benchmark.parts={measurements}: {wrong}; name some of {', '.join(MEASUREMENTS)}")
    return BenchmarkOptions(measurements=measurements, **options)
