"""A look at some records of each file before training starts."""

from collections.abc import Callable, Sequence

from resnet_jax.data.records.records import Records
from resnet_jax.data.records.scan import scan


def check_samples(records: Records, check: Callable[[int], None]) -> None:
    """Calls `check` with the index of each record of the samples, in threads; its first error ends it."""

    def check_part(indices: Sequence[int]) -> None:
        for index in indices:
            check(index)

    scan(check_part, records.samples(), title="labels")
