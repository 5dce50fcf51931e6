"""Work directories of made-up runs, and what a browser would find in a page."""

import json
from html.parser import HTMLParser

from resnet_jax.programs.recipes import get_recipe
from tests.programs.comparison.evaluations import evaluated

EMPTY = {"meta", "img", "br"}
COMMAND = ["python", "main.py", "--config=configs/digits.py", "--config.data.batch_size=64", "--config.seed", "5"]


def make_run(path, *, right=None, seed=0, result=True, **changes):
    """Makes the files of a run of the recipe digits with 40 lines of metrics; with `right`, also of an evaluation."""
    path.mkdir(parents=True)
    recipe = get_recipe("digits")
    recipe.update_from_flattened_dict({"seed": seed, "data.batch_size": 64, **changes})
    (path / "config.json").write_text(recipe.to_json())
    start = {
        "time": "2026-01-01T00:00:00+00:00",
        "start_step": 0,
        "command": COMMAND,
        "versions": {"python": "3.11.7", "libtpu": None},
        "git_commit": "abc",
        "host": "a<b>",
        "devices": ["cpu cpu"] * 2,
    }
    (path / "run.json").write_text(json.dumps({"starts": [start]}))
    lines = []
    for step in range(10, 410, 10):
        train = {"loss": 100 / step, "top1": step / 500, "lr": 0.1, "grad_norm": 1.0, "images_per_second": 100.0}
        lines.append({"step": step, "split": "train", **train, "seconds": 1.0, "share_step": 0.9, "share_input": 0.1})
        if step % 100 == 0:
            lines.append({"step": step, "split": "eval", "loss": 50 / step, "top1": step / 450})
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if result:
        content = {
            "step": 400,
            "total_steps": 400,
            "stop_reason": "completed",
            "eval": {"count": 300, "top1": 0.8889, "top5": None},
            "best": {"step": 400, "top1": 0.8889},
            "images_per_second": 100.0,
            "seconds": {"step": 36.0, "input": 4.0, "total": 40.0},
        }
        (path / "result.json").write_text(json.dumps(content))
    if right is not None:
        directory = evaluated(path / "evaluations" / "400-digits", right)
        file = directory / "certificate.json"
        certificate = json.loads(file.read_text())
        certificate["eval"] = {"top1": float(right.mean()), "top5": None, "loss": 0.5, "count": len(right)}
        file.write_text(json.dumps(certificate))
    return path


class Page(HTMLParser):
    """A page as a browser reads it: its text, the sources of its images, and its links; checks that tags are closed."""

    def __init__(self, content):
        super().__init__()
        self.open, self.words, self.sources, self.links, self.tags = [], [], [], [], []
        self.feed(content)
        assert self.open == [], self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        attributes = dict(attrs)
        self.sources += [attributes["src"]] if "src" in attributes else []
        self.links += [attributes["href"]] if "href" in attributes else []
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())
