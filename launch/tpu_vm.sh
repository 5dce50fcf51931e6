#!/usr/bin/env bash
# Trains on a Cloud TPU VM of any number of hosts, and goes on until the run is done.
#
#   launch/tpu_vm.sh run --name=NAME --zone=ZONE --type=v5litepod-16 --nfs=HOST:/SHARE \
#       --config=configs/resnet50.py --workdir=/mnt/shared/runs/resnet50 [--config.KEY=VALUE ...]
#   launch/tpu_vm.sh status|save|stop|delete --name=NAME --zone=ZONE
#
# run      creates the TPU VM or takes the one of that name, copies the present commit to all its hosts, installs it,
#          mounts the shared directory, starts main.py on each host and shows what they print. After a preemption, or
#          status 75, it does all this again; after 0 (done), 2 (mistake), 3 (not finite) or a crash it ends with that
#          status. Ctrl-C ends the watching, not the run: the same command takes it up again.
# status   what each host's process is doing        save     all save the step they are at, and go on
# stop     all save and stop; `run` then ends       delete   the TPU VM; the work directory stays
#
#   --name --zone --type     of the TPU VM; type as in `gcloud compute tpus accelerator-types list`
#   --project=ID             else gcloud's default
#   --spot                   cheaper, and may be taken away at any time
#   --queued                 ask through the queue of Cloud TPU (queued resources), which waits until there are some
#   --version=VERSION        software of the VM; default: the one for JAX on that type
#   --create_flag=FLAG       added to `gcloud ... create`, as --create_flag=--network=NAME; may be repeated
#   --nfs=HOST:/SHARE        mounted at /mnt/shared on all hosts; or
#   --bucket=NAME            likewise, with gcsfuse; needs a hierarchical namespace (docs/scaling.md)
#   --setup=COMMAND          run on each host before the installation, each time
#   --poll=SECONDS           between looks at what is not ready yet (30)
#   --config* --workdir --mode --join_timeout, and all after --: for main.py
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
MOUNT=/mnt/shared
QUICK=300 # seconds: three ends in a row, each this soon after a start, are no preemptions

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
		--config.* | --mode=* | --join_timeout=*) run_flags+=("$1") ;;
		--)
			run_flags+=("${@:2}")
			return
			;;
		*) fail "$1 is no flag of tpu_vm.sh: see the top of launch/tpu_vm.sh; flags of main.py come after --" ;;
		esac
		shift
	done
}

