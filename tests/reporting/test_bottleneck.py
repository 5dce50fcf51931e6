import pytest

from resnet_jax.data.sources import SOURCES
from resnet_jax.reporting.bottleneck import advice, shares_line, time_table
from resnet_jax.reporting.time_accounting import PHASES


def seconds(**phases):
    return dict.fromkeys(PHASES, 0.0) | phases


def test_the_table_adds_up_and_leaves_out_negligible_phases():
    lines = time_table(seconds(step=3500.0, input=100.0, checkpoint=0.1, eval=125.0) | {"total": 3725.1})
    assert lines == [
        "time         step         58:20   94.0 %",
        "             input         1:40    2.7 %",
        "             eval          2:05    3.4 %",
        "             total      1:02:05  100.0 %",
    ]
    assert time_table(seconds()) == []


def test_shares_in_the_order_of_the_phases():
    shares = {"eval": 0.012, "step": 0.93, "input": 0.04, "host": 0.014, "checkpoint": 0.004}
    assert shares_line(shares) == "step 93 % input 4 % host 1 % eval 1 %"
    assert shares_line({}) == ""


FEW = {"source": "tfds", "num_workers": 0, "num_threads": 4, "cores": 16}


@pytest.mark.parametrize(
    ("spent", "machine", "expected"),
    [
        (
            {"step": 63, "input": 37},
            FEW,
            ["Input-bound", "waited 37 %", "4 of 16 cores decode: raise data.num_workers"],
        ),
        ({"step": 63, "input": 37}, FEW | {"num_workers": 3}, ["12 of 16 cores"]),
        ({"step": 63, "input": 37}, FEW | {"num_workers": 4}, ["each core (16)", "resize_short_side", "data.resize"]),
        ({"step": 63, "input": 37}, FEW | {"num_threads": 0, "cores": 1}, ["each core (1)"]),
        ({"step": 90, "input": 10}, FEW, ["Input-bound", "10 %"]),
        ({"step": 70, "input": 14, "host": 16}, FEW, ["Input-bound", "14 %"]),
        ({"step": 70, "input": 25, "host": 24}, FEW, ["Input-bound", "21 %"]),
        ({"step": 75, "input": 5, "host": 20}, FEW, ["Host-bound", "20 %", "data.batch_size"]),
        ({"step": 50, "input": 20, "host": 30}, FEW, ["Host-bound", "30 %"]),
    ],
)
def test_advice_names_the_bottleneck_and_its_cure(spent, machine, expected):
    found = advice(seconds(**spent, eval=1000.0, compile=1000.0), **machine)
    assert found.endswith("(docs/performance.md)") and "\n" not in found
    assert all(text in found for text in expected)


@pytest.mark.parametrize(
    "spent", [{"step": 91, "input": 9}, {"step": 81, "host": 19}, {"eval": 5}, {"step": 1, "input": 0.9}]
)
def test_there_is_no_advice_without_a_bottleneck(spent):
    assert advice(seconds(**spent), **FEW) is None


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("threads", [1, 2])
def test_the_cure_fits_the_source(source, threads):
    machine = {"source": source, "num_workers": 0, "num_threads": threads, "cores": 2}
    found = advice(seconds(step=63, input=37), **machine)
    decodes = source not in ("synthetic", "cifar_binary")
    shrinks = source in ("parquet", "tfds", "tfrecord", "webdataset")
    assert ("num_workers" in found) == (source != "synthetic" and threads == 1)
    assert ("--mode=prepare" in found) == (shrinks and threads == 2)
    assert ("data.resize" in found) == (decodes and threads == 2)
