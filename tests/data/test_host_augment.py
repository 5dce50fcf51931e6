import collections
import itertools
import json
import pickle
from zlib import crc32

import numpy as np
import pytest
from PIL import Image

from resnet_jax.data import host_augment
from resnet_jax.data.hashing import uniforms
from resnet_jax.data.host_augment import RAND_AUGMENT, TRIVIAL_AUGMENT, RandAugment, TrivialAugment, create_policy
from resnet_jax.errors import UsageError
from tests import paths
from tests.data.patterns import patterns

GOLDEN = json.loads((paths.GOLDEN / "augmentations.json").read_text())
BINS = (0, 1, 7, 15, 22, 30)
STRENGTHS = (0.0, 0.35, 0.7, 0.99)
IMAGES = patterns()
TORCHVISION = {
    "Identity": "identity",
    "ShearX": "shear_x",
    "ShearY": "shear_y",
    "TranslateX": "translate_x",
    "TranslateY": "translate_y",
    "Rotate": "rotate",
    "Brightness": "brightness",
    "Color": "saturation",
    "Contrast": "contrast",
    "Sharpness": "sharpness",
    "Posterize": "posterize",
    "Solarize": "solarize",
    "AutoContrast": "auto_contrast",
    "Equalize": "equalize",
}
TIMM = {
    "AutoContrast": "auto_contrast",
    "Equalize": "equalize",
    "Invert": "invert",
    "Rotate": "rotate",
    "PosterizeIncreasing": "posterize",
    "SolarizeIncreasing": "solarize",
    "SolarizeAdd": "solarize_add",
    "ColorIncreasing": "saturation",
    "ContrastIncreasing": "contrast",
    "BrightnessIncreasing": "brightness",
    "SharpnessIncreasing": "sharpness",
    "ShearX": "shear_x",
    "ShearY": "shear_y",
    "TranslateXRel": "translate_x_relative",
    "TranslateYRel": "translate_y_relative",
}


def checksum(name, image, argument, interpolation):
    return crc32(host_augment.apply_operation(name, Image.fromarray(IMAGES[image]), argument, interpolation).tobytes())


def torchvision_arguments(name):
    """Returns our arguments for torchvision's bins, with both signs if the operation is signed."""
    ours = TRIVIAL_AUGMENT[name]
    if len(ours) == 62:
        signs = (1, 0) if name.startswith("translate") else (0, 1)  # torchvision's positive sign is right and down
        return [ours[2 * number + sign] for number in BINS for sign in signs]
    return [ours[number] for number in BINS] if len(ours) == 31 else list(ours)


@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("theirs", TORCHVISION)
def test_operations_equal_torchvision(theirs, image):
    name = TORCHVISION[theirs]
    ours = [checksum(name, image, argument, TrivialAugment().interpolation) for argument in torchvision_arguments(name)]
    assert ours == GOLDEN[f"torchvision {theirs} {image}"]


@pytest.mark.parametrize("theirs", TORCHVISION)
def test_strengths_equal_torchvision(theirs):
    expected, name = GOLDEN[f"torchvision {theirs} strengths"], TORCHVISION[theirs]
    ours = np.array(TRIVIAL_AUGMENT[name])
    if expected["signed"]:
        middle = 1.0 if ours[0] else 0.0  # 1 for factors
        np.testing.assert_allclose(ours[::2] + ours[1::2], 2 * middle)
        ours = abs(ours[::2] - middle)
    theirs = np.array(expected["strengths"])
    if name.startswith("translate"):
        theirs = np.floor(theirs + 1e-5)  # torchvision truncates 15.999999 pixels to 15
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("theirs", TIMM)
def test_operations_and_strengths_equal_timm(theirs, image):
    name = TIMM[theirs]
    cases = itertools.product(STRENGTHS, (1, -1), RandAugment.KERNELS)
    ours = [
        checksum(name, image, RAND_AUGMENT[name](strength, sign), host_augment.Interpolation(kernel, RandAugment.FILL))
        for strength, sign, kernel in cases
    ]
    assert ours == GOLDEN[f"timm {theirs} {image}"]


