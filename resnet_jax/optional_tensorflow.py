"""Imports TensorFlow, an optional dependency, on first use: with its log output off and no GPU memory taken."""

import importlib
import os
from typing import Any


def import_tensorflow() -> Any:
    """Imports TensorFlow, which takes about 3 s. Raises ImportError if it is not installed."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's C++ code logs each error that it also raises
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # oneDNN prints a banner and is not needed here
    tensorflow = importlib.import_module("tensorflow")
    tensorflow.config.set_visible_devices([], "GPU")  # else TensorFlow reserves the memory of every GPU
    tensorflow.get_logger().setLevel("ERROR")  # TensorFlow's Python code logs the path of each file that it writes
    return tensorflow
