"""ResNet-56 on CIFAR-10 with a cosine: a plain modern recipe for the small network.

Command:   python main.py --config=configs/cifar10.py
Data:      TFDS cifar10 as ArrayRecord (docs/data.md); or its binary files, --config.data.source=cifar_binary
Hardware:  one GPU
Expected:  94.2 % top-1 after the last epoch, 94.4 % at best: the log of the source. He et al. 2015 report 93.0 % for
           this depth with steps instead of a cosine and less decay.
Status:    not yet reproduced with this code

Source: the published log of `cifar10_resnet56` in github.com/chenyaofo/pytorch-cifar-models (one GPU, float32):
SGD with Nesterov momentum, rate 0.1 for 256 images without warm-up, cosine to 0 over 200 epochs, decay 5e-4 of every
parameter, crops of the image padded by 4 pixels, flips. The network is that of He et al. 2015, section 4.2, with
projections where the image is halved. Mean and deviation are those of the source.
"""

from resnet_jax.configs import default


def get_config():
    config = default.get_config()
    config.data.name = "cifar10"
    config.data.batch_size = 256
    config.data.image_size = 32
    config.data.train_crop.name = "pad"
    config.data.train_crop.padding = 4
    config.data.eval_crop.name = "central"
    config.data.eval_crop.padding = 0  # the whole image
    config.data.synthetic.num_train = 50_000  # with --config.data.source=synthetic
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
