"""Writes a network of `models/` as an ONNX graph, from its settings and weights; folds batch norms into convolutions.

The graph is built by hand, not by a converter of JAX functions. The maintained converter, jax2onnx 0.17, cannot be
installed with the versions of Orbax that are used here, and it leaves batch norms as separate products with factors
of the size of the feature maps. Every export is compared with the network in JAX before it is kept.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from resnet_jax.nested import by_path
from resnet_jax.programs.export.onnx_graph import BatchNormArrays, Graph

_POOL, _POOL_STRIDE = 3, 2


def write_normalization(graph: Graph, pixels: str, settings: Mapping[str, Any]) -> str:
    """Adds the nodes that normalize pixels: [B, S, S, 3] uint8 -> [B, 3, S, S] float32; returns the output's name."""
    x = graph.add("Cast", graph.add("Transpose", pixels, perm=[0, 3, 1, 2]), to=1)  # 1 is ONNX's number for float32
    if not settings["input.per_image"]:
        x = graph.add("Sub", x, graph.channels(settings["input.mean"]))
        return graph.add("Mul", x, graph.channels(1.0 / np.asarray(settings["input.std"], np.float32)))
    axes: dict[str, Any] = {"axes": [1, 2, 3], "keepdims": 1}
    centered = graph.add("Sub", x, graph.add("ReduceMean", x, **axes))
    variance = graph.add("ReduceMean", graph.add("Mul", centered, centered), **axes)
    smallest = graph.add("Pow", _size_of_images(graph, x), graph.constant(np.array(-0.5, np.float32)))
    return graph.add("Div", centered, graph.add("Max", graph.add("Sqrt", variance), smallest))


def _size_of_images(graph: Graph, x: str) -> str:
    """Adds the nodes that compute the number of values in an image, 3 H W, as a float32 scalar; returns its name."""
    shape = graph.add("Shape", x, start=1)
    return graph.add("Cast", graph.add("ReduceProd", shape, keepdims=0), to=1)


def write_network(
    graph: Graph, x: str, variables: Mapping[str, Any], settings: Mapping[str, Any], *, image_size: int
) -> str:
    """Adds the nodes from normalized images [B, 3, S, S] to logits [B, K]; returns the name of the logits.

    Args:
      graph: the graph to extend.
      x: name of the images in the graph.
      variables: 'params' and 'batch_stats' of the network.
      settings: settings of the network, config key -> value for all `NETWORK_KEYS`.
      image_size: S in pixels.
    """
    return _Network(graph, variables, settings, image_size).write(x)


