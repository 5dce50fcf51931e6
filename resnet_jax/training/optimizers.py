"""Optimizers as optax gradient transformations that take the learning rate of each update as an argument.

`updates, state = optimizer.update(grads, state, params, lr=lr)`, then `optax.apply_updates(params, updates)`. The
learning rate is an argument because LARS accumulates it in the velocity, and because `TrainState` counts the steps.

For every optimizer, `decay_mask` selects the parameters that weight decay applies to.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import optax

from resnet_jax.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of `create_optimizer`, which documents them; each optimizer reads only some of them."""

    momentum: float
    nesterov: bool
    beta1: float
    beta2: float
    epsilon: float
    trust: float
    weight_decay: float
    decoupled: bool
    decay_pattern: str

    def decayed(self, params: Any) -> Any:
        """Returns a tree of bools: True for the leaves of `params` that weight decay applies to."""
        return decay_mask(params, self.decay_pattern)


def sgd(options: Options) -> optax.GradientTransformationExtraArgs:
    """SGD with momentum: v <- momentum * v + (g + weight_decay * w); w <- w - lr * v.

    The velocity does not contain the learning rate, as in PyTorch and TensorFlow. With `nesterov` the step is
    g + weight_decay * w + momentum * v (Sutskever et al. 2013). With `decoupled` the decay is not accumulated in the
    velocity (SGDW of Loshchilov and Hutter 2019, with the decay scaled by the learning rate):
    v <- momentum * v + g; w <- w - lr * (v + weight_decay * w).
    """
    decay = optax.add_decayed_weights(options.weight_decay, mask=options.decayed)
    velocity = optax.trace(decay=options.momentum, nesterov=options.nesterov)
    if options.decoupled:
        return optax.chain(velocity, decay, scale_by_rate())
    return optax.chain(decay, velocity, scale_by_rate())


def lars(options: Options) -> optax.GradientTransformationExtraArgs:
    """LARS (You et al. 2017): SGD in which the step of each decayed leaf is scaled to `trust` times the leaf's norm.

    v <- momentum * v + lr * ratio * d with d = g + weight_decay * w and ratio = trust * |w| / |d|; w <- w - v. The
    ratio is 1 where w or d is zero, and for leaves that are not decayed. `nesterov` as in `sgd`.

    Equal to `optax.lars`. The velocity contains the learning rate, as in MLPerf's reference. MLPerf's reference and the
    r1.x ResNet of the TensorFlow Models repository (`tf.contrib.opt.LARSOptimizer`) divide by |g| + weight_decay * |w|
    instead of |d|, which is at most that. The r1.x ResNet also applies learning rate and ratio after the velocity, and
    counts weight decay twice: its g already contains the gradient of an L2 loss.

    Raises:
      UsageError: `decoupled` is set.
    """
    if options.decoupled:
        raise UsageError(
            "config.optimizer.decoupled=True is not supported by 'lars', whose trust ratio includes weight decay: "
            "set config.optimizer.decoupled=False or config.optimizer.name='sgd'"
        )
    return optax.chain(
        optax.add_decayed_weights(options.weight_decay, mask=options.decayed),
        optax.masked(optax.scale_by_trust_ratio(trust_coefficient=options.trust), options.decayed),
        scale_by_rate(),
        optax.trace(decay=options.momentum, nesterov=options.nesterov),
    )


def lamb(options: Options) -> optax.GradientTransformationExtraArgs:
    """LAMB (You et al. 2020): AdamW in which the step of each decayed leaf is scaled to the leaf's norm.

    w <- w - lr * ratio * u with u = Adam's bias-corrected step + weight_decay * w and ratio = |w| / |u|. The ratio is 1
    where w or u is zero, and for leaves that are not decayed. Equal to timm's `Lamb`, except that
    timm by default clips the gradients to a global norm of 1.
    """
    return optax.chain(
        optax.scale_by_adam(b1=options.beta1, b2=options.beta2, eps=options.epsilon),
        optax.add_decayed_weights(options.weight_decay, mask=options.decayed),
        optax.masked(optax.scale_by_trust_ratio(), options.decayed),
        scale_by_rate(),
    )


