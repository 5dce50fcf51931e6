"""The flags of the r1.x ResNet of the TensorFlow Models repository: type, default, and how this program differs.

Source: tensorflow/models, `official/utils/flags/*.py` and `define_resnet_flags` of
`official/r1/resnet/resnet_run_loop.py`.
"""

from typing import Any, Literal, NamedTuple


class Flag(NamedTuple):
    """A flag of the r1.x ResNet of the TensorFlow Models repository."""

    name: str
    short: str | None
    kind: Literal["text", "integer", "number", "switch", "list"]
    default: Any
    note: str = ""  # what this program does differently; printed if the flag is given; '': nothing
    choices: tuple[str, ...] = ()  # the values that a text flag allows; (): any
    at_least: int | None = None  # the least value that an integer flag allows; None: any


class Program(NamedTuple):
    """One of the two programs of the r1.x ResNet of the TensorFlow Models repository: for ImageNet or for CIFAR-10."""

    name: str  # file name of r1's program without '.py': 'imagenet_main' or 'cifar10_main'
    recipe: str  # name of the config in configs/ that trains the same network in the same way
    num_images: int  # training images per epoch of the learning rate schedule, whatever the size of the data
    defaults: dict[str, Any]  # flag name -> default in the program `name`, where it differs from `FLAGS`


PROGRAMS = {
    "imagenet": Program("imagenet_main", "resnet50_r1", 1_281_167, {"train_epochs": 90}),
    "cifar10": Program(
        "cifar10_main",
        "cifar10_r1",
        50_000,
        {
            "data_dir": "/tmp/cifar10_data/cifar-10-batches-bin",
            "resnet_size": "56",
            "train_epochs": 182,
            "epochs_between_evals": 10,
            "batch_size": 128,
        },
    ),
}
IMAGENET_SIZES = ("18", "34", "50", "101", "152", "200")

