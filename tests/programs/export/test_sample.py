import numpy as np
import pytest

from resnet_jax.errors import UsageError
from resnet_jax.programs.export.sample import Sample, compare

RNG = np.random.default_rng(0)
PROBABILITIES = RNG.dirichlet(np.ones(5), size=32).astype(np.float32)
SAMPLE = Sample(
    files=(b"",) * 32,
    images=np.zeros((32, 2, 2, 3), np.uint8),
    outputs={"probabilities": PROBABILITIES, "classes": PROBABILITIES.argmax(axis=1)},
)


def changed(*, by=0.0, classes=0):
    outputs = {name: value.copy() for name, value in SAMPLE.outputs.items()}
    outputs["probabilities"][7, 2] += by
    outputs["classes"][:classes] = (outputs["classes"][:classes] + 1) % 5
    return outputs


@pytest.mark.parametrize("by", [0.0, 9e-5, -9e-5])
def test_differences_within_the_limit_are_accepted(by):
    found = compare(changed(by=by), SAMPLE, what="jax")
    assert found == {"images": 32, "other_first_class": 0, "largest_difference": pytest.approx(abs(by), abs=1e-7)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": 1.1e-4}, "0 of 32 images .* differ by up to 1.1e-04"),
        ({"by": -1.1e-4}, "differ by up to 1.1e-04"),
        ({"by": np.nan}, "differ by up to inf"),
        ({"classes": 2}, "2 of 32 images have another predicted class"),
    ],
)
def test_larger_differences_are_an_error(options, message):
    with pytest.raises(
        UsageError, match=rf"the export \(jax\) does not compute what this program computes: .*{message}"
    ):
        compare(changed(**options), SAMPLE, what="jax")