def test_each_policy_has_the_operations_of_its_reference():
    assert set(TRIVIAL_AUGMENT) == set(TORCHVISION.values()) and len(TRIVIAL_AUGMENT) == 14
    assert set(RAND_AUGMENT) == set(TIMM.values()) and len(RAND_AUGMENT) == 15
    assert {*TRIVIAL_AUGMENT, *RAND_AUGMENT} == {*host_augment.COLOR_OPERATIONS, *host_augment.GEOMETRIC_OPERATIONS}


@pytest.fixture
def noted(monkeypatch):
    """Records what is applied: (name, argument, interpolation)."""
    calls = []

    def apply(name, image, argument, interpolation):
        calls.append((name, argument, interpolation))
        return image

    monkeypatch.setattr(host_augment, "apply_operation", apply)
    return calls


def run(policy, count):
    image = IMAGES["dim"]
    for draws in uniforms(3, np.arange(count), policy.num_uniforms).tolist():
        policy(image, draws)


def chi_square(values, cells):
    """Returns the chi-square statistic of the hypothesis that all cells are equally likely."""
    counts = collections.Counter(values)
    assert len(counts) == cells
    expected = len(values) / cells
    return sum((count - expected) ** 2 / expected for count in counts.values())


def test_trivial_augment_chooses_uniformly(noted):
    run(TrivialAugment(), 14_000)
    assert len(noted) == 14_000
    # The bounds of chi-square are exceeded with probability 0.001.
    assert chi_square([name for name, _, _ in noted], 14) < 34.5  # 13 degrees of freedom
    rotations = [argument for name, argument, _ in noted if name == "rotate"]
    assert min(rotations) == -135 and max(rotations) == 135
    assert chi_square([abs(argument) for argument in rotations], 31) < 59.7  # 30 degrees of freedom
    assert abs(np.sign(rotations).mean()) < 0.1
    assert {interpolation for _, _, interpolation in noted} == {
        host_augment.Interpolation(Image.Resampling.NEAREST, (0, 0, 0))
    }


def test_strengths_of_trivial_augment():
    """Compares with the 'wide' search space of Müller and Hutter 2021, table 1."""
    ranges = {name: (min(arguments), max(arguments)) for name, arguments in TRIVIAL_AUGMENT.items()}
    for name in ("brightness", "saturation", "contrast", "sharpness"):
        assert ranges[name] == pytest.approx((0.01, 1.99))
    assert ranges["shear_x"] == ranges["shear_y"] == (-0.99, 0.99)
    assert ranges["translate_x"] == ranges["translate_y"] == (-32, 32)
    assert ranges["posterize"] == (2, 8) and ranges["solarize"] == (0, 255)
    assert len(TRIVIAL_AUGMENT["posterize"]) == len(TRIVIAL_AUGMENT["solarize"]) == 31


def test_rand_augment_chooses_uniformly(noted):
    run(RandAugment(2, 9.0, 0.0, 1.0), 7_500)
    assert len(noted) == 15_000
    names = [name for name, _, _ in noted]
    assert chi_square(names, 15) < 36.1  # 14 degrees of freedom
    assert chi_square(list(zip(names[::2], names[1::2], strict=True)), 225) < 293  # 224 degrees of freedom: independent
    rotations = [(argument, interpolation.kernel) for name, argument, interpolation in noted if name == "rotate"]
    assert {argument for argument, _ in rotations} == {27.0, -27.0}
    assert chi_square(rotations, 4) < 16.3  # 3 degrees of freedom
    assert {argument for name, argument, _ in noted if name == "posterize"} == {1}
    kernels = collections.Counter(interpolation.kernel for _, _, interpolation in noted)
    assert abs(kernels[Image.Resampling.BICUBIC] / 15_000 - 0.5) < 0.02 and len(kernels) == 2
    assert {interpolation.fill for _, _, interpolation in noted} == {(124, 116, 104)}


