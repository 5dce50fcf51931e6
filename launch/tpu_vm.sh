#!/usr/bin/env bash
# Trains on a Cloud TPU VM with one or more hosts, and restarts the run until it is finished.
#
#   launch/tpu_vm.sh run --name=NAME --zone=ZONE --type=v5litepod-16 --nfs=HOST:/SHARE \
#       --config=configs/resnet50.py --workdir=/mnt/shared/runs/resnet50 [--config.KEY=VALUE ...]
#   launch/tpu_vm.sh status|save|stop|delete --name=NAME --zone=ZONE
#
# run      Creates the TPU VM, or uses the existing one of that name; copies the current commit to all its hosts;
#          installs it; mounts the shared directory; starts main.py on each host; shows its output. After a preemption,
#          or exit status 75, it repeats this. It ends with the status of the run after 0 (finished), 2 (mistake),
#          3 (not finite) or a crash. Ctrl-C ends this script, not the run: the same command shows the run again.
# status   Prints the state of the process on each host.
# save     All processes save a checkpoint and continue.
# stop     All processes save and stop; `run` then ends.
# delete   Deletes the TPU VM. The work directory stays.
#
#   --name --zone --type     of the TPU VM; types are listed by `gcloud compute tpus accelerator-types list`
#   --project=ID             default: the project of gcloud's configuration
#   --spot                   a cheaper VM, which may be preempted at any time
#   --queued                 request the VM as a queued resource, which waits for capacity
#   --version=VERSION        software version of the VM; default: the one for JAX on this type
#   --create_flag=FLAG       passed to `gcloud ... create`, for example --create_flag=--network=NAME; may be repeated
#   --nfs=HOST:/SHARE        NFS share to mount at /mnt/shared on all hosts
#   --bucket=NAME            bucket to mount there with gcsfuse, instead; it needs a hierarchical namespace
#                            (docs/scaling.md)
#   --setup=COMMAND          command to run on each host before each installation
#   --poll=SECONDS           time between checks of a VM that is not ready yet (30)
#
# Before each start, --mode=doctor checks all hosts, for about half a minute: an error ends this script with status 2. With
# DOCTOR=0 in the environment it is left out.
#
#   --config* --workdir --mode --join_timeout --stall_timeout, and everything after --: passed to main.py
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
MOUNT=/mnt/shared
QUICK=300 # seconds; three starts in a row that end within this time are a fault, not preemptions

say() { echo "tpu_vm: $*" >&2; }

fail() {
	echo "error: $1" >&2
	exit "${2:-2}"
}

parse() {
	action=${1:-} name='' zone='' type='' version='' nfs='' bucket='' setup='' config='' workdir=''
	project='' spot='' create_flags=() run_flags=() queued=false poll=30
	[[ $# -gt 0 ]] && shift
	while [[ $# -gt 0 ]]; do
		case $1 in
		--name=*) name=${1#*=} ;;
		--zone=*) zone=${1#*=} ;;
		--type=*) type=${1#*=} ;;
		--project=*) project=$1 ;;
		--spot) spot=--spot ;;
		--queued) queued=true ;;
		--version=*) version=${1#*=} ;;
		--create_flag=*) create_flags+=("${1#*=}") ;;
		--nfs=*) nfs=${1#*=} ;;
		--bucket=*) bucket=${1#*=} ;;
		--setup=*) setup=${1#*=} ;;
		--poll=*) poll=${1#*=} ;;
		--config=*) config=${1#*=} run_flags+=("$1") ;;
		--workdir=*) workdir=${1#*=} run_flags+=("$1") ;;
		--config.* | --mode=* | --join_timeout=* | --stall_timeout=*) run_flags+=("$1") ;;
		--)
			run_flags+=("${@:2}")
			return
			;;
		*) fail "$1 is not a flag of tpu_vm.sh: see the top of launch/tpu_vm.sh; pass flags of main.py after --" ;;
		esac
		shift
	done
}