def adamw(options: Options) -> optax.GradientTransformationExtraArgs:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), equal to PyTorch's `AdamW`.

    w <- w - lr * (m / (sqrt(s) + epsilon) + weight_decay * w), where m and s are the bias-corrected moving averages of
    g and g^2.
    """
    return optax.chain(
        optax.scale_by_adam(b1=options.beta1, b2=options.beta2, eps=options.epsilon),
        optax.add_decayed_weights(options.weight_decay, mask=options.decayed),
        scale_by_rate(),
    )


def scale_by_rate() -> optax.GradientTransformationExtraArgs:
    """Returns the transformation that multiplies updates by minus the learning rate, the argument `lr` of `update`."""

    def update(
        updates: Any, state: optax.EmptyState, params: Any = None, *, lr: jax.Array | float, **others: Any
    ) -> tuple[Any, optax.EmptyState]:
        del params, others
        return jax.tree.map(lambda leaf: -lr * leaf, updates), state

    return optax.GradientTransformationExtraArgs(lambda _: optax.EmptyState(), update)


def scale_lr(scales: Sequence[tuple[str, float]]) -> optax.GradientTransformationExtraArgs:
    """Returns the transformation that multiplies the learning rate of some leaves by constant factors.

    The factors multiply the final updates. This equals scaling the learning rate, in which every update is linear: even
    for LARS, whose velocity contains the learning rate, since the factors are constant. Decoupled weight decay (lamb,
    adamw, sgd with `decoupled`) is scaled as well.

    Args:
      scales: pairs of a regular expression and a factor. The expressions are searched for in paths such as
        'stage1_block1/conv1/kernel'; the first match decides, and leaves without a match have factor 1.

    Raises:
      UsageError: `scales` is not a sequence of such pairs; or, raised by `init`, a pair is the first match of no leaf.
    """
    _check_scales(scales)

    def init(params: Any) -> optax.EmptyState:
        used = set(jax.tree.leaves(_first_matches(params, scales)))
        for number, (pattern, _) in enumerate(scales):
            if number not in used:
                raise UsageError(
                    f"config.optimizer.lr_scales has {pattern!r}, which matches no trained parameter, or only those "
                    "that an earlier pattern matches: correct it ('^head/' matches the last layer, '^stage4_' stage 4)"
                )
        return optax.EmptyState()

    def update(
        updates: Any, state: optax.EmptyState, params: Any = None, **others: Any
    ) -> tuple[Any, optax.EmptyState]:
        del params, others
        factors = [*(factor for _, factor in scales), 1.0]
        matches = _first_matches(updates, scales)
        return jax.tree.map(lambda leaf, number: leaf * factors[number], updates, matches), state

    return optax.GradientTransformationExtraArgs(init, update)


def _check_scales(scales: Any) -> None:
    if not isinstance(scales, tuple | list) or not all(_is_scale(pair) for pair in scales):
        raise UsageError(
            f"config.optimizer.lr_scales={scales!r} is not a sequence of pairs of a regular expression and a factor: "
            "write (('^head/', 10.0),), with the last comma"
        )
    for pattern, factor in scales:
        _compile(pattern, key="optimizer.lr_scales")
        number = isinstance(factor, int | float) and not isinstance(factor, bool)
        if not number or not 0 < factor < math.inf:
            raise UsageError(
                f"config.optimizer.lr_scales has {factor!r} for {pattern!r}: the factor must be a finite number "
                "above 0; to freeze parameters, set config.train.trainable"
            )


def _is_scale(pair: Any) -> bool:
    return isinstance(pair, tuple | list) and len(pair) == 2 and isinstance(pair[0], str)


def _first_matches(tree: Any, scales: Sequence[tuple[str, float]]) -> Any:
    """Returns for each leaf the index of the first pattern that matches its path, or len(scales) if none does."""

    def first(path: tuple, _: Any) -> int:
        found = (number for number, (pattern, _) in enumerate(scales) if re.search(pattern, leaf_path(path)))
        return next(found, len(scales))

    return jax.tree_util.tree_map_with_path(first, tree)


def decay_mask(params: Any, pattern: str) -> Any:
    """Returns a tree of bools: True for the leaves whose path `pattern` matches, to which weight decay applies."""
    return select_leaves(params, pattern, key="optimizer.decay_pattern")


def select_leaves(params: Any, pattern: str, *, key: str) -> Any:
    """Returns a tree of bools: True for the leaves whose path `pattern` matches.

    Args:
      params: tree of parameters; masked nodes are returned as they are.
      pattern: regular expression to search for in paths such as 'stage1_block1/conv1/kernel'.
      key: config key that holds the pattern, for error messages.

    Raises:
      UsageError: the pattern is not a regular expression, or matches no leaf.
    """
    expression = _compile(pattern, key=key)
    # Masked nodes stand for frozen parameters: a pattern that matches only frozen parameters is valid.
    found = jax.tree_util.tree_map_with_path(
        lambda path, _: bool(expression.search(leaf_path(path))), params, is_leaf=is_masked
    )
    if not any(jax.tree.leaves(found)):
        raise UsageError(
            f"config.{key}={pattern!r} matches no parameter: correct it "
            "('kernel$' matches kernels, '^head/' the last layer)"
        )
    return jax.tree.map(lambda is_found, leaf: leaf if is_masked(leaf) else is_found, found, params)


def _compile(pattern: str, *, key: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UsageError(
            f"config.{key}={pattern!r} is not a regular expression ({error}): correct it, or quote it for the shell"
        ) from None


def is_masked(node: Any) -> bool:
    """Returns whether a node is `optax.MaskedNode`, which stands for a frozen parameter."""
    return isinstance(node, optax.MaskedNode)


def leaf_path(path: tuple) -> str:
    """Returns a pytree key path as text, such as 'stage1_block1/conv1/kernel'."""
    return "/".join(str(key.key) for key in path)


def create_optimizer(  # noqa: PLR0913, an argument for each key of the config section
    name: str = "sgd",
    *,
    momentum: float = 0.9,
    nesterov: bool = True,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-6,
    trust: float = 0.001,
    weight_decay: float = 1e-4,
    decoupled: bool = False,
    decay_pattern: str = "kernel$",
    clip_norm: float | None = None,
    lr_scales: Sequence[tuple[str, float]] = (),
) -> optax.GradientTransformationExtraArgs:
    """Returns an optimizer by name. The defaults are those of `configs/resnet50.py`.

    Args:
      name: 'sgd', 'lars', 'lamb' or 'adamw'.
      momentum: decay of the velocity, 0 <= momentum < 1 (sgd, lars).
      nesterov: use Nesterov momentum (sgd, lars).
      beta1: decay of the moving average of the gradients (lamb, adamw).
      beta2: decay of the moving average of the squared gradients (lamb, adamw).
      epsilon: added to the square root of the average of squared gradients (lamb, adamw).
      trust: trust coefficient: norm of the step / norm of the leaf, at learning rate 1 and without momentum (lars).
      weight_decay: factor; weight_decay * w is added to the gradient (sgd, lars) or to the step (lamb, adamw).
      decoupled: add weight decay to the step instead of the gradient (sgd).
      decay_pattern: regular expression searched for in paths such as 'stage1_block1/conv1/kernel'; matching leaves are
        decayed, and scaled by the trust ratio of lars and lamb even if `weight_decay` is 0.
      clip_norm: largest global norm of the gradients, clipped before the optimizer gets them; None: no clipping.
      lr_scales: factors of the learning rate by regular expression, see `scale_lr`.

    Raises:
      UsageError: the name is unknown, or an option is not supported by the optimizer.
    """
    if name not in OPTIMIZERS:
        raise UsageError(f"config.optimizer.name={name!r} is not one of {', '.join(OPTIMIZERS)}")
    clip = [] if clip_norm is None else [optax.clip_by_global_norm(clip_norm)]
    scale = [scale_lr(lr_scales)] if lr_scales else []
    options = Options(momentum, nesterov, beta1, beta2, epsilon, trust, weight_decay, decoupled, decay_pattern)
    optimizer = OPTIMIZERS[name](options)
    return optax.chain(*clip, optimizer, *scale) if clip or scale else optimizer


OPTIMIZERS: dict[str, Callable[[Options], optax.GradientTransformationExtraArgs]] = {
    "sgd": sgd,
    "lars": lars,
    "lamb": lamb,
    "adamw": adamw,
}
