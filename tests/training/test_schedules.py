import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from resnet_jax.errors import UsageError
from resnet_jax.training.schedules import DECAYS, create_schedule, rate_table
from tests import paths

R1 = json.loads((paths.GOLDEN / "r1_schedules.json").read_text())  # by golden/r1_training.py
IMAGENET = 1_281_167


def schedule(name="cosine", **changes):
    options = {"peak_lr": 0.4, "warmup_steps": 10, "warmup_start": 0.0, "decay_steps": 110, "end": 0.0, "power": 2.0}
    return create_schedule(name, **{**options, "boundaries": (), "factors": (1.0,), **changes})


def r1(case):
    """The piecewise schedule of a case of `R1`, epochs cut off to steps as r1 does."""
    steps_per_epoch = case["num_images"] / case["batch_size"]
    return schedule(
        "piecewise",
        peak_lr=case["base_lr"] * case["batch_size"] / case["base_batch_size"],
        warmup_steps=int(case["warmup_epochs"] * steps_per_epoch),
        boundaries=tuple(int(epoch * steps_per_epoch) for epoch in case["boundaries"]),
        factors=tuple(case["factors"]),
    )


# The official r1 ResNet by batch size: steps an epoch, rounded up, of the warm-up and before each jump; peak.
@pytest.mark.parametrize(
    ("name", "steps_per_epoch", "whole", "warmup_steps", "boundaries", "peak_lr"),
    [
        ("imagenet, 256", 5004.5586, 5005, 25022, (150136, 300273, 400364, 450410), 0.128),
        ("imagenet, 512", 2502.2793, 2503, 12511, (75068, 150136, 200182, 225205), 0.256),
        ("imagenet, 1024", 1251.1396, 1252, 6255, (37534, 75068, 100091, 112602), 0.512),
        ("imagenet, 2048", 625.5698, 626, 3127, (18767, 37534, 50045, 56301), 1.024),
        ("imagenet, 4096", 312.7849, 313, 1563, (9383, 18767, 25022, 28150), 2.048),
        ("imagenet, 8192", 156.3925, 157, 781, (4691, 9383, 12511, 14075), 4.096),
        ("cifar10, 128", 390.625, 391, 0, (35546, 53125, 71093), 0.1),
    ],
)
def test_the_table_of_r1(name, steps_per_epoch, whole, warmup_steps, boundaries, peak_lr):
    case = R1["piecewise"][name]
    exact, made = case["num_images"] / case["batch_size"], r1(case)
    assert exact == pytest.approx(steps_per_epoch, abs=5e-5)
    assert math.ceil(exact) == whole
    assert (made.warmup_steps, made.boundaries) == (warmup_steps, boundaries)
    assert made.peak_lr == pytest.approx(peak_lr, rel=1e-12)
    assert float(made(warmup_steps)) == pytest.approx(peak_lr, rel=1e-6)
    for number, boundary in enumerate(boundaries):  # the old rate holds at the boundary
        rates = [peak_lr * 0.1**number] * 2 + [peak_lr * 0.1 ** (number + 1)]
        np.testing.assert_allclose(made(np.array([boundary - 1, boundary, boundary + 1])), rates, rtol=1e-6)


@pytest.mark.parametrize("name", R1["piecewise"])
def test_piecewise_is_r1s_in_tensorflow(name):
    case = R1["piecewise"][name]
    np.testing.assert_allclose(r1(case)(np.array(case["steps"])), case["rates"], rtol=1e-6)
    assert float(r1(case)(0)) == (0.0 if case["warmup_epochs"] else np.float32(case["rates"][0]))


@pytest.mark.parametrize("name", R1["lars"])
def test_polynomial_is_r1s_with_lars_in_tensorflow(name):
    case = R1["lars"][name]
    steps_per_epoch = IMAGENET / case["batch_size"]
    made = schedule(
        "polynomial",
        peak_lr=case["peak_lr"],
        warmup_steps=int(case["warmup_epochs"] * steps_per_epoch),
        decay_steps=90 * steps_per_epoch + 1,  # r1 neither rounds it nor ends with the last step
        end=1e-4 / case["peak_lr"],
    )
    # Near the end TensorFlow subtracts from 1, and what it rounds off shows in its eighth digit of 1e-4.
    np.testing.assert_allclose(made(np.array(case["steps"])), case["rates"], rtol=2e-6, atol=1e-10 * case["peak_lr"])


def test_r1s_peaks_with_lars():
    # By batch size: below 8,192, below 16,384, below 32,768, and from there on.
    assert [(case["batch_size"], case["peak_lr"], case["warmup_epochs"]) for case in R1["lars"].values()] == [
        (256, 5, 5),
        (8192, 10, 5),
        (16384, 25, 5),
        (32768, 32, 14),
    ]


def reference(made, step):
    """The definition, in float64."""
    if step < made.warmup_steps:
        return made.peak_lr * (made.warmup_start + (1 - made.warmup_start) * step / made.warmup_steps)
    done = min(1.0, (step - made.warmup_steps) / (made.decay_steps - made.warmup_steps))
    shares = {
        "cosine": (1 + math.cos(math.pi * done)) / 2,
        "polynomial": (1 - done) ** made.power,
        "linear": 1 - done,
        "constant": 1.0,
    }
    if made.name == "piecewise":
        return made.peak_lr * made.factors[sum(step > boundary for boundary in made.boundaries)]
    end = 1.0 if made.name == "constant" else made.end
    return made.peak_lr * (end + (1 - end) * shares[made.name])


