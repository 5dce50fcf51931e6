"""Measures the convolutions of small images on the CPU: by XLA, and as the product of resnet_jax.models.small_images.

    python benchmarks/cpu_convolutions.py [--batch_size=16] [--seconds=0.2]

The table has GFLOP per CPU second (of all threads), float32, for the 3x3 convolutions of ResNet-18 and 34 and of the
CIFAR family, at images of 16 to 224 pixels: forward, gradient of the input, gradient of the kernel. Figures below a
tenth of the largest one are marked with '!'.
"""

import argparse
import functools
import resource
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for `python benchmarks/FILE.py`

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.table import markdown
from resnet_jax.models.small_images import as_product

# Pixels per side, input channels, output channels, stride; all kernels are 3x3.
SHAPES = (
    (1, 512, 512, 1),
    (2, 512, 512, 1),
    (2, 256, 512, 2),
    (3, 256, 256, 1),
    (3, 256, 512, 2),
    (4, 256, 256, 1),
    (4, 256, 512, 2),
    (5, 256, 512, 2),
    (6, 256, 512, 2),
    (7, 512, 512, 1),
    (8, 64, 64, 1),
    (8, 128, 256, 2),
    (14, 256, 256, 1),
    (16, 32, 64, 2),
    (28, 128, 128, 1),
    (32, 16, 16, 1),
    (56, 64, 64, 1),
)


def cpu_seconds() -> float:
    """Returns the CPU time of this process, all threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def rate(function: Callable[..., jax.Array], arrays: Sequence[jax.Array], flops: float, seconds: float) -> float:
    """Returns GFLOP per CPU second of the compiled function, over at least two calls and `seconds` of CPU time."""
    compiled = jax.jit(function)
    jax.block_until_ready(compiled(*arrays))
    start, calls = cpu_seconds(), 0
    while calls < 2 or cpu_seconds() - start < seconds:
        jax.block_until_ready(compiled(*arrays))
        calls += 1
    return flops * calls / (cpu_seconds() - start) / 1e9


def rates(
    convolve: Callable[..., jax.Array], x: jax.Array, kernel: jax.Array, stride: int, seconds: float
) -> list[float]:
    """Returns the rates of the forward pass and of the gradients of `x` and `kernel`."""
    apply = functools.partial(convolve, window_strides=(stride, stride), padding=((1, 1), (1, 1)))
    y = apply(x, kernel)
    flops = 2 * y.size * kernel[..., 0].size

    def input_gradient(x: jax.Array, kernel: jax.Array, y: jax.Array) -> jax.Array:
        return jax.vjp(lambda x: apply(x, kernel), x)[1](y)[0]

    def kernel_gradient(x: jax.Array, kernel: jax.Array, y: jax.Array) -> jax.Array:
        return jax.vjp(lambda kernel: apply(x, kernel), kernel)[1](y)[0]

    forward = rate(apply, (x, kernel), flops, seconds)
    return [
        forward,
        *(rate(gradient, (x, kernel, y), flops, seconds) for gradient in (input_gradient, kernel_gradient)),
    ]


def main() -> None:
    """Parses the command line, measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=0.2, help="CPU time of each figure, at least")
    options = parser.parse_args()
    convolution = functools.partial(jax.lax.conv_general_dilated, dimension_numbers=("NHWC", "HWIO", "NHWC"))
    shapes: list[tuple[str, str]] = []
    measured: list[list[list[float]]] = []
    for side, channels, features, stride in SHAPES:
        rng = np.random.default_rng(0)
        x = jnp.asarray(rng.normal(size=(options.batch_size, side, side, channels)), jnp.float32)
        kernel = jnp.asarray(rng.normal(size=(3, 3, channels, features)), jnp.float32)
        shapes.append((f"{side} x {side}", f"{channels} -> {features}, stride {stride}"))
        measured.append([rates(form, x, kernel, stride, options.seconds) for form in (convolution, as_product)])
    best = max(figure for forms in measured for figures in forms for figure in figures)
    rows = [(*shape, *(_words(form, best) for form in forms)) for shape, forms in zip(shapes, measured, strict=True)]
    header = ("pixels", "channels", "convolution: forward, input, kernel", "product: forward, input, kernel")
    print(markdown([header, *rows]))


def _words(figures: Sequence[float], best: float) -> str:
    return ", ".join(f"{figure:.1f}{'!' if figure < best / 10 else ''}" for figure in figures)


if __name__ == "__main__":
    main()
