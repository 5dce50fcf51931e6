"""Switches single optimizations of the models off, to measure what each is worth.

Each is replaced by the plain form that computes the same function up to rounding. A switch acts on the networks that
are built inside of `switched_off`, in this process only.
"""

import contextlib
import importlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple


class _Switch(NamedTuple):
    """What is replaced to switch an optimization off."""

    modules: tuple[str, ...]  # names of modules below resnet_jax/models
    attribute: str  # of each of the modules
    plain: Callable[[Any], Any]  # returns what takes the place of the attribute, from the first module


def _without_product(_: Any) -> Any:
    return lambda conv, norm: lambda x: norm(conv(x))


def _without_own_gradient(_: Any) -> Any:
    from flax import linen  # noqa: PLC0415

    return lambda norm: lambda x: linen.relu(norm(x))


def _plain_relu(_: Any) -> Any:
    from flax import linen  # noqa: PLC0415

    return linen.relu


def _for_other_platforms(_: Any) -> Any:
    return lambda *arguments, others, **_: others(*arguments)


# Name -> what is replaced. The files of resnet_jax/models say what each optimization does.
SWITCHES = {
    "conv_norm": _Switch(("blocks",), "FusedConvNorm", _without_product),
    "norm_relu": _Switch(("blocks", "stems"), "FusedNormRelu", _without_own_gradient),
    "final_relu": _Switch(("blocks",), "final_relu", _plain_relu),
    "moments": _Switch(("fused_conv_norm",), "channel_moments", lambda module: module.channel_moments.__wrapped__),
    "one_convolution": _Switch(("fused_conv_norm",), "_is_one_convolution", lambda _: lambda *_: False),
    "max_pool": _Switch(("max_pool",), "_pool", lambda module: module._reduce_window),
    "platform_forms": _Switch(("platforms", "fused_conv_norm", "max_pool"), "by_platform", _for_other_platforms),
}


@contextlib.contextmanager
def switched_off(name: str) -> Iterator[None]:
    """Replaces one of `SWITCHES` by its plain form; '' replaces nothing."""
    with contextlib.ExitStack() as stack:
        if name:
            names, attribute, plain = SWITCHES[name]
            modules = [importlib.import_module(f"resnet_jax.models.{module}") for module in names]
            replacement = plain(modules[0])
            for module in modules:
                stack.callback(setattr, module, attribute, getattr(module, attribute))
                setattr(module, attribute, replacement)
        yield
