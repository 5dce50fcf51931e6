"""ResNet-50 v1.5 on ImageNet with LARS and a large batch, as in MLPerf training: 38 epochs.

Command:   python main.py --config=configs/resnet50_lars.py
Data:      TFDS imagenet2012 as ArrayRecord (docs/data.md)
Hardware:  16 TPU v3 chips (Google's run took 29 minutes)
Expected:  75.9 % top-1, the target of MLPerf training v0.5 to v4.0, at which Google's run ended
Status:    not yet reproduced with this code

Sources: LARS from You et al. 2017 (arXiv 1708.03888); learning rate 13, two epochs of warm-up, polynomial decay of
power 2, weight decay 2e-4 and label smoothing from Google's v3-32 submission to MLPerf training v0.7; crops of 5 to 100
% of the area from NVIDIA's. Other batch sizes need other learning rates: the same round has 8.5 with 5 epochs of
warm-up for 2,048 images, and 17 with 5 epochs of warm-up in 42 to 44 epochs for 8,192. MLPerf's LARS divides by |g| +
decay |w|; optax's, used here, by |g + decay w|, which makes steps slightly longer.
"""

from ml_collections import ConfigDict

from resnet_jax.configs import default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.data.name = "imagenet2012"
    config.data.batch_size = 4096
    config.data.image_size = 224
    config.data.train_crop.name = "random_resized"
    config.data.train_crop.area = (0.05, 1.0)
    config.data.train_crop.aspect = (3 / 4, 4 / 3)
    config.data.eval_crop.name = "central"
    config.data.eval_crop.fraction = 224 / 256
    config.data.resize = "bicubic"
    config.model.depth = 50
    config.model.dtype = "bfloat16"
    config.model.bn_group_size = 128
    config.model.bn_momentum = 0.9
    config.loss.label_smoothing = 0.1
    config.optimizer.name = "lars"
    config.optimizer.momentum = 0.9
    config.optimizer.nesterov = False
    config.optimizer.trust = 0.001
    config.optimizer.weight_decay = 2e-4
    config.schedule.name = "polynomial"
    config.schedule.power = 2.0
    config.schedule.end = 1e-4 / 13.0
    config.schedule.base_lr = 13.0
    config.schedule.base_batch_size = 4096
    config.schedule.warmup_epochs = 2.0
    config.train.epochs = 38.0
    config.eval.every_epochs = 2.0
    return config