class _Network:
    """Adds the nodes of one network; the methods mirror `models/resnet.py`, `stems.py` and `blocks.py`."""

    def __init__(self, graph: Graph, variables: Mapping[str, Any], settings: Mapping[str, Any], image_size: int):
        self._graph = graph
        self._arrays = {name: np.asarray(array, np.float32) for name, array in by_path(variables).items()}
        self._settings = {key.removeprefix("model."): value for key, value in settings.items()}
        self._is_v2 = self._settings["version"] == "v2"
        self._image_size = image_size

    def write(self, x: str) -> str:
        x = self._stem(x)
        for name in self._block_names():
            stride = 2 if name.endswith("_block1") and not name.startswith("stage1_") else 1
            x = self._preactivation_block(x, name, stride) if self._is_v2 else self._block(x, name, stride)
        if self._is_v2:
            x = self._relu(self._graph.norm(x, self._norm("final_bn")))
        means = self._graph.add("Flatten", self._graph.add("GlobalAveragePool", x))
        head = [self._graph.constant(self._arrays[f"params/head/{leaf}"]) for leaf in ("kernel", "bias")]
        return self._graph.add("Gemm", means, *head, name="logits")

    def _block_names(self) -> list[str]:
        names = {name.split("/")[1] for name in self._arrays if name.startswith("params/stage")}
        return sorted(names, key=lambda name: tuple(map(int, re.findall(r"\d+", name))))

    def _stem(self, x: str) -> str:
        is_small, is_deep = self._settings["name"] == "resnet_cifar", self._settings["stem"] == "deep"
        for number in (1, 2) if is_deep else ():
            kernel, norm = self._kernel(f"stem_conv{number}"), self._norm(f"stem_bn{number}")
            x = self._relu(self._graph.conv_norm(x, kernel, norm, stride=3 - number))
        stride = 1 if is_small or is_deep else 2
        kernel = self._kernel("stem_conv")
        if self._is_v2:
            x = self._graph.conv(x, kernel, stride=stride)
        else:
            x = self._relu(self._graph.conv_norm(x, kernel, self._norm("stem_bn"), stride=stride))
        return x if is_small else self._max_pool(x)

    def _max_pool(self, x: str) -> str:
        side = -(-self._image_size // 2)
        before = 0 if self._settings["padding"] == "tf" and side % 2 == 0 else 1
        sizes: dict[str, Any] = {"kernel_shape": [_POOL, _POOL], "strides": [_POOL_STRIDE, _POOL_STRIDE]}
        return self._graph.add("MaxPool", x, pads=[before, before, 1, 1], **sizes)

    def _block(self, x: str, block: str, stride: int) -> str:
        """Adds a residual block of a network of version 1 or 1.5 (batch norm after convolution)."""
        strides = self._strides(block, stride)
        y = x
        for number, of_conv in enumerate(strides, 1):
            kernel, norm = self._kernel(f"{block}/conv{number}"), self._norm(f"{block}/bn{number}")
            y = self._graph.conv_norm(self._blurred(y, kernel, of_conv), kernel, norm, stride=of_conv)
            y = self._relu(y) if number < len(strides) else y
        return self._relu(self._graph.add("Add", self._gated(y, block), self._shortcut(x, block, stride)))

    def _preactivation_block(self, x: str, block: str, stride: int) -> str:
        """Adds a residual block of a network of version 2 (batch norm before convolution)."""
        activated = y = self._relu(self._graph.norm(x, self._norm(f"{block}/bn1")))
        for number, of_conv in enumerate(self._strides(block, stride), 1):
            y = self._relu(self._graph.norm(y, self._norm(f"{block}/bn{number}"))) if number > 1 else y
            kernel = self._kernel(f"{block}/conv{number}")
            y = self._graph.conv(self._blurred(y, kernel, of_conv), kernel, stride=of_conv)
        shortcut = x if self._keeps_shape(block, stride) else self._shortcut(activated, block, stride)
        return self._graph.add("Add", self._gated(y, block), shortcut)

    def _strides(self, block: str, stride: int) -> tuple[int, ...]:
        """Returns the stride of each convolution of a block."""
        if f"params/{block}/conv3/kernel" not in self._arrays:
            return stride, 1
        return (stride, 1, 1) if self._settings["version"] == "v1" else (1, stride, 1)

    def _keeps_shape(self, block: str, stride: int) -> bool:
        """Returns whether the shortcut is the identity."""
        inputs, outputs = self._widths(block)
        return stride == 1 and inputs == outputs and f"params/{block}/shortcut_conv/kernel" not in self._arrays

    def _widths(self, block: str) -> tuple[int, int]:
        """Returns the numbers of channels before and after a block."""
        last = max(name for name in self._arrays if re.fullmatch(rf"params/{block}/conv\d/kernel", name))
        return self._kernel(f"{block}/conv1").shape[2], self._arrays[last].shape[3]

    def _shortcut(self, x: str, block: str, stride: int) -> str:
        kind = self._settings["shortcut"]
        if self._keeps_shape(block, stride):
            return x
        if kind == "zero_pad":
            return self._zero_padded(x, block, stride)
        if kind == "average_pool" and stride > 1:
            window: dict[str, Any] = {"kernel_shape": [stride, stride], "strides": [stride, stride]}
            x, stride = self._graph.add("AveragePool", x, auto_pad="SAME_UPPER", **window), 1
        kernel = self._kernel(f"{block}/shortcut_conv")
        x = self._blurred(x, kernel, stride)
        if self._is_v2:
            return self._graph.conv(x, kernel, stride=stride)
        return self._graph.conv_norm(x, kernel, self._norm(f"{block}/shortcut_bn"), stride=stride)

    def _zero_padded(self, x: str, block: str, stride: int) -> str:
        inputs, outputs = self._widths(block)
        starts, ends, axes, steps = ([0, 0], [2**31 - 1] * 2, [2, 3], [stride, stride])
        x = self._graph.add("Slice", x, *(self._graph.constant(np.array(v)) for v in (starts, ends, axes, steps)))
        return self._graph.add("Pad", x, self._graph.constant(np.array([0] * 5 + [outputs - inputs, 0, 0])))

    def _gated(self, x: str, block: str) -> str:
        """Adds squeeze-and-excitation, if the network has it."""
        if not self._settings["squeeze_excitation"]:
            return x
        gate = self._graph.add("GlobalAveragePool", x)
        for name, activation in (("se_reduce", "Relu"), ("se_expand", "Sigmoid")):
            bias = self._arrays[f"params/{block}/{name}/bias"]
            gate = self._graph.add(activation, self._graph.conv(gate, self._kernel(f"{block}/{name}"), bias))
        return self._graph.add("Mul", x, gate)

    def _blurred(self, x: str, kernel: np.ndarray, stride: int) -> str:
        return self._graph.blur(x, kernel.shape[2]) if self._settings["blur_pool"] and stride > 1 else x

    def _relu(self, x: str) -> str:
        return self._graph.add("Relu", x)

    def _kernel(self, module: str) -> np.ndarray:
        return self._arrays[f"params/{module}/kernel"]

    def _norm(self, module: str) -> BatchNormArrays:
        scale, bias = (self._arrays[f"params/{module}/{leaf}"] for leaf in ("scale", "bias"))
        mean, var = (self._arrays[f"batch_stats/{module}/{leaf}"] for leaf in ("mean", "var"))
        return BatchNormArrays(scale, bias, mean, var, self._settings["bn_epsilon"])
