"""ResNet-50 v1.5 from existing weights, trained on another data set, here the Oxford-IIIT pets.

Command:   python main.py --config=configs/finetune.py --config.model.init_from=WEIGHTS --config.data.name=NAME
           WEIGHTS: resnet50.safetensors or .pth (torchvision, timm), an r1 checkpoint, or a run such as runs/resnet50
Head only: --config.train.trainable=head                       (all other parameters are frozen, without gradients)
           --config.train.trainable='^head/|^stage4_'          (the head and the last stage)
           --config.train.trainable=all                        (everything, the default)
           --config.train.freeze_statistics=False              (frozen batch norms update their statistics, as in r1)
Rates:     --config.optimizer.lr_scales="(('^head/', 10.0),)"  (the new layer learns at ten times the rate)
Data:      any TFDS image classification, or --config.data.source=folder --config.data.data_dir=DIR (docs/data.md)
Hardware:  one GPU with 16 GB or a TPU v3 core
Expected:  depends on the data and the weights; no figure is claimed for the pets
Status:    not yet reproduced with this code

If the weights were trained with other padding or normalisation, an error lists the keys to set, with the
image size (docs/weights.md, which also says where to get weights).

Source: Kornblith et al. 2019 (arXiv 1805.08974) train whole networks with Nesterov momentum, cosine and batches of
256. They search learning rate and weight decay for each data set; the values here are a starting point.
"""

from ml_collections import ConfigDict

from resnet_jax.configs import default


def get_config() -> ConfigDict:
    config = default.get_config()
    config.data.name = "oxford_iiit_pet"
    config.data.batch_size = 256
    config.data.image_size = 224
    config.data.train_crop.area = (0.25, 1.0)
    config.data.resize = "bicubic"
    config.model.depth = 50
    config.model.init_from = "runs/resnet50"
    config.model.bn_group_size = 128
    config.loss.label_smoothing = 0.1
    config.schedule.name = "cosine"
    config.schedule.base_lr = 0.01
    config.schedule.base_batch_size = 256
    config.schedule.warmup_epochs = 1.0
    config.train.epochs = 30.0
    return config
