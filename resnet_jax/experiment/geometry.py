"""Checks that training and evaluation show the network similar views of the images, and describes these views."""

import math

from ml_collections import ConfigDict

from resnet_jax.data.crops import create_eval_crop, create_train_crop
from resnet_jax.data.sources import Source
from resnet_jax.data.views import Views, compare_views
from resnet_jax.errors import UsageError
from resnet_jax.experiment.inputs import eval_image_size

# Smallest share of an image's area that the training crop 'pad' may show. This crop does not resize: it shows less if
# the sides of the image are more than about three times as long as those of the crop. Such a run is refused.
_SMALLEST_SHARE = 0.1
# A warning is given if the ratio of the apparent sizes of objects in training and evaluation is larger than this. The
# ratio is 1.2 to 1.3 in the usual recipe for ImageNet (Touvron et al. 2019, arXiv 1906.06423), and at most 1.43 in the
# configs of this package on square images.
_LARGEST_RATIO = 1.5


def measure_views(config: ConfigDict, train_source: Source) -> Views | None:
    """Compares the crops of training and evaluation on a sample of the training images; None: none can be read."""
    data = config.data
    return compare_views(
        train_source,
        train_crop=create_train_crop(size=data.image_size, **data.train_crop),
        eval_crop=create_eval_crop(size=eval_image_size(config), **data.eval_crop),
        enlarge_to=data.enlarge_to,
    )


def describe_views(views: Views) -> str:
    """Describes what the crops of training and evaluation show of an image."""
    return (
        f"images of about {_sides(views)}; a training crop shows {_percent(views.train_share)} of the area on average, "
        f"the evaluation crop {_percent(views.eval_share)}; {_apparent_sizes(views)}"
    )


def check_views(config: ConfigDict, views: Views | None) -> None:
    """Raises UsageError if training crops show too little of the images to learn anything from the crops."""
    if views is not None and (problem := _tiny_crops(config, views)):
        raise UsageError(problem)


def view_warnings(config: ConfigDict, views: Views | None) -> list[str]:
    """Returns [] or one sentence on the worst problem with the crops: what was found, its effect, and the cure."""
    if views is None:
        return []
    sentence = _tiny_crops(config, views) or _different_sizes(config, views) or _small_share(config, views)
    return [sentence] if sentence else []


def _tiny_crops(config: ConfigDict, views: Views) -> str:
    size = config.data.image_size
    if config.data.train_crop.name != "pad" or views.train_share >= _SMALLEST_SHARE:
        return ""
    return (
        f"config.data.train_crop.name='pad' cuts {size} x {size} pixels out of images of about {_sides(views)}, "
        f"without resizing: training would see {_percent(views.train_share)} of an image. Set "
        "--config.data.train_crop.name=random_resized, which resizes what it cuts, or a larger config.data.image_size"
    )


def _different_sizes(config: ConfigDict, views: Views) -> str:
    if 1 / _LARGEST_RATIO <= views.enlargement <= _LARGEST_RATIO:
        return ""
    return (
        f"{_apparent_sizes(views)}, which costs accuracy (Touvron et al. 2019): "
        f"{_matching_key(config, views)} would make them equal"
    )


def _small_share(config: ConfigDict, views: Views) -> str:
    fraction = config.data.eval_crop.fraction
    wanted = min(1.0, fraction * math.sqrt(views.train_share / views.eval_share))
    if views.eval_share * _LARGEST_RATIO >= views.train_share or wanted <= fraction:
        return ""
    return (
        f"evaluation shows {_percent(views.eval_share)} of an image, training {_percent(views.train_share)}: "
        f"set --config.data.eval_crop.fraction={wanted:.2g}"
    )


def _apparent_sizes(views: Views) -> str:
    ratio, places = max(views.enlargement, 1 / views.enlargement), ("evaluation", "training")
    larger, smaller = places if views.enlargement > 1 else reversed(places)
    if f"{ratio:.2f}" == "1.00":
        return "objects appear equally large in training and evaluation"
    return f"objects appear {ratio:.2f} times as large in {larger} as in {smaller}"


def _matching_key(config: ConfigDict, views: Views) -> str:
    """Returns the command-line option that makes objects equally large in training and evaluation."""
    data, size = config.data, eval_image_size(config)
    if data.train_crop.name == "pad" and min(views.height, views.width) < data.image_size:
        return f"--config.data.enlarge_to={data.image_size}"
    fraction = data.eval_crop.fraction * views.enlargement
    if views.enlargement > 1 and fraction <= 1:
        return f"--config.data.eval_crop.fraction={fraction:.2f}"
    return f"--config.eval.image_size={max(2, 2 * round(size / views.enlargement / 2))}"


def _sides(views: Views) -> str:
    stored, used = (views.stored_height, views.stored_width), (views.height, views.width)
    enlarged = f", enlarged to {used[0]} x {used[1]}" if used != stored else ""
    return f"{stored[0]} x {stored[1]} pixels{enlarged}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share < 0.1 else f"{100 * share:.0f} %"
