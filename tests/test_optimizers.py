import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax.errors import UsageError
from resnet_jax.optimizers import create_optimizer, decay_mask, sgd

PARAMS = {
    "head": {"bias": jnp.ones(2), "kernel": jnp.ones((2, 2))},
    "stage1_block1": {"bn1": {"bias": jnp.ones(2), "scale": jnp.ones(2)}, "conv1": {"kernel": jnp.ones((1, 1, 2, 2))}},
}


@pytest.mark.parametrize("nesterov", [False, True])
def test_five_updates_follow_the_definition(nesterov):
    # v <- m v + g + wd w; w <- w - lr d, with d = v or, for Nesterov, g + wd w + m v (PyTorch's SGD).
    rng = np.random.default_rng(0)
    optimizer = sgd(momentum=0.9, nesterov=nesterov, weight_decay=0.1, decay_pattern="kernel$")
    kernel, bias = rng.normal(size=3), rng.normal(size=2)
    params = {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)}
    state = optimizer.init(params)
    velocity_kernel, velocity_bias = np.zeros(3), np.zeros(2)
    for lr in (0.1, 0.2, 0.3, 0.2, 0.1):
        grads = {"kernel": rng.normal(size=3), "bias": rng.normal(size=2)}
        directions, state = optimizer.update({k: jnp.asarray(g) for k, g in grads.items()}, state, params)
        params = {k: params[k] - lr * directions[k] for k in params}
        g = grads["kernel"] + 0.1 * kernel
        velocity_kernel = 0.9 * velocity_kernel + g
        kernel = kernel - lr * (g + 0.9 * velocity_kernel if nesterov else velocity_kernel)
        g = grads["bias"]
        velocity_bias = 0.9 * velocity_bias + g
        bias = bias - lr * (g + 0.9 * velocity_bias if nesterov else velocity_bias)
    np.testing.assert_allclose(params["kernel"], kernel, rtol=1e-5)
    np.testing.assert_allclose(params["bias"], bias, rtol=1e-5)


def test_kernels_alone_are_decayed():
    mask = decay_mask(PARAMS, "kernel$")
    assert mask == {
        "head": {"bias": False, "kernel": True},
        "stage1_block1": {"bn1": {"bias": False, "scale": False}, "conv1": {"kernel": True}},
    }


def test_the_pattern_sees_whole_paths():
    mask = decay_mask(PARAMS, "^(?!.*bn)")  # all but batch norm, the rule of TensorFlow's r1
    assert mask["head"] == {"bias": True, "kernel": True}
    assert mask["stage1_block1"]["bn1"] == {"bias": False, "scale": False}


@pytest.mark.parametrize(("pattern", "message"), [("(", "no regular expression"), ("weights$", "matches no parameter")])
def test_a_useless_pattern_is_an_error(pattern, message):
    with pytest.raises(UsageError, match=message):
        decay_mask(PARAMS, pattern)


def test_unknown_name():
    with pytest.raises(UsageError, match=r"optimizer.name='adam' is not one of sgd"):
        create_optimizer("adam")
