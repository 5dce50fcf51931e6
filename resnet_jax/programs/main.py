"""The command line: defines the flags, and calls the program of --mode."""

import importlib
import logging as stdlib_logging
import signal
import sys
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from resnet_jax.distributed.signals import STOPPED, ignore_stop_signals
from resnet_jax.errors import (
    UsageError,
    disk_full_as_usage_error,
    missing_platform_as_usage_error,
    process_limit_as_usage_error,
    unusable_path_as_usage_error,
    warning_as_usage_error,
    wrong_variable_as_usage_error,
)
from resnet_jax.local_paths import check_local, check_workdir
from resnet_jax.programs import command_line, help_page
from resnet_jax.programs.command import MODES, Command, default_workdir
from resnet_jax.programs.end_of_process import without_finalization
from resnet_jax.programs.thread_limit import check_threads
from resnet_jax.storage.mirror import restored_and_uploaded
from resnet_jax.text import printable

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Name of a recipe, path of a config file, or an existing run.", sys_argv=command_line.WORDS
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Directory of the run; default: runs/<name of the recipe>.")
_MODE = flags.DEFINE_enum("mode", "train", list(MODES), "What to do.")
# Flags for runs of several processes. On TPU pods, GKE, Slurm and Open MPI they can be omitted: their values are
# detected (docs/scaling.md).
_COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, the same in all processes.")
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "Number of processes; 1: run alone.", lower_bound=1)
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Number of this process, from 0.", lower_bound=0)
_JOIN_TIMEOUT = flags.DEFINE_float(
    "join_timeout", 300.0, "Seconds to wait for other processes.", lower_bound=0.1, upper_bound=1e6
)
_STALL_TIMEOUT = flags.DEFINE_float(
    "stall_timeout", 60.0, "Seconds without a sign of life until a process counts as stopped.", 1.0, 1e6
)
_TRUST_NETWORK = flags.DEFINE_bool(
    "trust_network", False, "Whether several processes may connect without RESNET_JAX_SECRET: only trusted machines."
)

_LOCKING = ("train", "eval")  # modes that lock the work directory and, if it is in a bucket, upload all changes to it
# Modes that accept a work directory in a bucket.
_IN_BUCKETS = (*_LOCKING, "predict", "export", "show", "plan", "check_data", "benchmark", "replay")


def run() -> None:
    """Parses the command line of this process, runs it, and exits."""
    with without_finalization():
        _run()


def _run() -> None:
    command_line.open_missing_streams()
    command_line.check_current_directory()
    if help_page.is_asked_for(sys.argv[1:]):
        command_line.print_and_exit(help_page.help_page())
    try:
        with warning_as_usage_error():
            app.run(main, flags_parser=command_line.parse)
    except UsageError as error:
        command_line.fail(str(error), error.exit_status)
    except KeyboardInterrupt:  # Ctrl-C before `main` runs, while absl loads the config file
        sys.exit(128 + signal.SIGINT)


def main(argv: list[str]) -> None:
    """Runs the program of --mode and exits with the status that the program returns."""
    if not any(arg.startswith("--verbosity") for arg in sys.argv):
        # Orbax logs each error before it raises it: hide its log lines, so that the user does not see errors twice.
        logging.set_verbosity(logging.FATAL)
        stdlib_logging.getLogger("jax").setLevel(stdlib_logging.WARNING)
    stdlib_logging.raiseExceptions = False  # print no traceback when a log line cannot be written
    try:
        command = _command(argv[1:])
        with (
            unusable_path_as_usage_error(),
            missing_platform_as_usage_error(),
            wrong_variable_as_usage_error(),
            process_limit_as_usage_error(),
            disk_full_as_usage_error(command.run_again),
        ):
            if MODES[command.mode].starts_jax:
                check_threads()
            program = importlib.import_module(MODES[command.mode].program)
            with restored_and_uploaded(command.workdir, locks=command.mode in _LOCKING):
                status = program.main(command)
    except UsageError as error:
        command_line.fail(str(error), error.exit_status)
    except BrokenPipeError:  # the program that reads stdout, such as `head`, has ended
        command_line.close_stdout()
        sys.exit(128 + signal.SIGPIPE)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    if status == STOPPED:
        ignore_stop_signals()
    sys.exit(status)


def _command(words: list[str]) -> Command:
    """Returns the parsed flags. Raises UsageError, before JAX is imported, for an argument that --mode rejects."""
    mode = _MODE.value
    if words and not MODES[mode].takes_paths:
        raise UsageError(f"{words[0]!r} is not a flag: flags begin with --, as in --config.data.batch_size=256")
    if _CONFIG.value is None and MODES[mode].needs_config:
        reason = f"{printable(_WORKDIR.value)} holds no run: " if _WORKDIR.value else ""
        raise UsageError(reason + command_line.NO_CONFIG)
    for word in words:
        check_local(word, name="path")
    if _WORKDIR.value == "":  # for example from a script in which a variable is not set
        raise UsageError("--workdir is empty: name a directory, or leave the flag out")
    check = check_workdir if mode in _IN_BUCKETS else check_local
    check(_WORKDIR.value or "", name="--workdir")
    several = _COORDINATOR.value or _PROCESS_ID.value is not None or (_NUM_PROCESSES.value or 1) > 1
    if several and not MODES[mode].many_processes:
        raise UsageError(f"--mode={mode} runs in one process: omit --coordinator, --num_processes and --process_id")
    return Command(
        mode=mode,
        config=_CONFIG.value,
        workdir=_WORKDIR.value or _default_workdir(mode),
        paths=tuple(words),
        coordinator=_COORDINATOR.value,
        num_processes=_NUM_PROCESSES.value,
        process_id=_PROCESS_ID.value,
        join_timeout=_JOIN_TIMEOUT.value,
        stall_timeout=_STALL_TIMEOUT.value,
        trust_network=_TRUST_NETWORK.value,
    )


def _default_workdir(mode: str) -> str:
    """Returns the work directory of a command without --workdir: that of its config, or 'runs/MODE' without config."""
    if _CONFIG.value is None:
        return str(Path("runs", mode))
    return default_workdir(config_flags.get_config_filename(flags.FLAGS["config"]))
