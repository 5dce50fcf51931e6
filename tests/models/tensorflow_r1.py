"""The networks of TensorFlow's official r1 ResNet as graphs; a program of its own, because TensorFlow loads slowly.

python -m tests.models.tensorflow_r1 TASK ... DIRECTORY

variables   writes the layers of all sizes and versions: variables_r1.json, which is in golden/
forward     reads NAME.npz of every network in DIRECTORY/cases.json (the variables by name, and `images`), writes
            NAME.out.npz: `evaluation` and `training`, the logits, and the moving statistics by name after a step of
            training
save        reads the same, writes each network as r1's Estimator does, with momentum and the step: NAME-v1/ and
            NAME-v2/ in the two formats of `Saver`, NAME-saved/ as a SavedModel

Follows official/r1/resnet/{resnet_model,imagenet_main,cifar10_main}.py, without `tf.layers`, which needs Keras 2.
"""

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

v1 = tf.compat.v1
MOMENTUM, EPSILON = 0.997, 1e-5
IMAGENET_BLOCKS = {
    18: [2, 2, 2, 2],
    34: [3, 4, 6, 3],
    50: [3, 4, 6, 3],
    101: [3, 4, 23, 3],
    152: [3, 8, 36, 3],
    200: [3, 24, 36, 3],
}
CIFAR_SIZES = (20, 32, 56, 110)


class Layers:
    """The layers of r1, with the variable names of TensorFlow 1."""

    def __init__(self, training):
        self.training = training
        self.kinds, self.shapes = (
            [],
            [],
        )  # in the order of creation; shapes such as 7x7x3x64 (convolution) or 64 (batch norm)
        self.updates = []

    def _scope(self, kind, shape):
        number = self.kinds.count(kind)
        self.kinds.append(kind)
        self.shapes.append("x".join(map(str, shape)))
        return v1.variable_scope(f"resnet_model/{kind}_{number}" if number else f"resnet_model/{kind}")

    def batch_norm(self, x):
        channels = [x.shape[-1]]
        with self._scope("batch_normalization", channels):
            gamma, beta = v1.get_variable("gamma", channels), v1.get_variable("beta", channels)
            mean = v1.get_variable("moving_mean", channels, trainable=False)
            variance = v1.get_variable("moving_variance", channels, trainable=False)
        if not self.training:
            return v1.nn.fused_batch_norm(x, gamma, beta, mean, variance, epsilon=EPSILON, is_training=False)[0]
        x, batch_mean, batch_variance = v1.nn.fused_batch_norm(x, gamma, beta, epsilon=EPSILON, is_training=True)
        for moving, batch in ((mean, batch_mean), (variance, batch_variance)):
            self.updates.append(v1.assign_sub(moving, (moving - batch) * (1 - MOMENTUM)))
        return x

    def conv(self, x, filters, kernel_size, strides):
        """`conv2d_fixed_padding`."""
        if strides > 1:
            before = (kernel_size - 1) // 2
            after = kernel_size - 1 - before
            x = tf.pad(x, [[0, 0], [before, after], [before, after], [0, 0]])
        shape = [kernel_size, kernel_size, x.shape[-1], filters]
        with self._scope("conv2d", shape):
            kernel = v1.get_variable("kernel", shape)
        return tf.nn.conv2d(x, kernel, strides, "SAME" if strides == 1 else "VALID")

    def dense(self, x, units):
        shape = [x.shape[-1], units]
        with self._scope("dense", shape):
            return x @ v1.get_variable("kernel", shape) + v1.get_variable("bias", [units])


def block(layers, x, filters, strides, *, version, bottleneck, projects):
    """`_building_block_v1`, `_bottleneck_block_v1` and their version 2."""
    convs = [(filters, 3, strides), (filters, 3, 1)]
    if bottleneck:
        convs = [(filters, 1, 1), (filters, 3, strides), (4 * filters, 1, 1)]
    width = convs[-1][0]
    shortcut = x
    if version == 2:
        x = tf.nn.relu(layers.batch_norm(x))
        shortcut = layers.conv(x, width, 1, strides) if projects else shortcut
        for number, conv in enumerate(convs):
            x = layers.conv(tf.nn.relu(layers.batch_norm(x)) if number else x, *conv)
        return x + shortcut
    if projects:
        shortcut = layers.batch_norm(layers.conv(x, width, 1, strides))
    for number, conv in enumerate(convs):
        x = layers.batch_norm(layers.conv(tf.nn.relu(x) if number else x, *conv))
    return tf.nn.relu(x + shortcut)


