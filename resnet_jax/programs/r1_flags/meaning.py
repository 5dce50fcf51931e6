"""Maps the flags of the r1.x ResNet of the TensorFlow Models repository to config keys; rejects what it rejects."""

from collections.abc import Mapping
from typing import Any

from resnet_jax.errors import UsageError
from resnet_jax.programs.r1_flags.table import HOOKS, IMAGENET_SIZES, PROGRAMS, STRATEGIES, Program

Values = Mapping[str, Any]  # long name -> value, for every flag of the r1.x ResNet of the TensorFlow Models repository

_DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
_FP16_LOSS_SCALE = 128.0
# Defaults of `tf.mixed_precision.experimental.DynamicLossScale`.
_DYNAMIC_LOSS_SCALE, _GROWTH_STEPS = 32768.0, 2000
# On CIFAR-10 the r1.x ResNet of the TensorFlow Models repository always uses this value and ignores --weight_decay.
_CIFAR_WEIGHT_DECAY = 2e-4
_FINE_TUNE_LR = 0.1
# For LARS: (limit of the batch size, peak learning rate, warm-up epochs). The first entry whose limit exceeds the batch
# size applies. Source: `poly_rate_fn` in `resnet_run_loop.py` of the r1.x ResNet of the TensorFlow Models repository.
_LARS = ((8192, 5.0, 5.0), (16384, 10.0, 5.0), (32768, 25.0, 5.0), (float("inf"), 32.0, 14.0))
_LARS_EPOCHS = 90.0
_LARS_END_LR = 1e-4  # the default `end_learning_rate` of `tf.compat.v1.train.polynomial_decay`
_PROFILED_STEP = 1000
# --distribution_strategy -> values of --all_reduce_alg that the r1.x ResNet of the TensorFlow Models repository
# accepts with it. Source: its `distribution_utils.py`.
_ALL_REDUCE = {
    "mirrored": ("nccl", "hierarchical_copy"),
    "multi_worker_mirrored": ("ring", "nccl"),
    "collective": ("ring", "nccl"),
}
_CHECKPOINT_WORDS = ("latest", "best")  # values of eval.checkpoint that are not paths


def check(values: Values, given: Values, program: Program) -> None:
    """Raises UsageError for values of flags that r1 rejects, and for features that this program lacks.

    r1 is the r1.x ResNet of the TensorFlow Models repository.

    Args:
      values: long name -> value, for every flag.
      given: long name -> value, for the flags on the command line.
      program: the program of r1, for ImageNet or CIFAR-10.
    """
    _check_devices(values)
    _check_all_reduce(values)
    _check_size(values["resnet_size"], program)
    _check_precision(values, given, program)
    unknown = hooks(values) - {name.lower() for name in HOOKS}
    if unknown:
        raise UsageError(f"--hooks={','.join(sorted(unknown))} is not one of {', '.join(HOOKS)}")
    if values["benchmark_logger_type"] == "BenchmarkFileLogger" and not values["benchmark_log_dir"]:
        raise UsageError(
            "--benchmark_logger_type=BenchmarkFileLogger needs --benchmark_log_dir in r1: give both or neither"
        )
    if values["image_bytes_as_serving_input"] and program is PROGRAMS["cifar10"]:
        raise UsageError("--image_bytes_as_serving_input is for ImageNet only in r1: omit it")


def overrides(values: Values, program: Program) -> dict[str, Any]:
    """Returns config key -> value for all keys that the flags of r1 determine, also if the recipe has the same value.

    r1 is the r1.x ResNet of the TensorFlow Models repository.
    """
    return {
        **_data(values),
        **_schedule_epoch(values, program),
        **_network(values),
        **_weights(values),
        **_precision(values),
        **_recipe(values, program),
        **_loop(values),
    }


def export_keys(values: Values) -> dict[str, Any]:
    """Returns config key -> value for exporting the SavedModel that r1 exports.

    r1 is the r1.x ResNet of the TensorFlow Models repository.
    """
    keys = {
        "export.dir": f"{values['export_dir'].rstrip('/')}/export",
        "export.formats": '("saved_model",)',
        "export.dtype": _DTYPES[_graph_dtype(values)],
    }
    if values["image_bytes_as_serving_input"]:
        return keys | {"export.signatures": "r1_image_bytes"}
    return keys | {"export.signatures": "r1_tensor", "export.batch_size": values["batch_size"]}


def _graph_dtype(values: Values) -> str:
    """Returns the dtype of the exported graph; --fp16_implementation=graph_rewrite uses float16 only in training."""
    return "fp32" if values["fp16_implementation"] == "graph_rewrite" else values["dtype"]


def hooks(values: Values) -> set[str]:
    """Returns the names in --hooks in lower case."""
    return {name.lower() for name in values["hooks"]}


