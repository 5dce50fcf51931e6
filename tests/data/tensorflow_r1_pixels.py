"""Training and evaluation pixels of TensorFlow as r1 makes them; a program of its own, as TensorFlow loads slowly.

python -m tests.data.tensorflow_r1_pixels DIRECTORY

Reads DIRECTORY/cases.json, a list of `file`, `box` (top, left, height, width) and `flip`, and writes pixels.npz: number
of the case -> [224, 224, 3] float32, 'decoded NUMBER' -> the same if the whole file is decoded before the crop, and
'evaluation FILE' for each file.

Follows `_decode_crop_and_flip`, `_resize_image` and `preprocess_image` in
official/r1/resnet/imagenet_preprocessing.py.
"""

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

SIZE = 224


def resize(image, height, width):
    """`_resize_image`: `tf.compat.v1.image.resize` without half-pixel centers."""
    return tf.compat.v1.image.resize(
        image, [height, width], method=tf.image.ResizeMethod.BILINEAR, align_corners=False
    ).numpy()


def training(encoded, box, *, flip, fused):
    """A training image of r1, before the means are subtracted; r1 itself decodes and crops in one operation, fused."""
    if fused:
        cropped = tf.image.decode_and_crop_jpeg(encoded, box, channels=3)
    else:
        cropped = tf.image.crop_to_bounding_box(tf.image.decode_jpeg(encoded, channels=3), *box)
    return resize(tf.image.flip_left_right(cropped) if flip else cropped, SIZE, SIZE)


def evaluation(encoded):
    """An evaluation image of r1, before the means are subtracted."""
    image = tf.image.decode_jpeg(encoded, channels=3)
    height, width = (np.float32(side) for side in image.shape[:2])
    scale = np.float32(256) / min(height, width)
    image = resize(image, int(height * scale), int(width * scale))
    top, left = (image.shape[0] - SIZE) // 2, (image.shape[1] - SIZE) // 2
    return image[top : top + SIZE, left : left + SIZE]


def main(directory):
    """Writes pixels.npz."""
    cases, pixels = json.loads((directory / "cases.json").read_text()), {}
    for number, case in enumerate(cases):
        encoded = (directory / case["file"]).read_bytes()
        for name, fused in ((f"{number}", True), (f"decoded {number}", False)):
            pixels[name] = training(encoded, case["box"], flip=case["flip"], fused=fused)
    for file in {case["file"] for case in cases}:
        pixels[f"evaluation {file}"] = evaluation((directory / file).read_bytes())
    np.savez(directory / "pixels.npz", **pixels)


if __name__ == "__main__":
    main(Path(sys.argv[-1]))
