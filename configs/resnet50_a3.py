"""ResNet-50 v1.5 on ImageNet, "ResNet strikes back" A3: 100 epochs at 160 pixels.

Command:   python main.py --config=configs/resnet50_a3.py
Data:      TFDS imagenet2012 as ArrayRecord (docs/data.md)
Hardware:  4 GPUs with 16 GB; 15 hours (Wightman et al.)
Expected:  78.1 % top-1 at 224 pixels (paper; 78.05 in timm's own evaluation)
Status:    not yet reproduced with this code

Source: Wightman, Touvron and Jegou 2021 (arXiv 2110.00476), table 2: small training images, evaluation at 224 pixels,
no repeated augmentation, no stochastic depth.
"""

from ml_collections import ConfigDict

from resnet_jax.configs import resnet50_a2


def get_config() -> ConfigDict:
    config = resnet50_a2.get_config()
    config.data.image_size = 160
    config.data.repeats = 1
    config.data.augment.magnitude = 6.0
    config.model.stochastic_depth = 0.0
    config.schedule.base_lr = 8e-3
    config.schedule.warmup_start = 0.0125  # learning rate 1e-4
    config.schedule.end = 1.25e-4  # learning rate 1e-6
    config.train.epochs = 100.0
    config.eval.every_epochs = 1.0
    config.eval.image_size = 224
    return config
