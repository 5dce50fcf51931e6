"""Makes sure that the processes of a run are at the same run: its config, its program and its work directory."""

import contextlib
import json
from typing import Any

from resnet_jax.distributed.channel import Channel
from resnet_jax.errors import UsageError
from resnet_jax.nested import difference
from resnet_jax.reporting.provenance import versions
from resnet_jax.reporting.workdir import Workdir

# Where the data lie, and who decodes them, is each machine's own affair.
_OWN_AFFAIR = ("data.data_dir", "data.num_threads", "data.num_workers")


def check_same_run(channel: Channel, settings: dict[str, Any], workdir: Workdir) -> None:
    """Compares all processes with process 0; all must call it.

    Args:
      channel: between them.
      settings: the resolved config of this process.
      workdir: of this process; that of process 0 exists.

    Raises:
      UsageError: a process differs, which one and in what.
    """
    if channel.num_processes == 1:
        return
    with workdir.marker() if channel.is_main else contextlib.nullcontext() as sign:
        own = {"settings": settings, "versions": versions(), "sign": sign, "workdir": str(workdir.path)}
        everyone = [json.loads(text) for text in channel.gather(json.dumps(own))]
        _check_settings(channel, everyone)
        sees = "yes" if workdir.has_marker(everyone[0]["sign"]) else ""
        blind = [number for number, answer in enumerate(channel.gather(sees)) if not answer]
    if blind:
        number = blind[0]
        raise UsageError(
            f"work directory {everyone[number]['workdir']} of {channel.name(number)} is not that of process 0, "
            f"{everyone[0]['workdir']}: give all processes the same --workdir, on storage that they share"
        )


def _check_settings(channel: Channel, everyone: list[dict[str, Any]]) -> None:
    first = everyone[0]
    for number, other in enumerate(everyone):
        changes = difference(first["settings"], other["settings"], ignore=_OWN_AFFAIR)
        changes += difference(first["versions"], other["versions"])
        if changes:
            raise UsageError(
                f"{channel.name(number)} differs from process 0 ({'; '.join(changes)}; 'there' is process 0): start "
                "all processes with the same command and the same installation"
            )
