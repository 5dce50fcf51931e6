"""All config keys with their defaults; every recipe is a short list of changes to them.

Each key has a name, a default, a comment, perhaps a bound (its valid numbers) and an effect; `optional=TYPE` means that
it may be None. The effect says what may change the key in a work directory with checkpoints. `WEIGHTS`: nothing.
`Effect.TRAINING`, the default: only --mode=eval. `FREE`: --mode=eval and a continued run.
`mode_keys.py` has the keys of the modes that do not train. `python main.py --help_keys [PATTERN]` prints all.
"""

from ml_collections import ConfigDict

from resnet_jax.config_keys import (
    ABOVE_0,
    ALL_AT_LEAST_0,
    AREA,
    ASPECT,
    AT_LEAST_0,
    AT_LEAST_1,
    BATCH,
    BELOW_1,
    BETWEEN_0_AND_1,
    CHANNELS,
    CLASSES,
    DEPTH,
    FRACTION,
    INCREASING,
    LOSS_SCALE,
    PADDING,
    PROCESSES,
    REPETITIONS,
    RGB,
    RGB_ABOVE_0,
    SHARE,
    SIDE,
    SIZES,
    THREADS,
    UINT32,
    UP_TO_10,
    Effect,
    Key,
    build_config,
)
from resnet_jax.configs.mode_keys import MODE_KEYS

WEIGHTS, FREE = Effect.WEIGHTS, Effect.FREE

