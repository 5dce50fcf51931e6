"""Optimizers as gradient transformations that are told the learning rate of each update.

`updates, state = optimizer.update(grads, state, params, lr=lr)`, then `optax.apply_updates(params, updates)`. The
rate is an argument, for LARS keeps it inside its velocity; the step is counted in the training state and not again.

One rule says which parameters are decayed, for all optimizers: `decay_mask`.
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
    """What optimizers are told; each takes what it needs.

    Attributes:
      momentum: decay of the velocity, 0 <= momentum < 1 (sgd, lars).
      nesterov: look ahead along the velocity (sgd, lars).
      beta1: decay of the mean of the gradients (lamb, adamw).
      beta2: decay of the mean of their squares (lamb, adamw).
      epsilon: added to the root of the latter (lamb, adamw).
      trust: length of a step / length of the weights, at rate 1 and without momentum (lars).
      weight_decay: this times the weight is decayed.
      decoupled: the decay is added to the step instead of the gradient (sgd).
      decay_pattern: regular expression searched in 'block/layer/leaf' paths; the leaves it finds are decayed, and
        by lars and lamb scaled by trust, even if `weight_decay` is 0.
      clip_norm: longest gradient over all parameters, before anything else is done to it; None: any.
      lr_scales: see `scale_lr`.
    """

    momentum: float
    nesterov: bool
    beta1: float
    beta2: float
    epsilon: float
    trust: float
    weight_decay: float
    decoupled: bool
    decay_pattern: str
    clip_norm: float | None
    lr_scales: Sequence[tuple[str, float]]

    def decayed(self, params: Any) -> Any:
        """Marks the leaves that are decayed."""
        return decay_mask(params, self.decay_pattern)


def sgd(options: Options) -> optax.GradientTransformationExtraArgs:
    """SGD with momentum: v <- momentum * v + (g + weight_decay * w); w <- w - lr * v.

    The rate multiplies the velocity when it is used and is not stored in it, as in PyTorch and TensorFlow. With
    `nesterov` the step is g + weight_decay * w + momentum * v (Sutskever et al. 2013). With `decoupled` the decay
    goes past the velocity (SGDW of Loshchilov and Hutter 2019, the rate times the decay): v <- momentum * v + g;
    w <- w - lr * (v + weight_decay * w).
    """
    decay = optax.add_decayed_weights(options.weight_decay, mask=options.decayed)
    velocity = optax.trace(decay=options.momentum, nesterov=options.nesterov)
    if options.decoupled:
        return optax.chain(velocity, decay, scale_by_rate())
    return optax.chain(decay, velocity, scale_by_rate())


def lars(options: Options) -> optax.GradientTransformationExtraArgs:
    """LARS (You et al. 2017): each decayed leaf steps by `trust` of its own length, in the direction of SGD.

    v <- momentum * v + lr * trust * |w| / |d| * d with d = g + weight_decay * w; w <- w - v. Where w or d is zero
    and for the other leaves the quotient is 1: plain momentum. With `nesterov` the step is that of `sgd`.

    As `optax.lars`. MLPerf's reference and r1 (`tf.contrib.opt.LARSOptimizer`) divide by |g| + weight_decay * |w|,
    which is never less than |d|. The rate is stored in the velocity, as in MLPerf's; r1 applies rate and quotient to
    the velocity when it is used, and counts the L2 regularisation twice: its g, that of the loss, contains it.

    Raises:
      UsageError: `decoupled`, which has no meaning here.
    """
    if options.decoupled:
        raise UsageError(
            "config.optimizer.decoupled=True is not for 'lars', whose step contains the decay: "
            "set it to False, or config.optimizer.name to 'sgd'"
        )
    return optax.chain(
        optax.add_decayed_weights(options.weight_decay, mask=options.decayed),
        optax.masked(optax.scale_by_trust_ratio(trust_coefficient=options.trust), options.decayed),
        scale_by_rate(),
        optax.trace(decay=options.momentum, nesterov=options.nesterov),
    )


def lamb(options: Options) -> optax.GradientTransformationExtraArgs:
    """LAMB (You et al. 2020): each decayed leaf steps by its own length, in the direction of AdamW.

    w <- w - lr * |w| / |u| * u with u = Adam's step (bias corrected) + weight_decay * w. Where w or u is zero and
    for the other leaves the quotient is 1. The same as timm's `Lamb`, which also clips to a global norm of 1.
    """
    return optax.chain(
        optax.scale_by_adam(b1=options.beta1, b2=options.beta2, eps=options.epsilon),
        optax.add_decayed_weights(options.weight_decay, mask=options.decayed),
        optax.masked(optax.scale_by_trust_ratio(), options.decayed),
        scale_by_rate(),
    )


def adamw(options: Options) -> optax.GradientTransformationExtraArgs:
    """Adam with decoupled decay (Loshchilov and Hutter 2019), as PyTorch's.

    w <- w - lr * (m / (sqrt(s) + epsilon) + weight_decay * w) with the bias-corrected means m of g and s of g^2.
    """
    return optax.chain(
        optax.scale_by_adam(b1=options.beta1, b2=options.beta2, eps=options.epsilon),
        optax.add_decayed_weights(options.weight_decay, mask=options.decayed),
        scale_by_rate(),
    )


def scale_by_rate() -> optax.GradientTransformationExtraArgs:
    """Multiplies by minus the learning rate, which is the argument `lr` of `update`."""

    def update(updates: Any, state: optax.EmptyState, params: Any = None, *, lr: jax.Array | float, **others: Any):
        del params, others
        return jax.tree.map(lambda leaf: -lr * leaf, updates), state

    return optax.GradientTransformationExtraArgs(lambda _: optax.EmptyState(), update)


def scale_lr(scales: Sequence[tuple[str, float]]) -> optax.GradientTransformationExtraArgs:
    """Multiplies the learning rate of some leaves, each by one number for good.

    It stands after everything else, and that is the same: all optimizers here are linear in the rate of a leaf. LARS,
    which keeps the rate in its velocity, is too as long as the factor does not change. Decay that goes past the
    gradient (`decoupled`, lamb, adamw) grows with the rate.

    Args:
      scales: pairs of a regular expression, searched in 'block/layer/leaf' paths, and a factor. The first that finds
        a leaf counts for it; where none does, the rate stays as it is.

    Raises:
      UsageError: they are no such pairs; and when used, if one of them counts for no leaf.
    """
    _check_scales(scales)

    def init(params: Any) -> optax.EmptyState:
        chosen = set(jax.tree.leaves(_first_matches(params, scales)))
        for number, (pattern, _) in enumerate(scales):
            if number not in chosen:
                raise UsageError(
                    f"config.optimizer.lr_scales has {pattern!r}, which matches no trained parameter, or none that no "
                    "pattern before it matches; the last layer matches '^head/', a stage '^stage4_'"
                )
        return optax.EmptyState()

    def update(updates: Any, state: optax.EmptyState, params: Any = None, **others: Any):
        del params, others
        factors = [*(factor for _, factor in scales), 1.0]
        matches = _first_matches(updates, scales)
        return jax.tree.map(lambda leaf, number: leaf * factors[number], updates, matches), state

    return optax.GradientTransformationExtraArgs(init, update)


def _check_scales(scales: Any) -> None:
    if not isinstance(scales, tuple | list) or not all(_is_scale(pair) for pair in scales):
        raise UsageError(
            f"config.optimizer.lr_scales={scales!r} are no pairs of a regular expression and a factor: write them as "
            "(('^head/', 10.0),), with the last comma"
        )
    for pattern, factor in scales:
        _compile(pattern, key="optimizer.lr_scales")
        number = isinstance(factor, int | float) and not isinstance(factor, bool)
        if not number or not 0 < factor < math.inf:
            raise UsageError(
                f"config.optimizer.lr_scales has {factor!r} for {pattern!r}: it must be a finite number above 0; "
                "config.train.trainable says what is trained at all"
            )


def _is_scale(pair: Any) -> bool:
    return isinstance(pair, tuple | list) and len(pair) == 2 and isinstance(pair[0], str)


def _first_matches(tree: Any, scales: Sequence[tuple[str, float]]) -> Any:
    """For each leaf the number of the first pattern that finds it, or how many there are."""

    def first(path: tuple, _: Any) -> int:
        found = (number for number, (pattern, _) in enumerate(scales) if re.search(pattern, leaf_path(path)))
        return next(found, len(scales))

    return jax.tree_util.tree_map_with_path(first, tree)


def decay_mask(params: Any, pattern: str) -> Any:
    """Marks the leaves that are decayed; see `select_leaves`."""
    return select_leaves(params, pattern, key="optimizer.decay_pattern")


def select_leaves(params: Any, pattern: str, *, key: str) -> Any:
    """Marks the leaves whose path, as 'stage1_block1/conv1/kernel', `pattern` finds.

    Raises:
      UsageError: the pattern, which is that of the config key `key`, is no regular expression or finds no leaf.
    """
    expression = _compile(pattern, key=key)
    # Where only some parameters are trained, the others are there as empty nodes, and count here.
    found = jax.tree_util.tree_map_with_path(
        lambda path, _: bool(expression.search(leaf_path(path))), params, is_leaf=is_masked
    )
    if not any(jax.tree.leaves(found)):
        raise UsageError(
            f"config.{key}={pattern!r} matches no parameter; kernels match 'kernel$', the last layer '^head/'"
        )
    return jax.tree.map(lambda is_found, leaf: leaf if is_masked(leaf) else is_found, found, params)


def _compile(pattern: str, *, key: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UsageError(f"config.{key}={pattern!r} is no regular expression: {error}") from None


def is_masked(node: Any) -> bool:
    """Whether a node stands empty in place of a parameter that is not trained."""
    return isinstance(node, optax.MaskedNode)


def leaf_path(path: tuple) -> str:
    """A pytree key path as 'stage1_block1/conv1/kernel'."""
    return "/".join(str(key.key) for key in path)


def create_optimizer(name: str, **options: Any) -> optax.GradientTransformationExtraArgs:
    """Makes an optimizer by name. Where that is asked for, the gradient is clipped first, and rates are scaled last.

    Args:
      name: a key of `OPTIMIZERS`.
      **options: the attributes of `Options`, all of them.

    Raises:
      UsageError: no such optimizer, or an option that has no meaning for it.
    """
    if name not in OPTIMIZERS:
        raise UsageError(f"config.optimizer.name={name!r} is not one of {', '.join(OPTIMIZERS)}")
    given = Options(**options)
    clip = [] if given.clip_norm is None else [optax.clip_by_global_norm(given.clip_norm)]
    scale = [scale_lr(given.lr_scales)] if given.lr_scales else []
    optimizer = OPTIMIZERS[name](given)
    return optax.chain(*clip, optimizer, *scale) if clip or scale else optimizer


OPTIMIZERS: dict[str, Callable[[Options], optax.GradientTransformationExtraArgs]] = {
    "sgd": sgd,
    "lars": lars,
    "lamb": lamb,
    "adamw": adamw,
}
