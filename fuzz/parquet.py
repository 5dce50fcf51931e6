"""Target 'parquet': a Parquet file is read, or it is one UsageError or ValueError; a label is always a class."""

import contextlib
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies
from hypothesis.strategies import SearchStrategy

from fuzz.target import Target, check_message, damaged, silent
from resnet_jax.data.sources.parquet import open_source
from resnet_jax.errors import UsageError

_IMAGE = b"P5 3 2 255\n" + bytes(range(0, 240, 40))
_STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def inputs() -> SearchStrategy[bytes]:
    """Returns a strategy for damaged files, and for files of odd columns, values and descriptions."""
    rows = [{"bytes": _IMAGE + bytes([number]), "path": f"{number}.jpg"} for number in range(6)]
    labels = [0, 1, 2, 0, 1, 2]
    names = _description({"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["a", "b", "c"]}})
    whole = [
        _file(pa.array(rows, _STRUCT), pa.array(labels, pa.int64()), names, compression=name)
        for name in ("NONE", "SNAPPY", "ZSTD")
    ]
    images = strategies.lists(
        strategies.none() | strategies.fixed_dictionaries({"bytes": strategies.none() | strategies.binary(max_size=9)}),
        min_size=3,
        max_size=3,
    ).map(lambda values: pa.array(values, _STRUCT))
    kinds = strategies.sampled_from([pa.int8(), pa.int64(), pa.float32(), pa.string(), pa.bool_(), pa.list_(pa.int8())])
    numbers = strategies.lists(strategies.none() | strategies.integers(-2, 5), min_size=3, max_size=3)
    columns = strategies.tuples(numbers, kinds).map(lambda given: _array(*given))
    scalars = strategies.one_of(strategies.none(), strategies.integers(), strategies.text(max_size=3))
    values = strategies.recursive(
        scalars,
        lambda part: strategies.one_of(
            strategies.lists(part, max_size=3),
            strategies.dictionaries(strategies.sampled_from(["image", "label", "names", "_type"]), part, max_size=3),
        ),
    )
    descriptions = strategies.one_of(
        strategies.none(), strategies.just(names), strategies.binary(max_size=9), values.map(_description)
    )
    odd = strategies.builds(_file, strategies.one_of(images, columns), columns, descriptions)
    return strategies.one_of(damaged(whole), odd, strategies.binary(max_size=64))


def check(data: bytes) -> None:
    """Opens a split of one file and reads all its rows."""
    with tempfile.TemporaryDirectory() as directory, silent():
        (Path(directory) / "train-00000-of-00001.parquet").write_bytes(data)
        try:
            source = open_source(data_dir=directory)
        except UsageError as error:
            check_message(error)
            return
        assert len(source) > 0
        for index in range(len(source)):
            try:
                example = source[index]
            except ValueError as error:
                check_message(error)
            else:
                assert isinstance(example.image, bytes) and 0 <= example.label < len(source.class_names)
            assert source.where(index) and source.example_id(index)


def _array(values: list[int | None], kind: Any) -> Any:
    """Returns values as a column of some type; of integers if they are no values of that type."""
    with contextlib.suppress(pa.ArrowException, OverflowError):
        return pa.array(values, pa.int64()).cast(kind)
    return pa.array(values, pa.int64())


def _description(features: Any) -> bytes:
    return json.dumps({"info": {"features": features}}).encode()


def _file(image: Any, label: Any, description: bytes | None, *, compression: str = "NONE") -> bytes:
    table = pa.table({"image": image, "label": label})
    if description is not None:
        table = table.replace_schema_metadata({"huggingface": description})
    file = io.BytesIO()
    pq.write_table(table, file, row_group_size=2, compression=compression)
    return file.getvalue()


TARGET = Target(inputs, check)
