"""The scripts of launch/ call --mode=doctor before a run, and do not start the run if it finds an error."""

import shlex

import pytest

from tests.launch.fakes import FLAGS
from tests.launch.test_launch import slurm
from tests.launch.test_tpu_vm import RUN

DOCTOR = [*FLAGS, "--mode=doctor"]


@pytest.mark.parametrize(("checked", "status", "calls"), [(0, 0, 2), (2, 2, 1), (137, 0, 1)])
def test_a_slurm_job_checks_all_nodes_first(cloud, checked, status, calls):
    assert slurm(cloud, [checked, 0], doctor="1")[0][0] == status
    made = (cloud.path / "calls").read_text().splitlines()[:calls]
    run = f"srun --kill-on-bad-exit=0 --wait=120 .venv/bin/python main.py {shlex.join(FLAGS)}"
    assert made == [f"{run} --mode=doctor", run][:calls]
    assert (cloud.path / "requeued").exists() == (checked == 137)


def test_the_hosts_of_a_tpu_vm_are_checked_before_each_start(cloud):
    status, output = cloud.run("tpu_vm.sh", *RUN, ends=[[75, 75], [0, 0]])
    assert status == 0 and "the checks of the doctor\ndoctor: exit 0" in output
    for process in (0, 1):
        assert (cloud.path / f"doctors-{process}").read_text().count("--mode=doctor") == 2
        assert len(cloud.starts(process)) == 2


def test_an_error_on_a_host_of_a_tpu_vm_ends_the_script(cloud):
    status, output = cloud.run("tpu_vm.sh", *RUN, ends=[[0, 0]], DOCTOR_STATUS="2")
    assert status == 2 and "doctor: exit 2" in output and "--mode=doctor found an error on the hosts of it" in output
    assert cloud.starts(0) == []
    assert cloud.run("tpu_vm.sh", *RUN, ends=[[0, 0]], DOCTOR_STATUS="2", DOCTOR="0")[0] == 0
    assert len(cloud.starts(0)) == 1


@pytest.mark.parametrize(("environment", "status", "starts"), [({}, 0, 1), ({"DOCTOR": "1"}, 2, 0)])
def test_local_processes_are_checked_where_it_is_asked_for(cloud, environment, status, starts):
    environment = {"PYTHON": str(cloud.bin / "python3.12"), "DOCTOR_STATUS": "2", "HOME": "/0", **environment}
    assert cloud.run("local.sh", "2", *FLAGS, ends=[[0, 0]], **environment)[0] == status
    assert len(cloud.starts(0)) == starts
