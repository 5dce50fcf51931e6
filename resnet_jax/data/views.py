"""Compares what training crops and evaluation crops show of the same images: how much of them, and at which scale.

Touvron et al. 2019 (arXiv 1906.06423, section 3): the size at which an object appears to the network is its size in the
image times the factor by which the crop is resized. If this apparent size differs between training and evaluation,
accuracy suffers.
"""

import math
from typing import NamedTuple

import numpy as np

from resnet_jax.data.crops import Crop, View
from resnet_jax.data.decode import image_size
from resnet_jax.data.hashing import uniforms
from resnet_jax.data.sources import Source

_IMAGES, _DRAWS = 64, 16  # images in the sample; random training crops of each image


class Views(NamedTuple):
    """What crops show of a sample of images. Shares and `enlargement` are means over the images and random crops."""

    height: int  # median height of the images in pixels, after `enlarge_to`
    width: int  # median width of the images in pixels, after `enlarge_to`
    stored_height: int  # median height of the images in pixels, before `enlarge_to`
    stored_width: int  # median width of the images in pixels, before `enlarge_to`
    train_share: float  # share of an image's area that a training crop shows
    eval_share: float  # share of an image's area that the evaluation crop shows
    enlargement: float  # apparent size of an object in evaluation / in training; 1: the same


class _Sized(NamedTuple):
    """The size of an image, and the boxes around its objects."""

    height: int  # pixels
    width: int  # pixels
    boxes: np.ndarray  # [N, 4], see `Crop.__call__`


def compare_views(source: Source, *, train_crop: Crop, eval_crop: Crop, enlarge_to: int | None = None) -> Views | None:
    """Compares how large objects appear in two crops, on up to 64 evenly spaced images of a source.

    Only the headers of the images are decoded.

    Args:
      source: the training images.
      train_crop: the crop of training.
      eval_crop: the crop of evaluation.
      enlarge_to: shorter side in pixels to which smaller images are enlarged before both crops.

    Returns:
      The comparison; None if no image of the sample can be read.
    """
    stored = _sample(source)
    if not stored:
        return None
    images = [_enlarged(image, enlarge_to or 0) for image in stored]
    train_shares, eval_shares, enlargements = [], [], []
    draws = uniforms(0, np.arange(len(images) * _DRAWS), train_crop.num_uniforms).tolist()
    for number, image in enumerate(images):
        evaluated = eval_crop(*image, uniforms=())
        eval_shares.append(_share(evaluated, image, eval_crop.size))
        for draw in draws[number * _DRAWS : (number + 1) * _DRAWS]:
            trained = train_crop(*image, uniforms=draw)
            train_shares.append(_share(trained, image, train_crop.size))
            enlargements.append(_scale(evaluated) / _scale(trained))
    sides = (int(np.median([image[side] for image in group])) for group in (images, stored) for side in (0, 1))
    return Views(*sides, *(float(np.mean(values)) for values in (train_shares, eval_shares, enlargements)))


def _sample(source: Source) -> list[_Sized]:
    found = []
    for index in np.unique(np.linspace(0, len(source) - 1, _IMAGES).astype(int)).tolist():
        try:
            example = source[index]
            height, width = image_size(example.image)
        except (OSError, ValueError):  # an unreadable image is left out here; training reports it
            continue
        found.append(_Sized(height, width, example.boxes))
    return found


def _enlarged(image: _Sized, shorter_side: int) -> _Sized:
    """Returns the size of an image whose shorter side is enlarged to at least `shorter_side` pixels."""
    factor = max(1.0, shorter_side / min(image.height, image.width))
    return image._replace(height=round(image.height * factor), width=round(image.width * factor))


def _scale(view: View) -> float:
    """Returns the factor by which a crop is resized: the geometric mean of its factors in height and width."""
    return math.sqrt(view.height * view.width / (view.box.height * view.box.width))


def _share(view: View, image: _Sized, size: int) -> float:
    """Returns the share of the image's area that lies in the square of a view."""
    shown = [
        max(0, min(first + size, length) - max(first, 0)) / length
        for first, length in ((view.top, view.height), (view.left, view.width))
    ]
    return shown[0] * shown[1] * view.box.height * view.box.width / (image.height * image.width)
