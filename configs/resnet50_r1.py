"""ResNet-50 as in TensorFlow's official r1 models: `imagenet_main.py` with --batch_size=256 on 8 GPUs.

Command:   python main.py --config=configs/resnet50_r1.py --config.data.data_dir=DIR
Data:      r1's shards, DIR/train-00000-of-01024 and DIR/validation-00000-of-00128 (docs/data.md)
Hardware:  8 GPUs, or any number of devices that divides the batch of 256
Expected:  76.53 % top-1, the accuracy of r1's published checkpoint (version 1, float32). r1's own accuracy test, with
           batches of 1,024, accepts 76.2 to 76.6 %.
Status:    not yet reproduced with this code

Source: tensorflow/models, official/r1/resnet (`imagenet_main.py`, `imagenet_preprocessing.py`, `resnet_model.py`,
`resnet_run_loop.py`). docs/migrating_from_tf_r1.md lists the intended differences; `python -m
resnet_jax.programs.r1_flags` translates r1's flags. r1's version 1 is v1.5 here: the 3x3 convolution has the stride.
There are 1,001 classes; class 0, 'background', has no images. r1 computes batch norm statistics on each GPU, over 32
of 256 images, hence groups of 32. The head's bias has weight decay; scales and biases of batch norm have none.
"""

from ml_collections import ConfigDict

from resnet_jax.configs import default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.data.source = "tfrecord"
    config.data.label_offset = 0
    config.data.batch_size = 256
    config.data.image_size = 224
    config.data.train_crop.name = "box_guided"
    config.data.train_crop.area = (0.05, 1.0)
    config.data.train_crop.aspect = (0.75, 1.33)
    config.data.train_crop.min_object_covered = 0.1
    config.data.eval_crop.name = "resize"
    config.data.eval_crop.fraction = 224 / 256  # shorter side to 256, then the central 224
    config.data.resize = "bilinear_tf1"
    config.data.flip_before_resize = True
    config.data.fast_dct = True
    config.data.synthetic.num_classes = 1001  # for --config.data.source=synthetic
    config.input.mean = (123.68, 116.78, 103.94)
    config.input.std = (1.0, 1.0, 1.0)
    config.input.flip = True
    config.model.name = "resnet"
    config.model.version = "v1.5"
    config.model.depth = 50
    config.model.dtype = "float32"
    config.model.padding = "tf"
    config.model.shortcut = "stage_projection"
    config.model.bn_group_size = 32
    config.model.bn_momentum = 0.997
    config.model.bn_epsilon = 1e-5
    config.model.zero_init_last_bn = False
    config.model.kernel_init = "lecun"
    config.model.head_init = "glorot_uniform"
    config.loss.label_smoothing = 0.0
    config.optimizer.name = "sgd"
    config.optimizer.momentum = 0.9
    config.optimizer.nesterov = False
    config.optimizer.weight_decay = 1e-4
    config.optimizer.decay_pattern = "kernel$|head/bias$"
    config.schedule.name = "piecewise"
    config.schedule.base_lr = 0.128
    config.schedule.base_batch_size = 256
    config.schedule.warmup_epochs = 5.0
    config.schedule.boundaries = (30.0, 60.0, 80.0, 90.0)
    config.schedule.factors = (1.0, 0.1, 0.01, 0.001, 1e-4)
    config.train.epochs = 90.0
    config.eval.every_epochs = 1.0
    config.log.every_steps = 100
    return config
