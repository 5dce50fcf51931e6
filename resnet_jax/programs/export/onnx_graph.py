"""Builds an ONNX graph node by node, in ONNX's layout [B, C, H, W]."""

import importlib
from typing import Any, NamedTuple

import numpy as np

from resnet_jax.errors import UsageError

_OPSET, _IR_VERSION = 17, 8  # versions of ONNX 1.12 (July 2022), which TensorRT 8.6 and ONNX Runtime 1.14 can read
_BLUR = np.outer([1.0, 2.0, 1.0], [1.0, 2.0, 1.0]) / 16  # the kernel of `models.layers.low_pass`


class BatchNormArrays(NamedTuple):
    """Parameters and running statistics of a batch norm, each [C] float32, and the constant added to variances."""

    scale: np.ndarray
    bias: np.ndarray
    mean: np.ndarray
    var: np.ndarray
    epsilon: float

    @property
    def factor(self) -> np.ndarray:
        """The factor of the batch norm y = factor * x + offset, [C] float32."""
        return self.scale / np.sqrt(self.var + np.float32(self.epsilon))

    @property
    def offset(self) -> np.ndarray:
        """The offset of the batch norm y = factor * x + offset, [C] float32."""
        return self.bias - self.mean * self.factor


def import_onnx() -> Any:
    """Imports `onnx` and `onnxruntime`; returns `onnx`. Raises UsageError if one of them is not installed."""
    try:
        importlib.import_module("onnxruntime")
        return importlib.import_module("onnx")
    except ImportError:
        raise UsageError(
            "an ONNX file needs the packages onnx and onnxruntime, which are not installed: pip install -e '.[onnx]', "
            "or remove 'onnx' from config.export.formats"
        ) from None


class Graph:
    """An ONNX graph under construction. Its methods take and return values as names: the names of node outputs."""

    def __init__(self) -> None:
        self._onnx = import_onnx()
        self._nodes: list[Any] = []
        self._initializers: list[Any] = []

    def add(self, operation: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        """Appends a node with one output; returns the name of the output, which is `name` if that is given."""
        output = name or f"{operation.lower()}_{len(self._nodes)}"
        self._nodes.append(self._onnx.helper.make_node(operation, list(inputs), [output], output, **attributes))
        return output

    def constant(self, array: np.ndarray) -> str:
        """Adds a constant array (an ONNX initializer); returns its name."""
        name = f"constant_{len(self._initializers)}"
        self._initializers.append(self._onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def channels(self, array: np.ndarray) -> str:
        """Adds a constant with a value per channel, [C], as [1, C, 1, 1] to broadcast with images; returns its name."""
        return self.constant(np.asarray(array, np.float32).reshape(1, -1, 1, 1))

    def conv(self, x: str, kernel: np.ndarray, bias: np.ndarray | None = None, *, stride: int = 1) -> str:
        """Convolves with a kernel [h, w, I, O] of odd size; the input is padded equally on all four sides."""
        pads = [(side - 1) // 2 for side in kernel.shape[:2]] * 2
        arrays = [kernel.transpose(3, 2, 0, 1), *([] if bias is None else [bias])]
        return self.add("Conv", x, *map(self.constant, arrays), pads=pads, strides=[stride, stride])

    def conv_norm(self, x: str, kernel: np.ndarray, norm: BatchNormArrays, *, stride: int = 1) -> str:
        """Adds a convolution and the batch norm after it, folded into one convolution with a bias."""
        return self.conv(x, kernel * norm.factor, norm.offset, stride=stride)

    def norm(self, x: str, norm: BatchNormArrays) -> str:
        """Adds a batch norm that cannot be folded into a convolution, as a product and a sum."""
        return self.add("Add", self.add("Mul", x, self.channels(norm.factor)), self.channels(norm.offset))

    def blur(self, x: str, channels: int) -> str:
        """Filters each channel as `models.layers.low_pass` does."""
        kernel = self.constant(np.broadcast_to(_BLUR.astype(np.float32), (channels, 1, 3, 3)))
        return self.add("Conv", x, kernel, pads=[1, 1, 1, 1], group=channels)

    def model(self, inputs: dict[str, Any], outputs: dict[str, Any], metadata: dict[str, str]) -> Any:
        """Returns the finished, checked model.

        Args:
          inputs: name of each input -> (numpy dtype, shape); a string in a shape, such as 'batch', is a variable size.
          outputs: name of each output (a name that `add` returned) -> (numpy dtype, shape).
          metadata: key -> value, both strings; stored in the file.
        """
        helper = self._onnx.helper

        def described(values: dict[str, Any]) -> list[Any]:
            return [
                helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)
                for name, (dtype, shape) in values.items()
            ]

        graph = helper.make_graph(self._nodes, "resnet", described(inputs), described(outputs), self._initializers)
        opset = helper.make_opsetid("", _OPSET)
        made = helper.make_model(graph, opset_imports=[opset], ir_version=_IR_VERSION, producer_name="resnet_jax")
        helper.set_model_props(made, metadata)
        self._onnx.checker.check_model(made, full_check=True)
        return made
