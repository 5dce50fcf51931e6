"""launch/ for Slurm, Kubernetes and one machine, and properties of all its files."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.launch.fakes import FLAGS, LAUNCH, ROOT, is_one_secret, until

SCRIPTS = [LAUNCH / name for name in ("tpu_vm.sh", "worker.sh", "local.sh", "slurm.sbatch")]


def slurm(cloud, ends, *, doctor="0"):
    record = 'echo srun "$@" >> "$CLOUD/calls"; echo "$RESNET_JAX_SECRET" > "$CLOUD/secret-all"'
    cloud.stub("srun", record + '; sed -n "$(wc -l < "$CLOUD/calls")p" "$CLOUD/ends" | exit $(cat)')
    cloud.stub("scontrol", 'echo scontrol "$@" >> "$CLOUD/requeued"; exit "${SCONTROL:-0}"')
    (cloud.path / "ends").write_text("\n".join(map(str, ends)) + "\n")
    names = {"SLURM_JOB_ID": "17", "SLURM_JOB_NAME": "it", "SLURM_CPUS_PER_TASK": "12", "DOCTOR": doctor}
    return [cloud.run("slurm.sbatch", *FLAGS, **names) for _ in ends]


@pytest.mark.parametrize("end", [0, 75, 137, 2, 3, 1])
def test_a_slurm_job_requeues_itself_after_75_or_a_kill(cloud, end):
    ((status, output),) = slurm(cloud, [end])
    command = f"srun --kill-on-bad-exit=0 --wait=120 .venv/bin/python main.py {shlex.join(FLAGS)}\n"
    assert (cloud.path / "calls").read_text() == command
    assert is_one_secret(cloud.secrets())
    requeued = (cloud.path / "requeued").exists() and (cloud.path / "requeued").read_text()
    assert requeued == ("scontrol requeue 17\n" if end in (75, 137) else False)
    assert status == (0 if end in (0, 75, 137) else end), output


def test_a_slurm_job_is_not_requeued_after_three_quick_ends(cloud):
    results = slurm(cloud, [75, 75, 75])
    assert [status for status, _ in results] == [0, 0, 75]
    assert (cloud.path / "requeued").read_text().count("\n") == 2 and "three times" in results[2][1]


def test_a_signalled_slurm_job_waits_for_its_processes(cloud):
    cloud.stub("srun", 'touch "$CLOUD/started"; until [[ -e $CLOUD/saved ]]; do sleep 0.02; done; exit 75')
    cloud.stub("scontrol", 'touch "$CLOUD/requeued"')
    process = cloud.start("slurm.sbatch", *FLAGS, SLURM_JOB_ID="17", SLURM_JOB_NAME="it", DOCTOR="0")
    until((cloud.path / "started").exists)
    process.send_signal(signal.SIGTERM)
    (cloud.path / "saved").touch()
    assert "queued again" in "".join(process.communicate(timeout=60))
    assert process.returncode == 0 and (cloud.path / "requeued").exists()


def test_the_slurm_job_uses_known_options_of_sbatch():
    options = re.findall(r"^#SBATCH (.*)$", (LAUNCH / "slurm.sbatch").read_text(), re.MULTILINE)
    known = (
        "job-name nodes ntasks-per-node gpus-per-node cpus-per-task mem exclusive time signal requeue open-mode output"
    )
    assert sorted(option.split("=")[0] for option in options) == sorted(f"--{name}" for name in known.split())
    assert not any("#" in option for option in options)
    assert any(re.fullmatch(r"--signal=TERM@\d+", option) for option in options)  # to the processes: no 'B:'


@pytest.mark.parametrize(("ends", "status"), [([0, 0], 0), ([75, 75], 75), ([75, 2], 2), ([137, 75], 75), ([0, 3], 3)])
def test_local_processes_get_their_flags_and_the_worst_status_is_returned(cloud, ends, status):
    python = cloud.bin / "python3.12"
    assert cloud.run("local.sh", "2", *FLAGS, ends=[ends], PYTHON=str(python))[0] == status
    first, second = (cloud.starts(process)[0] for process in (0, 1))
    address = first[1]
    assert re.fullmatch(r"--coordinator=127.0.0.1:\d+", address)
    assert first[1:] == [address, "--num_processes=2", "--process_id=0", *FLAGS]
    assert second[1:] == [address, "--num_processes=2", "--process_id=1", *FLAGS]
    assert is_one_secret(cloud.secrets())


@pytest.mark.parametrize("to_group", [False, True], ids=["the script", "its process group"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_local_sh_reaches_all_processes(cloud, number, to_group):
    (cloud.path / "script.json").write_text('[["wait", "wait"]]')
    process = cloud.start("local.sh", "2", *FLAGS, PYTHON=str(cloud.bin / "python3.12"))
    until(lambda: (cloud.path / "waits-0").exists() and (cloud.path / "waits-1").exists())
    (os.killpg if to_group else os.kill)(process.pid, number)
    output = process.communicate(timeout=60)[0]
    # Without the programs that label the lines, the processes could not print their last ones.
    assert all(f"[{index}] start 0 of process {index}" in output for index in (0, 1))
    assert all(f"[{index}] the last line" in output for index in (0, 1))
    assert process.returncode == 75


def test_a_process_that_does_not_end_after_another_one_is_killed(cloud):
    script = cloud.repository / "launch/local.sh"
    script.write_text(script.read_text().replace("LATE=120 ", "LATE=1 "))
    status, output = cloud.run("local.sh", "2", *FLAGS, ends=[["wait", 75]], PYTHON=str(cloud.bin / "python3.12"))
    assert status == 75 and "1 of 2 processes still run 1 s after another one has ended: killed" in output


def test_a_given_secret_is_kept(cloud):
    python, given = str(cloud.bin / "python3.12"), "0123456789abcdef"
    assert cloud.run("local.sh", "2", *FLAGS, ends=[[0, 0]], PYTHON=python, RESNET_JAX_SECRET=given)[0] == 0
    assert cloud.secrets() == {given}


def manifest():
    account, jobset = yaml.safe_load_all((LAUNCH / "gke_jobset.yaml").read_text())
    return account, jobset


def test_the_manifest_is_consistent():
    account, jobset = manifest()
    assert (jobset["apiVersion"], jobset["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    (replicated,) = jobset["spec"]["replicatedJobs"]
    job = replicated["template"]["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    rows, columns = map(int, pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"].split("x"))
    chips = container["resources"]["limits"]["google.com/tpu"]
    assert job["parallelism"] == job["completions"] == rows * columns // chips
    assert container["resources"]["requests"] == container["resources"]["limits"]
    assert (job["completionMode"], job["backoffLimit"], pod["restartPolicy"]) == ("Indexed", 0, "Never")
    assert pod["serviceAccountName"] == account["metadata"]["name"]
    (volume,), (mount,) = pod["volumes"], container["volumeMounts"]
    assert volume["name"] == mount["name"]
    assert any(arg.startswith(f"--workdir={mount['mountPath']}/") for arg in container["args"])
    (rule,) = job["podFailurePolicy"]["rules"]
    assert rule["action"] == "FailJob" and rule["onExitCodes"]["values"] == [2, 3]
    assert rule["onExitCodes"]["containerName"] == container["name"]
    (rule,) = jobset["spec"]["failurePolicy"]["rules"]
    assert (rule["action"], rule["onJobFailureReasons"]) == ("FailJobSet", ["PodFailurePolicy"])


def skypilot():
    return yaml.safe_load((LAUNCH / "skypilot.yaml").read_text())


def sky_command(**variables):
    """The words with which the last command of skypilot.yaml starts Python on a machine with these variables."""
    shown = skypilot()["run"].replace(".venv/bin/python", "true", 1).replace("exec .venv/bin/python", "printf '%s\\n'")
    done = subprocess.run(["bash", "-c", shown], env=os.environ | variables, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_skypilot_starts_one_process_on_each_machine():
    variables = {"SKYPILOT_NUM_NODES": "2", "SKYPILOT_NODE_RANK": "1", "SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2"}
    assert sky_command(FLAGS=shlex.join(FLAGS), **variables) == [
        "main.py",
        *FLAGS,
        "--num_processes=2",
        "--process_id=1",
        "--coordinator=10.0.0.1:8476",
    ]


def test_skypilot_recovers_from_75_and_asks_for_what_has_no_default():
    task = skypilot()
    assert task["resources"]["job_recovery"]["recover_on_exit_codes"] == [75]
    asked = [name for kind in ("envs", "secrets") for name, value in task[kind].items() if value is None]
    used = set(re.findall(r"\$(\w+)", task["setup"] + task["run"])) - {"SKYPILOT_NUM_NODES", "SKYPILOT_NODE_RANK"}
    assert used - {"SKYPILOT_NODE_IPS"} | {"RESNET_JAX_SECRET"} == set(asked)
    extras = re.findall(r"EXTRAS=(\w+)", task["setup"])
    assert extras == ["cuda13"] and (LAUNCH / "worker.sh").exists()


def test_the_image_contains_what_main_needs():
    lines = (LAUNCH / "Dockerfile").read_text().splitlines()
    copied = {name for line in lines if line.startswith("COPY") for name in line.split()[1:-1]}
    assert {"main.py", "configs", "resnet_jax", "pyproject.toml", "requirements.lock"} <= copied
    assert all((ROOT / name).exists() for name in copied)
    kept = {line[1:] for line in (LAUNCH / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")}
    assert {name.split("/")[0] for name in copied} == kept


def test_main_accepts_all_command_lines():
    """Those of the manifest, of the examples at the top of the scripts, and the flags that local.sh adds."""
    lines = [
        manifest()[1]["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]["containers"][0]["args"]
    ]
    for script in SCRIPTS:
        text = script.read_text().replace("\\\n#", "")
        examples = re.findall(r"^#   .*?((?:--config=|--coordinator)[^\n\[]*)", text, re.MULTILINE)
        lines += [example.split() for example in examples]
    example = re.search(r'"FLAGS=(.*)"', (LAUNCH / "skypilot.yaml").read_text())[1]
    variables = {"SKYPILOT_NUM_NODES": "2", "SKYPILOT_NODE_RANK": "0", "SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2"}
    lines.append(sky_command(FLAGS=example, **variables)[1:])
    (line,) = re.findall(r'--command="python main.py (.*)"', (ROOT / "docs" / "scaling.md").read_text())
    lines.append(line.split())
    lines.append([*FLAGS, "--coordinator=127.0.0.1:1", "--num_processes=2", "--process_id=0", "--join_timeout=9"])
    assert len(lines) == 7
    program = (
        "import json, sys\n"
        "from resnet_jax.programs import main\n"
        "for line in json.loads(sys.argv[1]):\n"
        "    sys.argv = ['main.py', *line]\n"
        "    assert main.command_line.parse(sys.argv) == ['main.py'], line\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(lines)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_the_scripts_pass_shellcheck(script):
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", script], check=True)
    shellcheck = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed")
    done = subprocess.run([shellcheck, "--shell=bash", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
