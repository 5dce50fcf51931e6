"""The mean corruption error (mCE) of ImageNet-C."""

import re
from collections.abc import Mapping
from typing import Any

SEVERITIES = 5
# Top-1 error of AlexNet in each corruption, averaged over its five severities, by which the errors of a network are
# divided. Source: D. Hendrycks and T. Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
# Perturbations", ICLR 2019, https://github.com/hendrycks/robustness; six digits as in AugMix, ICLR 2020,
# https://github.com/google-research/augmix/blob/master/imagenet.py.
ALEXNET_ERRORS = {
    "gaussian_noise": 0.886428,
    "shot_noise": 0.894468,
    "impulse_noise": 0.922640,
    "defocus_blur": 0.819880,
    "glass_blur": 0.826268,
    "motion_blur": 0.785948,
    "zoom_blur": 0.798360,
    "snow": 0.866816,
    "frost": 0.826572,
    "fog": 0.819324,
    "brightness": 0.564592,
    "contrast": 0.853204,
    "elastic_transform": 0.646056,
    "pixelate": 0.717840,
    "jpeg_compression": 0.606500,
}
# Matches the end of the name of an evaluation set: '/gaussian_noise/3' in folders, '/gaussian_noise_3:0.0.1' in TFDS.
_NAME = re.compile(r"(?:^|/)([a-z_]+)[/_]([1-5])(?::[\d.]+)?$")


def corruption_errors(errors: Mapping[str, float]) -> dict[str, Any] | None:
    """Returns the corruption errors as JSON values; None if no corruption has all five severities.

    The corruption error of a corruption is its mean top-1 error over the five severities, divided by that of AlexNet.
    The mean over all 15 corruptions is the mCE; if corruptions are missing, `mce` is None.

    Args:
      errors: name of each evaluation set -> top-1 error, 0 to 1.
    """
    found: dict[str, dict[int, float]] = {}
    for name, error in errors.items():
        match = _NAME.search(name)
        if match and match[1] in ALEXNET_ERRORS:
            found.setdefault(match[1], {})[int(match[2])] = error
    whole = {name: by_severity for name, by_severity in found.items() if len(by_severity) == SEVERITIES}
    if not whole:
        return None
    means = {name: sum(whole[name].values()) / SEVERITIES for name in ALEXNET_ERRORS if name in whole}
    ratios = {name: mean / ALEXNET_ERRORS[name] for name, mean in means.items()}
    return {
        "corruption_error": ratios,
        "missing": [name for name in ALEXNET_ERRORS if name not in whole],
        "mce": sum(ratios.values()) / len(ratios) if len(ratios) == len(ALEXNET_ERRORS) else None,
    }
