"""A fake `gcloud compute tpus` for test_tpu_vm.py: TPU VMs whose two hosts are directories of this machine.

The directory CLOUD contains `vm` and `queue` (their states), `hosts/0` and `hosts/1`, `calls` (the calls, one JSON list
per line), and the failures to simulate: `no_capacity` and `broken` contain how many creations and watches shall fail.
It imports what only some calls need where they need it: the scripts call it often, and imports are most of its time.
"""

import json
import os
import sys
from pathlib import Path

CLOUD = Path(os.environ["CLOUD"])
VM, QUEUE, HOSTS = CLOUD / "vm", CLOUD / "queue", CLOUD / "hosts"


def is_due(failure):
    """Whether this failure shall happen now; counts it down."""
    path = CLOUD / failure
    left = int(path.read_text()) if path.exists() else 0
    path.write_text(str(max(0, left - 1)))
    return left > 0


def make_vm():
    for host in "01":
        (HOSTS / host).mkdir(parents=True)
    VM.write_text("READY")


def describe(file, name):
    if not file.exists():
        sys.exit(f"ERROR: (gcloud.compute.tpus.describe) NOT_FOUND: Resource '{name}' was not found")
    states = file.read_text().split()
    print(states[0])
    if file == QUEUE and len(states) > 1:
        file.write_text(" ".join(states[1:]))
        if states[1] == "ACTIVE":
            make_vm()


def create():
    if is_due("no_capacity"):
        sys.exit('ERROR: {"code": 8, "message": "There is no more capacity in the zone"}')
    make_vm()


def delete():
    import shutil

    shutil.rmtree(HOSTS)
    VM.unlink()
    QUEUE.unlink(missing_ok=True)


def ssh(command):
    """Runs a command on all hosts in parallel. Returns the first status that is not 0; 255: the connection broke."""
    import subprocess

    if VM.read_text() != "READY" or ("watch" in command and is_due("broken")):
        return 255
    shells = [
        subprocess.Popen(["bash", "-c", command], cwd=HOSTS / host, env={**os.environ, "HOME": str(HOSTS / host)})
        for host in "01"
    ]
    statuses = [shell.wait() for shell in shells]
    return 255 if VM.read_text() != "READY" else next(filter(None, statuses), 0)


def main(compute, tpus, kind, verb, *rest):
    with (CLOUD / "calls").open("a") as calls:
        calls.write(json.dumps([kind, verb, *rest]) + "\n")
    match kind, verb:
        case "tpu-vm", "describe":
            describe(VM, rest[0])
        case "queued-resources", "describe":
            describe(QUEUE, rest[0])
        case "tpu-vm", "create":
            create()
        case "queued-resources", "create":
            QUEUE.write_text("WAITING_FOR_RESOURCES PROVISIONING ACTIVE")
        case _, "delete":
            delete()
        case "tpu-vm", "scp":
            import shutil

            for host in HOSTS.iterdir():
                for file in rest[: rest.index("it:")]:
                    shutil.copy(file, host)
        case "tpu-vm", "ssh":
            sys.exit(ssh(next(arg for arg in rest if arg.startswith("--command=")).removeprefix("--command=")))


if __name__ == "__main__":
    main(*sys.argv[1:])