check() {
	[[ $name && $zone ]] || fail "--name and --zone are missing, for example --name=resnet --zone=us-west4-a"
	[[ $action == run ]] || return 0
	[[ $type ]] || fail "--type is missing, for example --type=v5litepod-16"
	[[ $config && $workdir ]] ||
		fail "--config and --workdir are missing, for example --config=configs/resnet50.py --workdir=$MOUNT/r50"
	local file=${config%%:*}
	[[ $file == */* || $file == *.* ]] || file=configs/$file.py # a recipe by its name
	git -C "$ROOT" cat-file -e "HEAD:$file" 2>/dev/null || fail "--config=$config is not a file of the current commit"
	git -C "$ROOT" diff --quiet HEAD || fail "there are uncommitted changes, which would not run: commit or stash them"
	[[ $nfs && $bucket ]] && fail "--nfs and --bucket are both given: choose one"
	[[ $nfs || $bucket || $setup ]] ||
		fail "the work directory must outlive the VM and be visible to all hosts: give --nfs=HOST:/SHARE, --bucket or --setup"
	if [[ $nfs || $bucket ]] && [[ $workdir != "$MOUNT"/* ]]; then
		fail "--workdir=$workdir is not in the shared directory: choose one below $MOUNT"
	fi
	[[ $workdir == /* ]] || fail "--workdir=$workdir is not an absolute path, for example /data/runs/resnet50"
}

# The software versions that the documentation of Cloud TPU recommends for JAX.
default_version() {
	case $type in
	v6e*) echo v2-alpha-tpuv6e ;;
	v5p*) echo v2-alpha-tpuv5 ;;
	v5litepod*) echo v2-alpha-tpuv5-lite ;;
	*) echo tpu-ubuntu2204-base ;;
	esac
}

tpus() { gcloud compute tpus "$@" --zone="$zone" ${project:+"$project"}; }

# Prints the state of a tpu-vm or queued resource; NONE if it does not exist, UNKNOWN if the request failed.
state() {
	local kind=$1 field=$2 output
	if output=$(tpus "$kind" describe "$name" --format="value($field)" 2>&1); then
		echo "${output##*$'\n'}"
	elif [[ $output == *NOT_FOUND* || $output == *"not found"* ]]; then
		echo NONE
	else
		say "$output"
		echo UNKNOWN
	fi
}

vm_state() { state tpu-vm state; }
queue_state() { state queued-resources state.state; }

create() {
	local output
	if $queued; then
		say "requesting $name ($type) as a queued resource"
		tpus queued-resources create "$name" --node-id="$name" --accelerator-type="$type" \
			--runtime-version="$version" ${spot:+"$spot"} ${create_flags[@]+"${create_flags[@]}"} >&2
		return
	fi
	say "creating $name ($type)"
	if ! output=$(tpus tpu-vm create "$name" --accelerator-type="$type" --version="$version" ${spot:+"$spot"} \
		${create_flags[@]+"${create_flags[@]}"} 2>&1); then
		[[ $output == *"no more capacity"* ]] || fail "$name cannot be created: $output" 1
		say "there is no more capacity in $zone for $type; retrying (--queued waits in a queue instead)"
	fi
}

delete() {
	local queue
	queue=$(queue_state)
	say "deleting $name"
	if [[ $queue != NONE ]]; then
		tpus queued-resources delete "$name" --force --quiet >&2
	elif [[ $(vm_state) != NONE ]]; then
		tpus tpu-vm delete "$name" --quiet >&2
	fi
}

# Creates the VM if necessary, and returns when it is ready.
ensure_vm() {
	local now reported=''
	while true; do
		now=$(vm_state)
		[[ $now == NONE ]] && $queued && now=queue:$(queue_state)
		[[ $now == "$reported" ]] || say "$name is $now"
		reported=$now
		case $now in
		READY) return ;;
		NONE | queue:NONE) create ;;
		PREEMPTED | TERMINATED | queue:FAILED | queue:SUSPENDED) delete ;;
		STOPPED) fail "$name is stopped: start it (gcloud compute tpus tpu-vm start) or delete it" 1 ;;
		esac
		sleep "$poll"
	done
}

# Runs worker.sh on all hosts in parallel; fails if it fails on one of them or the connection breaks.
on_hosts() { remote "bash worker.sh$(printf ' %q' "$@")"; }
remote() { tpus tpu-vm ssh "$name" --worker=all --command="$1"; }

# Prepares every host for starting main.py. Steps that are already done are skipped.
prepare() {
	local commit bundle secret
	commit=$(git -C "$ROOT" rev-parse HEAD)
	bundle=$scratch/resnet_jax.bundle
	[[ -e $bundle ]] || git -C "$ROOT" bundle create --quiet "$bundle" HEAD || return
	secret=$scratch/resnet_jax.secret # by which the processes prove to each other that they are of the same run
	[[ -e $secret ]] || (umask 077 && od -An -tx1 -N32 /dev/urandom | tr -d ' \n' >"$secret")
	say "preparing the hosts of $name for commit ${commit:0:12}"
	tpus tpu-vm scp "$bundle" "$secret" "$ROOT/launch/worker.sh" "$name:" --worker=all >&2 || return
	if [[ $setup ]]; then remote "$setup" || return; fi
	if [[ $nfs ]]; then on_hosts mount nfs "$nfs" || return; fi
	if [[ $bucket ]]; then on_hosts mount bucket "$bucket" || return; fi
	on_hosts install resnet_jax.bundle "$commit"
}

# Runs --mode=doctor on all hosts that do not run yet; ends this script if it finds an error. If the connection breaks,
# nothing is known: go on.
check_hosts() {
	local output
	output=$(on_hosts check ../venv/bin/python main.py "${run_flags[@]}" --mode=doctor) || true
	if [[ $output ]]; then echo "$output"; fi
	if grep -qx 'doctor: exit 2' <<<"$output"; then
		fail "--mode=doctor found an error on the hosts of $name: see the lines above; DOCTOR=0 leaves the check out"
	fi
}

# Prints the state of the run, from the states of its hosts: stopped, running, lost, or an exit status. A host that
# fails makes the others end with 75, so any other status is the cause and is printed.
outcome() {
	local output worst
	output=$(on_hosts status 2>/dev/null) || { echo lost; return; }
	for worst in stopped running; do
		if grep -qx "$worst" <<<"$output"; then echo "$worst"; return; fi
	done
	# Below 128: a mistake or a crash. From 128 on: a signal, for example of the out-of-memory killer; restarted like 75.
	worst=$(sed -n 's/^exit //p' <<<"$output" | awk '$1 != 0 && $1 != 75 && $1 < 128 {print; exit}')
	[[ $worst ]] && { echo "$worst"; return; }
	if grep -qE '^exit [1-9]|^none' <<<"$output"; then echo 75; else echo 0; fi
}

# Shows the output until the run has ended on all hosts or the VM is gone; sets `ended` to the outcome.
follow() {
	while true; do
		on_hosts watch || say "the connection broke"
		ended=$(outcome)
		case $ended in
		lost) [[ $(vm_state) =~ ^(READY|UNKNOWN)$ ]] || return 0 ;;
		running) ;;
		*) return 0 ;;
		esac
		sleep "$poll"
	done
}

run() {
	local quick=0 ended started
	version=${version:-$(default_version)}
	scratch=$(mktemp -d)
	trap 'rm -rf "$scratch"' EXIT
	trap 'say "the run continues; the same command shows it again, the actions stop and delete end it"; exit 130' INT
	while true; do
		ensure_vm
		if ! prepare; then
			[[ $(vm_state) == READY ]] && fail "the hosts of $name could not be prepared: see the lines above" 1
			continue
		fi
		if [[ ${DOCTOR:-1} != 0 && $(outcome) != running ]]; then check_hosts; fi
		on_hosts start ../venv/bin/python main.py "${run_flags[@]}" || true # `follow` reports a failed start
		started=$SECONDS
		follow
		case $ended in
		0) say "the run is finished"; return ;;
		stopped) say "stopped by tpu_vm.sh stop; the same command continues the run"; return 75 ;;
		2 | 3) say "the run ended with status $ended: see its last line; a restart would fail again"; return "$ended" ;;
		75) say "stopped before the end (status 75)" ;;
		lost) say "$name was preempted or deleted" ;;
		*) say "the run ended with status $ended"; return "$ended" ;;
		esac
		if [[ $ended == 75 ]] && ((SECONDS - started < QUICK)); then quick=$((quick + 1)); else quick=0; fi
		[[ $quick -lt 3 ]] || fail "the run ended three times within $QUICK s of its start: see the output of its hosts" 75
	done
}

parse "$@"
case $action in
run) check; run ;;
status | save | stop) check; on_hosts "$action" ;;
delete) check; delete ;;
*) fail "tpu_vm.sh $action is not an action: choose one of run, status, save, stop, delete" ;;
esac
