"""Joining the processes of a run: found from the cluster's environment, or given."""

import ctypes
import signal
import time
import warnings

import jax

from resnet_jax.distributed.rendezvous import ProcessSpec
from resnet_jax.errors import UsageError

_WAY = 5.0  # seconds
_CURE = "give --coordinator=HOST:PORT, --num_processes and --process_id, or --num_processes=1 to run alone"


def detect_process(
    *, coordinator: str | None, num_processes: int | None, process_id: int | None, timeout: float
) -> ProcessSpec | None:
    """This process's place among all of the run.

    What is not given is found as `jax.distributed.initialize` finds it: on TPU pods, GKE, Slurm and Open MPI.

    Args:
      coordinator: 'host:port' of process 0, if it is given.
      num_processes: likewise; 1: this process is alone, whatever there is around it.
      process_id: likewise.
      timeout: of what is asked of the network, in seconds.

    Returns:
      The place; None if there is only this process.

    Raises:
      UsageError: a part is missing and cannot be found, or they contradict each other.
    """
    local_devices = None
    if num_processes != 1 and None in (coordinator, num_processes, process_id):
        coordinator, num_processes, process_id, local_devices = _detect(coordinator, num_processes, process_id, timeout)
    if num_processes == 1 or (coordinator is None and num_processes is None and process_id is None):
        return None
    if coordinator is None or num_processes is None or process_id is None:
        raise UsageError(f"it is not known who the processes of this run are: {_CURE}")
    if not 0 <= process_id < num_processes:
        raise UsageError(f"--process_id={process_id} is not one of 0 to {num_processes - 1}: {_CURE}")
    if ":" not in coordinator:
        raise UsageError(f"--coordinator={coordinator} has no port, as in HOST:1234")
    return ProcessSpec(coordinator, num_processes, process_id, local_devices)


def initialize_jax(spec: ProcessSpec, *, timeout: float) -> None:
    """Has JAX connect all processes, which have met already, so that their devices can be one mesh.

    Args:
      spec: of this process.
      timeout: in seconds.

    Raises:
      UsageError: JAX cannot, or the processes have different numbers of devices.
    """
    jax.config.update("jax_enable_preemption_service", False)  # it takes SIGTERM away from `signals.py`
    ctypes.CDLL(None).signal(signal.SIGABRT, _give_way)
    try:
        jax.distributed.initialize(
            spec.coordinator,
            num_processes=spec.num_processes,
            process_id=spec.process_id,
            local_device_ids=spec.local_devices,
            cluster_detection_method="deactivate",
            initialization_timeout=int(timeout) + 1,
        )
    except (RuntimeError, ValueError) as error:
        raise UsageError(f"JAX cannot connect the processes at {spec.coordinator} ({error})") from error
    _check_devices()


@ctypes.CFUNCTYPE(None, ctypes.c_int)
def _give_way(_number: int) -> None:
    """Before abort(), by which JAX ends a process that has lost process 0: the channel notices, and ends it better.

    Where the channel has no reason to, the abort goes on.
    """
    time.sleep(_WAY)


def _check_devices() -> None:
    """Raises UsageError unless every process has as many devices as the others: each takes as many rows of a batch."""
    count, processes = jax.local_device_count(), jax.process_count()
    if count * processes != jax.device_count():
        raise UsageError(
            f"process {jax.process_index()} has {count} of the {jax.device_count()} devices of {processes} processes: "
            "give each process the same number"
        )


def _detect(coordinator: str | None, num_processes: int | None, process_id: int | None, timeout: float) -> tuple:
    """What is not None as it is, the rest from the environment, None if there is no cluster."""
    try:
        from jax._src.clusters import ClusterEnv  # noqa: PLC0415  no public way to ask without joining

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as of Kubernetes without its package
            return ClusterEnv.auto_detect_unset_distributed_params(
                coordinator, num_processes, process_id, None, None, int(timeout)
            )
    except Exception as error:  # whatever a cluster's environment may lack
        raise UsageError(f"the cluster's environment is not understood ({error}): {_CURE}") from error
