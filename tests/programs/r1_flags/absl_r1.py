"""r1's flags, defined with absl as r1 defines them: what its programs accept, and the values that they get.

Follows `official/utils/flags/*.py` and `define_resnet_flags` of tensorflow/models at v2.1.0, and the checks of
`resnet_main` before the first step (`distribution_utils.py`, `hooks_helper.py`, `logger.py`).
"""

from absl import flags

STRINGS = """
data_dir dd /tmp | model_dir md /tmp | export_dir ed | distribution_strategy ds mirrored | all_reduce_alg ara
tf_gpu_thread_mode gt_mode | benchmark_log_dir bld | benchmark_test_id bti | gcp_project gp
bigquery_data_set bds test_benchmark | bigquery_run_table brt benchmark_run
bigquery_run_status_table brst benchmark_run_status | bigquery_metric_table bmt benchmark_metric | worker_hosts -
pretrained_model_checkpoint_path pmcp | loss_scale ls
"""
INTEGERS = """
train_epochs te 1 | epochs_between_evals ebe 1 | batch_size bs 32 | num_gpus ng 1 | inter_op_parallelism_threads inter 0
intra_op_parallelism_threads intra 0 | max_train_steps mts | num_packs - 1 | per_gpu_thread_count pgtc 0
datasets_num_private_threads - | log_steps - 100 | task_index - -1
"""
FLOATS = "stop_threshold st | label_smoothing - 0.0 | weight_decay - 1e-4"
SWITCHES = """
clean - | use_synthetic_data synth | tf_data_experimental_slack - | fine_tune ft | eval_only -
image_bytes_as_serving_input - | use_train_and_evaluate - | enable_lars -
"""
HOOKS = ("loggingtensorhook", "profilerhook", "examplespersecondhook", "loggingmetrichook", "stepcounterhook")
CIFAR = {
    "data_dir": "/tmp/cifar10_data/cifar-10-batches-bin",
    "model_dir": "/tmp/cifar10_model",
    "resnet_size": "56",
    "train_epochs": 182,
    "epochs_between_evals": 10,
    "batch_size": 128,
}


def rows(text):
    """Yields name, short name or None, and default or None."""
    for row in text.strip().replace("\n", "|").split("|"):
        name, *more = row.split()
        short, default = (*more, None, None)[:2]
        yield name, None if short in ("-", None) else short, default


def define(values, *, cifar):
    """Defines the flags of one of the two programs."""
    common = {"flag_values": values, "help": ""}
    for text, make, read in ((STRINGS, flags.DEFINE_string, str), (INTEGERS, flags.DEFINE_integer, int)):
        for name, short, default in rows(text):
            make(name, None if default is None else read(default), short_name=short, **common)
    for name, short, default in rows(FLOATS):
        flags.DEFINE_float(name, default and float(default), short_name=short, **common)
    for name, short, _ in rows(SWITCHES):
        flags.DEFINE_boolean(name, False, short_name=short, **common)
    flags.DEFINE_list("hooks", "LoggingTensorHook", short_name="hk", **common)
    flags.DEFINE_enum("dtype", "fp32", ["fp16", "bf16", "fp32"], short_name="dt", **common)
    flags.DEFINE_enum("data_format", None, ["channels_first", "channels_last"], short_name="df", **common)
    loggers = ["BaseBenchmarkLogger", "BenchmarkFileLogger", "BenchmarkBigQueryLogger"]
    flags.DEFINE_enum("benchmark_logger_type", "BaseBenchmarkLogger", loggers, **common)
    flags.DEFINE_enum("resnet_version", "1", ["1", "2"], short_name="rv", **common)
    if cifar:
        flags.DEFINE_string("resnet_size", "50", short_name="rs", **common)
        for name, default in CIFAR.items():
            values.set_default(name, default)
    else:
        flags.DEFINE_enum("resnet_size", "50", ["18", "34", "50", "101", "152", "200"], short_name="rs", **common)
        flags.DEFINE_enum("fp16_implementation", "keras", ["keras", "graph_rewrite"], **common)
        values.set_default("train_epochs", 90)


def refusal(values, *, cifar):
    """Returns a word on the check of r1 that fails before its first step; None: all pass."""
    strategy, gpus, batch, algorithm = (
        values[name].value for name in ("distribution_strategy", "num_gpus", "batch_size", "all_reduce_alg")
    )
    workers = len((values["worker_hosts"].value or "").split(","))
    allowed = {
        "mirrored": (None, "nccl", "hierarchical_copy"),
        "multi_worker_mirrored": (None, "ring", "nccl"),
        "off": None,
        "one_device": None,
        "parameter_server": None,
    }
    scale = values["loss_scale"].value
    checks = {
        "strategy": strategy.lower() in allowed,
        "all-reduce": (allowed.get(strategy.lower()) or (algorithm,)).count(algorithm) > 0,
        "one GPU": gpus <= 1 or strategy.lower() not in ("off", "one_device"),
        "batch": gpus <= 1 or batch % gpus == 0,
        "task": workers == 1 or values["task_index"].value >= 0,
        "hooks": {name.lower() for name in values["hooks"].value} <= set(HOOKS),
        "loss scale": scale is None or (scale == "dynamic" and not cifar) or is_positive(scale),
        "size": not cifar or int(values["resnet_size"].value) % 6 == 2,
        "log dir": values["benchmark_logger_type"].value != "BenchmarkFileLogger" or values["benchmark_log_dir"].value,
    }
    return next((name for name, passes in checks.items() if not passes), None)


def is_positive(text):
    try:
        return float(text) > 0
    except ValueError:
        return False


def accepted(words, *, cifar):
    """Returns name -> value of every flag that r1 has after reading `words`; None: r1 refuses the command line."""
    values = flags.FlagValues()
    define(values, cifar=cifar)
    flags.DEFINE_integer("verbosity", -1, "", short_name="v", flag_values=values)
    for name in ("alsologtostderr", "logtostderr"):
        flags.DEFINE_boolean(name, False, "", flag_values=values)
    try:
        values(["main.py", *words])
    except (flags.Error, ValueError):
        return None
    return None if refusal(values, cifar=cifar) else values.flag_values_dict()
