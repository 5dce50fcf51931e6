import functools
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax import experiment
from resnet_jax.data.bad_examples import BadExamples
from resnet_jax.data.feed import device_batches, host_batches
from resnet_jax.distributed.stop_requests import StopRequests
from resnet_jax.experiment.compile import compile_train_steps, initial_state
from resnet_jax.experiment.computation import make_model
from resnet_jax.programs.evaluation.evaluator import Evaluator
from resnet_jax.training import metrics
from tests.tiny import tiny_config


def build(devices, changes=None):
    """The tiny experiment on some of the devices."""
    return experiment.build(tiny_config(changes), devices=jax.devices()[:devices])


def compile_train_step(built):
    (compiled,) = compile_train_steps(built).values()
    return compiled


def run(built, steps):
    """Returns the state after some steps, and the totals of the last step."""
    state, train_step = initial_state(built), compile_train_step(built)
    batches = host_batches(built.data.train_loader, start=0, stop=steps, num_threads=0, num_workers=0)
    for batch in device_batches((loaded.batch for loaded in batches), mesh=built.computation.mesh):
        state, totals = train_step(state, batch)
    return jax.device_get(state), jax.device_get(totals)


def evaluate(built, state, requests=None):
    variables = state.to_evaluate(built.computation.eval_weights)
    return Evaluator(
        built.computation, built.data, BadExamples(Path(os.devnull), at_most=0), requests or StopRequests()
    )(variables)


@functools.cache
def on_one_device():
    return run(build(1), 20)


@pytest.mark.parametrize("devices", [8, *(pytest.param(number, marks=pytest.mark.slow) for number in (2, 3))])
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
        rows = jax.tree.map(lambda a, i=index: a[i : i + 1], built.data.eval_loader.batch(0).batch)
        expected = metrics.merge(expected, jax.device_get(built.computation.eval_step(state.variables, rows)))
    got = evaluate(built, state)
    assert (got.count, got.top1, got.top5) == (21, expected.top1, expected.top5)
    assert got.loss == pytest.approx(expected.loss, rel=1e-5)


def test_an_interrupted_evaluation_has_no_result():
    requests = StopRequests()
    requests.begin()
    requests.ask("stop", "SIGTERM")
    assert evaluate(build(1, {"eval.batch_size": 4}), on_one_device()[0], requests) is None


def test_one_step_is_the_gradient_of_the_smoothed_loss_with_decayed_kernels():
    changes = {"input.flip": False, "loss.label_smoothing": 0.1, "optimizer.weight_decay": 0.01}
    changes |= {"schedule.warmup_epochs": 0.0}
    built, model = build(1, changes), make_model(tiny_config(changes), 10)
    state, batch = initial_state(built), built.data.train_loader.batch(0).batch
    mean, std = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    images = jnp.asarray((batch.image - mean) / std, jnp.float32)

    def loss_fn(params):
        variables = {"params": params, "batch_stats": state.batch_stats}
        logits, _ = model.apply(variables, images, train=True, mutable=["batch_stats"])
        targets = 0.9 * jax.nn.one_hot(batch.label, 10) + 0.01
        return -jnp.mean(jnp.sum(targets * jax.nn.log_softmax(logits), -1))

    loss, grads = jax.jit(jax.value_and_grad(loss_fn))(state.params)
    after, totals = jax.jit(built.computation.train_step)(state, batch)
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
    state, batch = initial_state(flipped), flipped.data.train_loader.batch(0).batch
    step = jax.jit(flipped.computation.train_step)
    losses = [float(step(state.replace(step=jnp.int32(s)), batch)[1].grad_norm) for s in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]
    assert losses[0] != float(jax.jit(plain.computation.train_step)(state, batch)[1].grad_norm)


def test_the_state_is_donated():
    built = build(8)
    state, train_step = initial_state(built), compile_train_step(built)
    batches = host_batches(built.data.train_loader, start=0, stop=1, num_threads=0, num_workers=0)
    train_step(state, next(device_batches((loaded.batch for loaded in batches), mesh=built.computation.mesh)))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))


def close(got, expected, rtol=1e-5):
    """Returns whether two states are equal up to rounding, leaf by leaf."""
    return all(
        np.linalg.norm(leaf - other) <= rtol * max(np.linalg.norm(other), 1e-3)
        for leaf, other in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True)
    )


EVERYTHING = {
    "mixing.mixup_alpha": 0.2,
    "mixing.cutmix_alpha": 1.0,
    "input.erasing.probability": 0.5,
    "input.erasing.noise": True,
    "model.stochastic_depth": 0.5,
    "model.zero_init_last_bn": False,
    "ema.decay": 0.9,
}


@pytest.mark.parametrize(
    ("devices", "num_microbatches"),
    [(2, 4), *(pytest.param(*numbers, marks=pytest.mark.slow) for numbers in [(1, 2), (1, 8), (4, 2), (8, 2)])],
)
def test_microbatches_give_the_update_of_the_whole_batch(devices, num_microbatches):
    changes = EVERYTHING | {"data.batch_size": 96, "model.bn_group_size": 6}
    whole, _ = on_one_device_with_everything()
    state, _ = run(build(devices, changes | {"train.accumulate": num_microbatches}), 5)
    assert close(state, whole, rtol=2e-5)


