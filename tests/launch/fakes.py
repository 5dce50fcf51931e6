"""Fake clouds and clusters for the scripts of launch/, and a fake main.py for them to run."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.paths import ROOT

LAUNCH = ROOT / "launch"

# The fake main.py. script.json contains its exit statuses: [process 0, process 1] for each start.
MAIN = """
import json, os, signal, sys
from pathlib import Path

home = Path(os.environ["CLOUD"])
flags = dict(flag.split("=", 1) for flag in sys.argv[1:])
process = int(flags.get("--process_id", Path(os.environ["HOME"]).name if "--process_id" not in flags else 0))
starts = home / f"starts-{process}"
if "--mode=doctor" in sys.argv:
    with (home / f"doctors-{process}").open("a") as file:
        file.write(json.dumps(sys.argv) + "\\n")
    print("the checks of the doctor")
    sys.exit(int(os.environ.get("DOCTOR_STATUS", 0)))
number = starts.read_text().count("\\n") if starts.exists() else 0
secret_file = os.environ.get("RESNET_JAX_SECRET_FILE")
secret = Path(secret_file).read_text() if secret_file else os.environ.get("RESNET_JAX_SECRET", "none")
(home / f"secret-{process}").write_text(secret)

def stop(*_):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    print("the last line", flush=True)
    sys.exit(75)

signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGHUP, stop)
signal.signal(signal.SIGUSR1, lambda *_: (home / "saved").touch())
with starts.open("a") as file:
    file.write(json.dumps(sys.argv) + "\\n")
print(f"start {number} of process {process}", flush=True)
status = json.loads((home / "script.json").read_text())[number][process]
if status == "preempted":
    (home / "vm").write_text("PREEMPTED")
elif status == "wait":
    (home / f"waits-{process}").touch()
    while True:
        signal.pause()
else:
    sys.exit(status)
"""
# The fake Makefile. It counts installations, and installs a Python that starts fast.
MAKEFILE = f"""
install:
	@mkdir -p $(VENV)/bin && echo $(EXTRAS) >> $(CLOUD)/installed
	@printf '#!/bin/sh\\nexec {sys.executable} -IS "$$@"\\n' > $(VENV)/bin/python && chmod +x $(VENV)/bin/python
"""
FLAGS = ["--config=configs/digits.py", "--workdir=/mnt/shared/runs/it", "--config.seed=3"]


def make_repository(path):
    """Makes a repository with one commit: the real launch/, the fake main.py and Makefile."""
    (path / "configs").mkdir(parents=True)
    shutil.copytree(LAUNCH, path / "launch")
    (path / "configs/digits.py").touch()
    (path / "main.py").write_text(MAIN)
    (path / "Makefile").write_text(MAKEFILE)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(path)]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *command], check=True)


def is_one_secret(found):
    """Whether `found`, a set, is one text of 32 random bytes in hexadecimal digits, the same for all processes."""
    return len(found) == 1 and bool(re.fullmatch(r"[0-9a-f]{64}\n?", *found))


class Cloud:
    """A copy of that repository, and stubs of the programs that the scripts call."""

    def __init__(self, path, repository):
        self.path, self.repository, self.bin = path, path / "repository", path / "bin"
        self.bin.mkdir()
        shutil.copytree(repository, self.repository)
        self.stub("gcloud", f'exec {sys.executable} -IS {Path(__file__).parent / "fake_gcloud.py"} "$@"')
        self.stub("python3.12", f'exec {sys.executable} "$@"')
        self.stub("mountpoint", "exit 0")
        own = {
            name: value for name, value in os.environ.items() if name != "PYTHON"
        }  # `make PYTHON=...` may have set it
        for name in ("RESNET_JAX_SECRET", "RESNET_JAX_SECRET_FILE", "DOCTOR"):
            own.pop(name, None)
        self.environment = {**own, "PATH": f"{self.bin}:{os.environ['PATH']}", "CLOUD": str(path)}

    def stub(self, name, text):
        (self.bin / name).write_text(f"#!/bin/bash\n{text}\n")
        (self.bin / name).chmod(0o755)

    def start(self, script, *args, **environment):
        command = [str(self.repository / "launch" / script), *args]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        # In a process group of its own, to which the tests send signals.
        return subprocess.Popen(
            command, cwd=self.repository, env=self.environment | environment, start_new_session=True, **pipes
        )

    def secrets(self):
        """Returns the secrets that the processes found, without duplicates."""
        return {file.read_text() for file in self.path.glob("secret-*")}

    def run(self, script, *args, ends=(), **environment):
        """Runs a script to its end; returns its exit status and its output."""
        (self.path / "script.json").write_text(json.dumps(ends))
        process = self.start(script, *args, **environment)
        output = "".join(process.communicate(timeout=60))
        return process.returncode, output

    def calls(self, *names):
        """The calls of gcloud with these verbs, in order, with their arguments."""
        calls = map(json.loads, (self.path / "calls").read_text().splitlines())
        return [call for call in calls if call[1] in names]

    def starts(self, process):
        """The command line of each start of a process."""
        path = self.path / f"starts-{process}"
        return list(map(json.loads, path.read_text().splitlines())) if path.exists() else []


def until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
