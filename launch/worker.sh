#!/usr/bin/env bash
# The commands that tpu_vm.sh runs on each host of a TPU VM. Every command may be repeated at any time: gcloud repeats
# commands whose connection broke, while the first one may still be running.
#
#   worker.sh install SOURCE COMMIT   clone SOURCE at COMMIT and install it; no effect if that is done
#   worker.sh mount nfs HOST:/SHARE | bucket NAME   mount the shared directory at /mnt/shared
#   worker.sh check COMMAND...        run COMMAND, which checks the host, and print 'doctor: exit STATUS'; no effect if the
#                                     command of `start` is running
#   worker.sh start COMMAND...        run COMMAND in the background; no effect if one is running. If there is a file
#                                     ~/resnet_jax.secret, it is the secret of the run
#   worker.sh watch                   show the output of the command until it ends
#   worker.sh status                  print 'exit STATUS', 'running', 'stopped' or 'none'
#   worker.sh stop                    make the command save and stop (SIGTERM), and wait for its end
#   worker.sh save                    make the command save and continue (SIGUSR1)
set -euo pipefail

STATE=${RESNET_JAX_STATE:-$HOME/resnet_jax}
MOUNT=/mnt/shared
SECRET=$HOME/resnet_jax.secret

fail() {
	echo "error: $(hostname): $1" >&2
	exit 2
}

# Prints the path of a Python that pyproject.toml allows. Some TPU VM images have only an older one: uv installs one.
find_python() {
	local name
	for name in python3.12 python3.13 python3.11; do
		if "$name" -c 'import ensurepip, venv' 2>/dev/null; then
			command -v "$name"
			return
		fi
	done
	python3 -m pip install --quiet --user uv >&2 || fail "no Python 3.11 to 3.13, and pip cannot install uv to get one"
	python3 -m uv python install --quiet 3.12 >&2
	python3 -m uv python find 3.12
}

install() {
	local source=$1 commit=$2 python
	exec 9>"$STATE/install.lock"
	flock 9
	[[ -e $STATE/installed-$commit ]] && return
	rm -rf "$STATE/code"
	git clone --quiet "$source" "$STATE/code"
	git -C "$STATE/code" -c advice.detachedHead=false checkout --quiet "$commit"
	python=$(find_python)
	make --silent -C "$STATE/code" install EXTRAS=tpu PYTHON="$python" VENV="$STATE/venv" 9>&-
	touch "$STATE/installed-$commit"
}

mount_shared() {
	local kind=$1 what=$2
	exec 9>"$STATE/mount.lock"
	flock 9
	mountpoint --quiet "$MOUNT" && return
	sudo mkdir -p "$MOUNT"
	case $kind in
	nfs)
		command -v mount.nfs >/dev/null || sudo apt-get -qq install -y nfs-common >&2 || fail "nfs-common is not installed"
		# hard: if the server is unreachable, I/O waits for it instead of failing in the middle of a checkpoint.
		sudo mount -t nfs -o hard,nconnect=4 "$what" "$MOUNT"
		;;
	bucket)
		command -v gcsfuse >/dev/null || fail "gcsfuse is not installed: install it with --setup=COMMAND, or use --nfs"
		sudo chown "$(id -u):$(id -g)" "$MOUNT"
		# No metadata cache: every host sees at once what another host wrote. The bucket needs a hierarchical namespace.
		gcsfuse --implicit-dirs --metadata-cache-ttl-secs=0 "$what" "$MOUNT" 9>&-
		;;
	*) fail "mount $kind: choose nfs or bucket" ;;
	esac
	[[ -w $MOUNT ]] || sudo chmod 1777 "$MOUNT"
}

# Whether a command is running: the command and its supervisor hold this lock until both have ended, in any way.
running() {
	! flock --shared --nonblock "$STATE/run.lock" true
}

until_over() {
	flock --shared "$STATE/run.lock" true
}

# Runs a command in the checkout, with the secret of the run, in place of this (sub)shell.
exec_in_code() {
	cd "$STATE/code"
	if [[ -e $SECRET ]]; then export RESNET_JAX_SECRET_FILE=$SECRET; fi
	exec "$@"
}

check() {
	local status=0
	if running; then return; fi
	(exec_in_code "$@") </dev/null 2>&1 || status=$?
	echo "doctor: exit $status"
}

start() {
	exec 9>"$STATE/start.lock"
	flock 9
	if running; then
		echo "$(hostname): already running" >&2
		return
	fi
	rm -f "$STATE/status" "$STATE/stopped"
	setsid bash "$0" supervise "$@" </dev/null >>"$STATE/log" 2>&1 9>&- &
	local tries=0
	until running || [[ -e $STATE/status ]]; do
		tries=$((tries + 1))
		[[ $tries -lt 600 ]] || fail "the command did not start within 60 s: see $STATE/log"
		sleep 0.1
	done
}

# Runs the command and records its exit status. Survives SIGTERM, which a preemption sends to all processes of a host.
supervise() {
	echo "$$" >"$STATE/supervisor"
	exec 8>"$STATE/run.lock"
	flock 8
	trap : TERM INT HUP
	local status=0
	echo "--- $(date -u +%FT%TZ) $*"
	(
		echo "$BASHPID" >"$STATE/pid"
		exec_in_code "$@"
	) || status=$?
	echo "--- $(date -u +%FT%TZ) exit $status"
	echo "$status" >"$STATE/status.part"
	mv "$STATE/status.part" "$STATE/status"
}

watch() {
	if running; then
		tail -n 20 -f -s 0.1 --pid="$(cat "$STATE/supervisor")" "$STATE/log"
		until_over
	elif [[ -e $STATE/log ]]; then
		tail -n 20 "$STATE/log"
	fi
}

status() {
	if running; then
		echo running
	elif [[ -e $STATE/stopped ]]; then
		echo stopped
	elif [[ -e $STATE/status ]]; then
		echo "exit $(cat "$STATE/status")"
	elif [[ -e $STATE/pid ]]; then
		echo "exit 75" # the host was restarted meanwhile: continue from the last checkpoint
	else
		echo none
	fi
}

send() {
	running || return 0
	kill -s "$1" "$(cat "$STATE/pid")"
}

stop() {
	running || return 0
	touch "$STATE/stopped"
	send TERM
	until_over
}

main() {
	mkdir -p "$STATE"
	case ${1:-} in
	install) install "$2" "$3" ;;
	mount) mount_shared "$2" "$3" ;;
	check) check "${@:2}" ;;
	start) start "${@:2}" ;;
	supervise) supervise "${@:2}" ;;
	watch) watch ;;
	status) status ;;
	stop) stop ;;
	save) send USR1 ;;
	*) fail "worker.sh ${1:-} is not a command: choose one of install, mount, check, start, watch, status, stop, save" ;;
	esac
}

main "$@"; exit # on one line: bash reads scripts line by line, and this file may be replaced while the supervisor runs
