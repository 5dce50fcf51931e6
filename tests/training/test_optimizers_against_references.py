"""Our updates against PyTorch's, and the golden numbers against the installed TensorFlow."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest

from tests import paths
from tests.training.test_optimizers import arrays, assert_close, float32, make, updates

pytestmark = pytest.mark.slow

GOLDEN = paths.GOLDEN
RATES = (0.1, 0.2, 0.3, 0.2, 0.1)


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


@pytest.mark.parametrize(
    ("name", "options", "theirs"),
    [
        ("sgd", {}, {"momentum": 0.9}),
        ("sgd", {"nesterov": True}, {"momentum": 0.9, "nesterov": True}),
        ("sgd", {"momentum": 0.0}, {}),
        ("adamw", {"epsilon": 1e-8}, {"betas": (0.9, 0.999), "eps": 1e-8}),
        ("adamw", {"beta1": 0.8, "beta2": 0.95, "epsilon": 1e-3}, {"betas": (0.8, 0.95), "eps": 1e-3}),
    ],
)
@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_five_updates_are_those_of_pytorch(torch, name, options, theirs, clip_norm):
    params, grads = arrays()
    weights = {leaf: torch.nn.Parameter(torch.tensor(value)) for leaf, value in params.items()}  # float64
    decayed = [weight for leaf, weight in weights.items() if leaf.endswith("kernel")]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": [weights["bias"]], "weight_decay": 0.0}]
    optimizer = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}[name](groups, lr=1.0, **theirs)
    after = updates(make(name, clip_norm=clip_norm, **options), float32(params), float32(grads), RATES)
    for grad, lr, ours in zip(grads, RATES, after, strict=True):
        for leaf, weight in weights.items():
            weight.grad = torch.tensor(grad[leaf])
        if clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(list(weights.values()), clip_norm)
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
        # The bias correction computes 1 - 0.999 in float32, with a relative error of 1e-5.
        assert_close(ours, {leaf: weight.detach().numpy() for leaf, weight in weights.items()}, rtol=1e-5)


def test_the_golden_numbers_are_those_of_the_installed_tensorflow(tmp_path):
    subprocess.run([sys.executable, "-m", "tests.golden.r1_training", str(tmp_path)], check=True, capture_output=True)
    for name in ("r1_schedules", "r1_momentum", "moving_average"):
        made, committed = (json.loads((at / f"{name}.json").read_text()) for at in (tmp_path, GOLDEN))
        assert jax.tree.structure(made) == jax.tree.structure(committed)
        for one, other in zip(jax.tree.leaves(made), jax.tree.leaves(committed), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)
