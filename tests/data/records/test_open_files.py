"""Run in subprocesses, whose limits can be lowered."""

import os
import subprocess
import sys

import pytest
from array_record.python import array_record_module

from tests.data.record_files import write_tfrecord

PROGRAM = """
import multiprocessing, os, resource, sys
from resnet_jax.data.records.array_records import open_array_records
from resnet_jax.data.records.tfrecords import open_tfrecords

def check(files, paths, maximum):
    for _ in range(2):
        for file, path in enumerate(paths):
            assert files.read(path, 0) == b"%d" % file
    used = len(os.listdir("/proc/self/fd"))
    assert used >= 150 if maximum is None else 40 < used <= maximum, used

if __name__ == "__main__":
    kind, soft, hard, directory = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    paths = [f"{directory}/{file}" for file in range(150)]
    files = open_tfrecords(paths, cache_dir=None) if kind == "tfrecord" else open_array_records(paths)
    maximum = None if hard > 150 else 60
    check(files, paths, maximum)
    worker = multiprocessing.get_context("spawn").Process(target=check, args=(files, paths, maximum))
    worker.start()
    worker.join()
    assert worker.exitcode == 0
"""


@pytest.mark.parametrize("limits", [(70, 4096), (70, 70)], ids=["soft", "hard"])
@pytest.mark.parametrize("kind", ["tfrecord", "array_record"])
def test_more_shards_than_file_descriptors(tmp_path, kind, limits):
    for file in range(150):
        if kind == "tfrecord":
            write_tfrecord(tmp_path / str(file), [b"%d" % file])
        else:
            writer = array_record_module.ArrayRecordWriter(str(tmp_path / str(file)), "group_size:1")
            writer.write(b"%d" % file)
            writer.close()
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, tmp_path / "program.py", kind, *map(str, limits), tmp_path]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
