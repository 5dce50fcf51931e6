"""Writes a folder for the Hugging Face Hub: weights under timm's names, timm's `config.json` and a model card."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from resnet_jax.errors import UsageError
from resnet_jax.files import read_json, write_json
from resnet_jax.programs.export.model import Card, Model
from resnet_jax.programs.export.model_card import make_card
from resnet_jax.weights.formats.timm_config import CONFIG, make_timm_config
from resnet_jax.weights.hub import SAFETENSORS
from resnet_jax.weights.known_networks import timm_architecture

HUB, CARD = "hub", "README.md"  # name of the format and of its folder, and name of the model card on the Hub
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]*")  # form of the license names that the Hub accepts


def check_card(formats: Sequence[str], card: Card) -> None:
    """Raises UsageError if the format 'hub' is requested without a license, or a setting of the card has no effect."""
    if HUB not in formats:
        for key, value in (("license", card.license), ("push_to", card.push_to)):
            if value is not None:
                raise UsageError(f"config.export.{key}={value} has no effect: set config.export.formats=\"('{HUB}',)\"")
    elif card.license is None:
        raise UsageError(
            "the format 'hub' needs the license under which you publish the weights: set config.export.license, for "
            "example apache-2.0, cc-by-nc-4.0, other or unknown"
        )
    elif not _LICENSE.fullmatch(card.license):
        raise UsageError(
            f"config.export.license={card.license!r} is not the name of a license on the Hub: write it in lower case, "
            "for example apache-2.0 or other"
        )


def check_in_timm(model: Model) -> None:
    """Raises UsageError if timm has no network of this architecture."""
    if timm_architecture(model.network) is None:
        raise UsageError(
            "timm does not have this network, so it could not load the format 'hub' (docs/serving.md): export without "
            "'hub', with --config.export.formats=\"('jax', 'safetensors')\""
        )


def write_hub_folder(directory: Path, model: Model, *, write_weights: Callable[[Path, Model], None]) -> None:
    """Writes the folder that `timm.create_model("local-dir:FOLDER", pretrained=True)` loads.

    Args:
      directory: the folder to create.
      model: the network, which `check_in_timm` and `check_card` must have accepted.
      write_weights: writes the weights of a model to a `.safetensors` file.
    """
    architecture, license_name = timm_architecture(model.network), model.card.license
    if architecture is None or license_name is None:
        raise ValueError(f"check_in_timm or check_card would refuse {architecture=}, {license_name=}: call them first")
    directory.mkdir()
    write_weights(directory / SAFETENSORS, model)
    kernel = model.variables["params"]["head"]["kernel"]
    content = make_timm_config(
        architecture,
        model.network,
        model.preprocessing,
        class_names=model.class_names,
        num_features=kernel.shape[0],
        license_name=license_name,
    )
    write_json(directory / CONFIG, content)
    (directory / CARD).write_text(make_card(model, architecture, license_name), encoding="utf-8")


def certificates_of(evaluations: Path, sha256: str) -> tuple[dict, ...]:
    """Returns the certificates (results of evaluations, JSON) of the weights with the hash `sha256`, oldest first.

    Args:
      evaluations: directory with a result directory for each evaluation.
      sha256: hash of the weights (`checksums.sha256_of_arrays`).
    """
    found = []
    for path in sorted(evaluations.glob("*/certificate.json"), key=lambda path: path.stat().st_mtime):
        cure = "move its directory away, because the model card quotes it, or evaluate again"
        content = read_json(path, cure=cure, shape={"weights": {"sha256": str}})
        if content["weights"]["sha256"] == sha256:
            found.append(content)
    return tuple(found)
