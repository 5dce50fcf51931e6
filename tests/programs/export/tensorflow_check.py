"""Runs exports in TensorFlow; a program of its own, so that the process of the tests does not load TensorFlow.

python -m tests.programs.export.tensorflow_check pixels|write|serve DIRECTORY

`pixels` compares TensorFlow's pixels with those of the data path: pixels.json. `write` writes a SavedModel, and sample
files with their pixels and JAX's outputs: saved_model, sample.npz. `serve` runs it with TensorFlow alone: served.npz.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np

SIZES = [(1, 1), (1, 7), (9, 1), (24, 24), (48, 48), (36, 36), (48, 24), (72, 96), (61, 84), (219, 218), (640, 97)]
PICTURES = [("central", 24 / 28, None), ("resize", 24 / 29, None), ("resize", 1.0, None), ("central", 1.0, 50)]
SIZE, CLASSES = 24, 7


def differences(ours, expected):
    """Returns the fraction of values that differ, and the largest difference."""
    gap = abs(ours.astype(int) - expected)
    return [float((gap > 0).mean()), int(gap.max())]


def host_view(image, preprocessing):
    """Crops and resizes [H, W, 3] uint8 as the loader does."""
    from resnet_jax.data.crops import create_eval_crop
    from resnet_jax.data.resize import RESIZES, apply_view, enlarge

    if preprocessing.enlarge_to is not None:
        image = enlarge(image, preprocessing.enlarge_to)
    crop = create_eval_crop(preprocessing.crop, size=preprocessing.image_size, fraction=preprocessing.fraction)
    out = np.empty((preprocessing.image_size, preprocessing.image_size, 3), np.uint8)
    apply_view(image, crop(*image.shape[:2], np.zeros((0, 4)), ()), RESIZES[preprocessing.resize], out)
    return out


def kernels(rng):
    """Yields the differences of each kernel on noise of many sizes, resized to many sizes."""
    import tensorflow as tf

    from resnet_jax.data.resize import RESIZES as HOST
    from resnet_jax.programs.export.tensorflow_resize import RESIZES

    assert list(HOST) == list(RESIZES)
    cases = [(size, (24, 24)) for size in SIZES] + [((375, 500), (256, 341)), ((500, 201), (224, 90))]
    cases += [(rng.integers(2, 150, 2).tolist(), rng.integers(8, 120, 2).tolist()) for _ in range(20)]
    scalar = tf.TensorSpec((), tf.int32)
    for name, kernel in RESIZES.items():
        signature = [tf.TensorSpec((None, None, 3), tf.uint8), scalar, scalar]
        resize = tf.function(kernel, input_signature=signature, autograph=False)
        for (height, width), shape in cases:
            image = rng.integers(0, 256, (height, width, 3), np.uint8)
            expected = np.empty((*shape, 3), np.uint8)
            HOST[name](image, expected)
            key = f"{name} {height}x{width} {shape[0]}x{shape[1]}"
            yield key, differences(resize(image, *shape).numpy(), expected)


def views(rng):
    """Yields the differences of each crop on noise of many sizes, with two kernels whose pixels must be equal."""
    import tensorflow as tf

    from resnet_jax.data.eval_preprocessing import EvalPreprocessing
    from resnet_jax.programs.export.tensorflow_images import show

    sizes = SIZES + [(side, side + 3) for side in range(25, 120, 7)]
    for crop, fraction, enlarge_to in PICTURES:
        for name in ("area", "bicubic_antialias"):
            preprocessing = EvalPreprocessing(SIZE, crop, fraction, name, enlarge_to)
            signature = [tf.TensorSpec((None, None, 3), tf.uint8)]
            ours = tf.function(
                lambda x, p=preprocessing: show(x, preprocessing=p), input_signature=signature, autograph=False
            )
            for height, width in sizes:
                image = rng.integers(0, 256, (height, width, 3), np.uint8)
                key = f"{crop} {fraction:.3f} {enlarge_to} {name} {height}x{width}"
                yield key, differences(ours(image).numpy(), host_view(image, preprocessing))


def decoded():
    """Yields the differences of decoded JPEG files of several kinds."""
    from resnet_jax.data.decode import decode
    from resnet_jax.programs.export import tensorflow_images
    from tests.data.encoded import encode, photo

    kinds = {
        "4:2:0": {},
        "4:4:4": {"subsampling": 0, "quality": 95},
        "4:2:2": {"subsampling": 1},
        "progressive": {"progressive": True},
        "grey": {"mode": "L"},
        "cmyk": {"mode": "CMYK"},
    }
    for kind, options in kinds.items():
        for size in ((33, 47), (120, 161)):
            file = encode(photo(*size), "JPEG", **options)
            key = f"{kind} {size[0]}x{size[1]}"
            yield key, differences(tensorflow_images.decode(file).numpy(), decode(file))


def pixels(directory):
    """Writes pixels.json: fraction and size of the differences by kind and case."""
    rng = np.random.default_rng(1)
    found = {"kernels": dict(kernels(rng)), "views": dict(views(rng)), "decoded": dict(decoded())}
    (directory / "pixels.json").write_text(json.dumps(found))


def write(directory):
    """Writes saved_model and sample.npz."""
    import jax

    from resnet_jax.data.decode import decode
    from resnet_jax.data.eval_preprocessing import EvalPreprocessing
    from resnet_jax.programs.export.saved_model import run_saved_model, write_saved_model
    from tests.data.encoded import encode, photo
    from tests.models.networks import CIFAR, initialize, network

    model = network(**CIFAR | {"depth": 8, "num_classes": CLASSES, "features": 64})
    variables = jax.tree.map(np.asarray, initialize(model, np.zeros((1, SIZE, SIZE, 3), np.float32)))
    preprocessing = EvalPreprocessing(SIZE, "central", 24 / 28, "area", None)

    files = [encode(photo(20 + 3 * index, 90 - index, seed=index), "JPEG") for index in range(42)]
    images = np.stack([host_view(decode(file), preprocessing) for file in files])
    logits = model.apply(variables, images.astype(np.float32) / 64 - 2, train=False)
    # Without this standardization an untrained network predicts one class for all images.
    mean, deviation = logits.mean(0), logits.std(0)

    def predict(variables, images):
        logits = (model.apply(variables, images.astype(np.float32) / 64 - 2, train=False) - mean) / deviation
        return {"probabilities": jax.nn.softmax(logits), "classes": logits.argmax(-1)}

    write_saved_model(directory / "saved_model", predict, variables, preprocessing=preprocessing)
    again = run_saved_model(directory / "saved_model", images=images[:1])["classes"]  # in the process that wrote it
    outputs = jax.jit(predict)(variables, images)
    assert again.dtype == np.int64 and again[0] == outputs["classes"][0]
    count = sum(leaf.nbytes for leaf in jax.tree.leaves(variables))
    np.savez(directory / "sample.npz", images=images, files=np.array(files), weights_bytes=count, **outputs)


def serve(directory):
    """Calls each signature with batches of several sizes; writes served.npz."""
    import tensorflow as tf

    assert "resnet_jax" not in sys.modules
    loaded = tf.saved_model.load(str(directory / "saved_model"))
    sample, outputs = np.load(directory / "sample.npz"), {}
    images, files = tf.constant(sample["images"]), tf.constant(sample["files"].tolist())
    for name, signature in loaded.signatures.items():
        for batch in (0, 1, 3, 42):
            values = signature(image=images[:batch]) if name == "image" else signature(image_bytes=files[:batch])
            outputs |= {f"{name} {batch} {key}": value.numpy() for key, value in values.items()}
    np.savez(directory / "served.npz", **outputs)


if __name__ == "__main__":
    os.environ["TF_CPP_MIN_LOG_LEVEL"], os.environ["TF_ENABLE_ONEDNN_OPTS"] = "3", "0"
    {"pixels": pixels, "write": write, "serve": serve}[sys.argv[1]](Path(sys.argv[2]))
