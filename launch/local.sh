#!/usr/bin/env bash
# Trains with several processes on this machine, as on a cluster. For trying out distributed runs.
#
#   launch/local.sh PROCESSES --config=configs/digits.py --workdir=DIR [--config.KEY=VALUE ...]
#
# Each process uses one GPU if there are at least as many GPUs as processes, else JAX_NUM_CPU_DEVICES (default 1)
# virtual CPU devices. Output lines of process I start with [I]. On Ctrl-C, or SIGTERM or SIGHUP to this script or to its
# process group, all processes save and stop; on SIGUSR1 they save and continue. The exit status is that of main.py.
# DOCTOR=1 launch/local.sh ... first checks this machine and the data with --mode=doctor, and stops if there is an error.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PYTHON=${PYTHON:-.venv/bin/python}
LATE=120 # seconds that the other processes may still run when one has ended
count=${1:-}
if [[ ! $count =~ ^[1-9][0-9]*$ ]]; then
	echo "error: launch/local.sh ${count:-without a number}: pass the number of processes first: launch/local.sh 2 --config=..." >&2
	exit 2
fi
shift

gpus=$( (nvidia-smi -L 2>/dev/null || true) | wc -l)
port=$("$PYTHON" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')

# The processes prove to each other that they know this secret: other users of this machine do not.
if [[ -z ${RESNET_JAX_SECRET:-}${RESNET_JAX_SECRET_FILE:-} ]]; then
	RESNET_JAX_SECRET=$(od -An -tx1 -N32 /dev/urandom | tr -d ' \n')
	export RESNET_JAX_SECRET
fi

if [[ ${DOCTOR:-0} != 0 ]]; then
	"$PYTHON" main.py "$@" --mode=doctor --num_processes=1 || exit $?
fi

# Prepends [INDEX] to each line. It ends with the process whose output it reads, and never before: without a reader the
# process could not print its last lines.
label() {
	trap '' TERM HUP INT USR1 USR2 XCPU
	exec sed -u "s/^/[$1] /"
}

start() {
	local index=$1
	shift
	if [[ $gpus -ge $count ]]; then
		export CUDA_VISIBLE_DEVICES=$index
	else
		export JAX_PLATFORMS=cpu JAX_NUM_CPU_DEVICES=${JAX_NUM_CPU_DEVICES:-1}
	fi
	exec "$PYTHON" main.py --coordinator="127.0.0.1:$port" --num_processes="$count" --process_id="$index" "$@" \
		> >(label "$index") 2>&1
}

pids=() signalled='' asked=''
pass_on() {
	signalled=$1
	[[ $1 == USR1 ]] || asked=$1
	kill -s "$1" ${pids[@]+"${pids[@]}"} 2>/dev/null || true
}
for name in TERM HUP USR1 USR2; do
	# shellcheck disable=SC2064  # the name of now
	trap "pass_on $name" "$name"
done
trap 'signalled=INT' INT # the terminal sends Ctrl-C to all processes
for ((index = 0; index < count; index++)); do
	start "$index" "$@" &
	pids+=($!)
done
if [[ $asked ]]; then pass_on "$asked"; fi # a signal came before all had started

# When one process has ended, the others end by themselves and may still write a checkpoint. One that is stopped (SIGSTOP)
# or hangs does not end: it is killed after LATE seconds, as by `srun --wait`.
end_late() {
	local pid late=() began=''
	trap '' TERM HUP INT USR1 USR2 XCPU
	while sleep 2 >/dev/null 2>&1; do
		late=()
		for pid in "${pids[@]}"; do # an ended process is gone, or a zombie until this script waits for it
			if [[ $(ps -o stat= -p "$pid" || true) == [^Z]* ]]; then late+=("$pid"); fi
		done
		if [[ ${#late[@]} -eq 0 ]]; then return; fi
		if [[ ${#late[@]} -lt $count ]]; then began=${began:-$SECONDS}; fi
		if [[ $began ]] && ((SECONDS - began >= LATE)); then
			echo "launch/local.sh: ${#late[@]} of $count processes still run $LATE s after another one has ended: killed" >&2
			kill -KILL "${late[@]}"
			return
		fi
	done
}
end_late </dev/null &
watcher=$!
disown "$watcher" # bash is not to report its end

# Ranks exit statuses: a mistake or a crash is the cause of status 75 of the other processes; a signal ranks lowest.
rank() {
	case $1 in
	0) echo 0 ;;
	75) echo 2 ;;
	*) if (($1 < 128)); then echo 3; else echo 1; fi ;;
	esac
}

worst=0
for pid in "${pids[@]}"; do
	while true; do
		signalled='' status=0
		wait "$pid" || status=$?
		[[ $signalled ]] || break # `wait` returns early when this script gets a signal: wait again
	done
	if (($(rank "$status") > $(rank "$worst"))); then worst=$status; fi
done
kill -KILL "$watcher" 2>/dev/null || true
exit "$worst"
