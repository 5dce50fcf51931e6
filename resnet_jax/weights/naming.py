"""Translates array names and layouts between this package and torchvision, or timm where torchvision has none."""

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
# Name of an array in this package -> its name in PyTorch. The first table is for batch norms, the second one for
# convolutions and the last layer.
_NORM_LEAVES = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
_LEAVES = {"kernel": "weight", "bias": "bias"}
_STATISTICS = ("mean", "var")


@dataclasses.dataclass(frozen=True)
class Naming:
    """The PyTorch names of the arrays of one family of networks.

    Attributes:
      deep_stem: the stem has three convolutions (timm's resnet50d).
      pooled_shortcut: `downsample` in PyTorch starts with an average pool, so its later layers have indices 1 higher.
    """

    deep_stem: bool
    pooled_shortcut: bool

    @classmethod
    def of_torch(cls, names: Collection[str]) -> "Naming":
        """Returns the `Naming` that a collection of PyTorch names follows."""
        pooled = any(".downsample.2." in name for name in names)
        return cls(deep_stem=any(name.startswith("conv1.6.") for name in names), pooled_shortcut=pooled)

    def to_torch(self, name: str) -> str:
        """Translates 'params/stage1_block1/conv1/kernel' to 'layer1.0.conv1.weight'; KeyError for an unknown layer."""
        _, *modules, leaf = name.split("/")
        leaf = (_NORM_LEAVES if _is_norm(modules[-1]) else _LEAVES)[leaf]
        if len(modules) == 1:
            return f"{self._outer[modules[0]]}.{leaf}"
        stage, block = map(int, re.findall(r"\d+", modules[0]))
        return f"layer{stage}.{block - 1}.{self._block[modules[1]]}.{leaf}"

    def to_ours(self, name: str) -> str | None:
        """Translates 'layer1.0.conv1.weight' to 'params/stage1_block1/conv1/kernel'; None for an unknown layer."""
        module, _, leaf = name.rpartition(".")
        inside = re.fullmatch(r"layer(\d{1,9})\.(\d{1,9})\.(.+)", module)
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
    """Transposes kernels [O, I, H, W] to [H, W, I, O] and [O, I] to [I, O]; other arrays keep their layout."""
    return np.ascontiguousarray(array.transpose({4: (2, 3, 1, 0), 2: (1, 0)}.get(array.ndim, range(array.ndim))))


def to_torch_layout(array: np.ndarray) -> np.ndarray:
    """Transposes kernels [H, W, I, O] to [O, I, H, W] and [I, O] to [O, I]; other arrays keep their layout."""
    return np.ascontiguousarray(array.transpose({4: (3, 2, 0, 1), 2: (1, 0)}.get(array.ndim, range(array.ndim))))


def _is_norm(module: str) -> bool:
    return "bn" in module
