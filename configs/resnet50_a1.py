"""ResNet-50 v1.5 on ImageNet, "ResNet strikes back" A1: 600 epochs.

Command:   python main.py --config=configs/resnet50_a1.py
Data:      TFDS imagenet2012 as ArrayRecord (docs/data.md)
Hardware:  4 GPUs with 32 GB; 4.6 days (Wightman et al.)
Expected:  80.4 % top-1 (paper; 80.38 in timm's own evaluation, 80.12 reproduced by mmpretrain)
Status:    not yet reproduced with this code

Source: Wightman, Touvron and Jegou 2021 (arXiv 2110.00476), table 2: LAMB, binary cross entropy, RandAugment 7 / 0.5,
mixup 0.2 and cutmix, repeated augmentation, stochastic depth. Label smoothing applies to the targets of the binary
loss, as in mmpretrain. Mixing coefficients are sampled for each image, in the original for each batch.
"""

from ml_collections import ConfigDict

from resnet_jax.configs import default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.data.name = "imagenet2012"
    config.data.batch_size = 2048
    config.data.image_size = 224
    config.data.repeats = 3
    config.data.train_crop.name = "random_resized"
    config.data.train_crop.area = (0.08, 1.0)
    config.data.train_crop.aspect = (3 / 4, 4 / 3)
    config.data.augment.name = "rand_augment"
    config.data.augment.num_ops = 2
    config.data.augment.magnitude = 7.0
    config.data.augment.magnitude_std = 0.5
    config.data.augment.probability = 0.5
    config.data.eval_crop.name = "resize"
    config.data.eval_crop.fraction = 0.95  # shorter side 235
    config.data.resize = "bicubic_antialias"
    config.mixing.mixup_alpha = 0.2
    config.mixing.cutmix_alpha = 1.0
    config.model.depth = 50
    config.model.dtype = "bfloat16"
    config.model.bn_group_size = 128
    config.model.head_init = "torch"
    config.model.stochastic_depth = 0.05
    config.loss.name = "binary_cross_entropy"
    config.loss.label_smoothing = 0.1
    config.optimizer.name = "lamb"
    config.optimizer.beta1 = 0.9
    config.optimizer.beta2 = 0.999
    config.optimizer.epsilon = 1e-6
    config.optimizer.weight_decay = 0.01
    config.optimizer.clip_norm = 1.0
    config.schedule.name = "cosine"
    config.schedule.base_lr = 5e-3
    config.schedule.base_batch_size = 2048
    config.schedule.warmup_epochs = 5.0
    config.schedule.warmup_start = 0.02  # learning rate 1e-4
    config.schedule.end = 2e-4  # learning rate 1e-6
    config.train.epochs = 600.0
    config.eval.every_epochs = 5.0
    return config
