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
    data.train_crop = ConfigDict()
    data.train_crop.name = "random_resized"  # or 'box_guided' (around the objects, as r1), 'pad' (pad and cut, CIFAR)
    data.train_crop.area = (0.08, 1.0)  # share of the image's area (random_resized, box_guided)
    data.train_crop.aspect = (3 / 4, 4 / 3)  # width / height (random_resized, box_guided)
    data.train_crop.min_object_covered = 0.1  # share of an object's area that lies inside (box_guided)
    data.train_crop.padding = 4  # black pixels added to each side (pad)
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
    config.input.flip = True  # mirror training images at random

    config.model = model = ConfigDict()
    model.name = "resnet"  # 'resnet' (v1.5; depth 18, 34, 50, 101, 152, 200) or 'resnet_cifar' (depth 6n+2)
    model.depth = 50  # weighted layers
    model.features = 64  # channels of the first stage: 64, or 16 for 'resnet_cifar'
    model.num_classes = placeholder(int)  # None: as many as the data set has
    model.dtype = "bfloat16"  # of the activations, or 'float32'; parameters and statistics are float32
    model.bn_group_size = placeholder(int)  # images that share batch norm statistics; None: the global batch
    model.bn_momentum = 0.9  # weight of the old running statistics
    model.bn_epsilon = 1e-5  # added to variances
    model.zero_init_last_bn = True  # residual branches start at zero

    config.loss = ConfigDict()
    config.loss.label_smoothing = 0.0  # of the training loss

    config.optimizer = ConfigDict()
    config.optimizer.name = "sgd"  # the only one so far
    config.optimizer.momentum = 0.9  # decay of the velocity
    config.optimizer.nesterov = True  # look ahead along the velocity
    config.optimizer.weight_decay = 1e-4  # L2: this times the weight is added to its gradient
    config.optimizer.decay_pattern = "kernel$"  # regular expression: which parameters are decayed

    config.schedule = ConfigDict()
    config.schedule.name = "warmup_cosine"  # the only one so far
    config.schedule.base_lr = 0.1  # peak rate of a batch of base_batch_size; it grows in proportion to the batch
    config.schedule.base_batch_size = 256  # images
    config.schedule.warmup_epochs = 5.0  # linear from 0

    config.train = ConfigDict()
    config.train.epochs = 90.0  # passes over the training images
    config.train.total_steps = placeholder(int)  # overrides epochs

    config.eval = ConfigDict()
    config.eval.every_epochs = 1.0  # and at the end
    config.eval.every_steps = placeholder(int)  # overrides every_epochs
    config.eval.batch_size = placeholder(int)  # None: that of training

    config.checkpoint = ConfigDict()
    config.checkpoint.every_steps = placeholder(int)  # besides those after each evaluation
    config.checkpoint.keep_latest = 2  # how many of the newest
    config.checkpoint.keep_best = 1  # how many of the best by evaluation top-1, besides

    config.log = ConfigDict()
    config.log.every_steps = 100  # a line of metrics
    config.log.tensorboard = True  # event files, where TensorFlow is installed

    config.prepare = prepare = ConfigDict()  # --mode=prepare: ImageNet from its archives (docs/data.md)
    prepare.archives = placeholder(str)  # directory that holds ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar
    prepare.allow_partial = False  # take archives that are not the whole of ILSVRC2012
    prepare.resize_short_side = placeholder(int)  # pixels; larger images are re-encoded that small; None: none is
    prepare.quality = 90  # of the JPEGs that are re-encoded, 1 to 100
    prepare.shuffle = True  # store in random order; False: in that of the archives, read front to back
    prepare.num_threads = placeholder(int)  # that read and re-encode; None: two a core, at least 8
    return config.lock()
