"""Our names of arrays and those of PyTorch's users: torchvision's, and timm's where torchvision has none."""

import dataclasses
import functools
import re
from collections.abc import Collection

import numpy as np

_OUTER = {"stem_conv": "conv1", "stem_bn": "bn1", "head": "fc"}
_DEEP_STEM = {
    "stem_conv1": "conv1.0",
    "stem_bn1": "conv1.1",
    "stem_conv2": "conv1.3",
    "stem_bn2": "conv1.4",
    "stem_conv": "conv1.6",
}
_BLOCK = {name: name for name in ("conv1", "bn1", "conv2", "bn2", "conv3", "bn3")}
_SQUEEZE = {"se_reduce": "se.fc1", "se_expand": "se.fc2"}
# Of batch norms, and of the others.
_NORM_LEAVES = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
_LEAVES = {"kernel": "weight", "bias": "bias"}
_STATISTICS = ("mean", "var")


@dataclasses.dataclass(frozen=True)
class Naming:
    """The names of one kind of network.

    Attributes:
      deep_stem: of three convolutions (timm's resnet50d).
      pooled_shortcut: a mean of pixels is the first layer of `downsample`, before the convolution.
    """

    deep_stem: bool
    pooled_shortcut: bool

    @classmethod
    def of_torch(cls, names: Collection[str]) -> "Naming":
        """The naming that names of PyTorch follow."""
        pooled = any(".downsample.2." in name for name in names)
        return cls(deep_stem=any(name.startswith("conv1.6.") for name in names), pooled_shortcut=pooled)

    def to_torch(self, name: str) -> str:
        """'params/stage1_block1/conv1/kernel' -> 'layer1.0.conv1.weight'. Raises KeyError: there is no such layer."""
        _, *modules, leaf = name.split("/")
        leaf = (_NORM_LEAVES if _is_norm(modules[-1]) else _LEAVES)[leaf]
        if len(modules) == 1:
            return f"{self._outer[modules[0]]}.{leaf}"
        stage, block = map(int, re.findall(r"\d+", modules[0]))
        return f"layer{stage}.{block - 1}.{self._block[modules[1]]}.{leaf}"

    def to_ours(self, name: str) -> str | None:
        """The inverse; None where there is no such layer."""
        module, _, leaf = name.rpartition(".")
        inside = re.fullmatch(r"layer(\d+)\.(\d+)\.(.+)", module)
        table = self._block if inside else self._outer
        own = {theirs: ours for ours, theirs in table.items()}.get(inside[3] if inside else module)
        if own is None:
            return None
        leaves = {theirs: ours for ours, theirs in (_NORM_LEAVES if _is_norm(own) else _LEAVES).items()}
        if leaf not in leaves:
            return None
        path = f"stage{inside[1]}_block{int(inside[2]) + 1}/{own}" if inside else own
        return f"{'batch_stats' if leaves[leaf] in _STATISTICS else 'params'}/{path}/{leaves[leaf]}"

    @functools.cached_property
    def _outer(self) -> dict[str, str]:
        return _OUTER | (_DEEP_STEM if self.deep_stem else {})

    @functools.cached_property
    def _block(self) -> dict[str, str]:
        first = 1 if self.pooled_shortcut else 0
        shortcut = {"shortcut_conv": f"downsample.{first}", "shortcut_bn": f"downsample.{first + 1}"}
        return _BLOCK | shortcut | _SQUEEZE


def to_our_layout(array: np.ndarray) -> np.ndarray:
    """Kernels [O, I, H, W] -> [H, W, I, O] and [O, I] -> [I, O]; the others stay."""
    return np.ascontiguousarray(array.transpose({4: (2, 3, 1, 0), 2: (1, 0)}.get(array.ndim, range(array.ndim))))


def to_torch_layout(array: np.ndarray) -> np.ndarray:
    """The inverse of `to_our_layout`."""
    return np.ascontiguousarray(array.transpose({4: (3, 2, 0, 1), 2: (1, 0)}.get(array.ndim, range(array.ndim))))


def _is_norm(module: str) -> bool:
    return "bn" in module