def _check_devices(values: Values) -> None:
    strategy, gpus, batch_size = values["distribution_strategy"].lower(), values["num_gpus"], values["batch_size"]
    if strategy not in STRATEGIES:
        raise UsageError(f"--distribution_strategy={strategy} is not one of {', '.join(STRATEGIES)}")
    if strategy == "parameter_server":
        raise UsageError(
            "--distribution_strategy=parameter_server has no equivalent, updates here are synchronous: omit it"
        )
    if strategy in ("off", "one_device") and gpus > 1:
        raise UsageError(f"--distribution_strategy={strategy} uses one GPU in r1, not {gpus}: omit one of the flags")
    if gpus > 1 and batch_size % gpus:
        nearest = " or ".join(str(size) for size in (batch_size // gpus * gpus, -(-batch_size // gpus) * gpus) if size)
        raise UsageError(f"--batch_size={batch_size} is not divisible by --num_gpus={gpus}: use {nearest}")
    if num_hosts(values) > 1 and values["task_index"] < 0:
        raise UsageError(f"--worker_hosts names {num_hosts(values)} hosts: add --task_index, which r1 requires")


def _check_all_reduce(values: Values) -> None:
    strategy, algorithm = values["distribution_strategy"].lower(), values["all_reduce_alg"]
    allowed = _ALL_REDUCE.get("multi_worker_mirrored" if num_hosts(values) > 1 else strategy)
    if algorithm and allowed and algorithm not in allowed:
        raise UsageError(
            f"--all_reduce_alg={algorithm} is not one of {', '.join(allowed)}, which r1 accepts with "
            f"--distribution_strategy={strategy}: omit it, because XLA makes this choice here"
        )


def _check_size(size: str, program: Program) -> None:
    if program is PROGRAMS["imagenet"] and size not in IMAGENET_SIZES:
        raise UsageError(f"--resnet_size={size} is not one of {', '.join(IMAGENET_SIZES)}")
    if program is PROGRAMS["cifar10"] and not (size.isdecimal() and int(size) >= 8 and int(size) % 6 == 2):
        raise UsageError(f"--resnet_size={size} is not 6n+2 (8, 14, 20, 32, 44, 56, 110, ...)")


def _check_precision(values: Values, given: Values, program: Program) -> None:
    scale, cifar = values["loss_scale"], program is PROGRAMS["cifar10"]
    if cifar and "fp16_implementation" in given:
        raise UsageError("--fp16_implementation is not a flag of r1's cifar10_main: omit it")
    if cifar and scale == "dynamic":
        raise UsageError("--loss_scale=dynamic is for ImageNet only in r1: give a positive number, such as 128")
    if scale is not None and scale != "dynamic" and not _is_positive(scale):
        raise UsageError(f"--loss_scale={scale} is neither a positive number nor 'dynamic'")
    if values["fp16_implementation"] == "graph_rewrite" and values["dtype"] != "fp16":
        raise UsageError("--fp16_implementation=graph_rewrite requires --dtype=fp16 in r1: give both or neither")


def _is_positive(text: str) -> bool:
    try:
        return 0 < float(text) < float("inf")
    except ValueError:
        return False


def is_evaluation(values: Values) -> bool:
    """Returns whether the flags ask for an evaluation only, as --eval_only and --train_epochs=0 do."""
    return values["eval_only"] or not values["train_epochs"]


def processes(values: Values) -> list[str]:
    """Returns this program's flags for one process of a run on several hosts; [] for a run on one host.

    The coordinator is the first address in --worker_hosts.
    """
    if num_hosts(values) == 1:
        return []
    first = values["worker_hosts"].split(",")[0]
    return [f"--coordinator={first}", f"--num_processes={num_hosts(values)}", f"--process_id={values['task_index']}"]


def num_hosts(values: Values) -> int:
    """Returns the number of addresses in --worker_hosts, 1 if there are none."""
    return len(values["worker_hosts"].split(",")) if values["worker_hosts"] else 1


def _data(values: Values) -> dict[str, Any]:
    keys: dict[str, Any] = {"data.data_dir": values["data_dir"]}
    if values["use_synthetic_data"]:
        keys = {"data.source": "synthetic"}
    keys["data.batch_size"] = values["batch_size"] * num_hosts(values)
    if values["datasets_num_private_threads"] is not None:
        keys["data.num_threads"] = values["datasets_num_private_threads"]
    return keys


def _schedule_epoch(values: Values, program: Program) -> dict[str, Any]:
    """Returns {config key: value} for the number of images in an epoch of the learning rate schedule.

    In the r1.x ResNet of the TensorFlow Models repository, this is the size of the full training set, whatever data
    it reads. Synthetic data have that size and need no key.
    """
    return {} if values["use_synthetic_data"] else {"schedule.images_per_epoch": program.num_images}


def _network(values: Values) -> dict[str, Any]:
    version = {"1": "v1.5", "2": "v2"}[values["resnet_version"]]
    keys: dict[str, Any] = {"model.version": version, "model.depth": int(values["resnet_size"])}
    if values["num_gpus"] >= 0:
        keys["model.bn_group_size"] = values["batch_size"] // max(1, values["num_gpus"])
    return keys


def _weights(values: Values) -> dict[str, Any]:
    """Returns the config keys for the weights to evaluate or to start training from; {} if no flag names weights.

    As in the r1.x ResNet of the TensorFlow Models repository, an evaluation uses the weights in --model_dir, if that
    flag is given, and otherwise those of --pretrained_model_checkpoint_path.
    """
    pretrained = values["pretrained_model_checkpoint_path"]
    if not is_evaluation(values):
        return {} if pretrained is None else {"model.init_from": pretrained, "model.init_statistics": False}
    path = pretrained if values["model_dir"] is None else values["model_dir"]
    if path is None:
        return {}
    is_path = not path.isdigit() and path not in _CHECKPOINT_WORDS  # '7' alone would mean step 7, './7' is a path
    return {"eval.checkpoint": path if is_path else f"./{path}"}


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
    batch_size = values["batch_size"] * num_hosts(values)
    return {
        "optimizer.name": "lars",
        "optimizer.weight_decay": 2 * weight_decay,
        "optimizer.decay_pattern": "kernel$",
        "schedule.name": "polynomial",
        "schedule.base_lr": peak,
        "schedule.base_batch_size": batch_size,
        "schedule.warmup_epochs": warmup_epochs,
        # 90 epochs and one more step, as in the r1.x ResNet of the TensorFlow Models repository.
        "schedule.decay_epochs": _LARS_EPOCHS + batch_size / program.num_images,
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
    if "profilerhook" in hooks(values):
        keys["train.profile_at"] = _PROFILED_STEP
    return keys
