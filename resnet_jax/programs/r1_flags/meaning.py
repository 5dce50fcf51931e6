"""What the flags of TensorFlow's official r1 ResNet mean here: keys of a config, and a word where that is not all."""

from collections.abc import Mapping
from typing import Any

from resnet_jax.errors import UsageError
from resnet_jax.programs.r1_flags.table import FLAGS, HOOKS, IMAGENET_SIZES, PROGRAMS, STRATEGIES, Program

Values = Mapping[str, Any]  # of all flags, by long name

_DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
_FP16_LOSS_SCALE = 128.0
# `tf.mixed_precision.experimental.DynamicLossScale`
_DYNAMIC_LOSS_SCALE, _GROWTH_STEPS = 32768.0, 2000
_CIFAR_WEIGHT_DECAY = 2e-4  # whatever the flag says
_FINE_TUNE_LR = 0.1
# `poly_rate_fn` of `resnet_run_loop.py`: batch sizes below the first number have that peak rate and warm-up in epochs.
_LARS = ((8192, 5.0, 5.0), (16384, 10.0, 5.0), (32768, 25.0, 5.0), (float("inf"), 32.0, 14.0))
_LARS_EPOCHS = 90.0
_LARS_END_LR = 1e-4  # the default of `polynomial_decay`
_PROFILED_STEP = 1000


def check(values: Values, program: Program) -> None:
    """Raises UsageError for what r1 refuses, or what has no counterpart here at all."""
    _check_devices(values)
    _check_size(values["resnet_size"], program)
    _check_precision(values)
    unknown = _hooks(values) - {name.lower() for name in HOOKS}
    if unknown:
        raise UsageError(f"--hooks={','.join(sorted(unknown))} is not one of {', '.join(HOOKS)}")
    if values["benchmark_logger_type"] == "BenchmarkFileLogger" and not values["benchmark_log_dir"]:
        raise UsageError("--benchmark_logger_type=BenchmarkFileLogger needs --benchmark_log_dir in r1: leave both out")
    if values["image_bytes_as_serving_input"] and program is PROGRAMS["cifar10"]:
        raise UsageError("--image_bytes_as_serving_input is for ImageNet alone in r1: leave it out")


def overrides(values: Values, program: Program) -> dict[str, Any]:
    """The keys that the flags decide, with their values, whether or not the config has them already."""
    return {
        **_data(values),
        **_network(values),
        **_precision(values),
        **_recipe(values, program),
        **_loop(values),
    }


def notes(given: Values, values: Values, changed: Mapping[str, Any], program: Program) -> dict[str, str]:
    """A line for each flag that means nothing here, or something else than in r1, or acts though it was not given.

    Args:
      given: values of the flags on the command line.
      values: of all flags.
      changed: the keys that become overrides.
      program: that the flags are for.
    """
    told = {name for name, value in given.items() if value is not False}  # a switch that is off means nothing
    found = {flag.name: flag.note for flag in FLAGS if flag.note and flag.name in told}
    found |= {name: note for name, note in _special_notes(values, program).items() if note and name in told}
    for name, key in {"data_dir": "data.data_dir", "batch_size": "data.batch_size"}.items():
        if name not in given and key in changed:
            found[name] = f"not given, and {values[name]} by default in r1"
    if "num_gpus" not in given and "model.bn_group_size" in changed:
        found["num_gpus"] = "not given: r1 then takes batch norm statistics on one GPU, over the whole batch"
    return found


def _special_notes(values: Values, program: Program) -> dict[str, str]:
    """Notes that depend on the values, also for flags that were not given; empty where there is nothing to say."""
    hooks = {name: meaning for name, meaning in HOOKS.items() if name.lower() in _hooks(values)}
    return {
        "hooks": "; ".join(f"{name}: {meaning}" for name, meaning in hooks.items()) or "lines are logged nevertheless",
        "train_epochs": "" if values["train_epochs"] else "0 is --mode=eval",
        "resnet_version": "version 1 of r1 is 'v1.5' here" if values["resnet_version"] == "1" else "",
        **_device_notes(values),
        **_precision_notes(values),
        **_recipe_notes(values, program),
    }


