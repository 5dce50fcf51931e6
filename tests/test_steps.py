import functools
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax import experiment, metrics
from resnet_jax.data.bad_examples import BadExamples
from resnet_jax.data.feed import device_batches, host_batches
from resnet_jax.evaluate import Evaluator
from resnet_jax.models import create_model
from resnet_jax.sharding import make_mesh
from resnet_jax.train import compile_train_step, initial_state
from tests.tiny import tiny_config


def build(devices, changes=None):
    """The tiny experiment on some of the devices."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment.sharding, "make_mesh", lambda: make_mesh(jax.devices()[:devices]))
        return experiment.build(tiny_config(changes))


def run(built, steps):
    """The state after some steps, and what the last one reported."""
    state, train_step = initial_state(built), compile_train_step(built)
    batches = host_batches(built.train_loader, start=0, stop=steps, num_threads=0, num_workers=0)
    for batch in device_batches((loaded.batch for loaded in batches), mesh=built.mesh):
        state, totals = train_step(state, batch)
    return jax.device_get(state), jax.device_get(totals)


def evaluate(built, state, **options):
    return Evaluator(built, BadExamples(Path(os.devnull), at_most=0))(state, **options)


@functools.cache
def on_one_device():
    return run(build(1), 20)


@pytest.mark.parametrize("devices", [2, 3, 8])
def test_the_number_of_devices_does_not_change_training(devices):
    (expected, expected_totals), (state, totals) = on_one_device(), run(build(devices), 20)
    assert int(state.step) == 20
    for leaf, other in zip(jax.tree.leaves(state), jax.tree.leaves(expected), strict=True):
        assert np.linalg.norm(leaf - other) <= 1e-5 * max(np.linalg.norm(other), 1e-3)
    assert totals.examples.count == expected_totals.examples.count == 48
    assert totals.grad_norm == pytest.approx(expected_totals.grad_norm, rel=1e-4)


def test_batch_norm_groups_matter_where_the_devices_do_not():
    (state, _), (grouped, _) = run(build(1, {"model.bn_group_size": 48}), 3), run(build(1), 3)
    head, other = state.params["head"]["kernel"], grouped.params["head"]["kernel"]
    assert np.linalg.norm(head - other) > 1e-3 * np.linalg.norm(other)


def test_evaluation_counts_are_the_same_integers_on_any_number_of_devices():
    state = on_one_device()[0]
    sums = [evaluate(build(devices), state) for devices in (1, 2, 3, 8)]
    assert {total.count for total in sums} == {21}
    assert len({(total.top1, total.top5) for total in sums}) == 1
    np.testing.assert_allclose([total.loss for total in sums], sums[0].loss, rtol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 4, 21, 64])
def test_evaluation_counts_do_not_depend_on_the_batch_size(batch_size):
    state = on_one_device()[0]
    built = build(2, {"eval.batch_size": batch_size})
    expected = evaluate(build(1), state)
    got = evaluate(built, state)
    assert (got.count, got.top1, got.top5) == (expected.count, expected.top1, expected.top5)


def test_evaluation_agrees_with_a_plain_loop_over_the_examples():
    state, built = on_one_device()[0], build(1)
    expected = metrics.zero()
    for index in range(21):
        rows = jax.tree.map(lambda a, i=index: a[i : i + 1], built.eval_loader.batch(0).batch)
        expected = metrics.merge(expected, jax.device_get(built.eval_step(state, rows)))
    got = evaluate(built, state)
    assert (got.count, got.top1, got.top5) == (21, expected.top1, expected.top5)
    assert got.loss == pytest.approx(expected.loss, rel=1e-5)


def test_an_interrupted_evaluation_has_no_result():
    assert evaluate(build(1, {"eval.batch_size": 4}), on_one_device()[0], interrupted=lambda: True) is None


def test_one_step_is_the_gradient_of_the_smoothed_loss_with_decayed_kernels():
    changes = {"input.flip": False, "loss.label_smoothing": 0.1, "optimizer.weight_decay": 0.01}
    changes |= {"schedule.warmup_epochs": 0.0}
    built, model = build(1, changes), create_model(**{**tiny_config(changes).model, "num_classes": 10})
    state, batch = built.init(), built.train_loader.batch(0).batch
    mean, std = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    images = jnp.asarray((batch.image - mean) / std, jnp.float32)

    def loss_fn(params):
        variables = {"params": params, "batch_stats": state.batch_stats}
        logits, _ = model.apply(variables, images, train=True, mutable=["batch_stats"])
        targets = 0.9 * jax.nn.one_hot(batch.label, 10) + 0.01
        return -jnp.mean(jnp.sum(targets * jax.nn.log_softmax(logits), -1))

    loss, grads = jax.jit(jax.value_and_grad(loss_fn))(state.params)
    after, totals = jax.jit(built.train_step)(state, batch)
    assert float(totals.examples.loss) / 48 == pytest.approx(float(loss), rel=1e-5)
    lr = 0.1 * 48 / 256
    assert float(totals.lr) == pytest.approx(lr)
    for name, decay in (("kernel", 0.01), ("bias", 0.0)):
        old, grad = state.params["head"][name], grads["head"][name]
        expected = old - lr * 1.9 * (grad + decay * old)  # Nesterov's first step: g + 0.9 g
        np.testing.assert_allclose(after.params["head"][name], expected, rtol=1e-4, atol=1e-7)
    norm = np.sqrt(sum(float(jnp.sum(g**2)) for g in jax.tree.leaves(grads)))
    assert float(totals.grad_norm) == pytest.approx(norm, rel=1e-4)


def test_flips_depend_on_the_step_alone():
    flipped, plain = build(1), build(1, {"input.flip": False})
    state, batch = flipped.init(), flipped.train_loader.batch(0).batch
    step = jax.jit(flipped.train_step)
    losses = [float(step(state.replace(step=jnp.int32(s)), batch)[1].grad_norm) for s in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]
    assert losses[0] != float(jax.jit(plain.train_step)(state, batch)[1].grad_norm)


def test_the_state_is_donated():
    built = build(8)
    state, train_step = initial_state(built), compile_train_step(built)
    batches = host_batches(built.train_loader, start=0, stop=1, num_threads=0, num_workers=0)
    train_step(state, next(device_batches((loaded.batch for loaded in batches), mesh=built.mesh)))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))


def test_groups_that_fit_a_device_need_no_collective_inside_the_network():
    def all_reduces(group_size):
        compiled = compile_train_step(build(8, {"model.bn_group_size": group_size}))
        return compiled.as_text().count(" all-reduce(")

    assert all_reduces(6) <= 2
    assert all_reduces(48) > 10
