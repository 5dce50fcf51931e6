"""ResNet-50 v1.5 on ImageNet, "ResNet strikes back" A2: 300 epochs.

Command:   python main.py --config=configs/resnet50_a2.py
Data:      TFDS imagenet2012 as ArrayRecord (docs/data.md)
Hardware:  4 GPUs with 32 GB; 2.3 days (Wightman et al.)
Expected:  79.8 % top-1 (paper; 79.83 in timm's own evaluation, 79.55 reproduced by mmpretrain)
Status:    not yet reproduced with this code

Source: Wightman, Touvron and Jegou 2021 (arXiv 2110.00476), table 2. A class whose share of a mixed label exceeds 0.2
has the target 1, any other class 0 (timm's `bce_target_thresh`).
"""

from ml_collections import ConfigDict

from resnet_jax.configs import resnet50_a1


def get_config() -> ConfigDict:
    config = resnet50_a1.get_config()
    config.mixing.mixup_alpha = 0.1
    config.loss.label_smoothing = 0.0
    config.loss.target_threshold = 0.2
    config.optimizer.weight_decay = 0.02
    config.train.epochs = 300.0
    return config
