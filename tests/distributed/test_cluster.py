import os

import pytest

from resnet_jax.distributed.cluster import detect_process
from resnet_jax.distributed.rendezvous import ProcessSpec
from resnet_jax.errors import UsageError

NOTHING = {"coordinator": None, "num_processes": None, "process_id": None, "timeout": 1.0}
CLUSTERS = ("SLURM", "OMPI", "TPU", "MEGASCALE", "KUBERNETES", "JAX_COORDINATOR")


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch):
    for name in list(os.environ):
        if name.startswith(CLUSTERS):
            monkeypatch.delenv(name)


def test_a_process_without_a_cluster_is_alone():
    assert detect_process(**NOTHING) is None


def test_the_flags_are_used_if_all_are_given():
    given = {"coordinator": "a:12", "num_processes": 3, "process_id": 2}
    assert detect_process(**NOTHING | given) == ProcessSpec("a:12", 3, 2)


# The variables that `srun` and `mpirun` set.
SLURM = {
    "SLURM_JOB_ID": "4103",
    "SLURM_STEP_NODELIST": "gpu[003-005]",
    "SLURM_NTASKS": "3",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
    "SLURM_STEP_NUM_NODES": "3",
}
OPEN_MPI = {
    "OMPI_MCA_orte_hnp_uri": "12288.0;tcp://10.96.0.1,10.148.0.1:34911",
    "OMPI_COMM_WORLD_SIZE": "4",
    "OMPI_COMM_WORLD_RANK": "3",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1",
}


@pytest.mark.parametrize(
    ("environment", "spec"),
    [
        (SLURM, ProcessSpec("gpu003:61447", 3, 1, [0])),  # 65536 - 4096 + 4103 mod 4096
        (OPEN_MPI, ProcessSpec("10.96.0.1:61443", 4, 3, [1])),  # 65536 - 4096 + 12288 / 4096
    ],
)
def test_clusters_are_detected_from_their_environment(environment, spec, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert detect_process(**NOTHING) == spec
    assert detect_process(**NOTHING | {"num_processes": 1}) is None
    assert detect_process(**NOTHING | {"coordinator": "b:7"}) == spec._replace(coordinator="b:7")


def test_one_process_of_a_cluster_has_all_devices_of_its_machine(monkeypatch):
    for name, value in (SLURM | {"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}).items():
        monkeypatch.setenv(name, value)
    assert detect_process(**NOTHING) is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"coordinator": "a:1"}, "the processes of this run are not known: give --coordinator=HOST:PORT, "),
        ({"num_processes": 2, "process_id": 0}, "the processes of this run are not known"),
        ({"coordinator": "a:1", "num_processes": 2, "process_id": 2}, "--process_id=2 is not one of 0 to 1"),
        ({"coordinator": "a", "num_processes": 2, "process_id": 1}, "--coordinator=a has no port, as in HOST:1234"),
        (
            {"coordinator": "a:1", "num_processes": 10**12, "process_id": 1},
            "--num_processes=1000000000000 is more than",
        ),
        *(
            ({"coordinator": f"a:{port}", "num_processes": 2, "process_id": 1}, "is not a port from 1 to 65535")
            for port in ("", "0", "65536", "-1", "http", "9" * 5000)
        ),
    ],
)
def test_incomplete_or_contradictory_flags_are_errors(given, message):
    with pytest.raises(UsageError, match=message):
        detect_process(**NOTHING | given)


def test_a_broken_environment_is_an_error(monkeypatch):
    for name, value in (SLURM | {"SLURM_PROCID": "one"}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(
        UsageError, match=r"the environment of the cluster cannot be read \(invalid literal .*'one'\): "
    ):
        detect_process(**NOTHING)