def _device_notes(values: Values) -> dict[str, str]:
    found = {}
    if values["num_gpus"] == -1:
        found["num_gpus"] = "how many is not known: set --config.model.bn_group_size to batch size / number of GPUs"
    if values["num_gpus"] == 0:
        found["num_gpus"] = "JAX_PLATFORMS=cpu in front of the command keeps it on the CPU"
    if _workers(values) > 1:
        found["worker_hosts"] = f"the batch is that of {_workers(values)} hosts together; --workdir has to be shared"
    elif values["worker_hosts"]:
        found["worker_hosts"] = "one host needs no name"
    return found


def _precision_notes(values: Values) -> dict[str, str]:
    found = {}
    if values["dtype"] == "bf16":
        found["dtype"] = "works here; r1 has the flag, but its model refuses bf16"
    if values["loss_scale"] == "dynamic":
        found["loss_scale"] = "doubles every 2,000 good steps, halves at a bad one; in r1 it needs graph_rewrite"
    elif values["fp16_implementation"] == "graph_rewrite" and values["loss_scale"] is None:
        found["fp16_implementation"] = "float16 with a loss scale of 128, as r1 without it; r1's graph_rewrite has 1"
    return found


def _recipe_notes(values: Values, program: Program) -> dict[str, str]:
    found, cifar = {}, program is PROGRAMS["cifar10"]
    if values["stop_threshold"] is not None and values["use_train_and_evaluate"]:
        found["stop_threshold"] = "ends the run; r1 ignores it with --use_train_and_evaluate"
    if values["enable_lars"]:
        found["enable_lars"] = "r1 counts L2 twice, in the loss and in the optimizer: weight_decay is doubled"
    if cifar:
        found["weight_decay"] = "without effect on CIFAR-10 in r1, which decays 2e-4"
        found["label_smoothing"] = "without effect on CIFAR-10 in r1"
    elif values["label_smoothing"]:
        found["label_smoothing"] = "of the training loss alone; r1 smooths that of evaluations, too"
    return found


def _hooks(values: Values) -> set[str]:
    return {name.lower() for name in values["hooks"]}


