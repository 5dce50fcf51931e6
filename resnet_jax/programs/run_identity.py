"""Checks that all processes of a run have the same config, the same versions and the same work directory."""

import contextlib
import json
from typing import Any

from resnet_jax.distributed.channel import Channel
from resnet_jax.errors import UsageError
from resnet_jax.nested import difference
from resnet_jax.reporting.provenance import versions
from resnet_jax.reporting.workdir import Workdir

# Config keys that may differ between machines: where the data are, and how many threads and processes decode them.
_MAY_DIFFER = ("data.data_dir", "data.num_threads", "data.num_workers")


def check_same_run(channel: Channel, settings: dict[str, Any], workdir: Workdir) -> None:
    """Checks that all processes have the config, versions and work directory of process 0. Every process must call it.

    Args:
      channel: connects the processes of the run.
      settings: the resolved config of this process.
      workdir: work directory of this process; process 0 has created it.

    Raises:
      UsageError: a process differs from process 0; the message names the process and the differences.
    """
    if channel.num_processes == 1:
        return
    with workdir.marker() if channel.is_main else contextlib.nullcontext() as marker:
        place = workdir.mirror.address if workdir.mirror else str(workdir.path)
        own = {"settings": settings, "versions": versions(), "marker": marker, "workdir": place}
        everyone = [json.loads(text) for text in channel.gather(json.dumps(own))]
        _check_settings(channel, everyone)
        # For a bucket compare addresses: each machine has its own local copy (mirror), so a marker file is not shared.
        is_same = everyone[0]["workdir"] == place if workdir.mirror else workdir.has_marker(everyone[0]["marker"])
        answer = "yes" if is_same else ""
        blind = [number for number, seen in enumerate(channel.gather(answer)) if not seen]
    if blind:
        number = blind[0]
        raise UsageError(
            f"work directory {everyone[number]['workdir']} of {channel.name(number)} is not the same directory as "
            f"that of process 0, {everyone[0]['workdir']}: give all processes the same --workdir, on storage that they "
            "share"
        )


def _check_settings(channel: Channel, everyone: list[dict[str, Any]]) -> None:
    first = everyone[0]
    for number, other in enumerate(everyone):
        changes = difference(first["settings"], other["settings"], ignore=_MAY_DIFFER)
        changes += difference(first["versions"], other["versions"])
        if changes:
            raise UsageError(
                f"{channel.name(number)} differs from process 0 ({'; '.join(changes)}; 'there' is process 0): start "
                "all processes with the same command and the same installation"
            )
