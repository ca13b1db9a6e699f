"""Whatever rows come as is written so that nothing is lost, and twice to the same bytes."""

import json
import uuid
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import headgate
import numpy
import pandas
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from headgate.content.sources import content_of

TABLE = pa.table({"id": pa.array([1, 2, 3], pa.int32()), "name": ["a", None, "é"]})


def batches() -> Iterator[pa.RecordBatch]:
    yield from TABLE.to_batches(max_chunksize=2)


def frames() -> Iterator[pandas.DataFrame]:
    for batch in batches():
        yield batch.to_pandas(types_mapper=pandas.ArrowDtype)


SOURCES = {
    "table": lambda: TABLE,
    "batch": lambda: TABLE.to_batches()[0],
    "reader": lambda: pa.RecordBatchReader.from_batches(TABLE.schema, batches()),
    "generator of batches": batches,
    "generator of frames": frames,
    "pandas": lambda: TABLE.to_pandas(types_mapper=pandas.ArrowDtype),
    "pandas with a named index": lambda: TABLE.to_pandas(types_mapper=pandas.ArrowDtype).set_index("id"),
    "polars": lambda: polars.from_arrow(TABLE),
    "lazy polars": lambda: polars.LazyFrame(polars.from_arrow(TABLE)),
    "list of tables": lambda: [TABLE.slice(0, 1), TABLE.slice(1)],
}


@pytest.mark.parametrize("source", SOURCES)
def test_typed_rows_are_written_as_parquet(source: str) -> None:
    with content_of(SOURCES[source]()) as content:
        assert content.file_format == "parquet"
        assert pq.read_table(content.path).to_pylist() == TABLE.to_pylist()
        assert content.size == content.path.stat().st_size
        assert b"".join(content.pieces()) == content.path.read_bytes()
        with content_of(SOURCES[source]()) as again:
            assert again.digest == content.digest
    assert not content.path.exists()


def test_dictionaries_keep_every_digit() -> None:
    row = {
        "id": 2**62 + 1,
        "price": Decimal("0.10"),
        "ratio": 0.1,
        "nan": float("nan"),
        "day": date(2024, 2, 1),
        "at": datetime(2024, 2, 1, 13, 45, tzinfo=timezone(timedelta(hours=2))),
        "clock": datetime(2024, 2, 1, 13, 45, 0, 250000),  # noqa: DTZ001  (a column without a time zone)
        "raw": b"\x00\xff",
        "uuid": uuid.UUID(int=7),
        "nested": {"list": [1, None, Decimal("1E-12")]},
        "scalar": numpy.int64(7),
        "nothing": None,
    }
    with content_of([row, {"id": 1}]) as content:
        lines = content.path.read_text().splitlines()
    assert json.loads(lines[0]) == {
        "id": 2**62 + 1,
        "price": "0.10",
        "ratio": 0.1,
        "nan": "NaN",
        "day": "2024-02-01",
        "at": "2024-02-01T11:45:00+00:00",
        "clock": "2024-02-01T13:45:00.250000",
        "raw": "0x00ff",
        "uuid": "00000000-0000-0000-0000-000000000007",
        "nested": {"list": [1, None, "1E-12"]},
        "scalar": 7,
        "nothing": None,
    }
    assert json.loads(lines[1]) == {"id": 1}, "what a row leaves out stays as it is"


def test_a_generator_of_dictionaries_is_never_held() -> None:
    with content_of({"id": number} for number in range(3)) as content:
        assert content.path.read_text() == '{"id": 0}\n{"id": 1}\n{"id": 2}\n'


@pytest.mark.parametrize(
    ("name", "file_format"),
    [
        ("a.csv", "csv"),
        ("a.csv.gz", "csv"),
        ("a.PARQUET", "parquet"),
        ("a.ndjson", "jsonl"),
        ("a.feather", "arrow"),
    ],
)
def test_a_path_stays_where_it_is(tmp_path: Path, name: str, file_format: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"x")
    with content_of(str(path)) as content:
        assert (content.file_format, content.path, content.size) == (file_format, path, 1)
    assert path.exists()


def mixed() -> Iterator[Any]:
    yield TABLE
    yield TABLE.drop_columns(["name"])


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (pandas.DataFrame({"a": [1, "x"]}), "column a has no one type"),
        (pandas.DataFrame({1: [1]}), "named by texts"),
        (42, "int holds no rows"),
        ([{"a": object()}], "Row 1, a is object"),
        ([{"a": 1}, 7], "Row 2 is no dictionary"),
        ([{1: 1}], "Row 1 names a column by 1"),
        ("missing.parquet", "cannot be read"),
        ("rows.txt", "format of rows.txt"),
        (iter(()), "nothing in what was handed over"),
    ],
)
def test_what_cannot_be_sent_says_why_and_leaves_nothing(
    rows: Any, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(headgate.ContentUnusable, match=sentence):
        content_of(rows)
    assert list(tmp_path.iterdir()) == []


def test_later_rows_have_the_columns_of_the_first() -> None:
    with pytest.raises(headgate.ContentUnusable, match="Later rows have the columns"):
        content_of(mixed())
