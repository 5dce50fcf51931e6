"""Post-training quantization of an ONNX export to int8, calibrated and measured on the data of the run."""

import importlib
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from resnet_jax.data.batch import UNREADABLE, HostBatch
from resnet_jax.data.loader import Loader
from resnet_jax.errors import UsageError
from resnet_jax.programs.evaluation.wilson import wilson
from resnet_jax.programs.export.model import Model
from resnet_jax.programs.export.onnx_file import check_onnx, open_session, write_onnx

_BATCH = 8  # images in a batch; small, so that the calibration batches come from many places in the training set
_CALIBRATION_BATCHES = 32
# Operations whose inputs and weights are int8; the softmax and the normalization of pixels stay in float32.
_OPERATIONS = ("Conv", "Gemm", "Add", "MaxPool", "AveragePool", "GlobalAveragePool")


class Splits(NamedTuple):
    """The data of a run with evaluation preprocessing, in batches of `_BATCH` images."""

    train: Loader
    evaluation: Loader


def make_splits(sources: Mapping[str, Any], make_loader: Callable[..., Loader]) -> Splits:
    """Makes a loader of each of the sources 'train' and 'validation'; `make_loader` is `Inference.make_loader`."""
    return Splits(make_loader(sources["train"], _BATCH), make_loader(sources["validation"], _BATCH))


def check_int8(model: Model) -> None:
    """Raises UsageError if packages or data are missing, or the model and the data have different classes."""
    check_onnx(model)
    if model.splits is None:
        raise UsageError("the format 'onnx_int8' needs the data of the run: export with --config or --workdir of a run")
    if tuple(model.splits.evaluation.source.class_names) != model.class_names:
        raise UsageError(
            "the format 'onnx_int8' is measured on the data of config.data, whose classes are not the outputs of these "
            "weights: set config.data to data with these classes, or export 'onnx' only"
        )


def write_int8(path: Path, model: Model) -> None:
    """Writes an ONNX file with int8 weights (a scale per channel) and int8 activations.

    The scales of the activations are computed from training images.
    """
    quantization = importlib.import_module("onnxruntime.quantization")
    images = iter(_calibration_images(_splits(model).train))

    class Reader(quantization.CalibrationDataReader):  # type: ignore[name-defined]
        def get_next(self) -> dict[str, np.ndarray] | None:
            found = next(images, None)
            return None if found is None else {"images": found}

    exact = path.with_suffix(".float.onnx")
    write_onnx(exact, model)
    root = logging.getLogger()
    level = root.level
    # Hide the warning of ONNX Runtime to preprocess the model: `write_onnx` has already folded the batch norms.
    root.setLevel(logging.ERROR)
    try:
        quantization.quantize_static(exact, path, Reader(), per_channel=True, op_types_to_quantize=list(_OPERATIONS))
    finally:
        root.setLevel(level)
        exact.unlink()


def measure_int8(path: Path, model: Model) -> dict[str, Any]:
    """Evaluates an int8 file and the same network in this program on every image of the evaluation set.

    Images that cannot be read count as wrong.

    Returns:
      JSON values: the number of images, the number of readable images for which both predict the same class, and for
      each of 'this_program' and 'int8' the number of correct predictions, the top-1 accuracy and its Wilson interval.
    """
    import jax  # noqa: PLC0415

    session, predict = open_session(path), jax.jit(model.step)
    total = same = 0
    right = {"this_program": 0, "int8": 0}
    for batch in _all_batches(_splits(model).evaluation):
        exact = np.asarray(predict(model.variables, batch.image)["classes"])[batch.mask]
        quantized = session.run(["classes"], {"images": batch.image})[0][batch.mask]
        label = batch.label[batch.mask]
        total, same = total + len(label), same + int(np.sum((exact == quantized) & (label != UNREADABLE)))
        right["this_program"] += int(np.sum(exact == label))
        right["int8"] += int(np.sum(quantized == label))
    measured = {
        name: {"right": count, "top1": count / total, "interval": wilson(count, total)} for name, count in right.items()
    }
    return {"images": total, "same_class": same, **measured}


def _splits(model: Model) -> Splits:
    if model.splits is None:
        raise ValueError("the model has no data (splits): call check_int8 first")
    return model.splits


def _calibration_images(loader: Loader) -> Iterator[np.ndarray]:
    """Yields batches evenly spaced over the training set, to cover all classes even if it is sorted by class."""
    for step in sorted(set(np.linspace(0, _steps(loader) - 1, _CALIBRATION_BATCHES).astype(int).tolist())):
        batch = loader.batch(step).batch
        yield batch.image[batch.mask]


def _all_batches(loader: Loader) -> Iterator[HostBatch]:
    for step in range(_steps(loader)):
        yield loader.batch(step).batch


def _steps(loader: Loader) -> int:
    return -(-len(loader.source) // loader.batch_size)
