"""Every flag of TensorFlow's official r1 ResNet: what it takes, its default, and a note where it means little here.

Source: tensorflow/models, `official/utils/flags/*.py` and `define_resnet_flags` of
`official/r1/resnet/resnet_run_loop.py`.
"""

from typing import Any, Literal, NamedTuple


class Flag(NamedTuple):
    """One flag."""

    name: str
    short: str | None
    kind: Literal["text", "integer", "number", "switch", "list"]
    default: Any
    note: str = ""  # for those who give it, if it has no meaning here or another one
    choices: tuple[str, ...] = ()  # of a text
    at_least: int | None = None  # of an integer


class Program(NamedTuple):
    """One of r1's two programs."""

    name: str  # of the file, without '.py'
    recipe: str  # name of the config that does the same here
    num_images: int  # in an epoch
    defaults: dict[str, Any]  # where they differ from those of the flags


PROGRAMS = {
    "imagenet": Program("imagenet_main", "resnet50_r1", 1_281_167, {"train_epochs": 90}),
    "cifar10": Program(
        "cifar10_main",
        "cifar10_r1",
        50_000,
        {
            "data_dir": "/tmp/cifar10_data/cifar-10-batches-bin",
            "model_dir": "/tmp/cifar10_model",
            "resnet_size": "56",
            "train_epochs": 182,
            "epochs_between_evals": 10,
            "batch_size": 128,
        },
    ),
}
IMAGENET_SIZES = ("18", "34", "50", "101", "152", "200")

# Names are taken in any case.
HOOKS = {
    "LoggingTensorHook": "a line every log.every_steps (100), with loss, top-1 and rate",
    "ProfilerHook": "one trace for TensorBoard, at train.profile_at; r1 takes one every 1,000 steps",
    "ExamplesPerSecondHook": "images per second are in every line",
    "LoggingMetricHook": "metrics.jsonl in the work directory, a line every log.every_steps, not every 600 seconds",
    "StepCounterHook": "images per second are in every line",
}
STRATEGIES = (
    "off",
    "default",
    "one_device",
    "mirrored",
    "collective",
    "multi_worker_mirrored",
    "parameter_server",
)

_XLA = "no meaning here: XLA decides"
_FILES = "no meaning here: metrics.jsonl, run.json and result.json in the work directory are always written"
_UPLOAD = "nothing is uploaded; BigQuery loads metrics.jsonl as it is (NEWLINE_DELIMITED_JSON)"
_TPU = "no flag of r1's ResNet programs; TPUs are used where JAX finds them"
_LATER = "a command of its own: --mode=export, after training (docs/serving.md)"

