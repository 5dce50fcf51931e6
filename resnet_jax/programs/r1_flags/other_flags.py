"""Flags of the r1.x ResNet of the TensorFlow Models repository that its last version does not define itself.

These are the flags of absl, and those of the versions of 2018 and 2019, in `official/resnet` of tensorflow/models.
"""

from typing import Any, NamedTuple

from resnet_jax.programs.r1_flags.table import Flag

_LOG = "ignored: messages go to stderr and to train.log in the work directory"
_DEBUG = "ignored: a flag of absl for debugging"
_TEST = "ignored: a flag of absl's tests"

# Flags of absl that this program has too, and that are passed on to it.
ABSL_PASSED_ON = (Flag("verbosity", "v", "integer", -1),)
ABSL_IGNORED = (
    Flag("logtostderr", None, "switch", False, _LOG),
    Flag("alsologtostderr", None, "switch", False, _LOG),
    Flag("log_dir", None, "text", "", _LOG),
    Flag("logger_levels", None, "text", "", _LOG),
    Flag("stderrthreshold", None, "text", "fatal", _LOG),
    Flag("showprefixforinfo", None, "switch", True, _LOG),
    Flag("run_with_pdb", None, "switch", False, _DEBUG),
    Flag("pdb_post_mortem", None, "switch", False, _DEBUG),
    Flag("pdb", None, "switch", False, _DEBUG),
    Flag("only_check_args", None, "switch", False, _DEBUG),
    Flag("run_with_profiling", None, "switch", False, _DEBUG),
    Flag("profile_file", None, "text", None, _DEBUG),
    Flag("use_cprofile_for_profiling", None, "switch", True, _DEBUG),
    Flag("test_srcdir", None, "text", "", _TEST),
    Flag("test_tmpdir", None, "text", "", _TEST),
    Flag("test_random_seed", None, "integer", 301, _TEST),
    Flag("test_randomize_ordering_seed", None, "text", None, _TEST),
    Flag("xml_output_file", None, "text", "", _TEST),
)


class Earlier(NamedTuple):
    """A flag of an earlier version of the r1.x ResNet of the TensorFlow Models repository."""

    flag: Flag
    now: str | None = None  # long name of the flag that replaced it in the last version; None: no flag did
    value: Any = None  # value of `now` that has the effect of `flag`; None: `flag`'s own value


EARLIER = (
    Earlier(
        Flag("version", None, "text", "2", "the former name of --resnet_version", choices=("1", "2")), "resnet_version"
    ),
    Earlier(
        Flag("epochs_per_eval", None, "integer", 1, "the former name of --epochs_between_evals", at_least=1),
        "epochs_between_evals",
    ),
    Earlier(
        Flag("multi_gpu", None, "switch", False, "the former way to use all GPUs, now --num_gpus=-1"), "num_gpus", -1
    ),
    Earlier(
        Flag(
            "turn_off_distribution_strategy",
            None,
            "switch",
            False,
            "the former name of --distribution_strategy=off",
        ),
        "distribution_strategy",
        "off",
    ),
    Earlier(
        Flag(
            "num_parallel_calls",
            "npc",
            "integer",
            None,
            "images decoded at once: sets the number of threads that decode images",
            at_least=1,
        ),
        "datasets_num_private_threads",
    ),
    Earlier(
        Flag("datasets_num_parallel_batches", None, "integer", None, "ignored: two batches are made ahead of the step")
    ),
    Earlier(Flag("enable_xla", None, "switch", False, "ignored: all steps are compiled by XLA")),
    Earlier(Flag("tf_random_seed", None, "text", None, "ignored: set --config.seed, which makes the run repeatable")),
)

_KERAS = (
    "it belongs to the Keras programs next to r1 (keras_imagenet_main.py), whose recipe is a different one: omit it"
)
_HOROVOD = "it belongs to a fork of r1: omit it; all devices of all hosts compute one synchronous step here"

# Flags that are often confused with those of the r1.x ResNet of the TensorFlow Models repository:
# name -> program that has the flag, and what to do instead.
EXPLAINED = {
    **dict.fromkeys(
        (
            *("train_steps", "skip_eval", "enable_eager", "use_keras", "use_trivial_model", "use_tensor_lr"),
            *("enable_tensorboard", "report_accuracy_metrics", "set_learning_phase_to_train", "explicit_gpu_placement"),
            *("force_v2_in_keras_compile", "data_delay_prefetch", "batchnorm_spatial_persistent", "enable_get_next_as"),
            *("single_l2_loss_op", "use_tf_function", "steps_per_loop", "use_tf_while_loop", "use_tf_keras_layers"),
            *("enable_checkpoint_and_export", "training_dataset_cache", "tf_gpu_growth", "enable_get_next_as_optional"),
        ),
        _KERAS,
    ),
    **dict.fromkeys(("use_horovod", "enable_ml_comm", "horovod"), _HOROVOD),
    "ps_hosts": "it belongs to asynchronous training, which has no equivalent: omit it",
    "job_name": "it belongs to asynchronous training, which has no equivalent: omit it",
    "data-dir": "it belongs to the CIFAR-10 tutorial of 2017: write --data_dir",
    "job-dir": "it belongs to the CIFAR-10 tutorial of 2017: write --model_dir",
    "num-gpus": "it belongs to the CIFAR-10 tutorial of 2017: write --num_gpus",
    "train-steps": "it belongs to the CIFAR-10 tutorial of 2017: write --max_train_steps",
    "learning_rate": "r1 has no such flag; its rate is --config.schedule.base_lr of the translated command",
    "base_lr": "r1 has no such flag; its rate is --config.schedule.base_lr of the translated command",
    "init_lr": "r1 has no such flag; its rate is --config.schedule.base_lr of the translated command",
    "warmup_epochs": "r1 always warms up for 5 epochs on ImageNet; --config.schedule.warmup_epochs of the translated "
    "command changes that",
    "momentum": "r1 always uses 0.9; --config.optimizer.momentum of the translated command changes that",
    "train_epoch": "write --train_epochs",
}
