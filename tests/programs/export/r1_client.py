"""Writes SavedModels with the signatures of r1 and calls them as its clients do; a program of its own for TensorFlow.

python -m tests.programs.export.r1_client write|call DIRECTORY

`write` exports a network in both kinds, tensor/ with batches of 4 and image_bytes/, and writes sample.npz: the files,
the normalized images, and JAX's outputs. `call` uses TensorFlow 1's API alone and writes answers.npz and
signatures.json.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np

BATCH = 4


def write(directory):
    """Writes the exports and the sample."""
    import jax

    from resnet_jax.programs.export.export import export
    from resnet_jax.programs.export.model import Signatures
    from resnet_jax.programs.export.sample import make_sample
    from tests.weights.untrained_weights import untrained

    inference, selected = untrained(None, devices=jax.devices()[:1])
    names = tuple("abcdefghij")
    for name, batch_size in (("tensor", BATCH), ("image_bytes", None)):
        signatures = Signatures(f"r1_{name}", batch_size)
        assert export(inference, selected, names, directory / name, ("saved_model",), signatures) == 0
    sample = make_sample(inference, selected)
    normalized = np.asarray(inference.preprocess(sample.images))
    np.savez(directory / "sample.npz", files=np.array(sample.files), normalized=normalized, **sample.outputs)


def describe(tensors):
    """Returns name -> dtype and shape of the tensors of a signature; -1 is any size."""
    import tensorflow as tf

    return {
        key: [tf.dtypes.as_dtype(info.dtype).name, [dim.size for dim in info.tensor_shape.dim]]
        for key, info in tensors.items()
    }


def call(directory):
    """Feeds the tensors that the signatures name, as r1's clients do in a session."""
    import tensorflow as tf

    assert "resnet_jax" not in sys.modules
    sample, answers, signatures = np.load(directory / "sample.npz"), {}, {}
    values = {"tensor": sample["normalized"][:BATCH], "image_bytes": sample["files"][:3].tolist()}
    for kind, value in values.items():
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            meta = tf.compat.v1.saved_model.load(session, ["serve"], str(directory / kind / "saved_model"))
            for name in ("predict", "serving_default"):
                signature = meta.signature_def[name]
                signatures[f"{kind} {name}"] = {
                    "method": signature.method_name,
                    "inputs": describe(signature.inputs),
                    "outputs": describe(signature.outputs),
                }
                (given,) = signature.inputs.values()
                fetched = {key: info.name for key, info in signature.outputs.items()}
                found = session.run(fetched, {given.name: value})
                answers |= {f"{kind} {name} {key}": array for key, array in found.items()}
    np.savez(directory / "answers.npz", **answers)
    (directory / "signatures.json").write_text(json.dumps(signatures))


if __name__ == "__main__":
    os.environ["TF_CPP_MIN_LOG_LEVEL"], os.environ["TF_ENABLE_ONEDNN_OPTS"] = "3", "0"
    {"write": write, "call": call}[sys.argv[1]](Path(sys.argv[2]))
