import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax.models.blocks import drop_branch, drop_rate
from tests.models.networks import (
    evaluation_logits,
    outputs,
    random_variables,
    shapes_of_variables,
    tiny,
    training_logits,
)


def images(batch=4, size=16):
    return jnp.asarray(np.random.default_rng(0).normal(size=(batch, size, size, 3)), jnp.float32)


def test_drop_rates_rise_linearly_from_zero_at_the_first_block():
    # timm 1.0, `make_blocks`: drop_path_rate * net_block_idx / (net_num_blocks - 1).
    rates = [drop_rate(number, 16, 0.3) for number in range(16)]
    np.testing.assert_allclose(rates, np.linspace(0.0, 0.3, 16))
    assert drop_rate(0, 1, 0.3) == 0


def test_an_image_below_the_rate_loses_its_branch_and_the_others_are_scaled():
    x = jnp.ones((4, 2, 2, 3), jnp.bfloat16)
    kept = drop_branch(x, jnp.array([0.0, 0.2499, 0.25, 0.999]), rate=0.25)
    assert kept.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.float32(kept[:, 0, 0, 0]), [0, 0, 4 / 3, 4 / 3], rtol=4e-3)


def test_the_expectation_is_the_branch():
    uniforms = jax.random.uniform(jax.random.key(0), (20_000,))
    mean = drop_branch(jnp.ones((20_000, 1, 1, 1)), uniforms, rate=0.3).mean()
    assert mean == pytest.approx(1.0, abs=5 * np.sqrt(0.3 / 0.7 / 20_000))


@pytest.mark.parametrize(("version", "last"), [("v1.5", "bn2"), ("v2", "conv2")])
def test_all_branches_dropped_and_none_dropped(version, last):
    x = images()
    plain, dropping = (tiny((1, 2), depth=18, version=version, stochastic_depth=rate) for rate in (0.0, 0.5))
    variables = random_variables(plain, x)

    def logits_of_scaled_branches(*scales):
        params = dict(variables["params"])
        for name, scale in zip(("stage2_block1", "stage2_block2"), scales, strict=True):
            params[name] = params[name] | {last: jax.tree.map(lambda leaf, s=scale: leaf * s, params[name][last])}
        return training_logits(plain, variables | {"params": params}, x)

    # The first block is never dropped; the two others, with rates 1/4 and 1/2, are dropped or scaled by 1 / (1 - rate).
    dropped, kept = (training_logits(dropping, variables, x, jnp.full((4, 3), value)) for value in (0.0, 0.999))
    np.testing.assert_allclose(dropped, logits_of_scaled_branches(0, 0), atol=1e-5)
    np.testing.assert_allclose(kept, logits_of_scaled_branches(4 / 3, 2), atol=1e-5)


def test_each_image_and_each_block_has_its_own_random_number():
    x = jnp.broadcast_to(images(1), (3, 16, 16, 3))
    model = tiny(depth=18, stochastic_depth=0.5, bn_group_size=1)
    uniforms = jnp.array([[0.9, 0.9, 0.9], [0.9, 0.0, 0.9], [0.9, 0.9, 0.0]])
    logits = training_logits(model, random_variables(model, x), x, uniforms)
    assert all(jnp.abs(logits[a] - logits[b]).max() > 1e-3 for a, b in ((0, 1), (0, 2), (1, 2)))


def test_rate_zero_is_the_identity_and_evaluation_drops_nothing():
    x = images()
    plain, dropping = (tiny((1, 1), depth=18, stochastic_depth=rate) for rate in (0.0, 0.5))
    variables = random_variables(plain, x)
    programs = [training_logits.lower(plain, variables, x, *uniforms) for uniforms in ([jnp.zeros((4, 2))], [])]
    assert programs[0].as_text() == programs[1].as_text()
    programs = [evaluation_logits.lower(model, variables, x) for model in (dropping, plain)]
    assert programs[0].as_text() == programs[1].as_text()


def test_missing_uniforms_are_an_error_in_training_alone():
    model = tiny(stochastic_depth=0.1)
    variables = shapes_of_variables(model)
    assert evaluation_logits.eval_shape(model, variables, images()).shape == (4, 10)
    with pytest.raises(ValueError, match=r"needs uniforms of shape \[B, 3\]"):
        training_logits.eval_shape(model, variables, images())


def test_squeeze_and_excitation_of_zeros_halves_the_branch():
    x = images()
    plain, squeezing = (tiny((1,), squeeze_excitation=ratio) for ratio in (0.0, 0.25))
    variables = random_variables(squeezing, x)
    block = variables["params"]["stage1_block1"]
    zeros = {layer: jax.tree.map(jnp.zeros_like, block[layer]) for layer in ("se_reduce", "se_expand")}
    halves = {layer: leaves for layer, leaves in block.items() if layer not in zeros}
    halves["bn3"] = jax.tree.map(lambda leaf: leaf / 2, block["bn3"])
    got, wanted = (
        training_logits(model, variables | {"params": variables["params"] | {"stage1_block1": block}}, x)
        for model, block in ((squeezing, block | zeros), (plain, halves))
    )
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_squeeze_and_excitation_scales_channels_by_the_means_of_all():
    x = images()
    model = tiny((1,), squeeze_excitation=0.25)
    variables = random_variables(model, x)
    block, params = outputs(model, variables, x)["stage1_block1"], variables["params"]["stage1_block1"]
    branch, shortcut = block["bn3"]["__call__"], block["shortcut_bn"]["__call__"]
    reduce, expand = params["se_reduce"]["kernel"][0, 0], params["se_expand"]["kernel"][0, 0]
    assert reduce.shape == (16, 4) and expand.shape == (4, 16)  # 0.25 of the block's 16 channels
    gates = jax.nn.sigmoid(jax.nn.relu(branch.mean((1, 2)) @ reduce) @ expand)
    np.testing.assert_allclose(block["__call__"], jax.nn.relu(branch * gates[:, None, None] + shortcut), atol=1e-5)
