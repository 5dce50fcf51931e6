"""Begins runs with TensorFlow, as its official r1 ResNet does."""

import json
import subprocess
import sys

import jax
import numpy as np

from tests.models.r1_variables import by_r1_name


def begin(directory, *, images, labels, variables, **run):
    """Runs `tests.weights.tensorflow_r1_steps` in an existing directory, which then has model/model.ckpt-STEP.

    `variables` are the first ones, by our names; `images`, `labels` and `run` are as that program reads them.
    """
    np.savez(directory / "batches.npz", images=images, labels=labels)
    np.savez(directory / "start.npz", **by_r1_name(jax.tree.map(np.asarray, variables), 1))
    (directory / "run.json").write_text(json.dumps(run))
    command = [sys.executable, "-m", "tests.weights.tensorflow_r1_steps", str(directory)]
    subprocess.run(command, check=True, capture_output=True)
