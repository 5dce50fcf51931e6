import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from resnet_jax.data.batch import Batch
from resnet_jax.models import create_model
from resnet_jax.training.gradients import (
    Gradients,
    IndexedBatch,
    imagenet_input,
    make_forward_fn,
    make_gradient_fn,
    make_train_input,
)
from resnet_jax.training.layer_probe import layer_names, make_probe, norms_by_stage, report_parameters
from resnet_jax.training.losses import create_loss

NAMES = (
    *("stem_conv", "stem_bn", "stem_bn with ReLU", "stage1_block1/conv1", "stage1_block1/bn1"),
    *("stage1_block1/bn1 with ReLU", "stage1_block1/conv2", "stage1_block1/bn2", "stage1_block1"),
)


@pytest.fixture(scope="module")
def network():
    """A ResNet-8 of four features with its variables, and four images in two batch norm groups."""
    model = create_model(name="resnet_cifar", depth=8, features=4, num_classes=3, dtype="float32", bn_group_size=2)
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)
    batch = Batch(jnp.asarray(images), jnp.array([0, 1, 2, 0]), jnp.ones(4, bool))
    variables = jax.jit(lambda: model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)), train=False))()
    train_input = make_train_input(preprocess=imagenet_input, flip=False, erasing=None, mixing=None)
    parts = {"model": model, "train_input": train_input, "loss": create_loss()}
    return parts, variables, IndexedBatch(batch, jnp.arange(4))


def test_layers_have_the_order_in_which_they_are_computed(network):
    parts, variables, indexed = network
    names = layer_names(make_forward_fn(**parts), variables, indexed, jax.random.key(0))
    assert names[:9] == NAMES and names[-2:] == ("stage3_block1", "head")
    assert layer_names(make_forward_fn(**parts), variables, indexed, jax.random.key(0)) == names


@pytest.mark.slow
def test_fused_layers_have_the_names_of_what_they_compute():
    model = create_model(depth=50, features=4, num_classes=3, dtype="bfloat16", bn_group_size=2)
    images = jnp.zeros((4, 32, 32, 3), jnp.uint8)
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=False))
    train_input = make_train_input(preprocess=imagenet_input, flip=False, erasing=None, mixing=None)
    forward = make_forward_fn(model=model, train_input=train_input, loss=create_loss())
    batch = Batch(images, jnp.zeros(4, jnp.int32), jnp.ones(4, bool))
    names = layer_names(forward, variables, IndexedBatch(batch, jnp.arange(4)), jax.random.key(0))
    assert names[:3] == ("stem_conv", "stem_bn with max-pool", "stage1_block1/conv1")
    assert names[6:9] == (
        "stage1_block1/conv3 and bn3",
        "stage1_block1/shortcut_conv and shortcut_bn",
        "stage1_block1",
    )


def test_magnitudes_are_those_of_the_outputs_and_of_their_gradients(network):
    parts, variables, indexed = network
    found = jax.jit(make_probe(make_forward_fn(**parts)))(variables, indexed, jax.random.key(0), 2.0)
    images = imagenet_input(indexed.batch.image)
    mutable = ["intermediates", "batch_stats"]
    capture = jax.jit(
        lambda *values: parts["model"].apply(*values, train=True, capture_intermediates=True, mutable=mutable)
    )
    _, kept = capture(variables, images)
    conv = kept["intermediates"]["stem_conv"]["__call__"][0]
    logits = kept["intermediates"]["head"]["__call__"][0]
    np.testing.assert_allclose(found.inputs, np.abs(images).max(axis=(1, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(found.outputs[0], np.abs(conv).max(axis=(1, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(found.outputs[-1], np.abs(logits).max(axis=1), rtol=1e-4)
    targets = np.eye(3)[np.asarray(indexed.batch.label)] * 0.9 + 0.1 / 3
    of_logits = 2.0 * (jax.nn.softmax(logits) - targets) / 4  # of twice the mean cross entropy
    np.testing.assert_allclose(found.gradients[-1], np.abs(of_logits).max(axis=1), rtol=1e-4)
    log_probabilities = jax.nn.log_softmax(logits)
    np.testing.assert_allclose(found.losses, -(targets * log_probabilities).sum(axis=1), rtol=1e-4)


@pytest.mark.slow  # the gradient of the last layer has a cheap test above
def test_gradients_of_inner_layers_are_those_of_perturbed_outputs(network):
    parts, variables, indexed = network
    images = imagenet_input(indexed.batch.image)

    def loss(change):
        def add(call, values, options, context):
            output = call(*values, **options)
            return output + change if context.module.path == ("stage2_block1", "conv2") else output

        with nn.intercept_methods(add):
            logits, _ = parts["model"].apply(variables, images, train=True, mutable=["batch_stats"])
        return jnp.mean(parts["loss"](logits, jax.nn.one_hot(indexed.batch.label, 3)))

    expected = jax.jit(jax.grad(loss))(jnp.zeros((4, 4, 4, 8)))
    forward = make_forward_fn(**parts)
    found = jax.jit(make_probe(forward))(variables, indexed, jax.random.key(0), 1.0)
    layer = layer_names(forward, variables, indexed, jax.random.key(0)).index("stage2_block1/conv2")
    np.testing.assert_allclose(found.gradients[layer], np.abs(expected).max(axis=(1, 2, 3)), rtol=1e-4, atol=1e-9)


def test_a_nan_of_one_image_stays_in_its_row_until_its_group_is_normalized(network):
    parts, variables, indexed = network

    def preprocess(images):
        return imagenet_input(images).at[3, 2, 2, 1].set(jnp.nan)

    train_input = make_train_input(preprocess=preprocess, flip=False, erasing=None, mixing=None)
    forward = make_forward_fn(**parts | {"train_input": train_input})
    found = jax.jit(make_probe(forward))(variables, indexed, jax.random.key(0), 1.0)
    assert np.isnan(found.inputs).tolist() == [False, False, False, True]
    assert np.isnan(found.outputs[0]).tolist() == [False, False, False, True]
    assert np.isnan(found.outputs[1]).tolist() == [False, False, True, True]


@pytest.mark.slow
def test_norms_of_the_stages_add_up_to_the_norm_of_the_gradient(network):
    parts, variables, indexed = network
    compute = jax.jit(functools.partial(make_gradient_fn(**parts), scale=1.0))
    gradients = compute(variables, indexed, jax.random.key(0))
    scaled = Gradients(jax.tree.map(lambda leaf: 8 * leaf, gradients.params), {}, gradients.examples)
    report = report_parameters(variables["params"], scaled, 8.0)
    stages = norms_by_stage(report.squares)
    assert list(stages) == ["stem", "stage1", "stage2", "stage3", "head"]
    assert np.sqrt(sum(norm**2 for norm in stages.values())) == pytest.approx(float(optax.tree.norm(gradients.params)))
    head = gradients.params["head"]
    assert stages["head"] == pytest.approx(
        np.sqrt((np.asarray(head["kernel"]) ** 2).sum() + (np.asarray(head["bias"]) ** 2).sum())
    )
    assert report.weights["stem_bn/scale"] == 1.0
    largest = np.abs(np.asarray(variables["params"]["stem_conv"]["kernel"])).max()
    assert report.weights["stem_conv/kernel"] == pytest.approx(largest)
    assert norms_by_stage({"head/bias": 4.0, "final_bn/scale": 9.0, "stage1_block2/bn1/bias": 1.0}) == {
        "stage1": 1.0,
        "final_bn": 3.0,
        "head": 2.0,
    }
