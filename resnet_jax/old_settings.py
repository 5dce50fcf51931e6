"""Translates settings that an earlier version of this program stored in `config.json` to the keys of this version."""

import re
from typing import Any


def translated(settings: dict[str, Any]) -> dict[str, Any]:
    """Returns stored settings, nested dicts of JSON values, with this version's keys; does not change `settings`."""
    return _with_trackers(_with_crop_fraction(settings))


def translated_flag(word: str) -> str:
    """Returns a command-line argument; if it sets a config key by a former name, with the key's present name."""
    match = re.fullmatch(r"(--?config\.log\.)tensorboard=(\w+)", word)
    if not match or match[2].lower() not in _BOOLS:
        return word
    return f"{match[1]}trackers={_trackers(_BOOLS[match[2].lower()])}"


_BOOLS = {"true": True, "1": True, "false": False, "0": False}  # as absl and ml_collections read them


# Keys that recipes set in this version and that did not exist in earlier ones. A run of an earlier version continues
# with the defaults of these keys, which are what it was trained with.
ADDED = (
    "data.flip_before_resize",
    "data.fast_dct",
    "model.init_statistics",
    "schedule.images_per_epoch",
)


def _with_trackers(settings: dict[str, Any]) -> dict[str, Any]:
    """Replaces the former key `log.tensorboard`, a bool that turned event files on, by `log.trackers`."""
    if "tensorboard" not in settings.get("log", {}):
        return settings
    log = dict(settings["log"])
    log["trackers"] = list(_trackers(log.pop("tensorboard")))
    return settings | {"log": log}


def _trackers(tensorboard: bool) -> tuple[str, ...]:
    return ("tensorboard",) if tensorboard else ()


def _with_crop_fraction(settings: dict[str, Any]) -> dict[str, Any]:
    """Replaces the former key `data.eval_crop.padding`, the pixels around the evaluation crop, by the crop fraction."""
    if "padding" not in settings.get("data", {}).get("eval_crop", {}):
        return settings
    crop = dict(settings["data"]["eval_crop"])
    size = settings.get("eval", {}).get("image_size") or settings["data"]["image_size"]
    crop["fraction"] = size / (size + crop.pop("padding"))
    return settings | {"data": settings["data"] | {"eval_crop": crop}}