def test_rand_augment_applies_its_operations_with_a_probability(noted):
    image = IMAGES["dim"]
    run(RandAugment(3, 7.0, 0.5, 0.5), 4_000)
    assert abs(len(noted) / 12_000 - 0.5) < 0.02
    noted.clear()
    np.testing.assert_array_equal(RandAugment(2, 9.0, 0.5, 0.0)(image, [0.0] * 10), image)
    np.testing.assert_array_equal(RandAugment(0, 9.0, 0.5, 1.0)(image, []), image)
    assert not noted


def test_magnitudes_are_normal_and_clipped(noted):
    run(RandAugment(2, 7.0, 0.5, 1.0), 20_000)
    magnitudes = [abs(argument) / 3 for name, argument, _ in noted if name == "rotate"]
    assert np.mean(magnitudes) == pytest.approx(7.0, abs=0.05) and np.std(magnitudes) == pytest.approx(0.5, abs=0.03)
    noted.clear()
    run(RandAugment(2, 5.0, 20.0, 1.0), 5_000)
    ranges = {"rotate": (-30, 30), "posterize": (0, 4), "solarize": (0, 256), "solarize_add": (0, 110)}
    ranges |= dict.fromkeys(("saturation", "contrast", "brightness", "sharpness"), (0.1, 1.9))
    ranges |= dict.fromkeys(("shear_x", "shear_y"), (-0.3, 0.3))
    ranges |= dict.fromkeys(("translate_x_relative", "translate_y_relative"), (-0.45, 0.45))
    for name, (low, high) in ranges.items():
        arguments = [argument for other, argument, _ in noted if other == name]
        assert (min(arguments), max(arguments)) == pytest.approx((low, high))


@pytest.mark.parametrize("uniform", [0.0, 1 - 2.0**-53])
def test_extreme_uniform_numbers_are_valid(uniform):
    for policy in (TrivialAugment(), RandAugment(2, 9.0, 0.5, 1.0)):
        assert policy(IMAGES["dim"], [uniform] * policy.num_uniforms).shape == IMAGES["dim"].shape


def test_magnitude_zero_changes_only_by_operations_without_strength():
    changed = set()
    for name, argument in RAND_AUGMENT.items():
        for sign in (1, -1):
            for kernel in RandAugment.KERNELS:
                interpolation = host_augment.Interpolation(kernel, RandAugment.FILL)
                if checksum(name, "dim", argument(0.0, sign), interpolation) != crc32(IMAGES["dim"].tobytes()):
                    changed.add(name)
    assert changed == {"auto_contrast", "equalize", "invert", "posterize"}


@pytest.mark.parametrize("policy", [TrivialAugment(), RandAugment(2, 9.0, 0.5, 0.5)])
def test_a_policy_is_a_function_of_the_image_and_its_numbers(policy):
    image, copies = IMAGES["rough"].copy(), pickle.loads(pickle.dumps(policy))
    draws = uniforms(0, np.arange(50), policy.num_uniforms).tolist()
    results = [policy(image, row) for row in draws]
    for row, result in reversed(list(zip(draws, results, strict=True))):
        assert result.shape == image.shape and result.dtype == np.uint8
        np.testing.assert_array_equal(copies(image, row), result)
    np.testing.assert_array_equal(image, IMAGES["rough"])
    assert len({result.tobytes() for result in results}) > 20


OPTIONS = {"num_ops": 3, "magnitude": 7.0, "magnitude_std": 0.5, "probability": 0.4, "bilinear": False}


def test_policies_by_name():
    assert create_policy("none", **OPTIONS) is None
    assert create_policy("trivial_augment", **OPTIONS) == TrivialAugment()
    assert create_policy("trivial_augment", **OPTIONS | {"bilinear": True}) == TrivialAugment(bilinear=True)
    assert create_policy("rand_augment", **OPTIONS) == RandAugment(3, 7.0, 0.5, 0.4)
    expected = "config.data.augment.name='autoaugment' is not one of none, trivial_augment, rand_augment"
    with pytest.raises(UsageError, match=expected):
        create_policy("autoaugment", **OPTIONS)
