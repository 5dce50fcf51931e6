import numpy as np
import optax

from resnet_jax.training.gradients import _norm_by_rows, gradient_norm
from tests.models.fused import normal


def test_the_norm_of_gradients_by_rows_is_that_of_optax():
    grads = {
        "kernel": normal(0, 3, 3, 4, 5),
        "head": normal(1, 6, 2),
        "bias": normal(2, 7),
        "frozen": optax.MaskedNode(),
    }
    np.testing.assert_allclose(_norm_by_rows(grads), optax.tree.norm(grads), rtol=1e-6)
    assert gradient_norm(grads) == optax.tree.norm(grads)
