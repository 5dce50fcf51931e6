"""The weights that are evaluated, used for predictions or exported."""

import dataclasses
from typing import Any

from resnet_jax.state import Weights


@dataclasses.dataclass(frozen=True)
class Chosen:
    """Weights, and where they are from.

    Attributes:
      variables: 'params' and 'batch_stats', numpy arrays.
      path: of the checkpoint or file.
      step: of the run that made them; None: unknown.
      weights: those that were trained or their average; None: unknown.
      sha256: 64 hexadecimal digits, of the variables as they are here (`checksums.sha256_of_arrays`).
      class_names: of the run that made them; None: unknown.
    """

    variables: dict[str, Any]
    path: str
    step: int | None
    weights: Weights | None
    sha256: str
    class_names: tuple[str, ...] | None
