"""Notes on flags of the r1.x ResNet of the TensorFlow Models repository that this program ignores or changes."""

from collections.abc import Mapping
from typing import Any

from resnet_jax.programs.r1_flags.meaning import Values, hooks, is_evaluation, num_hosts
from resnet_jax.programs.r1_flags.table import FLAGS, HOOKS, PROGRAMS, Program


def notes(given: Values, values: Values, changed: Mapping[str, Any], program: Program) -> dict[str, str]:
    """Explains the differences between flags of r1 and their translation.

    r1 is the r1.x ResNet of the TensorFlow Models repository. There is a note for each given flag that this program
    ignores or changes, and for each flag that is not given but whose default in r1 differs from the recipe.

    Args:
      given: long name -> value, for the flags on the command line.
      values: long name -> value, for every flag of r1.
      changed: config keys that differ from the recipe, with their new values.
      program: the program of r1, for ImageNet or CIFAR-10.

    Returns:
      Name of a flag -> its note.
    """
    active = {name for name, value in given.items() if value is not False}  # a switch set to false counts as not given
    found = {flag.name: flag.note for flag in FLAGS if flag.note and flag.name in active}
    found |= {name: note for name, note in _special_notes(values, program).items() if note and name in active}
    for name, key in {"data_dir": "data.data_dir", "batch_size": "data.batch_size"}.items():
        if name not in given and key in changed:
            found[name] = f"not given: r1's default is {values[name]}"
    if "num_gpus" not in given and "model.bn_group_size" in changed:
        found["num_gpus"] = "not given: r1 then uses one GPU, with batch norm statistics over the whole batch"
    return found


def _special_notes(values: Values, program: Program) -> dict[str, str]:
    """Returns flag name -> note, for notes that depend on the values of flags.

    The result has notes on flags that are not given, and empty notes; the caller leaves out both.
    """
    meanings = [f"{name}: {meaning}" for name, meaning in HOOKS.items() if name.lower() in hooks(values)]
    return {
        "hooks": "; ".join(meanings) or "log lines are always written",
        "resnet_version": "r1's version 1 is 'v1.5' here" if values["resnet_version"] == "1" else "",
        "image_bytes_as_serving_input": "" if values["export_dir"] else "ignored without --export_dir, as in r1",
        **_evaluation_notes(values),
        **_device_notes(values),
        **_precision_notes(values),
        **_recipe_notes(values, program),
    }


def _evaluation_notes(values: Values) -> dict[str, str]:
    if not is_evaluation(values):
        return {
            "pretrained_model_checkpoint_path": "the moving averages of batch norms start at 0 and 1, as in r1; remove "
            "model.init_statistics to load them too"
        }
    if values["model_dir"] is not None:
        note = "evaluates the newest checkpoint in --model_dir, of r1 or this program; results: MODEL_DIR/evaluations/"
        return {
            "eval_only": note,
            "train_epochs": note if not values["train_epochs"] else "",
            "pretrained_model_checkpoint_path": "ignored: the checkpoint in --model_dir is evaluated, as in r1",
        }
    note = "without --model_dir, evaluates the newest checkpoint in runs/<name of the config>"
    pretrained = values["pretrained_model_checkpoint_path"] is not None
    return {
        "eval_only": "" if pretrained else note,
        "train_epochs": "" if pretrained or values["train_epochs"] else note,
        "pretrained_model_checkpoint_path": "evaluated with its last layer, which r1 would initialize at random",
    }


def _device_notes(values: Values) -> dict[str, str]:
    found = {}
    if values["num_gpus"] == -1:
        found["num_gpus"] = "r1 would use all GPUs: set --config.model.bn_group_size to batch size / number of GPUs"
    if values["num_gpus"] == 0:
        found["num_gpus"] = "put JAX_PLATFORMS=cpu in front of the command to run on the CPU"
    if num_hosts(values) > 1:
        found["worker_hosts"] = (
            f"config.data.batch_size is the total of {num_hosts(values)} hosts, which must share --workdir"
        )
    elif values["worker_hosts"]:
        found["worker_hosts"] = "ignored: a single host needs no address"
    return found


def _precision_notes(values: Values) -> dict[str, str]:
    found = {}
    if values["dtype"] == "bf16":
        found["dtype"] = "bfloat16 works here; r1 accepts the value, but its model rejects it"
    if values["loss_scale"] == "dynamic":
        found["loss_scale"] = (
            "doubles after 2,000 finite steps, halves after a non-finite one; needs graph_rewrite in r1"
        )
    elif values["fp16_implementation"] == "graph_rewrite" and values["loss_scale"] is None:
        found["fp16_implementation"] = "uses a loss scale of 128, r1's default for fp16; r1's graph_rewrite uses 1"
    return found


def _recipe_notes(values: Values, program: Program) -> dict[str, str]:
    found, cifar = {}, program is PROGRAMS["cifar10"]
    if values["stop_threshold"] is not None and values["use_train_and_evaluate"]:
        found["stop_threshold"] = "stops the run; r1 ignores it with --use_train_and_evaluate"
    if values["enable_lars"]:
        found["enable_lars"] = "r1 applies L2 in the loss and in the optimizer: optimizer.weight_decay is doubled"
    if cifar:
        found["weight_decay"] = "ignored: r1 always uses 2e-4 on CIFAR-10"
        found["label_smoothing"] = "ignored, as r1 does on CIFAR-10"
    elif values["label_smoothing"]:
        found["label_smoothing"] = "applies to the training loss only; r1 also smooths the evaluation loss"
    return found