# Name of a hook in --hooks of the r1.x ResNet of the TensorFlow Models repository, in upper or lower case -> what
# this program does instead.
HOOKS = {
    "LoggingTensorHook": "a log line every log.every_steps (100) with loss, top-1 and learning rate",
    "ProfilerHook": "one trace for TensorBoard, at train.profile_at; r1 takes one every 1,000 steps",
    "ExamplesPerSecondHook": "every log line has images per second",
    "LoggingMetricHook": "metrics.jsonl in the work directory gets a line every log.every_steps, not every 600 seconds",
    "StepCounterHook": "every log line has images per second",
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

_XLA = "ignored: XLA makes this choice itself"
_FILES = "ignored: metrics.jsonl, run.json and result.json are always written to the work directory"
_UPLOAD = "ignored: nothing is uploaded; BigQuery can load metrics.jsonl (NEWLINE_DELIMITED_JSON)"
_TPU = "ignored: r1's ResNet programs do not define it; JAX uses the TPUs that it finds"
_EXPORT = "the second command exports after training, to EXPORT_DIR/export/saved_model (docs/serving.md)"

FLAGS = (
    # Flags that TensorFlow's `official/utils/flags` defines in `define_base`.
    Flag("data_dir", "dd", "text", "/tmp"),
    Flag("model_dir", "md", "text", None),  # default in r1: /tmp; in this program: a work directory for each recipe
    Flag("clean", None, "switch", False, "ignored: remove the work directory yourself, or choose another --workdir"),
    Flag("train_epochs", "te", "integer", 1, at_least=0),
    Flag("epochs_between_evals", "ebe", "integer", 1, at_least=1),
    Flag("stop_threshold", "st", "number", None),
    Flag("batch_size", "bs", "integer", 32, at_least=1),
    Flag(
        "num_gpus",
        "ng",
        "integer",
        1,
        "sets only the batch norm group size, batch / GPUs; all devices in CUDA_VISIBLE_DEVICES are used",
        at_least=-1,
    ),
    Flag("hooks", "hk", "list", ["LoggingTensorHook"]),
    Flag("export_dir", "ed", "text", None, _EXPORT),
    Flag("distribution_strategy", "ds", "text", "mirrored", "ignored: all devices run one synchronous program"),
    Flag(
        "run_eagerly",
        None,
        "switch",
        False,
        "ignored: r1's ResNet programs do not define it; steps are always compiled",
    ),
    # Flags that TensorFlow's `official/utils/flags` defines in `define_performance`.
    Flag("inter_op_parallelism_threads", "inter", "integer", 0, _XLA),
    Flag("intra_op_parallelism_threads", "intra", "integer", 0, _XLA),
    Flag(
        "use_synthetic_data",
        "synth",
        "switch",
        False,
        "the random images differ from r1's: the host makes one for each index, and all labels occur",
    ),
    Flag(
        "max_train_steps",
        "mts",
        "integer",
        None,
        "limits training only; r1 also stops each evaluation after this many batches",
        at_least=1,
    ),
    Flag("dtype", "dt", "text", "fp32", choices=("fp16", "bf16", "fp32")),
    Flag("loss_scale", "ls", "text", None),
    Flag(
        "fp16_implementation",
        None,
        "text",
        "keras",
        "ignored: activations are float16; parameters, statistics and the loss are float32",
        choices=("keras", "graph_rewrite"),
    ),
    Flag("all_reduce_alg", "ara", "text", None, _XLA),
    Flag("num_packs", None, "integer", 1, _XLA),
    Flag("tf_gpu_thread_mode", "gt_mode", "text", None, _XLA),
    Flag("per_gpu_thread_count", "pgtc", "integer", 0, _XLA + ", and r1 ignores it"),
    Flag(
        "datasets_num_private_threads",
        None,
        "integer",
        None,
        "sets the number of threads that decode images",
        at_least=1,
    ),
    Flag("tf_data_experimental_slack", None, "switch", False, "ignored, as in r1"),
    # Flags that TensorFlow's `official/utils/flags` defines in `define_image`.
    Flag(
        "data_format",
        "df",
        "text",
        None,
        "ignored: XLA chooses the memory layout",
        choices=("channels_first", "channels_last"),
    ),
    # Flags that TensorFlow's `official/utils/flags` defines in `define_benchmark`.
    Flag(
        "benchmark_logger_type",
        None,
        "text",
        "BaseBenchmarkLogger",
        _FILES,
        choices=("BaseBenchmarkLogger", "BenchmarkFileLogger", "BenchmarkBigQueryLogger"),
    ),
    Flag("benchmark_log_dir", "bld", "text", None, _FILES),
    Flag("benchmark_test_id", "bti", "text", None, "ignored: a run is identified by its --workdir"),
    Flag(
        "log_steps",
        None,
        "integer",
        100,
        "steps between log lines; r1's ResNet programs ignore it and log every 100 steps",
        at_least=1,
    ),
    Flag("gcp_project", "gp", "text", None, _UPLOAD),
    Flag("bigquery_data_set", "bds", "text", "test_benchmark", _UPLOAD),
    Flag("bigquery_run_table", "brt", "text", "benchmark_run", _UPLOAD),
    Flag("bigquery_run_status_table", "brst", "text", "benchmark_run_status", _UPLOAD),
    Flag("bigquery_metric_table", "bmt", "text", "benchmark_metric", _UPLOAD),
    # Flags that TensorFlow's `official/utils/flags` defines in `define_distribution`.
    Flag("worker_hosts", None, "text", None),
    Flag("task_index", None, "integer", -1, at_least=-1),
    # Flags that TensorFlow's `official/utils/flags` defines in `define_device`.
    Flag("tpu", None, "text", None, _TPU),
    Flag("tpu_zone", None, "text", None, _TPU),
    Flag("tpu_gcp_project", None, "text", None, _TPU),
    Flag("num_tpu_shards", None, "integer", 8, _TPU),
    # Flags that the r1.x ResNet of the TensorFlow Models repository defines in `define_resnet_flags`.
    Flag("resnet_size", "rs", "text", "50"),
    Flag("resnet_version", "rv", "text", "1", choices=("1", "2")),
    Flag("fine_tune", "ft", "switch", False),
    Flag("pretrained_model_checkpoint_path", "pmcp", "text", None),
    Flag("eval_only", None, "switch", False),
    Flag("image_bytes_as_serving_input", None, "switch", False),
    Flag(
        "use_train_and_evaluate",
        None,
        "switch",
        False,
        "ignored: every evaluation covers all images; r1 with this flag evaluates 100 batches",
    ),
    Flag("enable_lars", None, "switch", False),
    Flag("label_smoothing", None, "number", 0.0),
    Flag("weight_decay", None, "number", 1e-4),
)