@functools.cache
def on_one_device_with_everything():
    return run(build(1, EVERYTHING | {"data.batch_size": 96}), 5)


def test_no_image_moves_between_devices_for_microbatches_or_mixing():
    changes = EVERYTHING | {"data.batch_size": 96, "train.accumulate": 2, "input.flip": True}
    program = compile_train_step(build(8, changes)).as_text()
    moves = ("all-to-all", "collective-permute", "all-gather")
    assert [move for move in moves if f" {move}(" in program] == []


def test_the_number_of_devices_does_not_change_random_inputs():
    expected, _ = on_one_device_with_everything()
    state, _ = run(build(8, EVERYTHING | {"data.batch_size": 96}), 5)
    assert close(state, expected, rtol=2e-5)


def test_the_average_follows_the_weights_and_can_be_evaluated():
    changes = {"ema.decay": 0.999}
    built = build(1, changes)
    state, _ = run(built, 3)
    average = np.asarray(initial_state(built).params["head"]["kernel"])
    params = {steps: run(built, steps)[0].params["head"]["kernel"] for steps in (1, 2, 3)}
    for number in (1, 2, 3):
        weight = number / (9 + number)  # of tf.train.ExponentialMovingAverage with num_updates
        average = weight * average + (1 - weight) * params[number]
    np.testing.assert_allclose(state.average["params"]["head"]["kernel"], average, rtol=1e-5)
    assert set(state.average["batch_stats"]) == set(state.batch_stats)
    swapped = state.replace(params=state.average["params"], batch_stats=state.average["batch_stats"])
    of_average, of_weights = evaluate(built, state), evaluate(build(1, changes | {"eval.weights": "trained"}), state)
    assert of_average == evaluate(build(1, changes | {"eval.weights": "trained"}), swapped)
    assert of_average.loss != of_weights.loss


def test_a_static_loss_scale_changes_nothing_in_float32():
    (state, totals), (scaled, scaled_totals) = run(build(1), 3), run(build(1, {"loss.scale": 128.0}), 3)
    assert close(scaled.params, state.params)
    assert scaled_totals.grad_norm == pytest.approx(totals.grad_norm, rel=1e-5)
    assert (float(scaled.loss_scale.scale), int(scaled.loss_scale.skipped)) == (128.0, 0)


@functools.cache
def with_a_dynamic_scale():
    """Returns a state, a batch and the step."""
    built = build(1, {"loss.scale": 2.0**24, "loss.scale_growth_steps": 2, "ema.decay": 0.9})
    return initial_state(built), built.data.train_loader.batch(0).batch, jax.jit(built.computation.train_step)


def test_an_overflow_is_skipped_counted_and_halves_the_scale():
    state, batch, step = with_a_dynamic_scale()
    huge = state.replace(loss_scale=state.loss_scale.replace(scale=jnp.float32(jnp.inf)))
    after, totals = step(huge, batch)
    assert int(after.step) == 1
    for part in ("params", "batch_stats", "opt_state", "average"):
        for kept, old in zip(jax.tree.leaves(getattr(after, part)), jax.tree.leaves(getattr(state, part)), strict=True):
            np.testing.assert_array_equal(kept, old)
    assert (int(totals.examples.count), float(totals.grad_norm)) == (0, 0.0)
    assert int(totals.loss_scale.skipped) == 1
    good, totals = step(state, batch)
    assert (int(good.loss_scale.good_steps), int(totals.examples.count)) == (1, 48)


def test_at_scale_one_non_finite_values_show_in_the_totals():
    state, batch, step = with_a_dynamic_scale()
    broken = jax.tree.map(lambda leaf: leaf * jnp.nan, state.params)
    _, totals = step(state.replace(params=broken, loss_scale=state.loss_scale.replace(scale=jnp.float32(1))), batch)
    assert not np.isfinite(totals.grad_norm)


def test_float16_trains_with_a_dynamic_scale():
    built = build(1, {"model.dtype": "float16", "loss.scale": 2.0**15, "loss.scale_growth_steps": 2})
    state, totals = run(built, 6)
    assert np.isfinite(totals.grad_norm) and float(state.loss_scale.scale) >= 2.0**14
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))


@pytest.mark.slow
def test_every_image_size_has_its_program():
    built = build(2, {"data.progressive.sizes": (8,), "data.progressive.until_epochs": (1.0,)})
    programs = compile_train_steps(built)
    assert list(programs) == [8, 12]
    state = initial_state(built)
    batches = host_batches(built.data.train_loader, start=0, stop=4, num_threads=0, num_workers=0)
    sizes = []
    for batch in device_batches((loaded.batch for loaded in batches), mesh=built.computation.mesh):
        sizes.append(batch.image.shape[1])
        state, _ = programs[sizes[-1]](state, batch)
    assert sizes == [8, 8, 12, 12]
