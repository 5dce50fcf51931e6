"""ResNet-56 on CIFAR-10 with SGD and a cosine schedule.

Command:   python main.py --config=configs/cifar10.py
Data:      TFDS cifar10 as ArrayRecord (docs/data.md), or CIFAR-10's binary files with --config.data.source=cifar_binary
Hardware:  one GPU
Expected:  94.2 % top-1 after the last epoch and 94.4 % at best, from the log of the source. He et al. 2015 report
           93.0 % for this depth with a piecewise constant learning rate and less weight
           decay.
Status:    not yet reproduced with this code

Source: the published log of `cifar10_resnet56` in github.com/chenyaofo/pytorch-cifar-models (one GPU, float32): SGD
with Nesterov momentum, learning rate 0.1 for batches of 256 without warm-up, cosine to 0 over 200 epochs, weight decay
5e-4 on every parameter, random crops after padding by 4 pixels, flips. The network is that of He et al. 2015, section
4.2, with projection shortcuts where the resolution halves. Mean and standard deviation are those of the source.
"""

from ml_collections import ConfigDict

from resnet_jax.configs import default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.data.name = "cifar10"
    config.data.batch_size = 256
    config.data.image_size = 32
    config.data.train_crop.name = "pad"
    config.data.train_crop.padding = 4
    config.data.eval_crop.name = "central"
    config.data.eval_crop.fraction = 1.0  # crop nothing
    config.data.synthetic.num_train = 50_000  # for --config.data.source=synthetic
    config.data.synthetic.num_classes = 10
    config.input.mean = (125.307, 122.961, 113.8575)
    config.input.std = (51.5865, 50.847, 51.255)
    config.input.flip = True
    config.model.name = "resnet_cifar"
    config.model.version = "v1.5"
    config.model.depth = 56
    config.model.features = 16
    config.model.dtype = "float32"
    config.model.shortcut = "projection"
    config.model.bn_group_size = 256
    config.model.zero_init_last_bn = False
    config.model.head_init = "torch"
    config.loss.label_smoothing = 0.0
    config.optimizer.name = "sgd"
    config.optimizer.momentum = 0.9
    config.optimizer.nesterov = True
    config.optimizer.weight_decay = 5e-4
    config.optimizer.decay_pattern = "."  # every parameter
    config.schedule.name = "cosine"
    config.schedule.base_lr = 0.1
    config.schedule.base_batch_size = 256
    config.schedule.warmup_epochs = 0.0
    config.train.epochs = 200.0
    config.eval.every_epochs = 10.0
    config.log.every_steps = 100
    return config