def _check_devices(values: Values) -> None:
    strategy, gpus, batch_size = values["distribution_strategy"].lower(), values["num_gpus"], values["batch_size"]
    if strategy not in STRATEGIES:
        raise UsageError(f"--distribution_strategy={strategy} is not one of {', '.join(STRATEGIES)}")
    if strategy == "parameter_server":
        raise UsageError(
            "--distribution_strategy=parameter_server has no counterpart, updates are synchronous: drop it"
        )
    if strategy in ("off", "one_device") and gpus > 1:
        raise UsageError(f"--distribution_strategy={strategy} takes one GPU in r1, not {gpus}: leave one flag out")
    if gpus > 1 and batch_size % gpus:
        near = " or ".join(str(size) for size in (batch_size // gpus * gpus, -(-batch_size // gpus) * gpus) if size)
        raise UsageError(f"--batch_size={batch_size} cannot be divided over --num_gpus={gpus}: take {near}")
    if _workers(values) > 1 and values["task_index"] < 0:
        raise UsageError(f"--worker_hosts names {_workers(values)} hosts, for which r1 needs --task_index")


def _check_size(size: str, program: Program) -> None:
    if program is PROGRAMS["imagenet"] and size not in IMAGENET_SIZES:
        raise UsageError(f"--resnet_size={size} is not one of {', '.join(IMAGENET_SIZES)}")
    if program is PROGRAMS["cifar10"] and not (size.isdecimal() and int(size) >= 8 and int(size) % 6 == 2):
        raise UsageError(f"--resnet_size={size} is not 6n+2 (8, 14, 20, 32, 44, 56, 110, ...)")


def _check_precision(values: Values) -> None:
    scale = values["loss_scale"]
    if scale is not None and scale != "dynamic" and not _is_positive(scale):
        raise UsageError(f"--loss_scale={scale} is neither a number above 0 nor 'dynamic'")
    if values["fp16_implementation"] == "graph_rewrite" and values["dtype"] != "fp16":
        raise UsageError("--fp16_implementation=graph_rewrite needs --dtype=fp16 in r1: give both or none")


def _is_positive(text: str) -> bool:
    try:
        return 0 < float(text) < float("inf")
    except ValueError:
        return False


def processes(values: Values) -> list[str]:
    """The flags of one process of several, if there are several: the first host of r1 is the coordinator."""
    if _workers(values) == 1:
        return []
    first = values["worker_hosts"].split(",")[0]
    return [f"--coordinator={first}", f"--num_processes={_workers(values)}", f"--process_id={values['task_index']}"]


def _workers(values: Values) -> int:
    return len(values["worker_hosts"].split(",")) if values["worker_hosts"] else 1


def _data(values: Values) -> dict[str, Any]:
    keys: dict[str, Any] = {"data.data_dir": values["data_dir"]}
    if values["use_synthetic_data"]:
        keys = {"data.source": "synthetic"}
    keys["data.batch_size"] = values["batch_size"] * _workers(values)
    if values["datasets_num_private_threads"] is not None:
        keys["data.num_threads"] = values["datasets_num_private_threads"]
    return keys


def _network(values: Values) -> dict[str, Any]:
    version = {"1": "v1.5", "2": "v2"}[values["resnet_version"]]
    keys: dict[str, Any] = {"model.version": version, "model.depth": int(values["resnet_size"])}
    if values["pretrained_model_checkpoint_path"] is not None:
        keys["model.init_from"] = values["pretrained_model_checkpoint_path"]
    if values["num_gpus"] >= 0:
        keys["model.bn_group_size"] = values["batch_size"] // max(1, values["num_gpus"])
    return keys


def _precision(values: Values) -> dict[str, Any]:
    keys: dict[str, Any] = {"model.dtype": _DTYPES[values["dtype"]]}
    if values["loss_scale"] == "dynamic":
        return keys | {"loss.scale": _DYNAMIC_LOSS_SCALE, "loss.scale_growth_steps": _GROWTH_STEPS}
    default = _FP16_LOSS_SCALE if values["dtype"] == "fp16" else 1.0
    return keys | {"loss.scale": float(values["loss_scale"] or default)}


def _recipe(values: Values, program: Program) -> dict[str, Any]:
    cifar = program is PROGRAMS["cifar10"]
    weight_decay = _CIFAR_WEIGHT_DECAY if cifar else values["weight_decay"]
    keys: dict[str, Any] = {} if cifar else {"loss.label_smoothing": values["label_smoothing"]}
    if values["fine_tune"]:
        keys |= {"train.trainable": "head", "train.freeze_statistics": False}
    if values["enable_lars"]:
        return keys | _lars(values, program, weight_decay)
    if values["fine_tune"] and not cifar:
        keys |= {"schedule.base_lr": _FINE_TUNE_LR, "schedule.warmup_epochs": 0.0}
    return keys | {"optimizer.weight_decay": weight_decay}


def _lars(values: Values, program: Program, weight_decay: float) -> dict[str, Any]:
    _, peak, warmup_epochs = next(row for row in _LARS if values["batch_size"] < row[0])
    batch_size = values["batch_size"] * _workers(values)
    return {
        "optimizer.name": "lars",
        "optimizer.weight_decay": 2 * weight_decay,
        "optimizer.decay_pattern": "kernel$",
        "schedule.name": "polynomial",
        "schedule.base_lr": peak,
        "schedule.base_batch_size": batch_size,
        "schedule.warmup_epochs": warmup_epochs,
        "schedule.decay_epochs": _LARS_EPOCHS + batch_size / program.num_images,  # and one step
        "schedule.power": 2.0,
        "schedule.end": _LARS_END_LR / peak,
    }


def _loop(values: Values) -> dict[str, Any]:
    keys: dict[str, Any] = {"eval.every_epochs": float(values["epochs_between_evals"])}
    keys["log.every_steps"] = values["log_steps"]
    if values["train_epochs"]:
        keys["train.epochs"] = float(values["train_epochs"])
    if values["max_train_steps"] is not None:
        keys["train.max_steps"] = values["max_train_steps"]
    if values["stop_threshold"] is not None:
        keys["eval.stop_at"] = values["stop_threshold"]
    if "profilerhook" in _hooks(values):
        keys["train.profile_at"] = _PROFILED_STEP
    return keys
