"""launch/tpu_vm.sh and worker.sh on a fake TPU VM with two hosts."""

import os
import signal
import sys

import pytest

from tests.launch.fakes import FLAGS, is_one_secret, until

VM = ["--name=it", "--zone=here", "--poll=0.05"]
RUN = ["run", *VM, "--type=v5litepod-16", "--nfs=server:/share", *FLAGS]


def test_a_tpu_vm_is_created_and_its_run_restarted_until_finished(cloud):
    status, output = cloud.run("tpu_vm.sh", *RUN, "--spot", "--create_flag=--network=n", ends=[[75, 75], [0, 0]])
    assert status == 0, output
    assert "start 0 of process 1" in output and "start 1 of process 0" in output  # the output of all hosts is shown
    (create,) = cloud.calls("create")
    assert create[2] == "it" and set(create[3:]) == {
        "--accelerator-type=v5litepod-16",
        "--version=v2-alpha-tpuv5-lite",
        "--spot",
        "--network=n",
        "--zone=here",
    }
    for process in (0, 1):
        assert cloud.starts(process) == [["main.py", *FLAGS]] * 2
    assert is_one_secret(cloud.secrets())
    assert (cloud.path / "installed").read_text().split() == ["tpu", "tpu"]  # once on each host
    assert not cloud.calls("delete")
    status, output = cloud.run("tpu_vm.sh", "delete", *VM)
    assert status == 0 and not (cloud.path / "vm").exists()


def test_an_existing_tpu_vm_is_used(cloud):
    cloud.run("tpu_vm.sh", *RUN, ends=[[3, 75]])
    status, output = cloud.run("tpu_vm.sh", *RUN, ends=[[], [0, 0]])
    assert status == 0, output
    assert len(cloud.calls("create")) == 1 and len(cloud.starts(0)) == 2


@pytest.mark.slow
def test_after_a_preemption_the_vm_is_created_again_and_the_run_continues(cloud):
    (cloud.path / "no_capacity").write_text("2")
    status, output = cloud.run("tpu_vm.sh", *RUN, ends=[["preempted", "preempted"], [0, 0]])
    assert status == 0, output
    assert [call[1] for call in cloud.calls("create", "delete")] == ["create"] * 3 + ["delete", "create"]
    assert cloud.starts(1) == [["main.py", *FLAGS]] * 2
    assert "no more capacity" in output and "PREEMPTED" in output


def test_a_vm_may_be_a_queued_resource(cloud):
    status, output = cloud.run("tpu_vm.sh", *RUN, "--queued", "--project=p", ends=[[0, 0]])
    assert status == 0, output
    (create,) = cloud.calls("create")
    assert create[0] == "queued-resources" and {"--node-id=it", "--project=p"} < set(create)
    assert "queue:WAITING_FOR_RESOURCES" in output
    cloud.run("tpu_vm.sh", "delete", *VM)
    assert cloud.calls("delete")[0][:4] == ["queued-resources", "delete", "it", "--force"]


@pytest.mark.parametrize("ends", [[2, 75], [75, 3], [1, 137]])
def test_a_mistake_or_a_crash_ends_the_run(cloud, ends):
    status, output = cloud.run("tpu_vm.sh", *RUN, ends=[ends])
    assert status == next(end for end in ends if end < 75)
    assert f"ended with status {status}" in output
    assert len(cloud.starts(0)) == 1


def test_a_run_is_not_restarted_after_three_quick_ends(cloud):
    status, output = cloud.run("tpu_vm.sh", *RUN, ends=[[75, 137]] * 9)
    assert status == 75 and len(cloud.starts(0)) == 3
    assert "three times" in output


