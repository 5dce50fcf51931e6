"""Our variables under the names that TensorFlow's r1 has for them."""

import collections
import re

PARTS = {
    1: ("shortcut_conv", "shortcut_bn", "conv1", "bn1", "conv2", "bn2", "conv3", "bn3"),
    2: ("bn1", "shortcut_conv", "conv1", "bn2", "conv2", "bn3", "conv3"),
}
# Written down here again, from r1's code, and not imported: what reads r1's checkpoints (weights/r1.py) is tested with
# it, and a mistake in one table has to show. Of a layer of r1: name of a variable -> collection and name here.
VARIABLES = {
    "conv2d": {"kernel": ("params", "kernel")},
    "batch_normalization": {
        "gamma": ("params", "scale"),
        "beta": ("params", "bias"),
        "moving_mean": ("batch_stats", "mean"),
        "moving_variance": ("batch_stats", "var"),
    },
    "dense": {"kernel": ("params", "kernel"), "bias": ("params", "bias")},
}


def layers(params, version):
    """The paths of the layers, in the order in which r1 creates them."""
    yield from ((name,) for name in ("stem_conv", "stem_bn") if name in params)
    blocks = [name for name in params if name.startswith("stage")]
    for block in sorted(blocks, key=lambda name: [int(number) for number in re.findall(r"\d+", name)]):
        yield from ((block, part) for part in PARTS[version] if part in params[block])
    yield from ((name,) for name in ("final_bn", "head") if name in params)


def kind(path):
    """What r1 calls a layer."""
    if path == ("head",):
        return "dense"
    return "conv2d" if "conv" in path[-1] else "batch_normalization"


def by_r1_name(variables, version):
    """All leaves of our variables by r1's names: 'resnet_model/conv2d_3/kernel'."""
    named, made = {}, collections.Counter()
    for path in layers(variables["params"], version):
        layer = kind(path)
        number = f"_{made[layer]}" if made[layer] else ""
        made[layer] += 1
        for name, (collection, leaf) in VARIABLES[layer].items():
            place = variables[collection]
            for part in path:
                place = place[part]
            named[f"resnet_model/{layer}{number}/{name}"] = place[leaf]
    return named
