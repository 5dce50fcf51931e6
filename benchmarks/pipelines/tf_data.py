"""tf.data as in Flax's ImageNet example (`examples/imagenet/input_pipeline.py`): normalized float32.

It reads image files instead of TFRecords, as all pipelines here do. It decodes only the rows of the crop.
"""

from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
_CROP_PADDING = 32


def version() -> str:
    """See the package."""
    return f"TensorFlow {tf.__version__}"


def batches(*, folder: Path, batch_size: int, image_size: int, cores: int) -> Iterator[int]:
    """See the package."""
    paths = [str(path) for path in sorted((folder / "train").glob("*/*"))]

    def load(path: tf.Tensor) -> tf.Tensor:
        image = _random_crop(tf.io.read_file(path), image_size)
        return (tf.reshape(image, [image_size, image_size, 3]) - tf.constant(_MEAN)) / tf.constant(_STD)

    data = tf.data.Dataset.from_tensor_slices(paths).repeat().shuffle(16 * batch_size, seed=0)
    data = data.map(load, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size, drop_remainder=True).prefetch(10)
    options = tf.data.Options()
    options.threading.private_threadpool_size = cores
    options.threading.max_intra_op_parallelism = 1
    options.deterministic = False
    for images in data.with_options(options).as_numpy_iterator():
        yield len(images)


def _random_crop(encoded: tf.Tensor, image_size: int) -> tf.Tensor:
    shape = tf.image.extract_jpeg_shape(encoded)
    begin, size, _ = tf.image.sample_distorted_bounding_box(
        shape,
        bounding_boxes=tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
        min_object_covered=0.1,
        aspect_ratio_range=(3 / 4, 4 / 3),
        area_range=(0.08, 1.0),
        max_attempts=10,
        use_image_if_no_bounding_boxes=True,
    )
    failed = tf.reduce_all(tf.equal(size[:2], shape[:2]))
    window = tf.concat([begin[:2], size[:2]], axis=0)
    return tf.cond(
        failed,
        lambda: _decode_and_resize(encoded, _central_window(shape, image_size), image_size),
        lambda: _decode_and_resize(encoded, window, image_size),
    )


def _central_window(shape: tf.Tensor, image_size: int) -> tf.Tensor:
    fraction = image_size / (image_size + _CROP_PADDING)
    side = tf.cast(fraction * tf.cast(tf.minimum(shape[0], shape[1]), tf.float32), tf.int32)
    return tf.stack([(shape[0] - side + 1) // 2, (shape[1] - side + 1) // 2, side, side])


def _decode_and_resize(encoded: tf.Tensor, window: tf.Tensor, image_size: int) -> tf.Tensor:
    image = tf.image.decode_and_crop_jpeg(encoded, window, channels=3)
    return tf.image.resize(image, [image_size, image_size], method=tf.image.ResizeMethod.BICUBIC)
