"""Finds the features of a TFDS data set that hold image, label and boxes."""

from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from resnet_jax.errors import UsageError


class Keys(NamedTuple):
    """The names of the TFDS features that hold the image, the label and the boxes of an example."""

    image: str
    label: str
    boxes: str | None  # None if the data set has no boxes
    labels: str | None = None  # feature of all correct labels, as imagenet2012_real has; None: images have one label


def classification(builder: tfds.core.DatasetBuilder) -> tuple[Keys, tuple[str, ...]]:
    """Returns the names of the features to read, and the names of the classes.

    Raises:
      UsageError: the data set has no image with a class, or its pixels are floating-point numbers.
    """
    keys: Any = builder.info.supervised_keys
    features = builder.info.features
    if keys is not None and len(keys) == 2 and all(isinstance(key, str) for key in keys):
        image, label = (features[key] for key in keys)
        if isinstance(image, tfds.features.Image):
            name = keys[1] if isinstance(label, tfds.features.ClassLabel) else _single_label(features, label)
            if name is not None:
                _check_pixels(builder.name, image)
                boxes = next((key for key, feature in features.items() if _are_boxes(feature)), None)
                return Keys(keys[0], name, boxes, None if name == keys[1] else keys[1]), tuple(features[name].names)
    raise UsageError(f"data set {builder.name!r} is not an image classification: its supervised_keys are {keys}")


def _single_label(features: tfds.features.FeaturesDict, labels: tfds.features.FeatureConnector) -> str | None:
    """Returns the name of a feature with one label per image, of the same classes as the list `labels`, or None.

    In imagenet2012_real, 'real_label' is a list of classes and 'original_label' the class of ImageNet.
    """
    several = labels.feature if isinstance(labels, tfds.features.Sequence) else None
    if not isinstance(several, tfds.features.ClassLabel):
        return None
    singles = (key for key, feature in features.items() if isinstance(feature, tfds.features.ClassLabel))
    return next((key for key in singles if features[key].names == several.names), None)


def _check_pixels(name: str, image: tfds.features.Image) -> None:
    """Raises UsageError if TFDS stores floating-point pixels, whose 4 bytes are the colors and alpha of a PNG file."""
    if np.dtype(image.np_dtype).kind == "f":
        raise UsageError(
            f"data set {name!r} has images of floating-point numbers, whose range is unknown: prepare it with pixels "
            "of dtype uint8 or uint16"
        )


def _are_boxes(feature: tfds.features.FeatureConnector) -> bool:
    """Returns whether a feature is a list of boxes in the order ymin, xmin, ymax, xmax, relative to the image size."""
    one = feature.feature if isinstance(feature, tfds.features.Sequence) else None
    relative = tfds.core.features.bounding_boxes_utils.BBoxFormat.REL_YXYX
    return isinstance(one, tfds.features.BBoxFeature) and one.bbox_format == relative
