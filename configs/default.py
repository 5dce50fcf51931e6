"""Every key there is, with its default; the other configs are short diffs of this one."""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder  # a key that may be None, and its type


def get_config() -> ConfigDict:
    """Returns the defaults, locked: a key that is not here cannot be set."""
    config = ConfigDict()
    config.seed = 0  # of the initial weights, the order, the crops and everything random on device

    config.data = data = ConfigDict()
    data.source = "tfds"  # or 'tfrecord' (r1's shards), 'folder', 'synthetic' (no data), 'synthetic_jpeg' (no data)
    data.name = "imagenet2012"  # any TFDS image classification: 'cifar10', 'imagenette/320px-v2', 'digits' (bundled)
    data.data_dir = placeholder(str)  # where TFDS data are prepared (None: TFDS_DATA_DIR, else TFDS's default)
    data.train_split = "train"  # a folder, or a TFDS split or slice, as 'train[:99%]'
    data.eval_split = placeholder(str)  # None: the one of 'validation' ('val' as a folder) and 'test' that there is
    data.batch_size = 1024  # global, whatever the number of devices and hosts
    data.image_size = 224  # pixels, square
    data.progressive = ConfigDict()  # smaller images at first
    data.progressive.sizes = ()  # pixels, as (128, 160); then image_size
    data.progressive.until_epochs = ()  # when each of them ends, as (6.0, 12.0)
    data.repeats = 1  # how often each image comes in a row, cropped anew each time (repeated augmentation)
    data.train_crop = ConfigDict()
    data.train_crop.name = "random_resized"  # or 'box_guided' (around the objects, as r1), 'pad' (pad and cut, CIFAR)
    data.train_crop.area = (0.08, 1.0)  # share of the image's area (random_resized, box_guided)
    data.train_crop.aspect = (3 / 4, 4 / 3)  # width / height (random_resized, box_guided)
    data.train_crop.min_object_covered = 0.1  # share of an object's area that lies inside (box_guided)
    data.train_crop.padding = 4  # black pixels added to each side (pad)
    data.augment = augment = ConfigDict()  # of the cropped training images, on the host
    augment.name = "none"  # or 'trivial_augment' (wide), 'rand_augment'
    augment.num_ops = 2  # operations an image (rand_augment)
    augment.magnitude = 9.0  # of 10 (rand_augment)
    augment.magnitude_std = 0.0  # standard deviation of the magnitude (rand_augment)
    augment.probability = 1.0  # that an operation is applied (rand_augment)
    augment.bilinear = False  # bilinear, not nearest pixels (trivial_augment)
    data.eval_crop = ConfigDict()
    data.eval_crop.name = "central"  # a square cut and resized in one go; or 'resize' (shorter side), then cut
    data.eval_crop.padding = 32  # the square's side is image_size / (image_size + padding) of the shorter side
    data.resize = "area"  # or 'bilinear', 'bicubic', 'bilinear_antialias', 'bicubic_antialias', 'bilinear_tf1'
    data.enlarge_to = placeholder(int)  # shorter side to which smaller images are enlarged before they are cropped
    data.num_threads = placeholder(int)  # decoding threads (of each worker); None: one a core, at most 16
    data.num_workers = 0  # decoding processes; 0: threads of the main process
    data.max_bad_examples = 50  # images that may turn out unreadable before the run stops
    data.label_offset = 1  # source='tfrecord': the label of class 0 (1 for r1's shards; 0: 1,001 classes as in r1)
    data.synthetic = ConfigDict()  # what the synthetic sources pretend to have
    data.synthetic.num_train = 1_281_167  # training images
    data.synthetic.num_eval = 250  # evaluation images
    data.synthetic.num_classes = 1000  # classes
    data.synthetic.image_height = 375  # pixels, before any crop (synthetic_jpeg)
    data.synthetic.image_width = 500  # likewise

    config.input = ConfigDict()  # on device
    config.input.mean = (123.675, 116.28, 103.53)  # of R, G, B in 0..255
    config.input.std = (58.395, 57.12, 57.375)  # likewise
    config.input.per_image = False  # each image by its own mean and deviation instead, as r1 with CIFAR
    config.input.flip = True  # mirror training images at random
    config.input.erasing = erasing = ConfigDict()  # of a random rectangle (Zhong et al. 2017)
    erasing.probability = 0.0  # of an image
    erasing.area = (0.02, 0.33)  # share of the image's area
    erasing.aspect = (0.3, 3.3)  # height / width
    erasing.noise = False  # fill with normal noise, not with the mean

    config.mixing = ConfigDict()  # of pairs of training images, on device
    config.mixing.mixup_alpha = 0.0  # of the Beta distribution of the share of each (Zhang et al. 2018); 0: no mixup
    config.mixing.cutmix_alpha = 0.0  # likewise, of the area (Yun et al. 2019); 0: no cutmix
    config.mixing.cutmix_share = 0.5  # of the mixed images get cutmix where both are on
    config.mixing.probability = 1.0  # that an image is mixed

    config.model = model = ConfigDict()
    model.name = "resnet"  # depth 18, 34, 50, 101, 152, 200; or 'resnet_cifar' (depth 6n+2)
    model.version = "v1.5"  # or 'v1' (stride on the first 1x1 convolution), 'v2' (norms before convolutions)
    model.depth = 50  # weighted layers
    model.features = 64  # channels of the first stage: 64, or 16 for 'resnet_cifar'
    model.num_classes = placeholder(int)  # None: as many as the data set has
    model.dtype = "bfloat16"  # of the activations, or 'float16', 'float32'; parameters and statistics are float32
    model.padding = "torch"  # of the max-pool: the same on all sides; or 'tf' (as r1)
    model.stem = "conv7"  # or 'space_to_depth' (the same function), 'deep' (ResNet-D); unused by 'resnet_cifar'
    model.shortcut = "projection"  # or 'stage_projection' (as r1), 'average_pool' (ResNet-D), 'zero_pad'
    model.blur_pool = False  # low-pass filters before strided convolutions of blocks (Zhang 2019, as FFCV)
    model.squeeze_excitation = 0.0  # width of the squeeze / width of the block, as 0.25; 0: none
    model.stochastic_depth = 0.0  # probability that the last residual branch is dropped; the first never is
    model.bn_group_size = placeholder(int)  # images that share batch norm statistics; None: the global batch
    model.bn_momentum = 0.9  # weight of the old running statistics
    model.bn_epsilon = 1e-5  # added to variances
    model.zero_init_last_bn = True  # residual branches start at zero (not with 'v2')
    model.kernel_init = "he"  # normal, by channels out; or 'lecun' (truncated normal, by channels in, as r1)
    model.head_init = "normal"  # of deviation 0.01; or 'glorot_uniform' (as r1), 'torch', 'zeros'
    model.init_from = placeholder(str)  # begin with these weights: of a run, of PyTorch, of r1 (docs/weights.md)
    model.init_head = False  # with their last layer too; else that one is new
    model.allow_missing = ()  # regular expressions: which of their names may be missing, left over or of another shape
    model.init_any_input = False  # whatever padding and normalisation they were trained with
    model.class_names = placeholder(str)  # file, a name a line or a JSON list (--mode=predict, export)

    config.loss = ConfigDict()
    config.loss.name = "cross_entropy"  # or 'binary_cross_entropy' (a yes or no for each class)
    config.loss.label_smoothing = 0.0  # of the training loss
    config.loss.target_threshold = placeholder(float)  # mixed labels above it count as whole (binary_cross_entropy)
    config.loss.scale = 1.0  # of the loss while gradients are computed, for float16
    config.loss.scale_growth_steps = placeholder(int)  # double it after so many good steps, halve it at a bad one

    config.optimizer = ConfigDict()
    config.optimizer.name = "sgd"  # or 'lars', 'lamb', 'adamw'
    config.optimizer.momentum = 0.9  # decay of the velocity (sgd, lars)
    config.optimizer.nesterov = True  # look ahead along the velocity (sgd, lars)
    config.optimizer.beta1 = 0.9  # decay of the mean of the gradients (lamb, adamw)
    config.optimizer.beta2 = 0.999  # decay of the mean of their squares (lamb, adamw)
    config.optimizer.epsilon = 1e-6  # added to its root (lamb, adamw)
    config.optimizer.trust = 0.001  # length of a step / length of the weights, at rate 1 (lars)
    config.optimizer.weight_decay = 1e-4  # L2: this times the weight is added to its gradient
    config.optimizer.decoupled = False  # or it times the rate is taken from the weight (sgd; lamb and adamw always do)
    config.optimizer.decay_pattern = "kernel$"  # regular expression: which parameters are decayed, and scaled by trust
    config.optimizer.clip_norm = placeholder(float)  # longest gradient, over all parameters
    config.optimizer.lr_scales = ()  # of parts, by regular expression: (("^head/", 10.0),); the first that is found

    config.schedule = ConfigDict()
    config.schedule.name = "cosine"  # or 'piecewise', 'polynomial', 'linear', 'constant'; each after a warm-up
    config.schedule.base_lr = 0.1  # peak rate of a batch of base_batch_size; it grows in proportion to the batch
    config.schedule.base_batch_size = 256  # images
    config.schedule.warmup_epochs = 5.0  # linear from the start
    config.schedule.warmup_start = 0.0  # the rate there, as a share of the peak
    config.schedule.decay_epochs = placeholder(float)  # when the end is reached; None: with the last step
    config.schedule.end = 0.0  # the rate there, as a share of the peak (cosine, polynomial, linear)
    config.schedule.power = 2.0  # of the polynomial
    config.schedule.boundaries = (30.0, 60.0, 80.0)  # epochs (piecewise)
    config.schedule.factors = (1.0, 0.1, 0.01, 0.001)  # of the peak, before, between and after them (piecewise)

    config.ema = ConfigDict()  # exponential moving average of the parameters and of the statistics of batch norm
    config.ema.decay = 0.0  # weight of the old average; 0: no average
    config.ema.every_steps = 1  # how often it is updated

    config.train = train = ConfigDict()
    train.epochs = 90.0  # passes over the training images
    train.total_steps = placeholder(int)  # overrides epochs
    train.max_steps = placeholder(int)  # stop here, whatever the schedule
    train.trainable = placeholder(str)  # 'head', or a regular expression: which parameters change; None: all
    train.freeze_statistics = True  # batch norms that are not trained use, and keep, their running statistics
    train.accumulate = placeholder(int)  # parts of a batch that go through the network in turn; None: as few as can be
    train.per_device_limit = placeholder(int)  # most images that a device takes at once; None: its share of the batch
    train.reduce_dtype = "float32"  # in which devices sum their gradients, or 'bfloat16' (docs/performance.md)
    train.profile_at = placeholder(int)  # step at which a trace for TensorBoard begins
    train.profile_steps = 5  # how long it is

    config.eval = ConfigDict()
    config.eval.every_epochs = 1.0  # and at the end
    config.eval.every_steps = placeholder(int)  # overrides every_epochs
    config.eval.batch_size = placeholder(int)  # None: that of training
    config.eval.image_size = placeholder(int)  # pixels; None: data.image_size
    config.eval.weights = placeholder(str)  # 'trained' or 'ema' (the average); None: the average if there is one
    config.eval.before_training = False  # and at step 0
    config.eval.stop_at = placeholder(float)  # end the run once top-1 is at least this, as 0.759
    config.eval.checkpoint = "latest"  # or 'best', a step, or a path as model.init_from (--mode=eval, predict, export)

    config.checkpoint = ConfigDict()
    config.checkpoint.every_steps = placeholder(int)  # besides those after each evaluation
    config.checkpoint.keep_latest = 2  # how many of the newest
    config.checkpoint.keep_best = 1  # how many of the best by evaluation top-1, besides

    config.log = ConfigDict()
    config.log.every_steps = 100  # a line of metrics
    config.log.tensorboard = True  # event files, where TensorFlow is installed

    config.predict = ConfigDict()  # --mode=predict (docs/serving.md)
    config.predict.top_k = 5  # classes for each image
    config.predict.format = "table"  # or 'json', a line an image
    config.predict.batch_size = 32  # images that are computed at once

    config.export = ConfigDict()  # --mode=export (docs/serving.md)
    config.export.dir = placeholder(str)  # must not be there; None: <workdir>/exports/<step>
    config.export.formats = ("jax", "safetensors")  # and 'saved_model', which needs TensorFlow
    config.export.dtype = "float32"  # of the activations, or 'bfloat16', 'float16'

    config.plan = ConfigDict()  # --mode=plan: what a run will do and need (docs/scaling.md)
    config.plan.topology = placeholder(str)  # TPUs to compile for, as 'v5e:4x4'; None: the devices that there are
    config.plan.json = placeholder(str)  # file for the plan in JSON

    config.benchmark = benchmark = ConfigDict()  # --mode=benchmark: how fast this machine is (docs/performance.md)
    benchmark.parts = ("first_step", "step", "loader", "together")  # what is measured
    benchmark.windows = 5  # of each; figures are medians over them, with the smallest and the largest
    benchmark.window_steps = 20  # steps, or batches, in a window
    benchmark.warmup_steps = 5  # before the first window
    benchmark.json = placeholder(str)  # file for the record in JSON

    config.prepare = prepare = ConfigDict()  # --mode=prepare: ImageNet from its archives (docs/data.md)
    prepare.archives = placeholder(str)  # directory that holds ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar
    prepare.allow_partial = False  # take archives that are not the whole of ILSVRC2012
    prepare.resize_short_side = placeholder(int)  # pixels; larger images are re-encoded that small; None: none is
    prepare.quality = 90  # of the JPEGs that are re-encoded, 1 to 100
    prepare.shuffle = True  # store in random order; False: in that of the archives, read front to back
    prepare.num_threads = placeholder(int)  # that read and re-encode; None: two a core, at least 8
    return config.lock()
