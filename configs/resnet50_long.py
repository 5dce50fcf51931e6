"""ResNet-50 v1.5 on ImageNet, torchvision's second recipe: 600 epochs at 176 pixels.

Command:   python main.py --config=configs/resnet50_long.py
Data:      TFDS imagenet2012 as ArrayRecord (docs/data.md)
Hardware:  8 GPUs; 42 hours in torchvision's pull request 6433
Expected:  80.86 % top-1 at 224 pixels (IMAGENET1K_V2; 80.85 in a second run)
Status:    not yet reproduced with this code

Source: torchvision's issue 3995 and pull request 5201 (references/classification): learning rate 0.5 for 1,024 images,
cosine, label smoothing, mixup 0.2, cutmix, TrivialAugment, random erasing, repeated augmentation, an average of the
weights, evaluation after resizing to 232 pixels. torchvision converts its EMA decay of 0.99998 to 1 - 0.00002 * 1024 *
32 / 600, applied every 32 steps. Mixing coefficients are sampled for each image, in the original for each device's
batch.
"""

from ml_collections import ConfigDict

from resnet_jax.configs import default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.data.name = "imagenet2012"
    config.data.batch_size = 1024
    config.data.image_size = 176
    config.data.repeats = 4
    config.data.train_crop.name = "random_resized"
    config.data.train_crop.area = (0.08, 1.0)
    config.data.train_crop.aspect = (3 / 4, 4 / 3)
    config.data.augment.name = "trivial_augment"
    config.data.augment.bilinear = True
    config.data.eval_crop.name = "resize"
    config.data.eval_crop.fraction = 224 / 232  # shorter side 232
    config.data.resize = "bilinear_antialias"
    config.input.erasing.probability = 0.1
    config.mixing.mixup_alpha = 0.2
    config.mixing.cutmix_alpha = 1.0
    config.model.depth = 50
    config.model.dtype = "bfloat16"
    config.model.bn_group_size = 128
    config.model.zero_init_last_bn = False
    config.model.head_init = "torch"
    config.loss.label_smoothing = 0.1
    config.optimizer.momentum = 0.9
    config.optimizer.nesterov = False
    config.optimizer.weight_decay = 2e-5
    config.optimizer.decay_pattern = "kernel$|head/bias$"
    config.schedule.name = "cosine"
    config.schedule.base_lr = 0.5
    config.schedule.base_batch_size = 1024
    config.schedule.warmup_epochs = 5.0
    config.schedule.warmup_start = 0.01
    config.ema.decay = 0.99891
    config.ema.every_steps = 32
    config.train.epochs = 600.0
    config.eval.every_epochs = 5.0
    config.eval.image_size = 224
    return config
