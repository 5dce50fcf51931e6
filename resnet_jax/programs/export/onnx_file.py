"""Writes a network with its weights as an ONNX file, and runs it with ONNX Runtime."""

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from resnet_jax.errors import UsageError
from resnet_jax.programs.export.model import Model
from resnet_jax.programs.export.onnx_graph import Graph, import_onnx
from resnet_jax.programs.export.onnx_network import write_network, write_normalization


def check_onnx(model: Model) -> None:
    """Raises UsageError if packages are missing or the activation dtype of the export is not float32."""
    import_onnx()
    if model.signatures.dtype != "float32":
        raise UsageError(
            f"an ONNX file computes in float32, not {model.signatures.dtype}: set config.export.dtype=float32, or "
            "remove 'onnx' from config.export.formats"
        )


def write_onnx(path: Path, model: Model) -> None:
    """Writes the network, with its weights and the normalization of pixels, as an ONNX file for any batch size.

    Its input is 'images' [B, S, S, 3] uint8; its outputs are 'probabilities' [B, K] float32 and 'classes' [B] int64.
    Its metadata contain 'class_names' and 'source' as JSON.
    """
    graph, side = Graph(), model.preprocessing.image_size
    x = write_normalization(graph, "images", model.network)
    logits = write_network(graph, x, model.variables, model.network, image_size=side)
    graph.add("Softmax", logits, axis=1, name="probabilities")
    graph.add("ArgMax", logits, axis=1, keepdims=0, name="classes")
    made = graph.model(
        {"images": (np.uint8, ["batch", side, side, 3])},
        {"probabilities": (np.float32, ["batch", len(model.class_names)]), "classes": (np.int64, ["batch"])},
        {"class_names": json.dumps(list(model.class_names)), "source": json.dumps(model.source)},
    )
    path.write_bytes(made.SerializeToString())


def run_onnx(path: Path, images: np.ndarray) -> dict[str, np.ndarray]:
    """Runs the file of `write_onnx` with ONNX Runtime, on CPUs; returns its outputs for images [N, S, S, 3] uint8."""
    session = open_session(path)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"images": images}), strict=True))


def open_session(path: Path) -> Any:
    """Returns a session of ONNX Runtime on CPUs that logs nothing but errors."""
    runtime = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
