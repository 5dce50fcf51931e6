"""ResNet-D with squeeze-and-excitation in PyTorch under timm's names, after He et al. 2019 and Hu et al. 2018."""

from torch import nn

from benchmarks.torch_resnet import EXPANSION, Bottleneck, ResNet, conv, norm


class Squeeze(nn.Module):
    """Squeeze-and-excitation: scales the channels of [B, C, H, W] by a function of their means."""

    def __init__(self, channels, width):
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(channels, width, 1), nn.Conv2d(width, channels, 1)

    def forward(self, x):
        means = x.mean((2, 3), keepdim=True)
        return x * self.fc2(self.fc1(means).relu()).sigmoid()


class Block(Bottleneck):
    """A bottleneck with average pooling in the shortcut and squeeze-and-excitation in the branch."""

    def __init__(self, inputs, features, stride):
        super().__init__(inputs, features, stride)
        outputs = EXPANSION * features
        self.se = Squeeze(outputs, outputs // 16)
        if self.downsample is not None:
            pool = nn.AvgPool2d(2, stride, ceil_mode=True, count_include_pad=False) if stride > 1 else nn.Identity()
            self.downsample = nn.Sequential(pool, conv(inputs, outputs, 1), norm(outputs))

    def branch(self, x):
        return self.se(super().branch(x))


class TimmResNet(ResNet):
    """ResNet-50 with a stem of three convolutions."""

    kinds = (None, Block)

    def __init__(self, classes):
        super().__init__(50, classes)
        self.conv1 = nn.Sequential(
            *(conv(3, 32, 3, 2), norm(32), nn.ReLU()),
            *(conv(32, 32, 3), norm(32), nn.ReLU()),
            conv(32, 64, 3),
        )
