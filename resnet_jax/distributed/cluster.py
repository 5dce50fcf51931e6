"""Detects the id of this process and the number of processes of the run, and initializes `jax.distributed`."""

import ctypes
import math
import os
import signal
import time
import warnings

import jax

from resnet_jax.distributed.handshake import MOST_PROCESSES
from resnet_jax.distributed.rendezvous import ProcessSpec
from resnet_jax.errors import UsageError

_JAX_HEARTBEAT = 100  # seconds without a heartbeat after which JAX aborts all processes; the default of JAX
_ABORT_DELAY = 5.0  # seconds by which an abort of JAX is delayed
_CURE = "give --coordinator=HOST:PORT, --num_processes and --process_id, or --num_processes=1 to run alone"


def detect_process(
    *, coordinator: str | None, num_processes: int | None, process_id: int | None, timeout: float
) -> ProcessSpec | None:
    """Returns the address of process 0, the number of processes and the id of this process.

    Arguments that are None are taken from the environment, by the code that `jax.distributed.initialize` uses: it
    knows TPU pods, GKE, Slurm and Open MPI.

    Args:
      coordinator: 'host:port' of process 0.
      num_processes: number of processes of the run; 1: a run of one process, whatever the environment says.
      process_id: number of this process, 0 to num_processes - 1.
      timeout: seconds that requests to the metadata server of the cluster may take.

    Returns:
      The description of this process; None if the run has one process.

    Raises:
      UsageError: an argument is None and not found in the environment, or the arguments contradict each other.
    """
    local_devices = None
    if num_processes != 1 and None in (coordinator, num_processes, process_id):
        coordinator, num_processes, process_id, local_devices = _detect(coordinator, num_processes, process_id, timeout)
    if num_processes == 1 or (coordinator is None and num_processes is None and process_id is None):
        return None
    if coordinator is None or num_processes is None or process_id is None:
        raise UsageError(f"the processes of this run are not known: {_CURE}")
    if num_processes > MOST_PROCESSES:
        raise UsageError(f"--num_processes={num_processes} is more than {MOST_PROCESSES:,}")
    if not 0 <= process_id < num_processes:
        raise UsageError(f"--process_id={process_id} is not one of 0 to {num_processes - 1}: {_CURE}")
    if ":" not in coordinator:
        raise UsageError(f"--coordinator={coordinator} has no port, as in HOST:1234")
    port = coordinator.rpartition(":")[2]
    if not (port.isdecimal() and 0 < int(port[:6]) < 1 << 16):
        raise UsageError(f"--coordinator={coordinator}: {port or 'nothing'} is not a port from 1 to 65535")
    return ProcessSpec(coordinator, num_processes, process_id, local_devices)


def initialize_jax(spec: ProcessSpec, *, timeout: float, stall_timeout: float, address: str | None) -> None:
    """Calls `jax.distributed.initialize`, after which all devices of all processes can form one mesh.

    Call it after `connect_all`, so that the channel notices a process that dies while JAX connects.

    Args:
      spec: describes this process.
      timeout: seconds to wait for the other processes.
      stall_timeout: seconds without a sign of life after which the channel counts a process as stopped. JAX's own
        timeout, after which it aborts all processes, is made longer than this.
      address: 'host:port' at which JAX listens on process 0; None: at all addresses of the machine.

    Raises:
      UsageError: JAX cannot connect the processes, or their numbers of devices differ.
    """
    jax.config.update("jax_enable_preemption_service", False)  # it would replace the SIGTERM handler of `signals.py`
    ctypes.CDLL(None).signal(signal.SIGABRT, _delay_abort)
    try:
        jax.distributed.initialize(
            spec.coordinator,
            num_processes=spec.num_processes,
            process_id=spec.process_id,
            local_device_ids=spec.local_devices,
            cluster_detection_method="deactivate",
            initialization_timeout=int(timeout) + 1,
            heartbeat_timeout_seconds=max(_JAX_HEARTBEAT, 2 * math.ceil(stall_timeout)),
            coordinator_bind_address=None if "JAX_COORDINATOR_BIND_ADDRESS" in os.environ else address,
        )
    except (RuntimeError, ValueError) as error:
        raise UsageError(
            f"JAX cannot connect the processes at {spec.coordinator} ({error}): start all processes again"
        ) from error
    _check_devices()


@ctypes.CFUNCTYPE(None, ctypes.c_int)
def _delay_abort(_number: int) -> None:
    """SIGABRT handler: delays the abort by 5 s, so that the channel can end the process with status 75 first.

    JAX aborts a process that has lost its connection to process 0. After the delay the abort proceeds.
    """
    time.sleep(_ABORT_DELAY)


def _check_devices() -> None:
    """Raises UsageError if processes have different numbers of devices: each must load an equal slice of a batch."""
    count, processes = jax.local_device_count(), jax.process_count()
    if count * processes != jax.device_count():
        raise UsageError(
            f"process {jax.process_index()} has {count} of the {jax.device_count()} devices of {processes} processes: "
            "give each process the same number of devices"
        )


def _detect(coordinator: str | None, num_processes: int | None, process_id: int | None, timeout: float) -> tuple:
    """Takes the arguments that are None from the environment of the cluster.

    Returns:
      Coordinator, number of processes, process id, and the indices of the local devices that belong to this process;
      None for each value that is neither an argument nor in the environment.
    """
    try:
        from jax._src.clusters import ClusterEnv  # noqa: PLC0415  the public jax.distributed.initialize also connects

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings of JAX, for example that `kubernetes` is not installed
            return ClusterEnv.auto_detect_unset_distributed_params(
                coordinator, num_processes, process_id, None, None, int(timeout)
            )
    except Exception as error:  # JAX's detectors raise many types for incomplete environments
        raise UsageError(f"the environment of the cluster cannot be read ({error}): {_CURE}") from error