def network(layers, x, *, cifar, size, version, classes):
    """`ImagenetModel` and `Cifar10Model`: logits of [B, H, W, 3]."""
    blocks = [(size - 2) // 6] * 3 if cifar else IMAGENET_BLOCKS[size]
    features = 16 if cifar else 64
    x = layers.conv(x, features, 3, 1) if cifar else layers.conv(x, features, 7, 2)
    if version == 1:
        x = tf.nn.relu(layers.batch_norm(x))
    if not cifar:
        x = tf.nn.max_pool2d(x, 3, 2, "SAME")
    bottleneck = not cifar and size >= 50
    for stage, number in enumerate(blocks):
        for index in range(number):
            strides = 2 if stage and not index else 1
            options = {"version": version, "bottleneck": bottleneck, "projects": index == 0}
            x = block(layers, x, features * 2**stage, strides, **options)
    if version == 2:
        x = tf.nn.relu(layers.batch_norm(x))
    return layers.dense(tf.reduce_mean(x, [1, 2]), classes)


def variables(**model):
    """Number of variables, number of trainable scalars, and shapes of the layers of a network."""
    with tf.Graph().as_default():
        layers = Layers(training=True)
        network(layers, v1.placeholder(tf.float32, [None, 32, 32, 3]), **model)
        parameters = sum(variable.shape.num_elements() for variable in v1.trainable_variables())
        return {"variables": len(v1.global_variables()), "parameters": parameters, "layers": " ".join(layers.shapes)}


def write_variables(path):
    """Writes the variables of every size and version of r1, with its number of classes."""
    found = {}
    for cifar, sizes, classes in ((False, IMAGENET_BLOCKS, 1001), (True, CIFAR_SIZES, 10)):
        for size in sizes:
            for version in (1, 2):
                name = f"{'cifar' if cifar else 'imagenet'} {size} {version}"
                found[name] = variables(cifar=cifar, size=size, version=version, classes=classes)
    path.write_text(json.dumps(found, indent=1) + "\n")


def load(session, variables, values):
    """Sets variables to `values` by name, in one call: each call optimizes the whole graph."""
    named = {variable.op.name: variable for variable in variables}
    assigned = [(named[name].initializer, value) for name, value in values.items()]
    session.run([operation for operation, _ in assigned], {op.inputs[1]: value for op, value in assigned})


def forward(values, *, training, **model):
    """Logits of `values["images"]`, and all variables by name after the update of the moving statistics."""
    with tf.Graph().as_default(), v1.Session() as session:
        layers = Layers(training=training)
        logits = network(layers, tf.constant(values["images"]), **model)
        made = {variable.op.name: variable for variable in v1.global_variables()}
        assert made.keys() == values.keys() - {"images"}
        load(session, made.values(), {name: values[name] for name in made})
        logits = session.run(logits)
        session.run(layers.updates)
        return logits, session.run(made)


def save(values, directory, **model):
    """Writes the variables as checkpoints of step 7 and as a SavedModel."""
    with tf.Graph().as_default(), v1.Session() as session:
        image = v1.placeholder(tf.float32, [None, *values["images"].shape[1:]])
        logits = network(Layers(training=True), image, **model)
        trained = v1.trainable_variables()
        v1.train.MomentumOptimizer(0.1, 0.9).minimize(tf.reduce_sum(logits), v1.train.create_global_step())
        v1.get_variable("loss_scale", initializer=128.0, trainable=False)
        session.run(v1.global_variables_initializer())
        assert {variable.op.name for variable in trained} < values.keys()
        load(session, v1.global_variables(), {name: values[name] for name in values.keys() - {"images"}})
        for version in (v1.train.SaverDef.V1, v1.train.SaverDef.V2):
            folder = Path(f"{directory}-v{version}")
            folder.mkdir()
            v1.train.Saver(write_version=version).save(session, str(folder / "model.ckpt"), global_step=7)
        v1.saved_model.simple_save(session, f"{directory}-saved", {"image": image}, {"logits": logits})


def main(task, path):
    """Runs one of the three tasks of the module docstring."""
    if task == "variables":
        write_variables(path / "variables_r1.json")
        return
    for name, model in json.loads((path / "cases.json").read_text()).items():
        values = dict(np.load(path / f"{name}.npz"))
        if task == "save":
            save(values, path / name, **model)
            continue
        evaluation, _ = forward(values, training=False, **model)
        training, after = forward(values, training=True, **model)
        moving = {name: value for name, value in after.items() if "moving" in name}
        np.savez(path / f"{name}.out.npz", evaluation=evaluation, training=training, **moving)


if __name__ == "__main__":
    for task in sys.argv[1:-1]:
        main(task, Path(sys.argv[-1]))