def test_a_broken_connection_is_made_again_and_does_not_disturb_the_run(cloud):
    (cloud.path / "broken").write_text("2")
    (cloud.path / "script.json").write_text('[["wait", "wait"]]')
    process = cloud.start("tpu_vm.sh", *RUN)
    until(lambda: (cloud.path / "broken").exists() and (cloud.path / "broken").read_text() == "0")
    status, output = cloud.run("tpu_vm.sh", "status", *VM, ends=[["wait", "wait"]])
    assert (status, output) == (0, "running\nrunning\n")
    assert cloud.run("tpu_vm.sh", "stop", *VM, ends=[["wait", "wait"]]) == (0, "")
    output = "".join(process.communicate(timeout=60))
    assert process.returncode == 75 and "stopped by tpu_vm.sh stop" in output
    assert output.count("the connection broke") == 2 and len(cloud.starts(0)) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--zon=there"], "--zon=there is not a flag of tpu_vm.sh"),
        (["--name="], "--name and --zone are missing"),
        (["--type="], "--type is missing"),
        (["--config=configs/none.py"], "--config=configs/none.py is not a file of the current commit"),
        (["--config=none:3"], "--config=none:3 is not a file of the current commit"),
        (["--config=digits:3", "--workdir=/home/me/runs"], "--workdir=/home/me/runs is not in the shared directory"),
        (["--workdir=/home/me/runs"], "--workdir=/home/me/runs is not in the shared directory: choose one below /mnt/"),
        (["--nfs="], "the work directory must outlive the VM and be visible to all hosts: give --nfs"),
        (["--bucket=b"], "--nfs and --bucket are both given"),
        (["--nfs=", "--setup=true", "--workdir=gs://bucket/run"], "--workdir=gs://bucket/run is not an absolute path"),
    ],
)
def test_mistakes_are_found_before_anything_is_created(cloud, change, message):
    status, output = cloud.run("tpu_vm.sh", *RUN, *change)
    assert status == 2 and message in output and output.count("\n") == 1
    assert not (cloud.path / "calls").exists()


def test_uncommitted_changes_are_an_error(cloud):
    (cloud.repository / "main.py").write_text("pass")
    status, output = cloud.run("tpu_vm.sh", *RUN)
    assert status == 2 and "uncommitted changes" in output
    assert cloud.run("tpu_vm.sh", "runs", *VM)[1].startswith("error: tpu_vm.sh runs is not an action: choose")


class Host:
    """One host whose main.py waits for signals."""

    def __init__(self, cloud):
        self.cloud, self.home = cloud, cloud.path / "0"
        self.code = self.home / "resnet_jax/code"
        self.code.parent.mkdir(parents=True)
        self.code.symlink_to(cloud.repository)

    def worker(self, *args):
        status, output = self.cloud.run("worker.sh", *args, ends=[["wait"], [0]], HOME=str(self.home))
        assert status == 0, output
        return output

    def start(self):
        output = self.worker("start", sys.executable, "main.py", *FLAGS)
        until((self.cloud.path / "waits-0").exists)
        return output

    def kill(self, *names):
        for name in names:
            os.kill(int((self.home / "resnet_jax" / name).read_text()), signal.SIGKILL)


def test_a_host_runs_one_command_at_a_time(cloud):
    host = Host(cloud)
    assert host.worker("status") == "none\n" and host.worker("stop") == ""
    assert "already running" not in host.start()
    assert "already running" in host.start()
    host.worker("save")
    until((cloud.path / "saved").exists)
    assert host.worker("status") == "running\n"
    host.worker("stop")
    assert host.worker("status") == "stopped\n" and len(cloud.starts(0)) == 1
    assert "exit 75" in host.worker("watch")


@pytest.mark.parametrize(("killed", "status"), [(["pid"], "exit 137"), (["supervisor", "pid"], "exit 75")])
def test_a_killed_process_has_the_status_exited(cloud, killed, status):
    host = Host(cloud)
    host.start()
    host.kill(*killed)
    until(lambda: host.worker("status") == f"{status}\n")
    host.worker("start", sys.executable, "main.py", *FLAGS)  # no stale state prevents the next start
    until(lambda: len(cloud.starts(0)) == 2)


@pytest.mark.parametrize(
    ("kind", "what", "mounted"),
    [
        ("nfs", "server:/share", "sudo mount -t nfs -o hard,nconnect=4 server:/share /mnt/shared"),
        ("bucket", "b", "gcsfuse --implicit-dirs --metadata-cache-ttl-secs=0 b /mnt/shared"),
    ],
)
def test_the_shared_directory_is_mounted_once(cloud, kind, what, mounted):
    for program in ("sudo", "gcsfuse", "mount.nfs"):
        cloud.stub(program, f'echo {program} "$@" >> "$CLOUD/mounts"')
    cloud.stub("mountpoint", 'grep -q "share\\|gcsfuse" "$CLOUD/mounts" 2>/dev/null')
    for _ in range(2):
        status, output = cloud.run("worker.sh", "mount", kind, what, RESNET_JAX_STATE=str(cloud.path / "state"))
        assert status == 0, output
    assert (cloud.path / "mounts").read_text().splitlines().count(mounted) == 1
