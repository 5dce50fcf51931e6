"""Variables of Slurm and Open MPI that are left over from another job: a line says for whom a process waits."""

import logging

import pytest

from resnet_jax.distributed.cluster import detect_process

SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_NTASKS": "2",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_STEP_NODELIST": "localhost",
}
OPEN_MPI = {
    "OMPI_MCA_orte_hnp_uri": "1531576320.0;tcp://127.0.0.1:34911",
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_RANK": "0",
    "OMPI_COMM_WORLD_LOCAL_RANK": "0",
}


def detect(**given):
    arguments = {"coordinator": None, "num_processes": None, "process_id": None, "timeout": 30.0} | given
    return detect_process(**arguments)


@pytest.fixture
def log(monkeypatch, caplog):
    monkeypatch.setattr(logging.getLogger("resnet_jax"), "propagate", True)
    caplog.set_level(logging.INFO, logger="resnet_jax")
    return caplog


@pytest.mark.parametrize(
    ("variables", "source"),
    [(SLURM, "Slurm (SLURM_NTASKS=2)"), (OPEN_MPI, "Open MPI (OMPI_COMM_WORLD_SIZE=2)")],
)
def test_the_line_names_the_variable_and_the_way_to_run_alone(monkeypatch, log, variables, source):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert detect().num_processes == 2
    (line,) = log.messages
    assert f"process 0 of 2 according to {source}" in line and "at most 30 s" in line
    assert line.endswith("to run alone, set --num_processes=1")
    log.clear()
    assert detect(num_processes=1) is None and log.messages == []


def test_a_part_of_the_variables_is_no_job_and_given_numbers_need_no_line(monkeypatch, log):
    monkeypatch.setenv("SLURM_NTASKS", "2")
    assert detect() is None
    assert detect(coordinator="localhost:1234", num_processes=2, process_id=1).process_id == 1
    assert log.messages == []