FLAGS = (
    # define_base
    Flag("data_dir", "dd", "text", "/tmp"),
    Flag("model_dir", "md", "text", "/tmp"),
    Flag("clean", None, "switch", False, "nothing is removed for you: remove the work directory, or name another"),
    Flag("train_epochs", "te", "integer", 1, at_least=0),
    Flag("epochs_between_evals", "ebe", "integer", 1, at_least=1),
    Flag("stop_threshold", "st", "number", None),
    Flag("batch_size", "bs", "integer", 32, at_least=1),
    Flag(
        "num_gpus",
        "ng",
        "integer",
        1,
        "every device is used (CUDA_VISIBLE_DEVICES=0,1 chooses); it says how many images share batch norm statistics",
        at_least=-1,
    ),
    Flag("hooks", "hk", "list", ["LoggingTensorHook"]),
    Flag("export_dir", "ed", "text", None, _LATER),
    Flag("distribution_strategy", "ds", "text", "mirrored", "no meaning here: one program runs on all devices"),
    Flag("run_eagerly", None, "switch", False, "no flag of r1's ResNet programs; steps are always compiled"),
    # define_performance
    Flag("inter_op_parallelism_threads", "inter", "integer", 0, _XLA),
    Flag("intra_op_parallelism_threads", "intra", "integer", 0, _XLA),
    Flag(
        "use_synthetic_data",
        "synth",
        "switch",
        False,
        "other random images, and all the labels; they are made on the host and are as many as real ones",
    ),
    Flag(
        "max_train_steps",
        "mts",
        "integer",
        None,
        "training stops there; evaluations are whole, while r1 ends each after so many batches, too",
        at_least=1,
    ),
    Flag("dtype", "dt", "text", "fp32", choices=("fp16", "bf16", "fp32")),
    Flag("loss_scale", "ls", "text", None),
    Flag(
        "fp16_implementation",
        None,
        "text",
        "keras",
        "no meaning here: activations are float16; parameters, statistics and the loss are float32",
        choices=("keras", "graph_rewrite"),
    ),
    Flag("all_reduce_alg", "ara", "text", None, _XLA),
    Flag("num_packs", None, "integer", 1, _XLA),
    Flag("tf_gpu_thread_mode", "gt_mode", "text", None, _XLA),
    Flag("per_gpu_thread_count", "pgtc", "integer", 0, _XLA + "; r1 ignores it, too"),
    Flag("datasets_num_private_threads", None, "integer", None, "threads that decode", at_least=1),
    Flag("tf_data_experimental_slack", None, "switch", False, "no meaning here, nor in r1, which does not pass it on"),
    # define_image
    Flag("data_format", "df", "text", None, _XLA + " on the layout", choices=("channels_first", "channels_last")),
    # define_benchmark
    Flag(
        "benchmark_logger_type",
        None,
        "text",
        "BaseBenchmarkLogger",
        _FILES,
        choices=("BaseBenchmarkLogger", "BenchmarkFileLogger"),
    ),
    Flag("benchmark_log_dir", "bld", "text", None, _FILES),
    Flag("benchmark_test_id", "bti", "text", None, "no meaning here: name the run by its --workdir"),
    Flag("log_steps", None, "integer", 100, "how often a line is logged; r1's ResNet logs every 100 steps", at_least=1),
    Flag("gcp_project", "gp", "text", None, _UPLOAD),
    Flag("bigquery_data_set", "bds", "text", "test_benchmark", _UPLOAD),
    Flag("bigquery_run_table", "brt", "text", "benchmark_run", _UPLOAD),
    Flag("bigquery_run_status_table", "brst", "text", "benchmark_run_status", _UPLOAD),
    Flag("bigquery_metric_table", "bmt", "text", "benchmark_metric", _UPLOAD),
    # define_distribution
    Flag("worker_hosts", None, "text", None),
    Flag("task_index", None, "integer", -1, at_least=-1),
    # define_device
    Flag("tpu", None, "text", None, _TPU),
    Flag("tpu_zone", None, "text", None, _TPU),
    Flag("tpu_gcp_project", None, "text", None, _TPU),
    Flag("num_tpu_shards", None, "integer", 8, _TPU),
    # define_resnet_flags
    Flag("resnet_size", "rs", "text", "50"),
    Flag("resnet_version", "rv", "text", "1", choices=("1", "2")),
    Flag("fine_tune", "ft", "switch", False),
    Flag(
        "pretrained_model_checkpoint_path",
        "pmcp",
        "text",
        None,
        "has to be a run of this program, or one of its checkpoints: those of r1 cannot be imported yet",
    ),
    Flag(
        "eval_only",
        None,
        "switch",
        False,
        "needs a --workdir of this program: r1's checkpoints cannot be imported yet",
    ),
    Flag("image_bytes_as_serving_input", None, "switch", False, _LATER),
    Flag(
        "use_train_and_evaluate",
        None,
        "switch",
        False,
        "no meaning here: there is one loop, and it evaluates all images, where r1 then takes 100 batches",
    ),
    Flag("enable_lars", None, "switch", False),
    Flag("label_smoothing", None, "number", 0.0),
    Flag("weight_decay", None, "number", 1e-4),
)
