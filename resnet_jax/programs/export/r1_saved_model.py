"""Writes a SavedModel with the signatures of the r1.x ResNet of the TensorFlow Models repository.

Clients of that trainer can call it unchanged. That trainer exports one of two kinds (`resnet_main` in
official/r1/resnet/resnet_run_loop.py):

* 'r1_tensor', its default: the input 'input' [B, S, S, 3] float32 is normalized by the client, and B is fixed;
* 'r1_image_bytes', with --image_bytes_as_serving_input: the input 'image_bytes' [B] string holds JPEG files.

Both have the signatures 'predict' and 'serving_default', which return 'classes' [B] int64 and 'probabilities' [B, K]
float32.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from resnet_jax.programs.export.model import Model
from resnet_jax.programs.export.sample import Outputs, Sample
from resnet_jax.programs.export.saved_model import in_batches, load_tensorflow

_NAMES = ("predict", "serving_default")


def write_r1_saved_model(directory: Path, model: Model) -> None:
    """Writes the kind of SavedModel that `model.signatures` names.

    Raises:
      UsageError: TensorFlow is not installed.
    """
    tf = load_tensorflow()
    module = tf.Module()
    module.weights = jax.tree.map(tf.Variable, model.variables)
    make = _tensor_function if model.signatures.name == "r1_tensor" else _image_bytes_function
    module.serve = make(tf, model, module.weights)
    tf.saved_model.save(module, str(directory), signatures=dict.fromkeys(_NAMES, module.serve))


def _tensor_function(tf: Any, model: Model, weights: dict[str, Any]) -> Any:
    size, (_, batch_size, name) = model.preprocessing.image_size, model.signatures
    dtype = tf.dtypes.as_dtype(name)
    options = {} if batch_size is None else {"batches": (batch_size,)}
    call = in_batches(model.network_step, weights, size, dtype=jnp.dtype(name), **options)
    spec = tf.TensorSpec((batch_size, size, size, 3), dtype, name="input")

    def serve(input: Any) -> Any:  # noqa: A002  the name of the input in that trainer
        outputs = call(input)
        return {key: tf.ensure_shape(value, (batch_size, *value.shape[1:])) for key, value in outputs.items()}

    return tf.function(serve, input_signature=[spec], autograph=False)


def _image_bytes_function(tf: Any, model: Model, weights: dict[str, Any]) -> Any:
    from resnet_jax.programs.export.tensorflow_images import read_images  # noqa: PLC0415  imports TensorFlow

    call = in_batches(model.step, weights, model.preprocessing.image_size)

    def serve(image_bytes: Any) -> Any:
        return call(read_images(image_bytes, preprocessing=model.preprocessing))

    return tf.function(serve, input_signature=[tf.TensorSpec((None,), tf.string, name="image_bytes")], autograph=False)


def run_r1_saved_model(directory: Path, model: Model, sample: Sample) -> dict[str, Outputs]:
    """Reads a SavedModel back and runs both signatures on a sample; returns signature name -> outputs.

    Raises:
      UsageError: TensorFlow is not installed.
    """
    tf = load_tensorflow()
    loaded = tf.saved_model.load(str(directory))  # keep this reference: without it, TensorFlow frees the weights
    if model.signatures.name == "r1_image_bytes":
        files = tf.constant(list(sample.files), tf.string)
        outputs = {name: loaded.signatures[name](image_bytes=files) for name in _NAMES}
        return {name: {key: value.numpy() for key, value in out.items()} for name, out in outputs.items()}
    images = np.asarray(model.preprocess(jnp.asarray(sample.images))).astype(jnp.dtype(model.signatures.dtype))
    size = model.signatures.batch_size or len(images)
    padded = np.concatenate([images, np.zeros((-len(images) % size, *images.shape[1:]), images.dtype)])
    pieces = np.split(padded, len(padded) // size)
    found = {}
    for name in _NAMES:
        answers = [loaded.signatures[name](input=tf.constant(piece)) for piece in pieces]
        found[name] = {key: np.concatenate([a[key].numpy() for a in answers])[: len(images)] for key in answers[0]}
    return found
