"""Trains a network as TensorFlow's official r1 ResNet, and saves a checkpoint on the way; a program of its own.

python -m tests.weights.tensorflow_r1_steps DIRECTORY

Reads from DIRECTORY `run.json` (`model`: arguments of `tensorflow_r1.network`; `boundaries` and `rates` of the learning
rate; `weight_decay`; `before`: the number of steps before the checkpoint), `start.npz` (variables by name) and
`batches.npz` (`images` [S, B, H, W, 3] float32 and `labels` [S, B]). Writes model/model.ckpt-STEP as Estimator does,
and `after.npz`: 'STEP NAME' -> each variable after each step from the checkpoint on, 'STEP rate' and 'STEP loss'.

Follows `resnet_model_fn` and `learning_rate_with_decay` in official/r1/resnet/resnet_run_loop.py.
"""

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

from tests.models.tensorflow_r1 import Layers, load, network, v1


def train_op(images, labels, run):
    """The loss, the learning rate and the update of r1."""
    layers = Layers(training=True)
    logits = network(layers, images, **run["model"])
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
    decayed = [v for v in v1.trainable_variables() if run["decays_norms"] or "batch_normalization" not in v.name]
    loss += run["weight_decay"] * tf.add_n([tf.nn.l2_loss(v) for v in decayed])
    step = v1.train.get_or_create_global_step()
    rate = v1.train.piecewise_constant(step, run["boundaries"], run["rates"])
    update = v1.train.MomentumOptimizer(rate, 0.9).minimize(loss, step)
    with tf.control_dependencies([loss, rate]):
        return tf.group(update, *layers.updates), loss, rate


def main(directory):
    """Trains and writes as the docstring of the module says."""
    run = json.loads((directory / "run.json").read_text())
    start, batches = dict(np.load(directory / "start.npz")), dict(np.load(directory / "batches.npz"))
    after = {}
    with tf.Graph().as_default(), v1.Session() as session:
        images = v1.placeholder(tf.float32, batches["images"].shape[1:])
        labels = v1.placeholder(tf.int32, batches["labels"].shape[1:])
        operation, loss, rate = train_op(images, labels, run)
        session.run(v1.global_variables_initializer())
        model = [v for v in v1.global_variables() if v.op.name in start]
        assert {v.op.name for v in v1.trainable_variables()} <= start.keys()
        load(session, model, start)
        saver = v1.train.Saver()
        for number in range(len(batches["images"])):
            if number == run["before"]:
                (directory / "model").mkdir()
                saver.save(session, str(directory / "model" / "model.ckpt"), global_step=number)
            given = {images: batches["images"][number], labels: batches["labels"][number]}
            _, loss_value, rate_value = session.run([operation, loss, rate], given)
            if number >= run["before"]:
                values = session.run({v.op.name: v for v in v1.global_variables()})
                after |= {f"{number + 1} {name}": value for name, value in values.items()}
                after |= {f"{number + 1} loss": loss_value, f"{number + 1} rate": rate_value}
    np.savez(directory / "after.npz", **after)


if __name__ == "__main__":
    main(Path(sys.argv[-1]))
