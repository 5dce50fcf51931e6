"""TensorFlow, for the few who need it: imported when it is wanted, quietly, and without a GPU."""

import importlib
import os
from typing import Any


def import_tensorflow() -> Any:
    """Imports TensorFlow (3 s, 1.3 GB). Raises ImportError where it is not installed."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # it says errors on its own besides raising them
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # else it announces them; nothing is computed by it here
    tensorflow = importlib.import_module("tensorflow")
    tensorflow.config.set_visible_devices([], "GPU")  # else it takes the memory of all GPUs
    tensorflow.get_logger().setLevel("ERROR")  # it says where it writes
    return tensorflow
