"""Reference results of TensorFlow for images and boxes; a separate program, because importing TensorFlow takes long.

python -m tests.data.tensorflow_reference DIRECTORY

Reads DIRECTORY/*.jpg and cases.json, writes images.npz and boxes.npz.
"""

import functools
import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

SIZE, PADDING = 224, 32
# TensorFlow's own choice is INTEGER_FAST, one gray level off (0.8 darker on average); Pillow and torch are accurate.
DECODING = {"channels": 3, "dct_method": "INTEGER_ACCURATE"}


def central(encoded, method, antialias):
    """`_decode_and_center_crop` of the flax ImageNet example."""
    height, width = tf.unstack(tf.io.extract_jpeg_shape(encoded)[:2])
    share = tf.cast(SIZE / (SIZE + PADDING), tf.float32)
    side = tf.cast(share * tf.cast(tf.minimum(height, width), tf.float32), tf.int32)
    window = tf.stack([(height - side + 1) // 2, (width - side + 1) // 2, side, side])
    image = tf.io.decode_and_crop_jpeg(encoded, window, **DECODING)
    return tf.image.resize(image, [SIZE, SIZE], method, antialias=antialias)


def resized(encoded, resize):
    """`_aspect_preserving_resize` and `_central_crop` of r1's imagenet_preprocessing.py."""
    image = tf.io.decode_jpeg(encoded, **DECODING)
    height, width = image.shape[:2]
    scale = tf.cast(SIZE + PADDING, tf.float32) / tf.cast(min(height, width), tf.float32)
    shape = [int(tf.cast(tf.cast(side, tf.float32) * scale, tf.int32)) for side in (height, width)]
    top, left = (shape[0] - SIZE) // 2, (shape[1] - SIZE) // 2
    return resize(image, shape)[top : top + SIZE, left : left + SIZE]


def tf1(image, shape):
    """The resize of r1."""
    return tf.compat.v1.image.resize(image, shape, method="bilinear", align_corners=False)


def evaluation_views(encoded):
    """Returns the evaluation preprocessing functions by crop and kernel."""
    for name in ("bilinear", "area"):
        yield f"central {name}", central(encoded, name, antialias=False)
        yield f"resize {name}", resized(encoded, functools.partial(tf.image.resize, method=name))
    for name in ("bilinear", "bicubic"):
        yield f"central {name}_antialias", central(encoded, name, antialias=True)
        smooth = functools.partial(tf.image.resize, method=name, antialias=True)
        yield f"resize {name}_antialias", resized(encoded, smooth)
    yield "resize bilinear_tf1", resized(encoded, tf1)


def sampled_boxes(case, count):
    """Returns samples of `sample_distorted_bounding_box`: [count, 4] top, left, height, width."""
    options = {
        "image_size": tf.constant([case["height"], case["width"], 3]),
        "bounding_boxes": tf.reshape(tf.constant(case["boxes"], tf.float32), [1, -1, 4]),
        "min_object_covered": case["min_object_covered"],
        "aspect_ratio_range": case["aspect"],
        "area_range": case["area"],
        "max_attempts": 100,
        "use_image_if_no_bounding_boxes": True,
    }

    def sample(index):
        begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(seed=tf.stack([index, 1]), **options)
        return tf.concat([begin[:2], size[:2]], 0)

    return tf.function(lambda: tf.map_fn(sample, tf.range(count)))().numpy()


def main(directory):
    """Writes both files."""
    images = {}
    for path in sorted(directory.glob("*.jpg")):
        for kind, image in evaluation_views(path.read_bytes()):
            images[f"{path.stem} {kind}"] = np.asarray(image, np.float32)
    np.savez(directory / "images.npz", **images)
    cases = json.loads((directory / "cases.json").read_text())
    np.savez(directory / "boxes.npz", **{name: sampled_boxes(case, case["draws"]) for name, case in cases.items()})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
