"""ResNet v1.5 in PyTorch (He et al. 2015), the reference for our networks and training steps.

It is independent of `resnet_jax`. Parameters have the names of torchvision's.
"""

from torch import Tensor, nn

EXPANSION = 4  # output channels of a bottleneck / its inner channels
DEPTHS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}  # blocks per stage: table 1


def conv(inputs: int, outputs: int, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel_size, stride, padding=kernel_size // 2, bias=False)


def norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-5, momentum=0.1)  # PyTorch's momentum is the weight of the new value


class Block(nn.Module):
    """ReLU of the sum of a residual branch and a shortcut (option B of section 3.3)."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.relu, self.downsample = nn.ReLU(), None
        if stride > 1 or inputs != outputs:
            self.downsample = nn.Sequential(conv(inputs, outputs, 1, stride), norm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.relu(self.branch(x) + shortcut)


class Basic(Block):
    """Figure 5, left."""

    def __init__(self, inputs: int, features: int, stride: int):
        super().__init__(inputs, features, stride)
        self.conv1, self.bn1 = conv(inputs, features, 3, stride), norm(features)
        self.conv2, self.bn2 = conv(features, features, 3), norm(features)

    def branch(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        return self.bn2(self.conv2(x))


class Bottleneck(Block):
    """Figure 5, right; the stride is on the 3x3 convolution, which makes it version 1.5."""

    def __init__(self, inputs: int, features: int, stride: int):
        super().__init__(inputs, EXPANSION * features, stride)
        self.conv1, self.bn1 = conv(inputs, features, 1), norm(features)
        self.conv2, self.bn2 = conv(features, features, 3, stride), norm(features)
        self.conv3, self.bn3 = conv(features, EXPANSION * features, 1), norm(EXPANSION * features)

    def branch(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        return self.bn3(self.conv3(x))


class ResNet(nn.Module):
    """Table 1: stem, four stages, global average pooling, linear layer. [B, 3, H, W] -> [B, classes]."""

    kinds = (Basic, Bottleneck)

    def __init__(self, depth: int, classes: int):
        super().__init__()
        kind, expansion = (self.kinds[0], 1) if depth < 50 else (self.kinds[1], EXPANSION)
        self.conv1, self.bn1, self.relu = conv(3, 64, 7, 2), norm(64), nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        channels = 64
        for number, size in enumerate(DEPTHS[depth]):
            stage = nn.Sequential()
            for index in range(size):
                features = 64 * 2**number
                stage.append(kind(channels, features, 2 if number and not index else 1))
                channels = features * expansion
            self.add_module(f"layer{number + 1}", stage)
        self.fc = nn.Linear(channels, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        return self.fc(x.mean((2, 3)))
