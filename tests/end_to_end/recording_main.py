"""main.py with a training source that records what is read: one JSON line per batch, in the directory READS.

READS=DIR python tests/end_to_end/recording_main.py ...
"""

import dataclasses
import json
import os
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from resnet_jax import experiment
from resnet_jax.data.loader import Loader
from resnet_jax.programs.main import run
from tests.tiny import replace_in

_this_thread = threading.local()  # `reads`: indices read for the current batch


class RecordingSource:
    def __init__(self, source):
        self._source = source

    def __len__(self):
        return len(self._source)

    def __getitem__(self, index):
        _this_thread.reads.append(index)
        return self._source[index]

    def __getattr__(self, name):
        return getattr(self._source, name)


@dataclasses.dataclass(frozen=True)
class RecordingLoader(Loader):
    def batch(self, step):
        _this_thread.reads = []
        loaded = super().batch(step)
        line = json.dumps({"step": step, "process": self.process_index, "read": _this_thread.reads})
        with Path(os.environ["READS"], f"{self.process_index}.jsonl").open("a") as file:
            file.write(line + "\n")
        return loaded


def build(*args, **options):
    built = plain_build(*args, **options)
    fields = {field.name: getattr(built.data.train_loader, field.name) for field in dataclasses.fields(Loader)}
    loader = RecordingLoader(**fields | {"source": RecordingSource(built.data.train_loader.source)})
    return replace_in(built, "data", train_loader=loader)


if __name__ == "__main__":
    plain_build, experiment.build = experiment.build, build
    run()