@pytest.mark.parametrize("name", DECAYS)
@pytest.mark.parametrize(("warmup_start", "end", "power"), [(0.0, 0.0, 2.0), (0.01, 0.001, 1.5)])
def test_schedules_are_their_definitions(name, warmup_start, end, power):
    made = schedule(
        name,
        warmup_steps=25_022,
        warmup_start=warmup_start,
        decay_steps=450_410,
        end=end,
        power=power,
        boundaries=(150_136, 300_273),
        factors=(1.0, 0.2, 0.03),
    )
    steps = np.array([0, 1, 25_021, 25_022, 25_023, 100_000, 150_136, 150_137, 300_273, 449_000, 450_411, 500_000])
    expected = [reference(made, int(step)) for step in steps]
    np.testing.assert_allclose(made(steps), expected, rtol=1e-6, atol=0)
    for step, rate in zip(steps, expected, strict=True):  # a Python number and a traced one
        assert float(made(int(step))) == pytest.approx(rate, rel=1e-6)
        assert float(jax.jit(made)(jnp.int32(step))) == pytest.approx(rate, rel=1e-6)
    assert made(0).dtype == jnp.float32


@pytest.mark.parametrize("name", ["cosine", "polynomial", "linear"])
def test_rates_near_the_end_are_as_exact_as_the_others(name):
    made = schedule(name, warmup_steps=5_000, decay_steps=450_410)
    left = np.array([1, 2, 30])
    share = left / (450_410 - 5_000)
    expected = {"cosine": np.sin(np.pi / 2 * share) ** 2, "polynomial": share**2, "linear": share}[name]
    np.testing.assert_allclose(made(450_410 - left), 0.4 * expected, rtol=1e-6)
    assert float(made(450_410)) == float(made(450_411)) == 0.0


@pytest.mark.parametrize(("name", "end"), [("cosine", 0.0), ("linear", 0.25), ("constant", 1.0)])
def test_without_warmup_it_starts_at_the_peak(name, end):
    assert float(schedule(name, warmup_steps=0, end=end)(0)) == pytest.approx(0.4)
    assert float(schedule(name, warmup_steps=0, end=end)(110)) == pytest.approx(0.4 * end)


def test_a_run_shorter_than_its_warmup_stays_in_it():
    made = schedule(peak_lr=1.0, warmup_steps=1000, decay_steps=2)
    np.testing.assert_allclose(made(np.arange(2)), [0.0, 0.001], rtol=1e-6)
    assert len(rate_table(made, total_steps=2, steps_per_epoch=1.0)) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"factors": (1.0, 0.1)},
            r"config.schedule.factors has 2 entries and config.schedule.boundaries 3: .* more",
        ),
        ({"boundaries": (5, 9, 8)}, r"config.schedule.boundaries must increase; in steps they are \(5, 9, 8\)"),
    ],
)
def test_boundaries_and_factors_that_do_not_fit(changes, message):
    options = {"boundaries": (5, 8, 9), "factors": (1.0, 0.1, 0.01, 0.001)} | changes
    with pytest.raises(UsageError, match=message):
        schedule("piecewise", **options)
    schedule("cosine", **options)  # which has none


def test_boundaries_that_fall_on_one_step_skip_a_factor():
    made = schedule("piecewise", warmup_steps=0, peak_lr=1.0, boundaries=(3, 3), factors=(1.0, 0.5, 0.25))
    np.testing.assert_allclose(made(np.arange(6)), [1, 1, 1, 1, 0.25, 0.25])


def test_unknown_name():
    with pytest.raises(UsageError, match=r"config.schedule.name='step' is not one of cosine, piecewise, polynomial, "):
        schedule("step")


def test_the_table_shows_both_sides_of_every_jump():
    made = r1(R1["piecewise"]["imagenet, 256"])
    assert rate_table(made, total_steps=450_410, steps_per_epoch=IMAGENET / 256) == [
        "epoch      step       rate",
        " 0.00         0          0",
        " 5.00    25,022      0.128",
        "30.00   150,136      0.128",
        "30.00   150,137     0.0128",
        "60.00   300,273     0.0128",
        "60.00   300,274    0.00128",
        "80.00   400,364    0.00128",
        "80.00   400,365   0.000128",
        "90.00   450,409   0.000128",
    ]


def test_the_table_shows_how_a_smooth_rate_falls():
    made = schedule("linear", peak_lr=1.0, warmup_steps=100, decay_steps=900)
    table = rate_table(made, total_steps=1000, steps_per_epoch=100.0)
    assert [line.split() for line in table[1:]] == [
        ["0.00", "0", "0"],
        ["1.00", "100", "1"],
        ["3.00", "300", "0.75"],
        ["5.00", "500", "0.5"],
        ["7.00", "700", "0.25"],
        ["9.00", "900", "0"],
        ["9.99", "999", "0"],
    ]
    assert len({len(line) for line in table}) == 1  # right-aligned


@pytest.mark.parametrize("name", DECAYS)
@pytest.mark.parametrize("warmup_steps", [0, 10, 1000])
def test_the_table_goes_up_to_the_last_step_of_the_run(name, warmup_steps):
    made = schedule(name, warmup_steps=warmup_steps, boundaries=(5, 20), factors=(1.0, 0.5, 0.1))
    table = rate_table(made, total_steps=30, steps_per_epoch=7.5)
    steps = [int(line.split()[1]) for line in table[1:]]
    assert steps == sorted(set(steps))
    assert steps[0] == 0
    assert table[-1].split()[:2] == ["3.87", "29"]
    assert rate_table(made, total_steps=1, steps_per_epoch=7.5)[1].split()[:2] == ["0.00", "0"]
