import pytest

from resnet_jax.programs.evaluation.corruptions import ALEXNET_ERRORS, corruption_errors

# Top-1 errors of ResNet-50 in percent, from table 1 of Hendrycks and Dietterich 2019 (corruption errors): clean 23.9,
# mCE 76.7, then one for each corruption in the order of ALEXNET_ERRORS.
RESNET_50 = (80, 82, 83, 75, 89, 78, 80, 78, 75, 66, 57, 71, 85, 77, 77)


@pytest.mark.parametrize("name", ["imagenet-c/noise/{}/{}", "imagenet2012_corrupted/{}_{}", "imagenet-c/{}/{}"])
def test_the_mce_of_resnet_50_is_the_published_one(name):
    errors = {}
    for (corruption, alexnet), error in zip(ALEXNET_ERRORS.items(), RESNET_50, strict=True):
        for severity in range(1, 6):  # the same mean, spread over the severities
            errors[name.format(corruption, severity)] = error / 100 * alexnet * (1 + (severity - 3) / 10)
    found = corruption_errors(errors)
    assert found["missing"] == [] and found["mce"] == pytest.approx(0.767, abs=0.003)
    assert found["corruption_error"]["snow"] == pytest.approx(0.78)


def test_alexnet_has_an_mce_of_1():
    errors = {f"c/{name}/{severity}": error for name, error in ALEXNET_ERRORS.items() for severity in range(1, 6)}
    assert corruption_errors(errors)["mce"] == pytest.approx(1.0)


def test_missing_corruptions_and_severities_give_no_mce():
    errors = {f"c/{name}/{severity}": 0.5 for name in ("snow", "fog") for severity in range(1, 6)}
    del errors["c/fog/3"]
    errors["c/speckle_noise/1"] = 0.5  # one of the four that the mCE does not count
    found = corruption_errors(errors)
    assert found["mce"] is None and list(found["corruption_error"]) == ["snow"] and len(found["missing"]) == 14
    assert corruption_errors({"imagenet-a": 0.9, "v2/top-images": 0.3}) is None
