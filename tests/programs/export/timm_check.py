"""Runs an export in timm; a program of its own, so that the process of the tests does not load PyTorch.

python -m tests.programs.export.timm_check NAME IMAGES LOGITS: loads the network NAME, such as 'local-dir:export/hub',
runs it on the normalized images [N, S, S, 3] in a .npy file, and writes its logits to another one; prints what timm
knows of it, as JSON.
"""

import json
import sys

import numpy as np
import torch

try:
    import torchvision
except RuntimeError:
    # The package index has torchvision for GPUs only, whose operators a CPU-only PyTorch cannot load. timm imports
    # torchvision for its transforms; without these operators, which no ResNet uses, it can be imported.
    for name in [name for name in sys.modules if name.startswith("torchvision")]:
        del sys.modules[name]
    for name in ("nms", "qnms"):
        torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision  # noqa: F401

import timm


def main(name, images, logits):
    torch.set_num_threads(1)
    network = timm.create_model(name, pretrained=True).eval()
    with torch.no_grad():
        inputs = torch.tensor(np.load(images).transpose(0, 3, 1, 2).copy())
        np.save(logits, network(inputs).numpy())
    config = network.pretrained_cfg
    data = timm.data.resolve_model_data_config(network)
    print(json.dumps({"class": type(network).__name__, "label_names": config["label_names"], "data": data}))


if __name__ == "__main__":
    main(*sys.argv[1:])
