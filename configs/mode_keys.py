"""The config keys of the modes that do not train; `default.py` declares all others, and explains how."""

from resnet_jax.config_keys import AT_LEAST_0, AT_LEAST_1, BATCH, REPETITIONS, REPETITIONS_OR_NONE, Effect, Key

FREE = Effect.FREE

# Each key takes one or two lines.
# fmt: off
MODE_KEYS = (
    # --mode=predict and --mode=export (docs/serving.md).
    Key("predict.top_k", 5, "classes listed per image", REPETITIONS, FREE),
    Key("predict.format", "table", "'table' or 'json' (one line per image)", effect=FREE),
    Key("predict.batch_size", 32, "images computed at once", BATCH, FREE),
    Key("export.dir", None, "output directory, which must not exist; None: WORKDIR/exports/STEP",
        optional=str, effect=FREE, is_path=True),
    Key("export.formats", ("jax", "safetensors"), "some of 'jax', 'safetensors', 'onnx', 'onnx_int8', 'hub' (a "
        "folder for timm and the Hugging Face Hub), 'saved_model' (needs TensorFlow)", effect=FREE),
    Key("export.signatures", "own", "of the SavedModel: 'own', or of r1: 'r1_tensor', 'r1_image_bytes'", effect=FREE),
    Key("export.batch_size", None, "images in a call of 'r1_tensor'; None: any number", BATCH, FREE, optional=int),
    Key("export.license", None, "of 'hub': license of the weights, for example apache-2.0", optional=str, effect=FREE),
    Key("export.push_to", None, "of 'hub': repository of the Hugging Face Hub to upload to, org/name",
        optional=str, effect=FREE),
    Key("export.dtype", "float32", "dtype of activations: 'float32', 'bfloat16' or 'float16'", effect=FREE),

    # --mode=show (docs/data.md).
    Key("show.png", None, "file of the picture; None: WORKDIR/inputs.png", optional=str, effect=FREE, is_path=True),

    # --mode=replay (docs/evidence.md).
    Key("replay.step", None, "step to compute again, counted from 1 as in metrics.jsonl; None: the step whose loss was "
        "not finite", AT_LEAST_1, FREE, optional=int),
    Key("replay.images", 32, "most images in the picture of the batch", REPETITIONS, FREE),

    # --mode=average (docs/evidence.md).
    Key("average.checkpoints", (), "checkpoints to average: steps, 'latest', 'best' or paths, such as (60, 80); (): "
        "all of the run", effect=FREE),
    Key("average.last", None, "only the newest checkpoints, this number of them", AT_LEAST_1, FREE, optional=int),
    Key("average.images", 10_000, "training images from which batch norm statistics are computed anew; 0: the "
        "statistics are averaged too", AT_LEAST_0, FREE),

    # --mode=check_data (docs/data.md).
    Key("check_data.json", None, "output file of all findings in JSON; None: WORKDIR/data_check.json",
        optional=str, effect=FREE, is_path=True),

    # --mode=plan (docs/scaling.md).
    Key("plan.topology", None, "TPUs or GPUs to compile for, for example 'v5e:4x4' or 'h100:8'; None: the devices of "
        "this machine", optional=str, effect=FREE),
    Key("plan.json", None, "output file of the plan in JSON", optional=str, effect=FREE, is_path=True),

    # --mode=benchmark (docs/performance.md).
    Key("benchmark.parts", ("first_step", "step", "loader", "together"), "measurements to make", effect=FREE),
    Key("benchmark.windows", 5, "timed windows per measurement; results are their median, smallest and largest",
        REPETITIONS, FREE),
    Key("benchmark.window_steps", 20, "steps, or batches, per window", REPETITIONS, FREE),
    Key("benchmark.warmup_steps", 5, "steps before the first window", REPETITIONS_OR_NONE, FREE),
    Key("benchmark.json", None, "output file of the record in JSON", optional=str, effect=FREE, is_path=True),

    # --mode=sweep (docs/sweep.md).
    Key("sweep.grid", (), "values of config keys; each combination is trained: ('optimizer.momentum=0.9,0.8',)",
        effect=FREE),
    Key("sweep.seeds", (0, 1, 2), "seeds with which each combination is trained", effect=FREE),
    Key("sweep.file", None, "TOML file with the grid, and the seeds if it has any", optional=str, effect=FREE,
        is_path=True),
    Key("sweep.launch", None, "print commands that begin so, for example 'sbatch launch/slurm.sbatch', instead of "
        "training here; '': python main.py", optional=str, effect=FREE),
    Key("sweep.print_log", False, "print all lines of every run; False: one line for each run, whose train.log has all",
        effect=FREE),
    Key("sweep.stop_behind", None, "stop a run whose top-1 is this many points below the worst finished run at the "
        "same step; None: never", AT_LEAST_0, FREE, optional=float),

    # --mode=prepare: ImageNet from its archives, or a copy of other data (docs/data.md).
    Key("prepare.archives", None, "directory of ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar",
        optional=str, effect=FREE, is_path=True),
    Key("prepare.allow_partial", False, "accept archives with only part of ILSVRC2012", effect=FREE),
    Key("prepare.resize_short_side", None, "shorter side in pixels to which larger images are shrunk and re-encoded; "
        "None: store all as they are", optional=int, effect=FREE),
    Key("prepare.quality", 90, "JPEG quality of re-encoded images, 1 to 100", effect=FREE),
    Key("prepare.restart_markers", False, "give JPEG files restart markers: crops decode alone (needs jpegtran)",
        effect=FREE),
    Key("prepare.verify_all", False, "compare the pixels of all files that get markers; False: of one in 32",
        effect=FREE),
    Key("prepare.output", None, "directory for a copy of the data of config.data; None: ImageNet from its archives",
        optional=str, effect=FREE, is_path=True),
    Key("prepare.shuffle", True, "store images of archives in random order; False: in archive order", effect=FREE),
    Key("prepare.num_threads", None, "threads that read and re-encode; None: two per core, at least 8",
        optional=int, effect=FREE),
)
# fmt: on
