"""Names our variables as TensorFlow's r1 does."""

import collections
import re

LAYERS = {
    1: ("shortcut_conv", "shortcut_bn", "conv1", "bn1", "conv2", "bn2", "conv3", "bn3"),
    2: ("bn1", "shortcut_conv", "conv1", "bn2", "conv2", "bn3", "conv3"),
}
# By kind of layer in r1: r1's name of a variable -> our collection and name. Copied from r1's code, not imported from
# weights/formats/r1.py, which is tested against this table: a mistake in one of them must show.
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
    """Yields the paths of our layers in the order in which r1 creates them."""
    yield from ((name,) for name in ("stem_conv", "stem_bn") if name in params)
    blocks = [name for name in params if name.startswith("stage")]
    for block in sorted(blocks, key=lambda name: [int(number) for number in re.findall(r"\d+", name)]):
        yield from ((block, layer) for layer in LAYERS[version] if layer in params[block])
    yield from ((name,) for name in ("final_bn", "head") if name in params)


def kind(path):
    """r1's name for the kind of a layer."""
    if path == ("head",):
        return "dense"
    return "conv2d" if "conv" in path[-1] else "batch_normalization"


def by_r1_name(variables, version):
    """All arrays of our variables, by r1's names such as 'resnet_model/conv2d_3/kernel'."""
    named, created = {}, collections.Counter()
    for path in layers(variables["params"], version):
        layer = kind(path)
        number = f"_{created[layer]}" if created[layer] else ""
        created[layer] += 1
        for name, (collection, leaf) in VARIABLES[layer].items():
            arrays = variables[collection]
            for key in path:
                arrays = arrays[key]
            named[f"resnet_model/{layer}{number}/{name}"] = arrays[leaf]
    return named
