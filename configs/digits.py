"""ResNet-8 on the bundled 8x8 digits: the demo, half a minute on two CPU cores.

Command:   python main.py --config=configs/digits.py   (or: make demo)
Data:      1,437 training and 360 test images, part of the package
Hardware:  two CPU cores
Expected:  99.1 to 100 % top-1 (docs/results.md)
Status:    reproduced

The network is the smallest of the family of He et al. 2015, section 4.2, with 24 instead of 16 channels in the first
stage. Learning rate and crops were tuned by hand.
"""

from ml_collections import ConfigDict

from resnet_jax.configs import default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.data.name = "digits"
    config.data.batch_size = 64
    config.data.image_size = 16
    config.data.train_crop.area = (0.6, 1.0)
    config.data.train_crop.aspect = (0.8, 1.25)
    config.data.enlarge_to = 40  # crops of the 8-pixel originals could shift by whole pixels only
    config.data.eval_crop.fraction = 16 / 18  # 0.79 of the area, like training crops on average
    config.data.num_threads = 1
    config.input.mean = (78.0, 78.0, 78.0)
    config.input.std = (96.0, 96.0, 96.0)
    config.input.flip = False  # a mirrored digit is not a digit
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
