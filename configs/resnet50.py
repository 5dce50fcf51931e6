"""ResNet-50 v1.5 on ImageNet: the main recipe.

Command:   python main.py --config=configs/resnet50.py
Data:      TFDS imagenet2012 as ArrayRecord (docs/data.md)
Hardware:  8 TPU v3 cores or 8 GPUs with 16 GB; the batch of 1,024 is global: any number of devices that divides it
Expected:  76.3 to 76.8 % top-1. The flax (76.3 to 76.7 %) and haiku (76.2 to 76.8 %) ImageNet examples report
           this for 90 to 100 epochs of similar recipes: SGD with Nesterov momentum, learning rate 0.1 per 256
           images, 5 epochs of warm-up, cosine, crops of 8 to 100 % of the area, bicubic resize.
Status:    not yet reproduced with this code

Sources: learning rate, warm-up and zero-initialised residual branches from Goyal et al. 2017 (arXiv 1706.02677); cosine
from Loshchilov and Hutter 2017; label smoothing from Szegedy et al. 2016; batch norm groups of 128 images, which make
the result independent of the number of devices, from large-batch MLPerf submissions (64 to 400 images). Values equal to
the defaults are written out too, so that a changed default does not change the recipe.
"""

from ml_collections import ConfigDict

from resnet_jax.configs import default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.data.name = "imagenet2012"
    config.data.batch_size = 1024
    config.data.image_size = 224
    config.data.train_crop.name = "random_resized"
    config.data.train_crop.area = (0.08, 1.0)
    config.data.train_crop.aspect = (3 / 4, 4 / 3)
    config.data.eval_crop.name = "central"
    config.data.eval_crop.fraction = 224 / 256
    config.data.resize = "bicubic"
    config.input.flip = True
    config.model.name = "resnet"
    config.model.depth = 50
    config.model.dtype = "bfloat16"
    config.model.bn_group_size = 128
    config.loss.label_smoothing = 0.1
    config.optimizer.momentum = 0.9
    config.optimizer.nesterov = True
    config.optimizer.weight_decay = 1e-4
    config.schedule.base_lr = 0.1
    config.schedule.warmup_epochs = 5.0
    config.train.epochs = 90.0
    return config
