"""ResNet-50 on ImageNet in 16 to 88 epochs, with smaller images at first: FFCV's recipe.

Command:   python main.py --config=configs/resnet50_fast.py:32   (16, 18, 24, 32, 40, 56 or 88 epochs; default: 32)
Data:      TFDS imagenet2012 as ArrayRecord (docs/data.md), made with prepare.resize_short_side=320 for fast decoding
Hardware:  8 GPUs with 40 GB; FFCV took 29 minutes for 32 epochs on 8 A100
Expected:  16 epochs 73.8 %, 24: 75.6 %, 32: 76.6 %, 40: 77.2 %, 56: 78.0 %, 88: 78.4 % top-1; none published for 18.
           FFCV averages the logits of each image and its mirror image; without that, as here, they are a little lower.
Status:    not yet reproduced with this code

Source: github.com/libffcv/ffcv-imagenet, rn50_configs: learning rate 1.7 for 8 x 512 images, linear to its peak at
epoch 2 and to 0 at the end, weight decay 1e-4 except on batch norm, label smoothing, blur-pool, 160 pixels that grow to
192 late in the run, evaluation at 256. FFCV finds batch norm by 'bn' in the name, and so decays the bias of the last
layer and the norms of shortcuts as well.
"""

from ml_collections import ConfigDict

from resnet_jax.configs import default

# Epochs of a run -> epoch at which images grow from 160 to 192 pixels: the first whole epoch at which FFCV's linear
# ramp, rounded to a multiple of 32, is 192. FFCV has no run of 18 epochs; its value is in proportion.
GROWTH = {16: 12.0, 18: 14.0, 24: 19.0, 32: 25.0, 40: 32.0, 56: 45.0, 88: 71.0}


def get_config(epochs: str = "32") -> ConfigDict:
    if epochs not in map(str, GROWTH):
        raise ValueError(f"{epochs!r} is not one of {', '.join(map(str, GROWTH))} epochs")
    config = default.get_config()
    config.data.name = "imagenet2012"
    config.data.batch_size = 4096
    config.data.image_size = 192
    config.data.progressive.sizes = (160,)
    config.data.progressive.until_epochs = (GROWTH[int(epochs)],)
    config.data.train_crop.name = "random_resized"
    config.data.train_crop.area = (0.08, 1.0)
    config.data.train_crop.aspect = (3 / 4, 4 / 3)
    config.data.eval_crop.name = "central"
    config.data.eval_crop.fraction = 256 / 293  # FFCV: 224 / 256
    config.data.resize = "area"
    config.model.depth = 50
    config.model.dtype = "bfloat16"
    config.model.bn_group_size = 128
    config.model.blur_pool = True
    config.model.zero_init_last_bn = False
    config.model.head_init = "torch"
    config.loss.label_smoothing = 0.1
    config.optimizer.momentum = 0.9
    config.optimizer.nesterov = False
    config.optimizer.weight_decay = 1e-4
    config.optimizer.decay_pattern = "kernel$|head/bias$|shortcut_bn/"
    config.schedule.name = "linear"
    config.schedule.base_lr = 1.7
    config.schedule.base_batch_size = 4096
    config.schedule.warmup_epochs = 2.0
    config.train.epochs = float(epochs)
    config.eval.image_size = 256
    return config
