"""Settings that an earlier version of this program stored in `config.json`, under the keys of this version."""

from typing import Any


def translated(settings: dict[str, Any]) -> dict[str, Any]:
    """Returns stored settings, nested dicts of JSON values, with this version's keys; does not change `settings`."""
    return _with_crop_fraction(settings)


# Keys that recipes set in this version and that did not exist in earlier ones: a run of an earlier version continues
# with their defaults, as it began.
ADDED = (
    "data.flip_before_resize",
    "data.fast_dct",
    "model.init_statistics",
    "schedule.images_per_epoch",
)


def _with_crop_fraction(settings: dict[str, Any]) -> dict[str, Any]:
    """Replaces `data.eval_crop.padding`, the pixels that the crop left out at the scale of its output."""
    if "padding" not in settings.get("data", {}).get("eval_crop", {}):
        return settings
    crop = dict(settings["data"]["eval_crop"])
    size = settings.get("eval", {}).get("image_size") or settings["data"]["image_size"]
    crop["fraction"] = size / (size + crop.pop("padding"))
    return settings | {"data": settings["data"] | {"eval_crop": crop}}