# Each key takes one or two lines.
# fmt: off
KEYS = (
    Key("seed", 0, "seed of the initial weights, the example order, the crops and all randomness on device", UINT32),

    # The data set, and its images from file to batch, on the host (docs/data.md).
    Key("data.source", "tfds", "'tfds', 'tfrecord' (r1's shards), 'folder', 'parquet' (Hugging Face), 'webdataset', "
        "'cifar_binary', or, without any files, 'synthetic' or 'synthetic_jpeg'"),
    Key("data.name", "imagenet2012", "TFDS image classification data set, for example 'cifar10', 'imagenette/320px-v2' "
        "or the bundled 'digits'"),
    Key("data.data_dir", None, "directory of the data; None: TFDS_DATA_DIR if set, else the default of TFDS",
        optional=str, effect=FREE, is_path=True),
    Key("data.train_split", "train", "training split or folder, or a slice of it such as 'train[:90%]'"),
    Key("data.eval_split", None, "evaluation split, folder or slice; None: 'validation' ('val' for folders) if it "
        "exists, else 'test', else eval_fraction of a folder", optional=str),
    Key("data.eval_fraction", 0.1, "fraction of each class that is held out for evaluation if a folder has no other "
        "images to evaluate", BETWEEN_0_AND_1),
    Key("data.batch_size", 1024, "images per step, over all devices and hosts; None: computed from the number of "
        "training images", BATCH, optional=int),
    Key("data.image_size", 224, "height and width of training images, in pixels", SIDE),
    Key("data.progressive.sizes", (), "image sizes before image_size, in pixels, for example (128, 160)", SIZES),
    Key("data.progressive.until_epochs", (), "epoch at which each of progressive.sizes ends, for example (6.0, 12.0)",
        INCREASING),
    Key("data.repeats", 1, "crops of each image, nearly always in one batch (repeated augmentation)", REPETITIONS),
    Key("data.train_crop.name", "random_resized", "'random_resized', 'box_guided' (around labelled objects, as in r1) "
        "or 'pad' (pad, then cut, as for CIFAR)"),
    Key("data.train_crop.area", (0.08, 1.0), "range of crop area / image area (random_resized, box_guided)", AREA),
    Key("data.train_crop.aspect", (3 / 4, 4 / 3), "range of crop width / height (random_resized, box_guided)", ASPECT),
    Key("data.train_crop.min_object_covered", 0.1, "smallest covered fraction of an object's box (box_guided)",
        FRACTION),
    Key("data.train_crop.padding", 4, "black pixels added to each side (pad)", PADDING),
    Key("data.augment.name", "none", "policy applied to each training crop: 'none', 'trivial_augment' (wide) or "
        "'rand_augment'"),
    Key("data.augment.num_ops", 2, "operations per image (rand_augment)", REPETITIONS),
    Key("data.augment.magnitude", 9.0, "mean strength of an operation, 10 is the strongest (rand_augment)", UP_TO_10),
    Key("data.augment.magnitude_std", 0.0, "standard deviation of the strength (rand_augment)", AT_LEAST_0),
    Key("data.augment.probability", 1.0, "probability that an operation is applied (rand_augment)", FRACTION),
    Key("data.augment.bilinear", False, "bilinear instead of nearest-pixel interpolation (trivial_augment)"),
    Key("data.eval_crop.name", "central", "'central' (cut the central square, then resize it) or 'resize' (resize the "
        "shorter side to image_size / fraction, then cut the central square)"),
    Key("data.eval_crop.fraction", 0.875, "side of the evaluation crop / shorter side of the image; 1: the largest "
        "square", SHARE),
    Key("data.resize", "area", "kernel: 'area', 'bilinear', 'bicubic', 'bilinear_antialias', 'bicubic_antialias' or "
        "'bilinear_tf1'"),
    Key("data.flip_before_resize", False, "let input.flip mirror images before the resize, on the host, as in r1"),
    Key("data.fast_dct", False, "decode JPEG files with the fast DCT, TensorFlow's default; off by about a gray level"),
    Key("data.enlarge_to", None, "shorter side in pixels to which smaller images are enlarged before the crop",
        SIDE, optional=int),
    Key("data.num_threads", None, "decoding threads (of each worker); None: one per core, at most 16",
        THREADS, FREE, optional=int),
    Key("data.num_workers", 0, "decoding processes; 0: threads of the main process decode", PROCESSES, FREE),
    Key("data.max_image_pixels", 178_956_970, "pixels (height x width) above which an image counts as unreadable; the "
        "default is Pillow's limit", AT_LEAST_1, FREE),
    Key("data.max_bad_examples", 50, "unreadable images after which the run stops", AT_LEAST_0, FREE),
    Key("data.label_offset", 1, "label of class 0 in the records (tfrecord); r1's shards: 1, or 0 for the 1,001 "
        "classes of r1", AT_LEAST_0),
    Key("data.synthetic.num_train", 1_281_167, "training images (synthetic, synthetic_jpeg)", AT_LEAST_1),
    Key("data.synthetic.num_eval", 250, "evaluation images (synthetic, synthetic_jpeg)", AT_LEAST_1),
    Key("data.synthetic.num_classes", 1000, "classes (synthetic, synthetic_jpeg)", CLASSES),
    Key("data.synthetic.image_height", 375, "height of the stored images, in pixels (synthetic_jpeg)", SIDE),
    Key("data.synthetic.image_width", 500, "width of the stored images, in pixels (synthetic_jpeg)", SIDE),

    # From the pixels of a batch to the input of the network, on device.
    Key("input.mean", (123.675, 116.28, 103.53), "mean of R, G, B in 0..255, subtracted from pixels", RGB, WEIGHTS),
    Key("input.std", (58.395, 57.12, 57.375), "standard deviation of R, G, B in 0..255; pixels are divided by it",
        RGB_ABOVE_0, WEIGHTS),
    Key("input.per_image", False, "normalise each image by its own mean and deviation, as r1 does for CIFAR",
        effect=WEIGHTS),
    Key("input.flip", True, "mirror training images at random"),
    Key("input.erasing.probability", 0.0, "probability that a random rectangle of an image is erased (Zhong et al. "
        "2017)", FRACTION),
    Key("input.erasing.area", (0.02, 0.33), "range of rectangle area / image area", AREA),
    Key("input.erasing.aspect", (0.3, 3.3), "range of rectangle height / width", ASPECT),
    Key("input.erasing.noise", False, "fill rectangles with normal noise instead of the mean"),

    # Mixing pairs of training images and their labels, on device.
    Key("mixing.mixup_alpha", 0.0, "parameter of mixup's Beta distribution (Zhang et al. 2018); 0: none", AT_LEAST_0),
    Key("mixing.cutmix_alpha", 0.0, "parameter of cutmix's Beta distribution (Yun et al. 2019); 0: none", AT_LEAST_0),
    Key("mixing.cutmix_share", 0.5, "fraction of mixed images that get cutmix if both are on", FRACTION),
    Key("mixing.probability", 1.0, "probability that an image is mixed", FRACTION),

    # The network.
    Key("model.name", "resnet", "'resnet' (depth 18, 34, 50, 101, 152, 200) or 'resnet_cifar' (depth 6n+2)",
        effect=WEIGHTS),
    Key("model.version", "v1.5", "'v1.5', 'v1' (stride on the first 1x1 convolution) or 'v2' (norm before convolution)",
        effect=WEIGHTS),
    Key("model.depth", 50, "number of layers with weights", DEPTH, WEIGHTS),
    Key("model.features", 64, "channels of the first stage: 64, or 16 for 'resnet_cifar'", CHANNELS, WEIGHTS),
    Key("model.num_classes", None, "outputs; None: the number of classes of the data", CLASSES, WEIGHTS, optional=int),
    Key("model.dtype", "bfloat16", "dtype of activations: 'bfloat16', 'float16' or 'float32'; parameters and "
        "statistics are float32", effect=WEIGHTS),
    Key("model.padding", "torch", "padding of the max-pool: 'torch' (symmetric) or 'tf' (as in r1)", effect=WEIGHTS),
    Key("model.stem", "conv7", "'conv7', 'space_to_depth' (the same function) or 'deep' (ResNet-D); unused by "
        "'resnet_cifar'", effect=WEIGHTS),
    Key("model.shortcut", "projection", "'projection', 'stage_projection' (as in r1), 'average_pool' (ResNet-D) or "
        "'zero_pad'", effect=WEIGHTS),
    Key("model.blur_pool", False, "low-pass filters before strided convolutions of blocks (Zhang 2019, as in FFCV)",
        effect=WEIGHTS),
    Key("model.squeeze_excitation", 0.0, "width of the squeeze / width of the block, for example 0.25; 0: none",
        FRACTION, WEIGHTS),
    Key("model.stochastic_depth", 0.0, "drop probability of the last residual branch; grows linearly from 0 at the "
        "first", BELOW_1),
    Key("model.bn_group_size", None, "images that share batch norm statistics; None: the global batch",
        AT_LEAST_1, optional=int),
    Key("model.bn_momentum", 0.9, "weight of the old running statistics in an update", BELOW_1, WEIGHTS),
    Key("model.bn_epsilon", 1e-5, "constant added to variances", ABOVE_0, WEIGHTS),
    Key("model.zero_init_last_bn", True, "start residual branches at zero (not for 'v2')"),
    Key("model.kernel_init", "he", "'he' (normal, fan out) or 'lecun' (truncated normal, fan in, as in r1)"),
    Key("model.head_init", "normal", "initial weights of the last layer: 'normal' (deviation 0.01), 'glorot_uniform' "
        "(as in r1), 'torch' or 'zeros'"),
    Key("model.init_from", None, "initial weights: a run, a file of PyTorch or r1, hf://org/name (docs/weights.md)",
        optional=str, is_path=True, may_be_on_hub=True),
    Key("model.init_head", False, "take the last layer from init_from too; otherwise it is new"),
    Key("model.init_optimizer", False, "take the optimizer state (momentum) and the average from init_from too, which "
        "must be a run"),
    Key("model.init_statistics", True, "take running statistics from init_from too; False: 0 and 1, as in r1"),
    Key("model.allow_missing", (), "regular expressions: parameters that may be missing, unused or of another shape in "
        "init_from"),
    Key("model.init_any_input", False, "accept init_from weights trained with other padding or normalisation"),
    Key("model.class_names", None, "file of class names for --mode=predict and export: one per line, or a JSON list",
        optional=str, effect=FREE, is_path=True),
    Key("model.class_outputs", None, "which output of weights without class names a class has: 'order' (class k has "
        "output k) or 'number' (its name); None: by WordNet ID", optional=str, effect=FREE),

    # The training loss.
    Key("loss.name", "cross_entropy", "'cross_entropy' or 'binary_cross_entropy' (one yes-or-no decision per class)"),
    Key("loss.label_smoothing", 0.0, "label smoothing of the training loss", BELOW_1),
    Key("loss.target_threshold", None, "share of a mixed label above which a class has target 1 (binary_cross_entropy)",
        BELOW_1, optional=float),
    Key("loss.scale", 1.0, "factor on the loss during the backward pass, for float16", LOSS_SCALE),
    Key("loss.scale_growth_steps", None, "steps with finite gradients after which loss.scale doubles (it halves when a "
        "gradient is not finite); None: constant", AT_LEAST_1, optional=int),

    # The optimizer.
    Key("optimizer.name", "sgd", "'sgd', 'lars', 'lamb' or 'adamw'"),
    Key("optimizer.momentum", 0.9, "decay of the momentum (sgd, lars)", BELOW_1),
    Key("optimizer.nesterov", True, "Nesterov momentum (sgd, lars)"),
    Key("optimizer.beta1", 0.9, "decay of the mean of gradients (lamb, adamw)", BELOW_1),
    Key("optimizer.beta2", 0.999, "decay of the mean of squared gradients (lamb, adamw)", BELOW_1),
    Key("optimizer.epsilon", 1e-6, "constant added to the root of the beta2 mean (lamb, adamw)", ABOVE_0),
    Key("optimizer.trust", 0.001, "trust coefficient: step / weight norm at lr 1 (lars)", AT_LEAST_0),
    Key("optimizer.weight_decay", 1e-4, "L2 coefficient: weight_decay * weight is added to the gradient", AT_LEAST_0),
    Key("optimizer.decoupled", False, "subtract lr * weight_decay * weight instead (sgd; always so for lamb, adamw)"),
    Key("optimizer.decay_pattern", "kernel$", "regular expression of parameters with weight decay and trust scaling"),
    Key("optimizer.clip_norm", None, "largest global norm of the gradient; None: no clipping", ABOVE_0, optional=float),
    Key("optimizer.lr_scales", (), "learning rate factors of parameters by regular expression, of which the first "
        "match counts: (('^head/', 10.0),)"),

    # The learning rate: a linear warm-up, then a decay.
    Key("schedule.name", "cosine", "decay: 'cosine', 'piecewise', 'polynomial', 'linear' or 'constant'"),
    Key("schedule.base_lr", 0.1, "peak learning rate for base_batch_size images; it scales with data.batch_size; None: "
        "computed (sgd)", AT_LEAST_0, optional=float),
    Key("schedule.base_batch_size", 256, "batch size, in images, to which base_lr belongs", BATCH),
    Key("schedule.images_per_epoch", None, "images that count as an epoch in warmup_epochs, decay_epochs and "
        "boundaries, for example 1281167; None: the number of training images", AT_LEAST_1, optional=int),
    Key("schedule.warmup_epochs", 5.0, "epochs of linear warm-up", AT_LEAST_0),
    Key("schedule.warmup_start", 0.0, "learning rate at step 0 / peak learning rate", FRACTION),
    Key("schedule.decay_epochs", None, "epoch at which the learning rate decay ends; None: at the last step",
        AT_LEAST_0, optional=float),
    Key("schedule.end", 0.0, "final / peak learning rate (cosine, polynomial, linear)", FRACTION),
    Key("schedule.power", 2.0, "exponent of the decay (polynomial)", ABOVE_0),
    Key("schedule.boundaries", (30.0, 60.0, 80.0), "epochs at which the learning rate changes (piecewise)", INCREASING),
    Key("schedule.factors", (1.0, 0.1, 0.01, 0.001), "learning rate / peak learning rate before, between and after "
        "the boundaries (piecewise)", ALL_AT_LEAST_0),

    # Exponential moving average of parameters and batch norm statistics.
    Key("ema.decay", 0.0, "weight of the old average in an update; 0: no average", BELOW_1, WEIGHTS),
    Key("ema.every_steps", 1, "steps between updates of the average", AT_LEAST_1, WEIGHTS),

    # Length of the run, trained parameters, and how a batch is computed.
    Key("train.epochs", 90.0, "passes over the training images; None: computed from the number of training images",
        ABOVE_0, optional=float),
    Key("train.total_steps", None, "length of the run in steps; overrides epochs", AT_LEAST_1, optional=int),
    Key("train.max_steps", None, "step at which to stop; does not change the schedule", AT_LEAST_1, FREE, optional=int),
    Key("train.trainable", None, "trained parameters: 'all', 'head' or a regular expression; None: all", optional=str),
    Key("train.freeze_statistics", True, "batch norms without trained parameters use and keep their running "
        "statistics"),
    Key("train.accumulate", None, "micro-batches per step; None: as few as per_device_limit allows, on GPUs one for "
        "each batch norm group", REPETITIONS, FREE, optional=int),
    Key("train.per_device_limit", None, "largest micro-batch per device, in images; None: no limit",
        AT_LEAST_1, FREE, optional=int),
    Key("train.reduce_dtype", "float32", "dtype in which devices sum gradients: 'float32' or 'bfloat16' "
        "(docs/performance.md)"),
    Key("train.profile_at", None, "first step of a TensorBoard trace; None: no trace", AT_LEAST_0, FREE, optional=int),
    Key("train.profile_steps", 5, "steps in the trace", AT_LEAST_1, FREE),

    # Evaluation.
    Key("eval.every_epochs", 1.0, "epochs between evaluations; the last step is always evaluated; None: computed for "
        "at most 40 evaluations", ABOVE_0, FREE, optional=float),
    Key("eval.every_steps", None, "steps between evaluations; overrides every_epochs", AT_LEAST_1, FREE, optional=int),
    Key("eval.batch_size", None, "images per evaluation batch; None: data.batch_size", BATCH, FREE, optional=int),
    Key("eval.image_size", None, "height and width of evaluation images in pixels; None: data.image_size",
        SIDE, optional=int),
    Key("eval.image_sizes", (), "sizes at which --mode=eval evaluates, in pixels, for example (224, 288); (): one, "
        "image_size", SIZES, FREE),
    Key("eval.flip", False, "--mode=eval averages the probabilities of each image and its mirror image", effect=FREE),
    Key("eval.sets", (), "data sets for --mode=eval instead of the own one: folders or TFDS names (docs/evaluation.md)",
        effect=FREE),
    Key("eval.labels", None, "file of several right labels for ImageNet's validation images: real.json of ReaL",
        optional=str, effect=FREE, is_path=True),
    Key("eval.weights", None, "'trained' or 'ema' (the average); None: the average if there is one", optional=str),
    Key("eval.precise_statistics", 0, "training images from which --mode=eval computes batch norm statistics anew; 0: "
        "the stored ones are used", AT_LEAST_0, FREE),
    Key("eval.before_training", False, "evaluate at step 0 too", effect=FREE),
    Key("eval.stop_at", None, "top-1 accuracy at which the run ends, such as 0.759", FRACTION, FREE, optional=float),
    Key("eval.checkpoint", "latest", "weights for --mode=eval, predict and export: 'latest', 'best', a step, or a path "
        "as for model.init_from", effect=FREE, is_path=True, may_be_on_hub=True),

    # Checkpoints and logs.
    Key("checkpoint.every_steps", None, "steps between checkpoints; there is one after each evaluation as well",
        AT_LEAST_1, FREE, optional=int),
    Key("checkpoint.keep_latest", 2, "newest checkpoints to keep", AT_LEAST_1, FREE),
    Key("checkpoint.keep_best", 1, "further checkpoints to keep: those of the best evaluation top-1", AT_LEAST_0, FREE),
    Key("log.every_steps", None, "steps between lines of metrics; None, or a run of less than 3 times as many steps: "
        "20 lines a run or more, one an epoch or more, at most 100 steps apart", AT_LEAST_1, FREE, optional=int),
    Key("log.inputs", True, "draw inputs.png, the picture of --mode=show, when a run starts", effect=FREE),
    Key("log.trackers", ("tensorboard",), "what metrics go to besides metrics.jsonl: some of 'tensorboard' or 'clu' "
        "(event files), 'wandb' and 'mlflow'", effect=FREE),
    *MODE_KEYS,
)
# fmt: on


def get_config() -> ConfigDict:
    """Returns the defaults, locked: a key that is not declared above cannot be set."""
    return build_config(KEYS)
