import json

import numpy as np
import pytest

from resnet_jax.data.bad_examples import BadExamples
from resnet_jax.data.sources import Example
from resnet_jax.errors import UsageError
from tests.data.encoded import encode, smooth
from tests.data.test_decoder_messages import damaged_tiff
from tests.data.test_loader import Smooth, eval_loader, train_loader
from tests.distributed.local_channels import channels, result_or_error, together


def watched(bad_examples, loader, *, start=0, stop=4):
    return list(bad_examples.watch((loader.batch(step) for step in range(start, stop)), loader, start=start))


def records(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_bad_example_is_listed_once(tmp_path, caplog):
    path = tmp_path / "bad.jsonl"
    bad, loader = BadExamples(path, at_most=2), train_loader(batch_size=10, source=Smooth(broken=(3, 7)))
    batches = watched(bad, loader)
    assert len(batches) == 4 and len(bad) == 2
    np.testing.assert_array_equal(batches[2].image, loader.batch(2).batch.image)
    assert sorted((record["index"], record["where"], record["source"]) for record in records(path)) == [
        (3, "smooth-3.jpg", "smooth/train"),
        (7, "smooth-7.jpg", "smooth/train"),
    ]
    assert all("runcated" in record["error"] for record in records(path))
    assert sum("another example replaces it" in message for message in caplog.messages) == 2


def test_the_same_index_of_another_source_is_another_example(tmp_path, caplog):
    path = tmp_path / "bad.jsonl"
    bad = BadExamples(path, at_most=2)
    watched(bad, train_loader(batch_size=10, source=Smooth(broken=(3,))))
    watched(bad, eval_loader(Smooth(name="smooth/val", broken=(3,))), stop=3)
    assert [record["source"] for record in records(path)] == ["smooth/train", "smooth/val"]
    assert "it counts as a wrong prediction" in caplog.messages[-1]


def test_too_many_end_the_run_and_every_later_start(tmp_path):
    path, loader = tmp_path / "bad.jsonl", train_loader(batch_size=10, source=Smooth(broken=(3, 7)))
    with pytest.raises(UsageError, match="2 images cannot be read, more than config.data.max_bad_examples=1: repair"):
        watched(BadExamples(path, at_most=1), loader)
    with pytest.raises(UsageError, match="bad.jsonl lists, or raise --config.data.max_bad_examples"):
        watched(BadExamples(path, at_most=1), loader)
    assert len(records(path)) == 2
    assert len(watched(BadExamples(path, at_most=2), loader)) == 4


def test_a_list_cut_short_by_a_kill_is_continued(tmp_path):
    path, loader = tmp_path / "bad.jsonl", train_loader(batch_size=10, source=Smooth(broken=(3, 7)))
    watched(BadExamples(path, at_most=2), loader, stop=1)
    whole = path.read_text()
    path.write_text(whole[:-9])
    assert len(BadExamples(path, at_most=2)) == 1
    watched(BadExamples(path, at_most=2), loader, stop=1)
    assert path.read_text().splitlines()[-1] == whole.splitlines()[-1]
    assert len(BadExamples(path, at_most=2)) == 2


def test_rows_of_every_process_are_looked_up(tmp_path):
    loaders = [train_loader(process_index=p, process_count=2, source=Smooth(broken=(3, 7))) for p in range(2)]
    bad = BadExamples(tmp_path / "bad.jsonl", at_most=9)
    for loader in loaders:
        watched(bad, loader, start=5, stop=10)  # five batches of 6 are three epochs of 10
    assert {record["index"] for record in records(tmp_path / "bad.jsonl")} == {3, 7}


def test_repaired_examples_are_removed(tmp_path):
    path = tmp_path / "bad.jsonl"
    watched(BadExamples(path, at_most=2), train_loader(batch_size=10, source=Smooth(broken=(3, 7))))
    bad = BadExamples(path, at_most=2)
    watched(bad, train_loader(batch_size=10, source=Smooth(broken=(7, 8))))
    assert [record["index"] for record in records(path)] == [7, 8] and len(bad) == 2


def test_examples_of_other_sources_stay_on_the_list(tmp_path):
    path = tmp_path / "bad.jsonl"
    watched(BadExamples(path, at_most=2), train_loader(batch_size=10, source=Smooth(broken=(3,))))
    watched(BadExamples(path, at_most=2), eval_loader(Smooth(name="smooth/val")), stop=3)
    assert [record["index"] for record in records(path)] == [3]


def two_processes(path, both, *, at_most=9):
    """Returns the list of each of two connected processes; both will make all rows of a batch."""
    return [BadExamples(path, at_most=at_most, channel=channel) for channel in both]


def test_an_example_that_two_processes_meet_at_once_is_listed_once(tmp_path, caplog):
    path, loader = tmp_path / "bad.jsonl", train_loader(batch_size=10, source=Smooth(broken=(3, 7)))
    with channels(2) as both:
        lists = two_processes(path, both)
        with both[0]._handling:  # process 0 handles no message meanwhile: neither process knows of the other's reports
            for bad in reversed(lists):
                watched(bad, loader)
        together(BadExamples.collect, lists)
        assert [len(bad) for bad in lists] == [2, 2]
    assert sorted(record["index"] for record in records(path)) == [3, 7]
    assert sum("cannot be read" in message for message in caplog.messages) == 2


def test_what_another_process_meets_after_the_last_batch_of_process_0_is_listed(tmp_path):
    path = tmp_path / "bad.jsonl"
    with channels(2) as both:
        lists = two_processes(path, both)
        for bad, broken in zip(lists, ((3,), (7,)), strict=True):
            watched(bad, train_loader(batch_size=10, source=Smooth(broken=broken)))
        together(BadExamples.collect, lists)
        assert [record["index"] for record in records(path)] == [3, 7]


def test_too_many_in_another_process_are_listed_and_end_all(tmp_path):
    path, loader = tmp_path / "bad.jsonl", train_loader(batch_size=10, source=Smooth(broken=(3, 7)))
    with channels(2) as both:
        lists = two_processes(path, both, at_most=1)
        with pytest.raises(UsageError, match="2 images cannot be read"):
            watched(lists[1], loader)
        errors = together(result_or_error(BadExamples.collect), lists)
        assert all("2 images cannot be read" in str(error) for error in errors)
        assert sorted(record["index"] for record in records(path)) == [3, 7]


def test_a_list_that_cannot_be_written_is_an_error_of_the_main_thread(tmp_path):
    bad = BadExamples(tmp_path / "missing" / "bad.jsonl", at_most=9)
    with pytest.raises(FileNotFoundError):
        watched(bad, train_loader(batch_size=10, source=Smooth(broken=(3,))))


class Noisy:
    """TIFF files of which every second one is damaged, so that libtiff has something to say."""

    name, class_names = "noisy", ("a",)

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return Example(damaged_tiff() if index % 2 else encode(smooth(9, 9), "PNG"), 0)

    def where(self, index):
        return f"noisy-{index}\x1b[2J\n.tif"


def test_messages_of_decoders_are_counted_once_for_all_processes(tmp_path, caplog):
    caplog.set_level("INFO", logger="resnet_jax")
    with channels(2) as both:
        lists = two_processes(tmp_path / "bad.jsonl", both)
        for process, bad in enumerate(lists):
            loader = eval_loader(Noisy(), process_index=process, process_count=2)
            watched(bad, loader, stop=2)
        together(BadExamples.collect, lists)
        together(BadExamples.collect, lists)
    lines = [line for line in caplog.messages if line.startswith("decoders")]
    assert len(lines) == 1 and int(lines[0].split()[1]) >= 3
    assert "messages of libtiff or Pillow about image files were not shown" in lines[0]


def test_names_of_unreadable_files_are_escaped_in_the_log(tmp_path, caplog):
    watched(BadExamples(tmp_path / "bad.jsonl", at_most=9), eval_loader(Noisy()), stop=2)
    warnings = [line for line in caplog.messages if "cannot be read" in line]
    assert len(warnings) == 3 and all(line.isprintable() for line in warnings)
    assert records(tmp_path / "bad.jsonl")[0]["where"] == "noisy-1\x1b[2J\n.tif"
