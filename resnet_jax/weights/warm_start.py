"""Warm start: initializes the network of a new run with all or some of the arrays of stored weights."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from resnet_jax.errors import UsageError
from resnet_jax.text import labelled
from resnet_jax.weights import check_settings, match_variables, read_weights
from resnet_jax.weights.compatibility import differing_settings

logger = logging.getLogger(__name__)


def warm_start_variables(
    path: str,
    variables: dict[str, Any],
    *,
    head: bool,
    class_list: str,
    allow_missing: Sequence[str],
    settings: Mapping[str, Any],
    any_input: bool,
) -> dict[str, Any]:
    """Replaces the variables of a network by stored weights, and logs what happened to every array.

    Args:
      path: see `read_weights`.
      variables: 'params' and 'batch_stats', arrays or shapes.
      head: load the last layer too; False keeps the one in `variables`.
      class_list: fingerprint of the class names of the data (`class_names.fingerprint`).
      allow_missing: see `match_variables`.
      settings: settings of the network, config key -> value for all `NETWORK_KEYS`.
      any_input: accept weights that were trained with another padding or input normalization.

    Returns:
      `variables`, with numpy arrays where weights were loaded.

    Raises:
      UsageError: raised by `read_weights`, `check_settings` or `match_variables`; or `head` is set and the weights were
        trained on other classes.
    """
    stored = read_weights(path)
    logger.info(labelled("weights", f"{stored.path}: {stored.format}"))
    check_settings(stored, settings, any_input=any_input)
    for key in differing_settings(stored, settings):
        trained = stored.settings[key]
        logger.info(labelled("other input", f"{key} is {settings[key]}, the weights were trained with {trained}"))
    if head and stored.class_list not in (None, class_list):
        raise UsageError(
            f"{path} was trained on other classes, or in another order: set config.model.init_head=False to start "
            "with a new last layer"
        )
    matched = match_variables(stored, variables, head=head, allow_missing=allow_missing)
    for line in matched.report:
        logger.info("%s", line)
    for pattern in matched.unused_patterns:
        logger.warning(labelled("unused", f"config.model.allow_missing: {pattern!r} matches nothing that differs"))
    logger.debug("weights, name by name\n%s", "\n".join(matched.table))
    return matched.variables
