import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax.analysis.hlo_collectives import find_collectives
from resnet_jax.distributed.mesh import replicated
from resnet_jax.distributed.stop_requests import StopRequests
from resnet_jax.experiment.compile import compile_train_steps, initial_state
from resnet_jax.training import metrics
from tests.models.networks import training_logits
from tests.training.tiny_runs import (
    EVERYTHING,
    batches,
    build,
    evaluator,
    first_state,
    new_evaluator,
    run,
    train_step,
)

EVERYTHING_IN_MICROBATCHES = EVERYTHING | {"train.accumulate": 2}


def close(got, expected, rtol):
    """Returns whether two states are equal up to rounding, leaf by leaf."""
    return all(
        np.linalg.norm(leaf - other) <= rtol * max(np.linalg.norm(other), 1e-3)
        for leaf, other in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True)
    )


@pytest.mark.parametrize("devices", [8, *(pytest.param(number, marks=pytest.mark.slow) for number in (2, 3))])
def test_the_number_of_devices_does_not_change_training(devices):
    one, several = run(1, {}, 20), run(devices, {}, 20)
    assert int(several.states[-1].step) == 20
    assert close(several.states[-1], one.states[-1], rtol=1e-5)
    totals, expected = several.totals[-1], one.totals[-1]
    assert totals.examples.count == expected.examples.count == 48
    assert totals.grad_norm == pytest.approx(expected.grad_norm, rel=1e-4)


def test_batch_norm_groups_matter_where_the_devices_do_not():
    variables, images = first_state().variables, jax.random.normal(jax.random.key(0), (48, 12, 12, 3))
    whole, grouped = (
        training_logits(build(1, {"model.bn_group_size": size}).computation.model, variables, images)
        for size in (48, 6)
    )
    assert np.linalg.norm(whole - grouped) > 1e-3 * np.linalg.norm(grouped)


def assert_same_answers(devices, batch_size):
    """Asserts that the evaluation of a trained network has the totals of that by one device."""
    variables = run(1, {}, 20).states[-1].variables
    expected = evaluator()(variables)
    got = evaluator(devices, {"eval.batch_size": batch_size})(variables)
    assert (got.count, got.top1, got.top5) == (21, expected.top1, expected.top5)
    assert got.loss == pytest.approx(expected.loss, rel=1e-5)


@pytest.mark.parametrize("devices", [8, *(pytest.param(number, marks=pytest.mark.slow) for number in (2, 3))])
def test_evaluation_counts_are_the_same_integers_on_any_number_of_devices(devices):
    assert_same_answers(devices, None)


@pytest.mark.parametrize("batch_size", [4, *(pytest.param(size, marks=pytest.mark.slow) for size in (1, 21, 64))])
def test_evaluation_counts_do_not_depend_on_the_batch_size(batch_size):
    assert_same_answers(2, batch_size)


def test_evaluation_agrees_with_a_plain_loop_over_the_examples():
    variables, built = run(1, {}, 20).states[-1].variables, build()
    expected, eval_step = metrics.zero(), jax.jit(built.computation.eval_step)
    for index in range(21):
        rows = jax.tree.map(lambda a, i=index: a[i : i + 1], built.data.eval_loader.batch(0).batch)
        expected = metrics.merge(expected, jax.device_get(eval_step(variables, rows)))
    got = evaluator()(variables)
    assert (got.count, got.top1, got.top5) == (21, expected.top1, expected.top5)
    assert got.loss == pytest.approx(expected.loss, rel=1e-5)


def test_an_interrupted_evaluation_has_no_result():
    requests = StopRequests()
    requests.begin()
    requests.ask("stop", "SIGTERM")
    assert new_evaluator(1, {"eval.batch_size": 4}, requests)(first_state().variables) is None


def test_one_step_is_the_gradient_of_the_smoothed_loss_with_decayed_kernels():
    built, state = build(1, {"input.flip": False}), first_state()
    model, batch = built.computation.model, built.data.train_loader.batch(0).batch
    mean, std = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    images = jnp.asarray((batch.image - mean) / std, jnp.float32)

    def loss_fn(params):
        variables = {"params": params, "batch_stats": state.batch_stats}
        logits, _ = model.apply(variables, images, train=True, mutable=["batch_stats"])
        targets = 0.9 * jax.nn.one_hot(batch.label, 10) + 0.01
        return -jnp.mean(jnp.sum(targets * jax.nn.log_softmax(logits), -1))

    loss, grads = jax.jit(jax.value_and_grad(loss_fn))(state.params)
    after, totals = train_step(1, {"input.flip": False})(state, batch)
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
    state, batch = first_state(), build().data.train_loader.batch(0).batch

    def gradient_norms(step):
        return [float(step(state.replace(step=np.int32(number)), batch)[1].grad_norm) for number in (0, 0, 1)]

    flipped, plain = gradient_norms(train_step()), gradient_norms(train_step(1, {"input.flip": False}))
    assert flipped[0] == flipped[1] != flipped[2]
    assert plain[0] == plain[1] == plain[2] != flipped[0]


