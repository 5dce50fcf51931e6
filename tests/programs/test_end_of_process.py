"""A process that ends while a computation runs ends with its exit status."""

import os
import subprocess
import sys

import pytest

from tests.paths import ROOT

# A computation of about a second, for which a daemon thread waits.
PROGRAM = """
import atexit, sys, threading, time
from resnet_jax.programs.end_of_process import without_finalization

with without_finalization():
    import jax
    import numpy as np

    atexit.register(print, "registered later")
    threading.Thread(target=lambda: (time.sleep(0.2), print("a thread"))).start()
    rows = jax.sharding.NamedSharding(jax.make_mesh((2,), ("batch",)), jax.sharding.PartitionSpec("batch"))
    step = jax.jit(lambda x: jax.lax.fori_loop(0, 100, lambda _, y: jax.numpy.sin(y), x), out_shardings=rows)
    result = step(jax.device_put(np.ones((8, 1_000_000), np.float32), rows))
    threading.Thread(target=jax.block_until_ready, args=(result,), daemon=True).start()
    del result
    print("buffered", end="")
    END
"""


def ended(end, **options):
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "2", "PYTHONUNBUFFERED": ""}
    program = PROGRAM.replace("END", end)
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        **options,
    )


@pytest.mark.parametrize(
    ("end", "status"), [("sys.exit(2)", 2), ("sys.exit()", 0), ("pass", 0), ("sys.exit('a message')", 1), ("1 / 0", 1)]
)
def test_the_status_is_that_of_the_program(end, status):
    done = ended(end, stdout=subprocess.PIPE)
    assert done.returncode == status, done.stderr
    assert "Fatal" not in done.stderr and ("ZeroDivisionError" in done.stderr) == (end == "1 / 0")
    assert ("a message" in done.stderr) == ("message" in end)
    assert "buffered" in done.stdout and "a thread" in done.stdout and "registered later" in done.stdout


def test_output_that_cannot_be_written_is_a_failure():
    with open("/dev/full", "w") as full:  # noqa: PTH123
        assert ended("sys.exit(0)", stdout=full).returncode == 120
