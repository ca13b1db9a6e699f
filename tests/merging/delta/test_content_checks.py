"""A rewritten file that is not what its rows were before is never committed, even where the number of rows is right."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import deltalake
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from merging import delta
from merging.delta import content_checks
from merging.delta.snapshot import snapshot_in
from merging.delta.thrift import BadThrift
from merging.delta.writing import by_duckdb, data_files
from merging.errors import MergeFailed
from merging.sql.quoting import column_sql
from tests.merging.delta.delta_tables import Merger, after_merge, own_rows, sample
from tests.merging.stores import local_place, memory_place, put_table


def rows(count: int) -> pa.Table:
    return pa.table(
        {"id": range(count), "t": [f"text {n}" for n in range(count)], "n": [n / 3 for n in range(count)]}
    )


WRONG = {
    "one cell": "SELECT * REPLACE (CASE WHEN {id} = 41 THEN 'other' ELSE {t} END AS {t}) FROM ({source})",
    "a column swapped between rows": "SELECT * REPLACE (CASE {id} WHEN 41 THEN 'text 42' WHEN 42 THEN 'text 41' "
    "ELSE {t} END AS {t}) FROM ({source})",
    "a row twice, another not at all": "SELECT * REPLACE (CASE WHEN {id} = 41 THEN 42 ELSE {id} END AS {id}) "
    "FROM ({source})",
    "a value lost": "SELECT * REPLACE (CASE WHEN {id} = 41 THEN NULL ELSE {n} END AS {n}) FROM ({source})",
    "a value from elsewhere": "SELECT * REPLACE (CASE WHEN {id} = 41 THEN 99 ELSE {id} END AS {id}) FROM ({source})",
}
TOLD_BY_FOOTERS = ("a value lost", "a value from elsewhere")


def write_wrongly(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    """From now on every file is written with other content than it should have."""
    real = data_files.copy_to

    def bad_copy(connection: Any, snapshot: Any, query: str, *arguments: Any, **options: Any) -> Any:
        names = {name: column_sql(name) for name in ("id", "t", "n")}
        return real(connection, snapshot, WRONG[wrong].format(source=query, **names), *arguments, **options)

    monkeypatch.setattr(by_duckdb, "copy_to", bad_copy)


@pytest.mark.parametrize(
    ("work", "wrong", "share"),
    [
        *((work, wrong, 1.0) for work in ("merge", "compaction") for wrong in WRONG),
        *(("merge", wrong, 0.0) for wrong in TOLD_BY_FOOTERS),
    ],
)
def test_fd2_a_rewrite_with_other_content_is_not_committed(
    work: str, wrong: str, share: float, tmp_path: Path, merger: Merger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content_checks, "SHARE", share)
    place = local_place(tmp_path)
    put_table(place, [rows(50), rows(0)])
    before = own_rows(place.uri)
    write_wrongly(monkeypatch, wrong)
    files = {path.name for path in Path(place.uri).glob("*.parquet")}
    snapshot = delta.open_snapshot(place.uri)
    doing: dict[str, Callable[[], object]] = {
        "merge": lambda: merger.prepare(snapshot, delete=[3]),
        "compaction": lambda: delta.compact(
            merger.connection, snapshot, attempt_id=uuid.uuid4().hex, application_id="c"
        ),
    }
    with pytest.raises(MergeFailed, match="is not what its rows were before"):
        doing[work]()
    assert {path.name for path in Path(place.uri).glob("*.parquet")} == files
    assert delta.open_snapshot(place.uri).version == 0
    assert own_rows(place.uri) == before


@pytest.mark.parametrize("wrong", WRONG)
def test_fd2_on_an_object_store_every_rewritten_file_is_compared(
    wrong: str, merger: Merger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There the bytes come through a reader of ours, so nothing is left to chance."""
    monkeypatch.setattr(content_checks, "SHARE", 0.0)
    place = memory_place()
    put_table(place, [rows(50), rows(0)])
    write_wrongly(monkeypatch, wrong)
    with pytest.raises(MergeFailed, match="is not what its rows were before"):
        merger.prepare(snapshot_in(place.store, place.uri), delete=[3])
    after = snapshot_in(place.store, place.uri)
    assert (after.version, len(after.files)) == (0, 2)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_fd2_honest_rewrites_pass_and_arouse_no_suspicion(
    share: float, tmp_path: Path, merger: Merger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many row groups, dead rows, and nearly all rows gone; footers alone, and every cell."""
    monkeypatch.setattr(content_checks, "SHARE", share)
    monkeypatch.setattr(by_duckdb, "_ROWS_PER_GROUP", 2_048)
    compared = []
    real = content_checks.require_same_rows

    def counted(*given: Any, **options: Any) -> None:
        compared.append(given)
        real(*given, **options)

    monkeypatch.setattr(content_checks, "require_same_rows", counted)
    place = local_place(tmp_path)
    put_table(place, [rows(20_000)], row_group_size=3_000)
    gone = [*range(0, 20_000, 7), *range(9_000, 12_000)]
    merger.merge(place.uri, delete=sorted(set(gone)))
    left = [n for n in range(20_000) if n not in set(gone)]
    merger.merge(place.uri, delete=left[:-3])
    assert [row[0] for row in own_rows(place.uri)] == left[-3:]
    assert len(compared) == (2 if share else 0)


@pytest.mark.parametrize("share", [0.0, 1.0])
@pytest.mark.parametrize("partition_by", [[], ["part"]], ids=["plain", "partitioned"])
def test_fd2_every_type_passes_its_check(
    partition_by: list[str],
    share: float,
    make_table: Callable[..., str],
    merger: Merger,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(content_checks, "SHARE", share)
    uri = make_table(sample(40), deletion_vectors=False, partition_by=partition_by)
    merger.merge(uri, delete=[3, 9])
    delta.compact(merger.connection, delta.open_snapshot(uri), attempt_id="c", application_id="m")
    assert own_rows(uri) == after_merge(sample(40), None, [3, 9])


def test_fs1_a_table_file_whose_size_statistics_contradict_it_ends_no_process(
    tmp_path: Path, merger: Merger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pyarrow ends the process when it is asked for such a column chunk; DuckDB reads the file."""
    monkeypatch.setattr(content_checks, "SHARE", 0.0)
    place = local_place(tmp_path)
    put_table(place, [rows(300)])
    [path] = Path(place.uri).glob("*.parquet")
    honest = path.read_bytes()
    # A histogram of two levels (0 and 300 values) becomes one of a single number, in as many bytes.
    hostile = honest.replace(b"\x26\x00\xd8\x04", b"\x16\x80\xd8\x04")
    assert hostile != honest
    path.write_bytes(hostile)
    with pytest.raises(OSError, match="histogram size mismatch"):
        pq.read_table(path)
    merger.merge(place.uri, delete=[3])
    assert [row[0] for row in own_rows(place.uri)] == [n for n in range(300) if n != 3]


@pytest.mark.parametrize("stated", [b"", b"\x01", b"\x01" * 9], ids=["none", "one byte", "nine bytes"])
def test_bounds_of_another_width_arouse_suspicion(stated: bytes) -> None:
    with pytest.raises(BadThrift, match="a bound of 8 bytes has"):
        content_checks._number(content_checks._PLAIN["INT64"], stated)


FAR = pa.table(
    {
        "id": pa.array([0, 1, 2, 3], pa.int64()),
        "day": pa.array([-(10**7), -900_000, 3_200_000, 10**7], pa.int32()).cast(pa.date32()),
        "at": pa.array([-(10**17), -1, 4 * 10**17, None], pa.int64()).cast(pa.timestamp("us", "UTC")),
        "local": pa.array([-(10**17), 0, 4 * 10**17, None], pa.int64()).cast(pa.timestamp("us")),
        "whole": pa.array([Decimal("-9" + "9" * 37), Decimal(-1), Decimal(1), None], pa.decimal128(38, 0)),
        "cents": pa.array([Decimal("-0.05"), Decimal("0.01"), Decimal("-0.01"), None], pa.decimal128(5, 2)),
    }
)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_fd12_files_of_others_with_days_that_python_cannot_say_are_rewritten(
    share: float, tmp_path: Path, merger: Merger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their footers state such days as bounds; the check of what was written looks at those."""
    monkeypatch.setattr(content_checks, "SHARE", share)
    compared = []
    real = content_checks.require_same_rows

    def counted(*given: Any, **options: Any) -> None:
        compared.append(given)
        real(*given, **options)

    monkeypatch.setattr(content_checks, "require_same_rows", counted)
    uri = str(tmp_path / "table")
    deltalake.write_deltalake(uri, FAR)
    merger.merge(uri, delete=[2])
    assert len(compared) == (1 if share else 0), "honest bounds arouse no suspicion"
    kept = FAR.filter(pc.not_equal(FAR["id"], 2))
    written = pa.concat_tables(pq.read_table(path) for path in deltalake.DeltaTable(uri).file_uris())
    assert written.sort_by("id").cast(FAR.schema).equals(kept)
