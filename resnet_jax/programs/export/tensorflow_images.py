"""Decodes, crops and resizes images in TensorFlow, to the same pixels as the evaluation batches of this program."""

import tensorflow as tf

from resnet_jax.data.crops import resized_short_side
from resnet_jax.data.eval_preprocessing import EvalPreprocessing
from resnet_jax.programs.export.tensorflow_resize import RESIZES, bilinear


def read_images(encoded: tf.Tensor, *, preprocessing: EvalPreprocessing) -> tf.Tensor:
    """Decodes, crops and resizes image files: [B] string to [B, S, S, 3] uint8; fails if a file is not an image."""
    size = preprocessing.image_size
    with tf.device("CPU:0"):  # a GPU fuses multiply and add, which rounds differently
        pixels = tf.TensorSpec((size, size, 3), tf.uint8)
        return tf.map_fn(
            lambda file: show(decode(file, fast_dct=preprocessing.fast_dct), preprocessing=preprocessing),
            encoded,
            fn_output_signature=pixels,
        )


def decode(encoded: tf.Tensor, *, fast_dct: bool = False) -> tf.Tensor:
    """Decodes a JPEG file to [H, W, 3] uint8.

    Without `fast_dct` the DCT is the accurate one, as in `data/jpeg.py`, not the faster default of TensorFlow.
    """
    method = "INTEGER_FAST" if fast_dct else "INTEGER_ACCURATE"
    return tf.io.decode_jpeg(encoded, channels=3, dct_method=method)


def show(image: tf.Tensor, *, preprocessing: EvalPreprocessing) -> tf.Tensor:
    """Crops and resizes an image [H, W, 3] uint8 to [S, S, 3] uint8, as this program does for evaluation."""
    if preprocessing.enlarge_to is not None:
        image = enlarge(image, preprocessing.enlarge_to)
    crop = {"central": _central, "resize": _resize_then_central}[preprocessing.crop]
    return tf.ensure_shape(crop(image, preprocessing), (preprocessing.image_size, preprocessing.image_size, 3))


def enlarge(image: tf.Tensor, short_side: int) -> tf.Tensor:
    """Enlarges small images, in TensorFlow, as `enlarge` of `data/resize.py` does."""
    sides = tf.cast(tf.shape(image)[:2], tf.float64)
    factor = tf.constant(short_side, tf.float64) / tf.reduce_min(sides)
    height, width = tf.unstack(tf.cast(tf.round(sides * factor), tf.int32))
    return tf.cond(factor > 1, lambda: bilinear(image, height, width), lambda: image)


def _central(image: tf.Tensor, preprocessing: EvalPreprocessing) -> tf.Tensor:
    """Cuts the central square and resizes it, in TensorFlow, as `Central` of `data/crops.py` does."""
    size = preprocessing.image_size
    height, width = tf.unstack(tf.shape(image)[:2])
    share = tf.constant(preprocessing.fraction, tf.float32)
    side = tf.maximum(1, tf.cast(share * tf.cast(tf.minimum(height, width), tf.float32), tf.int32))
    top, left = (height - side + 1) // 2, (width - side + 1) // 2
    square = image[top : top + side, left : left + side]
    return RESIZES[preprocessing.resize](square, tf.constant(size), tf.constant(size))


def _resize_then_central(image: tf.Tensor, preprocessing: EvalPreprocessing) -> tf.Tensor:
    """Resizes an image and cuts its central square, in TensorFlow, as `ResizeThenCentral` of `data/crops.py` does."""
    size = preprocessing.image_size
    sides = tf.cast(tf.shape(image)[:2], tf.float32)
    scale = tf.constant(resized_short_side(size, preprocessing.fraction), tf.float32) / tf.reduce_min(sides)
    height, width = tf.unstack(tf.maximum(size, tf.cast(sides * scale, tf.int32)))
    resized = RESIZES[preprocessing.resize](image, height, width)
    top, left = (height - size) // 2, (width - size) // 2
    return resized[top : top + size, left : left + size]
