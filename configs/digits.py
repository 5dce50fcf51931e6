"""ResNet-8 on the bundled 8x8 digits: the whole trainer in half a minute on two CPU cores.

Command:   python main.py --config=configs/digits.py   (or: make demo)
Data:      1,437 training and 360 test images, part of the package
Hardware:  two CPU cores
Expected:  99.1 to 100 % top-1 (docs/results.md)
Status:    reproduced

The network is the smallest of He et al. 2015, section 4.2, half as wide again. Rates and crops were chosen by hand.
"""

from resnet_jax.configs import default


def get_config():
    config = default.get_config()
    config.data.name = "digits"
    config.data.batch_size = 64
    config.data.image_size = 16
    config.data.train_crop.area = (0.6, 1.0)
    config.data.train_crop.aspect = (0.8, 1.25)
    config.data.enlarge_to = 40  # crops of 8 pixels could move in steps of a whole pixel only
    config.data.eval_crop.padding = 2  # 16/18 of the side: the mean training crop has 0.8 of the area
    config.data.num_threads = 1
    config.input.mean = (78.0, 78.0, 78.0)
    config.input.std = (96.0, 96.0, 96.0)
    config.input.flip = False  # a mirrored digit is another sign
    config.model.name = "resnet_cifar"
    config.model.depth = 8
    config.model.features = 24
    config.model.dtype = "float32"
    config.loss.label_smoothing = 0.1
    config.schedule.base_lr = 0.1
    config.schedule.base_batch_size = 64
    config.schedule.warmup_epochs = 2.0
    config.train.epochs = 36.0
    config.eval.every_epochs = 6.0
    config.log.every_steps = 100
    return config
