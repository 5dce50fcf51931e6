"""One of several processes that save and restore the same small state: python -m ... PORT COUNT ID DIRECTORY TASK."""

import json
import sys
from pathlib import Path

import jax
import numpy as np
from jax._src import distributed

from resnet_jax.checkpoints import files
from resnet_jax.checkpoints.files import DamagedError
from resnet_jax.checkpoints.host_copy import copy_to_devices
from resnet_jax.checkpoints.manager import Checkpoints
from tests.checkpoints.states import abstract, state

_SECONDS = 60


def make_gather(count, number):
    """Gathers texts from all processes through JAX's coordination service."""
    calls = iter(range(1000))

    def gather(text):
        client, call = distributed.global_state.client, next(calls)
        client.key_value_set(f"{call}/{number}", text)
        return [client.blocking_key_value_get(f"{call}/{other}", _SECONDS * 1000) for other in range(count)]

    return gather


def everywhere(step):
    """The state on all devices of all processes."""
    return copy_to_devices(jax.tree.map(np.asarray, state(step)), abstract(devices=None))


def save(checkpoints):
    """Saves several steps; all processes take part in each."""
    add_nothing = jax.jit(lambda state: jax.tree.map(lambda leaf: leaf + 0, state), donate_argnums=0)
    for step, top1 in {1: 0.5, 2: 0.25, 3: None, 4: 0.125, 5: None}.items():
        current = everywhere(step)
        checkpoints.save(step, current, meta={"step": step}, top1=top1)
        add_nothing(current)
    checkpoints.save(5, everywhere(9), meta={"step": 5}, top1=0.0625)
    checkpoints.wait()
    return {"latest": checkpoints.latest_step, "best": checkpoints.best()}


def restore(checkpoints):
    """Restores the newest checkpoint and computes with it, on all devices."""
    restored, meta = checkpoints.restore_latest(abstract(devices=None))
    total = jax.jit(lambda state: sum(leaf.sum() for leaf in jax.tree.leaves(state.params)))(restored)
    return {"meta": meta, "latest": checkpoints.latest_step, "total": float(total)}


def restore_where_one_cannot_read(checkpoints):
    """Process 1 reads the newest checkpoint with an error, as over a faulty network."""
    read = files.read

    def read_wrongly(path, **options):
        if path.name == "5":
            raise DamagedError("garbled")
        return read(path, **options)

    if jax.process_index() == 1:
        files.read = read_wrongly
    return restore(checkpoints)


def main(port, count, number, directory, task):
    """Prints the result as JSON."""
    count, number = int(count), int(number)
    jax.distributed.initialize(f"localhost:{port}", count, number)
    gather = make_gather(count, number)
    with Checkpoints(Path(directory), keep_latest=2, keep_best=1, gather=gather) as checkpoints:
        print(json.dumps(globals()[task](checkpoints)))
    gather("done")  # process 0 hosts the coordination service and must end last


if __name__ == "__main__":
    main(*sys.argv[1:])
