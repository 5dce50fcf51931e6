"""Writes the model card of an export: the `README.md` by which the Hugging Face Hub describes and finds weights."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from resnet_jax.programs.evaluation.certificate import accuracy_with_interval
from resnet_jax.programs.export.model import Card, Model
from resnet_jax.reporting.provenance import versions
from resnet_jax.text import printable
from resnet_jax.weights import pytorch_network
from resnet_jax.weights.compatibility import IMAGENET_INPUT

_SHOWN_CLASSES = 20
# Config key 'model.NAME' of a network setting -> default of the argument NAME of `resnet_jax.create_model`.
_ARGUMENTS = {"model.stem": "conv7", "model.shortcut": "projection", "model.squeeze_excitation": 0.0}


def make_card(model: Model, architecture: str, license_name: str) -> str:
    """Returns the text of a model card: metadata in YAML, then Markdown.

    Args:
      model: the exported network, with its card.
      architecture: timm's name of the network.
      license_name: name of the license of the weights on the Hub.
    """
    card = model.card
    header = "".join(f"{key}: {json.dumps(value)}\n" for key, value in _header(card, license_name).items())
    blocks = [
        f"# {card.title}",
        _summary(model, architecture),
        *_accuracy(card.certificates),
        *_input(model),
        *_use(model, architecture),
        *_training(card),
        "## License\n\n"
        f"`{license_name}`, as named by the publisher of these weights. The images that they were trained on may have "
        "terms of their own.",
    ]
    return f"---\n{header}---\n\n" + "\n\n".join(blocks) + "\n"


def _header(card: Card, license_name: str) -> dict[str, Any]:
    """Returns the metadata of the card under the keys that the Hub defines."""
    header: dict[str, Any] = {
        "license": license_name,
        "library_name": "timm",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "timm", "jax", "flax", "resnet"],
    }
    results = [_result(certificate) for certificate in card.certificates]
    return header | ({"model-index": [{"name": card.title, "results": results}]} if results else {})


def _result(certificate: Mapping[str, Any]) -> dict[str, Any]:
    """Returns an evaluation in the form of the Hub's `model-index`."""
    names = {"top1": "Top-1 accuracy", "top5": "Top-5 accuracy"}
    measured = {metric: certificate["eval"][metric] for metric in names if certificate["eval"][metric] is not None}
    data = certificate["data"]["name"]
    return {
        "task": {"type": "image-classification"},
        "dataset": {"name": data, "type": data},
        "metrics": [
            {"type": "accuracy", "name": names[metric], "value": round(100 * value, 2)}
            for metric, value in measured.items()
        ],
    }


def _summary(model: Model, architecture: str) -> str:
    step = f" after {model.source['step']:,} steps" if model.source["step"] is not None else ""
    kind = ", the moving average of its weights," if model.source["weights"] == "ema" else ""
    return (
        f"A ResNet-{model.network['model.depth']}{kind}{step}, which is {pytorch_network(model.network)}: it maps RGB "
        f"images to {len(model.class_names):,} classes. `timm` calls this architecture `{architecture}`. Written by "
        f"resnet_jax {versions()['resnet_jax']}, a trainer in JAX."
    )


def _accuracy(certificates: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    yield "## Accuracy"
    rows = [_row(certificate) for certificate in certificates]
    if not rows:
        yield "Not measured: no evaluation of these weights was found in the work directory of the run (`--mode=eval`)."
        return
    yield "\n".join(["| data | images | size | accuracy with 95 % confidence interval |", "|---|---|---|---|", *rows])
    yield (
        "Each image was evaluated once, by `--mode=eval`. The intervals are Wilson score intervals. Images that cannot "
        "be decoded count as wrong."
    )


def _row(certificate: Mapping[str, Any]) -> str:
    shown = [accuracy_with_interval(certificate, metric) for metric in ("top1", "top5") if certificate["eval"][metric]]
    size = certificate["preprocessing"]["image_size"]
    return f"| {certificate['data']['name']} | {certificate['eval']['count']:,} | {size} px | {', '.join(shown)} |"


def _input(model: Model) -> Iterator[str]:
    before, network = model.preprocessing, model.network
    yield "## Input"
    enlarge = (
        f"enlarge an image whose shorter side is below {before.enlarge_to} pixels to it; " if before.enlarge_to else ""
    )
    crop = {
        "central": f"cut the central square whose side is {before.fraction:g} of the shorter side, then resize it to "
        f"{before.image_size} pixels",
        "resize": f"resize the shorter side to {before.image_size} / {before.fraction:g} pixels, then cut the central "
        f"square of {before.image_size} pixels",
    }[before.crop]
    yield (
        f"Decode an image to RGB, ignoring its EXIF rotation; {enlarge}{crop}. "
        f"Kernel of the resizing: `{before.resize}`. "
        f"Subtract {list(network['input.mean'])} from the pixels (0 to 255) and divide them by "
        f"{list(network['input.std'])}."
    )
    names = [f"`{printable(name).replace('`', chr(39))}`" for name in model.class_names[:_SHOWN_CLASSES]]
    more = len(model.class_names) - len(names)
    yield f"Classes: {', '.join(names)}{f' and {more:,} more' if more else ''} (`label_names` in `config.json`)."


def _use(model: Model, architecture: str) -> Iterator[str]:
    repository = model.card.push_to
    arguments = "".join(
        f", {key.removeprefix('model.')}={model.network[key]!r}"
        for key, default in _ARGUMENTS.items()
        if model.network[key] != default
    )
    is_imagenet = all(list(model.network[key]) == IMAGENET_INPUT[key] for key in ("input.mean", "input.std"))
    any_input = "" if is_imagenet else ", any_input=True"
    theirs, ours = (f"hf-hub:{repository}", f"hf://{repository}") if repository else ("local-dir:FOLDER", "FOLDER")
    yield "## Use"
    yield "With timm:"
    yield _code(f'''import timm

model = timm.create_model("{theirs}", pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
logits = model(transform(image)[None])  # `image` is a PIL image''')
    yield (
        "The transform of timm resizes the shorter side first and has Pillow's kernels, so its pixels can differ a "
        "little from those of the evaluation above."
    )
    yield "With JAX:"
    yield _code(f'''import resnet_jax as rj

model = rj.create_model(depth={model.network["model.depth"]}, num_classes={len(model.class_names)}{arguments})
variables = rj.load_weights("{ours}", model{any_input})
logits = model.apply(variables, images, train=False)  # float32 [B, H, W, 3], normalized''')
    if str(pytorch_network(model.network)).startswith("torchvision"):
        yield "With torchvision:"
        yield _code(f"""import safetensors.torch, torchvision

model = torchvision.models.{architecture}(num_classes={len(model.class_names)})
model.load_state_dict(safetensors.torch.load_file("model.safetensors"))
logits = model.eval()(images)  # [B, 3, H, W], normalized""")


def _code(text: str) -> str:
    return f"```python\n{text}\n```"


def _training(card: Card) -> Iterator[str]:
    yield "## Training"
    if not card.training:
        yield "Unknown: the weights were not trained in the work directory that they were exported from."
        return
    for split, described in card.data.items():
        yield f"Data, {split}: {described['name']}, {described['examples']:,} images."
    yield "Settings that differ from the defaults of resnet_jax:"
    yield "```\n" + "\n".join(f"--config.{key}={value!r}" for key, value in card.training.items()) + "\n```"
