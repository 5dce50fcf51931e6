"""Writes a network with its weights as a SavedModel for TensorFlow and TF Serving, and runs it.

One signature takes pixels, one takes JPEG files. `r1_saved_model.py` writes other signatures: those of the r1.x ResNet
of the TensorFlow Models repository.
"""

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from resnet_jax.data.eval_preprocessing import EvalPreprocessing
from resnet_jax.errors import UsageError
from resnet_jax.optional_tensorflow import import_tensorflow
from resnet_jax.programs.export.jax_artifact import PLATFORMS

Predict = Callable[[dict[str, Any], jax.Array], dict[str, jax.Array]]

_MISSING = (
    "a SavedModel needs TensorFlow, which is not installed: pip install -e '.[tensorflow]', or remove "
    "'saved_model' from config.export.formats"
)

# Batch sizes for which the network is converted; any batch is split into pieces of these sizes, largest first. A single
# conversion with a symbolic batch size does not work: JAX emits a shape check that TensorFlow's StableHLO cannot read.
_BATCHES = (32, 8, 1)


def write_saved_model(
    directory: Path, predict: Predict, variables: dict[str, Any], *, preprocessing: EvalPreprocessing
) -> None:
    """Writes a SavedModel for any batch size, for CPUs, GPUs and TPUs.

    Its signatures return 'probabilities' [B, K] float32 and 'classes' [B] int64:

    * 'image' takes 'image' [B, S, S, 3] uint8;
    * 'image_bytes', also named 'serving_default', takes 'image_bytes' [B] string, JPEG files.

    Args:
      directory: the directory to create.
      predict: maps the weights and images [B, S, S, 3] uint8 to 'probabilities' [B, K] float32 and 'classes' [B].
      variables: the weights, stored once for both signatures.
      preprocessing: how an image file becomes the input of `predict`.

    Raises:
      UsageError: TensorFlow is not installed.
    """
    tf = load_tensorflow()
    from resnet_jax.programs.export.tensorflow_images import read_images  # noqa: PLC0415  imports TensorFlow

    size = preprocessing.image_size
    module = tf.Module()
    module.weights = jax.tree.map(tf.Variable, variables)
    call = in_batches(predict, module.weights, size)

    def image(image: Any) -> Any:
        return call(image)

    def image_bytes(image_bytes: Any) -> Any:
        return call(read_images(image_bytes, preprocessing=preprocessing))

    pixels = tf.TensorSpec((None, size, size, 3), tf.uint8, name="image")
    module.image = tf.function(image, input_signature=[pixels], autograph=False)
    files = tf.TensorSpec((None,), tf.string, name="image_bytes")
    module.image_bytes = tf.function(image_bytes, input_signature=[files], autograph=False)
    signatures = {"image": module.image, "image_bytes": module.image_bytes, "serving_default": module.image_bytes}
    tf.saved_model.save(module, str(directory), signatures=signatures)


def run_saved_model(
    directory: Path, *, images: np.ndarray | None = None, encoded: Sequence[bytes] | None = None
) -> dict[str, np.ndarray]:
    """Reads a SavedModel back and runs one of its signatures.

    Args:
      directory: the SavedModel.
      images: [B, S, S, 3] uint8, for the signature 'image'; None to run 'image_bytes'.
      encoded: B JPEG files, for the signature 'image_bytes'.

    Raises:
      UsageError: TensorFlow is not installed.
    """
    tf = load_tensorflow()
    loaded = tf.saved_model.load(str(directory))  # keep this reference: without it, TensorFlow frees the weights
    if images is not None:
        outputs = loaded.signatures["image"](image=tf.constant(images))
    else:
        outputs = loaded.signatures["image_bytes"](image_bytes=tf.constant(list(encoded or ()), tf.string))
    return {name: value.numpy() for name, value in outputs.items()}


def in_batches(
    predict: Predict, weights: dict[str, Any], size: int, *, dtype: Any = np.uint8, batches: Sequence[int] = _BATCHES
) -> Callable[[Any], dict[str, Any]]:
    """Returns `predict` with `weights` as a TensorFlow function of images.

    Args:
      predict: maps the weights and images [B, S, S, 3] to 'probabilities' and 'classes'.
      weights: the weights as TensorFlow variables.
      size: S in pixels.
      dtype: dtype of the images.
      batches: decreasing batch sizes; the number of images of every call must be a sum of such sizes.
    """
    import tensorflow as tf  # noqa: PLC0415
    from jax.experimental import jax2tf  # noqa: PLC0415  imports TensorFlow

    converted = jax2tf.convert(predict, with_gradient=False, native_serialization_platforms=PLATFORMS)

    def call_all(images: Any, batch: int) -> dict[str, Any]:
        """Runs the network in pieces of `batch` images; the number of images must be a multiple of `batch`."""
        spec = jax.eval_shape(predict, weights_spec, jax.ShapeDtypeStruct((batch, size, size, 3), dtype))
        outputs = tf.map_fn(
            lambda piece: converted(weights, piece),
            tf.reshape(images, (-1, batch, size, size, 3)),
            parallel_iterations=1,  # one piece at a time, because each uses all cores
            fn_output_signature={name: tf.TensorSpec(out.shape, out.dtype) for name, out in spec.items()},
        )
        return {name: tf.reshape(out, (-1, *spec[name].shape[1:])) for name, out in outputs.items()}

    def call(images: Any) -> dict[str, Any]:
        pieces = []
        for batch in batches:
            count = tf.shape(images)[0] // batch * batch
            pieces.append(call_all(images[:count], batch))
            images = images[count:]
        outputs = {name: tf.concat([piece[name] for piece in pieces], 0) for name in pieces[0]}
        return {"probabilities": outputs["probabilities"], "classes": tf.cast(outputs["classes"], tf.int64)}

    weights_spec = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype.as_numpy_dtype), weights)
    return call


def check_tensorflow() -> None:
    """Raises UsageError if TensorFlow is not installed, without importing it."""
    if importlib.util.find_spec("tensorflow") is None:
        raise UsageError(_MISSING)


def load_tensorflow() -> Any:
    """Imports TensorFlow; raises UsageError if it is not installed."""
    try:
        return import_tensorflow()
    except ImportError:
        raise UsageError(_MISSING) from None
