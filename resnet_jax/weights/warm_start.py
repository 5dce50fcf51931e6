"""Starting from given weights, whole or in part."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from resnet_jax.errors import UsageError
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
    """Fills the variables of a network with stored weights, and logs what became of every name.

    Args:
      path: as in `read_weights`.
      variables: 'params' and 'batch_stats', arrays or shapes.
      head: take the last layer too; if not, it stays as it is.
      class_list: fingerprint of the classes of the data.
      allow_missing: as in `fill`.
      settings: of the network, by dotted key, all of `NETWORK_KEYS`.
      any_input: whatever padding and normalisation the weights were trained with.

    Returns:
      The same tree; numpy arrays where there are weights.

    Raises:
      UsageError: as `read_weights`, `check_settings` and `fill`; or the last layer is that of other classes.
    """
    stored = read_weights(path)
    logger.info("weights      %s: %s", stored.path, stored.format)
    check_settings(stored, settings, any_input=any_input)
    for key in differing_settings(stored, settings):
        logger.info("other input  %s is %s, the weights were trained with %s", key, settings[key], stored.settings[key])
    if head and stored.class_list not in (None, class_list):
        raise UsageError(
            f"{path} was trained on other classes, or in another order: set config.model.init_head=False to begin "
            "with a new last layer"
        )
    filled = match_variables(stored, variables, head=head, allow_missing=allow_missing)
    for line in filled.report:
        logger.info("%s", line)
    for pattern in filled.unused:
        logger.warning("%-12s config.model.allow_missing: nothing that %r finds was missing", "unused", pattern)
    logger.debug("weights, name by name\n%s", "\n".join(filled.table))
    return filled.variables
