"""ResNet-56 on CIFAR-10 as in TensorFlow's official r1 models: `cifar10_main.py` with its default flags on one GPU.

Command:   python main.py --config=configs/cifar10_r1.py --config.data.data_dir=DIR
Data:      CIFAR-10's binary version, DIR/data_batch_1.bin to data_batch_5.bin and DIR/test_batch.bin, unpacked from
           https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz
Hardware:  one GPU
Expected:  92.6 to 93.8 % top-1, the range that r1's own accuracy test accepts
Status:    not yet reproduced with this code

Source: tensorflow/models, official/r1/resnet (`cifar10_main.py`, `resnet_run_loop.py`, `estimator_benchmark.py`), which
follows He et al. 2015, section 4.2. In the paper the learning rate drops after 32,000 and 48,000 steps and runs end
after 64,000; with batches of 128 from 45,000 images these are epochs 91, 136 and 182. Unlike the paper, r1 trains on
all 50,000 images, has a projection shortcut at the start of every stage, and applies a weight decay of 2e-4 to every
parameter, those of batch norm included. docs/migrating_from_tf_r1.md lists the intended differences from r1.
"""

from ml_collections import ConfigDict

from resnet_jax.configs import default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.data.source = "cifar_binary"
    config.data.batch_size = 128
    config.data.image_size = 32
    config.data.train_crop.name = "pad"
    config.data.train_crop.padding = 4
    config.data.eval_crop.name = "central"
    config.data.eval_crop.fraction = 1.0  # crop nothing
    config.data.synthetic.num_train = 50_000  # for --config.data.source=synthetic
    config.data.synthetic.num_classes = 10
    config.input.per_image = True
    config.input.flip = True
    config.model.name = "resnet_cifar"
    config.model.version = "v1.5"  # same as v1: these blocks have no 1x1 convolution
    config.model.depth = 56
    config.model.features = 16
    config.model.dtype = "float32"
    config.model.padding = "tf"
    config.model.shortcut = "stage_projection"
    config.model.bn_group_size = 128
    config.model.bn_momentum = 0.997
    config.model.bn_epsilon = 1e-5
    config.model.zero_init_last_bn = False
    config.model.kernel_init = "lecun"
    config.model.head_init = "glorot_uniform"
    config.loss.label_smoothing = 0.0
    config.optimizer.name = "sgd"
    config.optimizer.momentum = 0.9
    config.optimizer.nesterov = False
    config.optimizer.weight_decay = 2e-4
    config.optimizer.decay_pattern = "."  # every parameter
    config.schedule.name = "piecewise"
    config.schedule.base_lr = 0.1
    config.schedule.base_batch_size = 128
    config.schedule.warmup_epochs = 0.0
    config.schedule.boundaries = (91.0, 136.0, 182.0)
    config.schedule.factors = (1.0, 0.1, 0.01, 0.001)
    config.train.epochs = 182.0
    config.eval.every_epochs = 10.0
    config.log.every_steps = 100
    return config
