"""ResNet-D with squeeze and excitation in PyTorch, with the names of timm's; after He et al. 2019, Hu et al. 2018."""

from torch import nn

from benchmarks.torch_resnet import EXPANSION, Bottleneck, ResNet, conv, norm


class Squeeze(nn.Module):
    """Scales the channels of [B, C, H, W] by what the means of all of them say."""

    def __init__(self, channels, width):
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(channels, width, 1), nn.Conv2d(width, channels, 1)

    def forward(self, x):
        means = x.mean((2, 3), keepdim=True)
        return x * self.fc2(self.fc1(means).relu()).sigmoid()


class Block(Bottleneck):
    """With a mean of pixels in the shortcut, where the stride is; the branch is scaled."""

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
    """A ResNet-50 with a stem of three convolutions."""

    kinds = (None, Block)

    def __init__(self, classes):
        super().__init__(50, classes)
        self.conv1 = nn.Sequential(
            *(conv(3, 32, 3, 2), norm(32), nn.ReLU()),
            *(conv(32, 32, 3), norm(32), nn.ReLU()),
            conv(32, 64, 3),
        )
