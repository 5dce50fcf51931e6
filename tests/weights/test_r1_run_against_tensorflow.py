"""A run that TensorFlow began as r1 does is continued here: the next steps equal TensorFlow's."""

import json

import jax
import numpy as np
import pytest

from resnet_jax import experiment
from resnet_jax.configs import cifar10_r1
from resnet_jax.distributed.stop_requests import StopRequests
from resnet_jax.experiment.compile import initial_state
from resnet_jax.programs.train.run import train
from resnet_jax.reporting.workdir import Workdir
from tests.models.r1_variables import by_r1_name
from tests.programs.r1_flags.test_evaluation import standardize
from tests.weights.tensorflow_runs import begin

pytestmark = pytest.mark.slow

BATCH, BEFORE, STEPS, DROP = 8, 4, 9, 6  # the rate drops after step 6


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    data = tmp_path_factory.mktemp("cifar")
    rng = np.random.default_rng(0)
    for name, count in (*((f"data_batch_{number}", 5) for number in range(1, 6)), ("test_batch", 8)):
        records = rng.integers(0, 256, (count, 3073), np.uint8)
        records[:, 0] %= 10
        (data / f"{name}.bin").write_bytes(records.tobytes())
    config = cifar10_r1.get_config()
    config.update_from_flattened_dict(
        {
            "data.data_dir": str(data),
            "data.batch_size": BATCH,
            "input.flip": False,  # TensorFlow gets the images of the host, before a flip
            "model.depth": 8,
            "model.bn_group_size": BATCH,
            "schedule.images_per_epoch": BATCH,  # an epoch of the schedule is a step
            "schedule.boundaries": (float(DROP),),
            "schedule.factors": (1.0, 0.1),
            "train.total_steps": STEPS,
            "log.trackers": (),
            "log.inputs": False,
        }
    )
    return config


@pytest.fixture(scope="module")
def r1(config, tmp_path_factory):
    """Returns the directory in which TensorFlow has trained, and the variables after its steps by our names."""
    directory = tmp_path_factory.mktemp("r1")
    built = experiment.build(config, devices=jax.devices()[:1])
    batches = [built.data.train_loader.batch(step).batch for step in range(STEPS)]
    images, labels = np.stack([b.image for b in batches]), np.stack([b.label for b in batches])
    rate = 0.1 * BATCH / 128
    begin(
        directory,
        images=np.stack([standardize(step) for step in images]),
        labels=labels,
        variables=initial_state(built).variables,
        model={"cifar": True, "size": 8, "version": 1, "classes": 10},
        boundaries=[DROP],
        rates=[rate, rate * 0.1],
        weight_decay=2e-4,
        decays_norms=True,
        before=BEFORE,
    )
    return directory


def test_the_next_steps_equal_tensorflows(config, r1):
    built = experiment.build(config, devices=jax.devices()[:1])
    state = initial_state(built, r1_checkpoint=r1 / "model" / f"model.ckpt-{BEFORE}")
    assert int(state.step) == BEFORE
    step_fn = jax.jit(built.computation.train_step)
    with np.load(r1 / "after.npz") as after, np.load(r1 / "start.npz") as start:
        for step in range(BEFORE, STEPS):
            state, _ = step_fn(state, built.data.train_loader.batch(step).batch)
            ours = by_r1_name(jax.tree.map(np.asarray, state.variables), 1)
            for name, value in ours.items():
                theirs = after[f"{step + 1} {name}"]
                change = max(np.abs(theirs - start[name]).max(), 1e-6)
                difference = np.abs(value - theirs)
                # Rounding: where one ReLU flips, single weights of TensorFlow itself change by up to 4 % of a change.
                assert difference.max() <= 4e-2 * change, (step, name)
                assert difference.mean() <= 2e-3 * (step + 1 - BEFORE) * change, (step, name)
    assert STEPS > DROP + 1


def test_without_the_momentum_of_r1_the_steps_differ(config, r1):
    """The comparison above notices a momentum that starts at zero, and a step that starts at zero."""
    built = experiment.build(config, devices=jax.devices()[:1])
    state = initial_state(built, r1_checkpoint=r1 / "model" / f"model.ckpt-{BEFORE}")
    state = state.replace(opt_state=jax.tree.map(np.zeros_like, state.opt_state))
    state, _ = jax.jit(built.computation.train_step)(state, built.data.train_loader.batch(BEFORE).batch)
    ours = by_r1_name(jax.tree.map(np.asarray, state.variables), 1)
    name = "resnet_model/conv2d/kernel"
    with np.load(r1 / "after.npz") as after, np.load(r1 / "start.npz") as start:
        theirs = after[f"{BEFORE + 1} {name}"]
        assert np.abs(ours[name] - theirs).max() > 0.05 * np.abs(theirs - start[name]).max()


def test_a_run_of_r1_is_finished_in_its_own_directory(config, r1, caplog):
    directory = r1 / "model"
    built = experiment.build(config, devices=jax.devices()[:1])
    with caplog.at_level("INFO"):
        assert train(built, Workdir(directory), experiment.resolve(config), StopRequests()) == 0
    assert f"continuing   from step {BEFORE} of {STEPS}, a run of TensorFlow's r1 ResNet" in caplog.text
    result = json.loads((directory / "result.json").read_text())
    assert (result["step"], result["stop_reason"]) == (STEPS, "completed")
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    rates = {line["step"]: line["lr"] for line in lines if line["split"] == "train"}
    assert rates[STEPS] == pytest.approx(0.1 * BATCH / 128 * 0.1)