check() {
	[[ $name && $zone ]] || fail "--name and --zone are missing, as --name=resnet --zone=us-west4-a"
	[[ $action == run ]] || return 0
	[[ $type ]] || fail "--type is missing, as --type=v5litepod-16"
	[[ $config && $workdir ]] ||
		fail "--config and --workdir are missing, as --config=configs/resnet50.py --workdir=$MOUNT/r50"
	local file=${config%%:*}
	[[ $file == */* || $file == *.* ]] || file=configs/$file.py # a recipe by its name
	git -C "$ROOT" cat-file -e "HEAD:$file" 2>/dev/null || fail "--config=$config is no file of the present commit"
	git -C "$ROOT" diff --quiet HEAD || fail "there are uncommitted changes, which would not be run: commit or stash them"
	[[ $nfs && $bucket ]] && fail "--nfs and --bucket are both given: choose one"
	[[ $nfs || $bucket || $setup ]] ||
		fail "the work directory must outlive the VM and be seen by all hosts: give --nfs=HOST:/SHARE, --bucket or --setup"
	if [[ $nfs || $bucket ]] && [[ $workdir != "$MOUNT"/* ]]; then
		fail "--workdir=$workdir is not in the shared directory: take one below $MOUNT"
	fi
	[[ $workdir == /* ]] || fail "--workdir=$workdir is no absolute path, as /data/runs/resnet50"
}

# The software that Cloud TPU lists for JAX.
default_version() {
	case $type in
	v6e*) echo v2-alpha-tpuv6e ;;
	v5p*) echo v2-alpha-tpuv5 ;;
	v5litepod*) echo v2-alpha-tpuv5-lite ;;
	*) echo tpu-ubuntu2204-base ;;
	esac
}

tpus() { gcloud compute tpus "$@" --zone="$zone" ${project:+"$project"}; }

# The state of a tpu-vm or of a queued resource; NONE if there is none, UNKNOWN if that cannot be told now.
state() {
	local kind=$1 field=$2 said
	if said=$(tpus "$kind" describe "$name" --format="value($field)" 2>&1); then
		echo "${said##*$'\n'}"
	elif [[ $said == *NOT_FOUND* || $said == *"not found"* ]]; then
		echo NONE
	else
		say "$said"
		echo UNKNOWN
	fi
}

vm_state() { state tpu-vm state; }
queue_state() { state queued-resources state.state; }

create() {
	local said
	if $queued; then
		say "asking for $name ($type) through the queue"
		tpus queued-resources create "$name" --node-id="$name" --accelerator-type="$type" \
			--runtime-version="$version" ${spot:+"$spot"} ${create_flags[@]+"${create_flags[@]}"} >&2
		return
	fi
	say "creating $name ($type)"
	if ! said=$(tpus tpu-vm create "$name" --accelerator-type="$type" --version="$version" ${spot:+"$spot"} \
		${create_flags[@]+"${create_flags[@]}"} 2>&1); then
		[[ $said == *"no more capacity"* ]] || fail "$name cannot be created: $said" 1
		say "there is no more capacity in $zone for $type; trying again (or see --queued)"
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

# Returns when the VM is there and ready.
ensure_vm() {
	local now said=''
	while true; do
		now=$(vm_state)
		[[ $now == NONE ]] && $queued && now=queue:$(queue_state)
		[[ $now == "$said" ]] || say "$name is $now"
		said=$now
		case $now in
		READY) return ;;
		NONE | queue:NONE) create ;;
		PREEMPTED | TERMINATED | queue:FAILED | queue:SUSPENDED) delete ;;
		STOPPED) fail "$name is stopped: start it (gcloud compute tpus tpu-vm start) or delete it" 1 ;;
		esac
		sleep "$poll"
	done
}

# Runs worker.sh on all hosts at once; fails if it does on one of them, or cannot be reached.
on_hosts() { remote "bash worker.sh$(printf ' %q' "$@")"; }
remote() { tpus tpu-vm ssh "$name" --worker=all --command="$1"; }

# Brings every host to where main.py can be started; what is done already is not done again.
prepare() {
	local commit bundle
	commit=$(git -C "$ROOT" rev-parse HEAD)
	bundle=$scratch/resnet_jax.bundle
	[[ -e $bundle ]] || git -C "$ROOT" bundle create --quiet "$bundle" HEAD || return
	say "preparing the hosts of $name for commit ${commit:0:12}"
	tpus tpu-vm scp "$bundle" "$ROOT/launch/worker.sh" "$name:" --worker=all >&2 || return
	if [[ $setup ]]; then remote "$setup" || return; fi
	if [[ $nfs ]]; then on_hosts mount nfs "$nfs" || return; fi
	if [[ $bucket ]]; then on_hosts mount bucket "$bucket" || return; fi
	on_hosts install resnet_jax.bundle "$commit"
}

# What became of the run, of all that its hosts say: stopped, running, lost, or the exit status that matters most.
# A host that dies takes the others with it (75), so a status that tells why comes before 75, and a kill after it.
outcome() {
	local said worst
	said=$(on_hosts status 2>/dev/null) || { echo lost; return; }
	for worst in stopped running; do
		if grep -qx "$worst" <<<"$said"; then echo "$worst"; return; fi
	done
	# Below 128: a mistake or a crash; above: a signal, as of the out-of-memory killer.
	worst=$(sed -n 's/^exit //p' <<<"$said" | awk '$1 != 0 && $1 != 75 && $1 < 128 {print; exit}')
	[[ $worst ]] && { echo "$worst"; return; }
	if grep -qE '^exit [1-9]|^none' <<<"$said"; then echo 75; else echo 0; fi
}

# Shows the run until it is over on all hosts, or the VM is gone; sets `ended`.
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
	trap 'say "the run goes on; the same command watches it again, stop and delete end it"; exit 130' INT
	while true; do
		ensure_vm
		if ! prepare; then
			[[ $(vm_state) == READY ]] && fail "the hosts of $name could not be prepared: see above" 1
			continue
		fi
		on_hosts start ../venv/bin/python main.py "${run_flags[@]}" || true # follow sees what came of it
		started=$SECONDS
		follow
		case $ended in
		0) say "done"; return ;;
		stopped) say "stopped by tpu_vm.sh stop; the same command continues"; return 75 ;;
		2 | 3) say "the run ended with status $ended: see its last line; starting it again would not help"; return "$ended" ;;
		75) say "stopped before the end (status 75)" ;;
		lost) say "$name was taken away" ;;
		*) say "the run ended with status $ended"; return "$ended" ;;
		esac
		if [[ $ended == 75 ]] && ((SECONDS - started < QUICK)); then quick=$((quick + 1)); else quick=0; fi
		[[ $quick -lt 3 ]] || fail "the run ended three times within $QUICK s of its start: see what its hosts print" 75
	done
}

parse "$@"
case $action in
run) check; run ;;
status | save | stop) check; on_hosts "$action" ;;
delete) check; delete ;;
*) fail "tpu_vm.sh $action: it is one of run, status, save, stop, delete" ;;
esac