def test_the_state_is_donated():
    built = build(8)
    state = jax.device_put(first_state(8), replicated(built.computation.mesh))
    train_step(8)(state, next(batches(built, 1)))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state))


@pytest.mark.parametrize(
    ("devices", "num_microbatches"),
    [(8, 2), *(pytest.param(*numbers, marks=pytest.mark.slow) for numbers in [(1, 2), (1, 8), (2, 4), (4, 2), (8, 1)])],
)
def test_devices_and_microbatches_give_the_update_of_the_whole_batch_with_random_inputs(devices, num_microbatches):
    state = run(devices, EVERYTHING | {"train.accumulate": num_microbatches}, 5).states[-1]
    assert close(state, run(1, EVERYTHING, 5).states[-1], rtol=2e-5)


@pytest.mark.parametrize("changes", [{}, EVERYTHING_IN_MICROBATCHES], ids=["plain", "everything"])
def test_gradients_are_summed_once_outside_of_any_loop_and_no_image_moves(changes):
    assert build(8, changes).computation.num_microbatches == changes.get("train.accumulate", 1)
    text = train_step(8, changes).as_text()
    collectives = find_collectives(text)
    assert set(collectives) == {"all-reduce"} and collectives["all-reduce"].operations <= 2
    assert find_collectives(text[text.index("\nENTRY") :]) == collectives


def test_one_device_needs_no_all_reduce():
    assert find_collectives(train_step().as_text()) == {}


def test_the_average_follows_the_weights_and_can_be_evaluated():
    states = run(1, EVERYTHING, 5).states[:4]
    average = states[0].params["head"]["kernel"]
    for number in (1, 2, 3):
        weight = number / (9 + number)  # of tf.train.ExponentialMovingAverage with num_updates
        average = weight * average + (1 - weight) * states[number].params["head"]["kernel"]
    np.testing.assert_allclose(states[-1].average["params"]["head"]["kernel"], average, rtol=1e-5)
    assert set(states[-1].average["batch_stats"]) == set(states[-1].batch_stats)
    trained = build(1, EVERYTHING | {"eval.weights": "trained"}).computation.eval_weights
    of_average, of_weights = (
        evaluator()(states[-1].to_evaluate(kind)) for kind in (build(1, EVERYTHING).computation.eval_weights, trained)
    )
    assert of_average == evaluator()(states[-1].average)
    assert of_average.loss != of_weights.loss


def test_a_static_loss_scale_changes_nothing_in_float32():
    plain, scaled = run(1, {}, 20), run(1, {"loss.scale": 128.0}, 3)
    assert close(scaled.states[-1].params, plain.states[3].params, rtol=1e-5)
    assert scaled.totals[-1].grad_norm == pytest.approx(plain.totals[2].grad_norm, rel=1e-5)
    loss_scale = scaled.states[-1].loss_scale
    assert (float(loss_scale.scale), int(loss_scale.skipped)) == (128.0, 0)


FLOAT16 = {"model.dtype": "float16", "loss.scale": 2.0**15, "loss.scale_growth_steps": 2, "ema.decay": 0.9}


def float16_step():
    """Returns the state of step 0, a batch, and the step with a dynamic loss scale."""
    return first_state(1, FLOAT16), build(1, FLOAT16).data.train_loader.batch(0).batch, train_step(1, FLOAT16)


def test_an_overflow_is_skipped_counted_and_halves_the_scale():
    state, batch, step = float16_step()
    huge = state.replace(loss_scale=state.loss_scale.replace(scale=np.float32(np.inf)))
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
    state, batch, step = float16_step()
    broken = jax.tree.map(lambda leaf: leaf * np.float32(np.nan), state.params)
    _, totals = step(state.replace(params=broken, loss_scale=state.loss_scale.replace(scale=np.float32(1))), batch)
    assert not np.isfinite(totals.grad_norm)


def test_float16_trains_with_a_dynamic_scale():
    states, totals = run(1, FLOAT16, 6)
    assert np.isfinite(totals[-1].grad_norm) and float(states[-1].loss_scale.scale) >= 2.0**14
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(states[-1].params))


@pytest.mark.slow
def test_every_image_size_has_its_program():
    built = build(2, {"data.progressive.sizes": (8,), "data.progressive.until_epochs": (1.0,)})
    programs = compile_train_steps(built)
    assert list(programs) == [8, 12]
    state, sizes = initial_state(built), []
    for batch in batches(built, 4):
        sizes.append(batch.image.shape[1])
        state, _ = programs[sizes[-1]](state, batch)
    assert sizes == [8, 8, 12, 12]
