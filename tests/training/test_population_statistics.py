import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax.data.batch import Batch
from resnet_jax.models import create_model
from resnet_jax.nested import by_path
from resnet_jax.training.gradients import IndexedBatch, imagenet_input, make_forward_fn, make_train_input
from resnet_jax.training.losses import create_loss
from resnet_jax.training.population_statistics import Moments, Population, make_moments


def forward_of(model):
    train_input = make_train_input(preprocess=imagenet_input, flip=False, erasing=None, mixing=None)
    return make_forward_fn(model=model, train_input=train_input, loss=create_loss())


def batch(seed, rows=4, side=8):
    images = np.random.default_rng(seed).integers(0, 256, (rows, side, side, 3), np.uint8)
    return IndexedBatch(Batch(jnp.asarray(images), jnp.zeros(rows, jnp.int32), jnp.ones(rows, bool)), jnp.arange(rows))


@pytest.mark.parametrize("trained", [pytest.param("", marks=pytest.mark.slow), "stem_bn|stage1"])
def test_statistics_are_those_of_the_activations_of_all_images(trained):
    model = create_model(
        name="resnet_cifar", depth=8, features=4, num_classes=3, dtype="float32", bn_group_size=2, trained_norms=trained
    )
    variables = jax.jit(lambda: model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)), train=False))()

    @jax.jit
    def outputs_of_layers(variables, images):
        _, kept = model.apply(
            variables, images, train=True, capture_intermediates=True, mutable=["intermediates", "batch_stats"]
        )
        return kept["intermediates"]

    moments, population, activations = jax.jit(make_moments(forward_of(model))), Population(), []
    for seed in range(3):
        population.add(jax.device_get(moments(variables, batch(seed), jax.random.key(0))))
        activations.append(outputs_of_layers(variables, imagenet_input(batch(seed).batch.image)))
    found = population.statistics(variables["batch_stats"])
    # The inputs of three norms: the outputs of the convolutions before them, of all 12 images.
    layers = {("stem_bn",): ("stem_conv",), ("stage1_block1", "bn2"): ("stage1_block1", "conv2")}
    layers[("stage3_block1", "shortcut_bn")] = ("stage3_block1", "shortcut_conv")
    for norm, conv in layers.items():
        own, stored, outputs = found, variables["batch_stats"], activations
        for name in norm:
            own, stored = own[name], stored[name]
        for name in conv:
            outputs = [one[name] for one in outputs]
        values = np.concatenate([one["__call__"][0] for one in outputs]).reshape(-1, own["mean"].shape[0])
        if trained and norm[0].startswith("stage3"):  # a frozen norm keeps its statistics
            np.testing.assert_array_equal(own["mean"], stored["mean"])
            np.testing.assert_array_equal(own["var"], stored["var"])
        else:
            np.testing.assert_allclose(own["mean"], values.mean(axis=0), rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(own["var"], values.var(axis=0, ddof=1), rtol=1e-4)
            assert own["mean"].dtype == np.float32


@pytest.mark.parametrize(("version", "depth"), [("v1.5", 50), ("v2", 18)])
def test_every_norm_of_a_network_has_moments(version, depth):
    model = create_model(
        version=version, depth=depth, features=4, num_classes=3, bn_group_size=2, zero_init_last_bn=version != "v2"
    )
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=False))
    found = jax.eval_shape(make_moments(forward_of(model)), variables, batch(0, side=32), jax.random.key(0))
    norms = {path.rsplit("/", 1)[0] for path in by_path(variables["batch_stats"])}
    assert found.keys() == norms and len(norms) > 15


def test_batches_are_averaged_in_float64():
    population = Population()
    for mean, square in ((1.0, 3.0), (3.0, 11.0)):  # variances 2 and 2, means 1 and 3
        one = Moments(np.array([mean], np.float32), np.array([square], np.float32), np.int32(5))
        population.add({"a/bn": one})
    stored = {"a": {"bn": {"mean": np.zeros(1), "var": np.ones(1)}}, "b": {"mean": np.ones(1)}}
    found = population.statistics(stored)
    assert population.batches == 2
    assert found["a"]["bn"]["mean"] == 2.0
    assert found["a"]["bn"]["var"] == pytest.approx((2 + 1) * 10 / 9)  # within and between the batches, unbiased
    assert found["b"] is not stored and found["b"]["mean"] is stored["b"]["mean"]
