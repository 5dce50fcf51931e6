#!/usr/bin/env bash
# Trains with several processes on this machine, to try out what a cluster does.
#
#   launch/local.sh PROCESSES --config=configs/digits.py --workdir=DIR [--config.KEY=VALUE ...]
#
# Each process takes one GPU, where there are as many; else JAX_NUM_CPU_DEVICES virtual devices (1) of the CPU. Lines of
# process I begin with [I]. Ctrl-C, or SIGTERM to this script: all save and stop. The exit status is that of main.py.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PYTHON=${PYTHON:-.venv/bin/python}
count=${1:-}
if [[ ! $count =~ ^[1-9][0-9]*$ ]]; then
	echo "error: launch/local.sh ${count:-without a number}: say how many processes, as launch/local.sh 2 --config=..." >&2
	exit 2
fi
shift

gpus=$( (nvidia-smi -L 2>/dev/null || true) | wc -l)
port=$("$PYTHON" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')

start() {
	local index=$1
	shift
	if [[ $gpus -ge $count ]]; then
		export CUDA_VISIBLE_DEVICES=$index
	else
		export JAX_PLATFORMS=cpu JAX_NUM_CPU_DEVICES=${JAX_NUM_CPU_DEVICES:-1}
	fi
	exec "$PYTHON" main.py --coordinator="127.0.0.1:$port" --num_processes="$count" --process_id="$index" "$@" \
		> >(sed -u "s/^/[$index] /") 2>&1
}

pids=()
for ((index = 0; index < count; index++)); do
	start "$index" "$@" &
	pids+=($!)
done
signalled=false
trap 'signalled=true; kill -TERM "${pids[@]}" 2>/dev/null || true' TERM
trap 'signalled=true' INT # Ctrl-C reaches all processes by itself

# The status that says most: a mistake or a crash (below 75), before 75 of those that it took along, before a signal.
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
		signalled=false status=0
		wait "$pid" || status=$?
		$signalled || break # a signal to this script ends `wait`, not the process
	done
	if (($(rank "$status") > $(rank "$worst"))); then worst=$status; fi
done
exit "$worst"
