"""Own photographs in class folders: a ResNet from random or given weights, with settings for the number of images.

Command:   python main.py --config=configs/photos.py --config.data.data_dir=DIR
           DIR holds train/CLASS/IMAGE and val/CLASS/IMAGE, or just CLASS/IMAGE (docs/own_photos.md)
Sizes:     photos.py:small    ResNet-20 of the CIFAR family at 64 pixels: two CPU cores, or a first try
           photos.py:medium   ResNet-50 at 224 pixels, the default: one GPU
           photos.py:large    ResNet-101 at 288 pixels: one large GPU, or several
Weights:   --config.model.init_from=WEIGHTS   torchvision's or timm's resnet50, or a run (docs/weights.md)
Data:      a few hundred to a hundred thousand images; batch size, epochs, learning rate and evaluations are computed
           by the rules in resnet_jax/experiment/computed.py, printed at the start, and replaced by flags
Hardware:  as listed above
Expected:  depends on the photographs; 78.7 % on 2,624 photographs of solar cells in four classes, with `small`, a
           ResNet-8 at 32 pixels and 10 epochs, as with PyTorch (benchmarks/photographs.py)
Status:    measured with five seeds (docs/results.md)

A photograph usually shows its object large and whole: training crops keep at least 60 % of the area (8 % for ImageNet,
Szegedy et al. 2015) and nearly the proportions, and evaluation sees the whole shorter side. Residual branches do not
start at zero, as in torchvision. Mirrored images are used too; where a mirror image is of another class, as for
letters, set --config.input.flip=False.
"""

from ml_collections import ConfigDict

from resnet_jax.configs import default

# Family, depth, features, image size in pixels, dtype. XLA's CPU code is slow for last stages of few pixels.
SIZES = {
    "small": ("resnet_cifar", 20, 16, 64, "float32"),
    "medium": ("resnet", 50, 64, 224, "bfloat16"),
    "large": ("resnet", 101, 64, 288, "bfloat16"),
}


def get_config(size: str = "medium") -> ConfigDict:
    if size not in SIZES:
        raise ValueError(f"{size!r} is not one of the sizes {', '.join(SIZES)}")
    config = default.get_config()
    config.data.source = "folder"
    config.data.batch_size = None
    config.data.train_crop.area = (0.6, 1.0)
    config.data.train_crop.aspect = (0.9, 1.1)
    config.data.eval_crop.fraction = 1.0
    config.data.resize = "bicubic_antialias"
    config.model.name, config.model.depth, config.model.features, config.data.image_size, config.model.dtype = SIZES[
        size
    ]
    config.model.zero_init_last_bn = False
    config.loss.label_smoothing = 0.1
    config.optimizer.weight_decay = 5e-4
    config.schedule.base_lr = None
    config.schedule.warmup_epochs = 1.0
    config.train.epochs = None
    config.eval.every_epochs = None
    return config
