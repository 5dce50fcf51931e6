"""A tuned PyTorch training step: channels last, bfloat16 autocast, `torch.compile`, fused SGD with momentum.

The network is timm's if that is installed, else torchvision's, else that of `torch_resnet.py`, which is the same.
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from benchmarks.trainers import Task

_BATCHES = 4  # number of batches, used in turn
_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def make(task: Task) -> tuple[str, Callable[[int], None]]:
    """See `load` of the package."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    origin, network = _network(task)
    network = network.to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(
        network.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4, fused=device.type == "cuda"
    )
    step = _make_step(network, device, bfloat16=task.dtype == "bfloat16")
    step = torch.compile(step) if task.compiled else step
    batches = [_random_batch(task, device) for _ in range(_BATCHES)]

    def run(steps: int) -> None:
        for number in range(steps):
            optimizer.zero_grad(set_to_none=True)
            loss = step(*batches[number % _BATCHES])
            loss.backward()
            optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    run(1)
    return f"PyTorch {torch.__version__}, {origin}, torch.compile {'on' if task.compiled else 'off'}", run


def _make_step(network: nn.Module, device: torch.device, *, bfloat16: bool) -> Callable[..., torch.Tensor]:
    mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (_MEAN, _STD))

    def loss_of(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        pixels = (images.permute(0, 3, 1, 2).float() - mean) / std  # NHWC in memory is PyTorch's channels-last layout
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            logits = network(pixels)
        return functional.cross_entropy(logits.float(), labels)

    return loss_of


def _random_batch(task: Task, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    shape = (task.batch_size, task.image_size, task.image_size, 3)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, device=device)
    return images, torch.randint(0, task.num_classes, shape[:1], device=device)


def _network(task: Task) -> tuple[str, nn.Module]:
    try:
        import timm  # noqa: PLC0415

        return f"timm {timm.__version__}", timm.create_model(f"resnet{task.depth}", num_classes=task.num_classes)
    except (ImportError, RuntimeError):  # RuntimeError: torchvision was built for another version of torch
        pass
    try:
        import torchvision  # noqa: PLC0415

        make_network = getattr(torchvision.models, f"resnet{task.depth}")
        return f"torchvision {torchvision.__version__}", make_network(num_classes=task.num_classes)
    except (ImportError, RuntimeError):
        from benchmarks.torch_resnet import ResNet  # noqa: PLC0415

        return "torch_resnet.py", ResNet(task.depth, task.num_classes)
