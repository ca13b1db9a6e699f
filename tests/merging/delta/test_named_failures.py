"""What DuckDB says of damaged files, values that do not fit and too little memory leaves the engine by name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import merging
from merging import MergeRequest, delta
from merging.delta.snapshot import snapshot_in
from merging.errors import EngineFailed, MergeError, TableDamaged, UnsupportedTable
from merging.sql.failures import REFUSAL, engine_failure, naming_engine_failures
from merging.sql.session import session
from tests.merging.delta.delta_tables import Merger
from tests.merging.stores import Place, local_place, memory_place, put, put_table

CONTENT = pa.table({"id": range(5_000), "t": [f"text {n}" for n in range(5_000)]})


def damage(place: Place, kind: str) -> None:
    path = Path(place.uri) / "part-0.parquet"
    if kind == "missing":
        path.unlink()
    elif kind == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif kind == "replaced":
        pq.write_table(CONTENT.slice(0, 9), path)
    elif kind == "no Parquet":
        path.write_bytes(os.urandom(path.stat().st_size))
    else:  # its pages are rubbish, its footer and size are not
        whole = path.read_bytes()
        pages = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
        path.write_bytes(whole[:4] + os.urandom(pages - 4) + whole[pages:])


def calls(place: Place, folder: Path) -> dict[str, Callable[[], Any]]:
    """Everything that reads a table, as callers outside have it."""
    staged = folder / "staged"
    unique = {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "t"}}

    def request() -> MergeRequest:
        return MergeRequest(place.uri, "CR-1", ["id"], str(ready), destination=str(folder / "artefacts"))

    changes = pa.table({"id": [3], "t": ["new"]})
    ready = merging.stage(place.uri, changes, ["id"], destination=str(folder / "ready")).location
    return {
        "preview": lambda: merging.preview(place.uri, primary_keys=["id"]),
        "download": lambda: [*merging.stream_rows(place.uri, primary_keys=["id"]).batches],
        "editing": lambda: merging.open_for_editing(place.uri, primary_keys=["id"]).rows([{"id": 3}]),
        "key check": lambda: merging.check_keys(place.uri, ["id"]),
        "staging": lambda: merging.stage(place.uri, changes, ["id"], destination=str(staged)),
        "plan": lambda: merging.plan(request()),
        "merge": lambda: merging.merge(request()),
        "expectations": lambda: merging.check_table(
            place.uri, {"name": "s", "expectations": [unique]}, ["id"]
        ),
        "proposed expectations": lambda: merging.propose_expectations(place.uri, ["id"]),
        "compaction": lambda: merging.compact(place.uri, attempt_id="a", application_id="c", generation=1),
    }


@pytest.mark.parametrize("vectors", [True, False], ids=["vectors", "rewrite"])
@pytest.mark.parametrize(
    ("kind", "compression"),
    [
        *((kind, "snappy") for kind in ("missing", "cut", "replaced", "no Parquet")),
        *(("rubbish", compression) for compression in ("none", "snappy", "gzip", "zstd", "lz4", "brotli")),
    ],
)
def test_fp10_damaged_data_files_are_named_by_everything_that_reads(
    kind: str, compression: str, vectors: bool, tmp_path: Path
) -> None:
    place = local_place(tmp_path)
    put_table(place, [CONTENT, CONTENT.slice(0, 0)], vectors=vectors, compression=compression)
    every = calls(place, tmp_path)
    damage(place, kind)
    for name, call in every.items():
        if kind == "rubbish" and name in ("plan", "merge") and (vectors or name == "plan"):
            continue  # on the version that was staged neither reads a row
        if kind == "rubbish" and name == "expectations":
            assert not call().ok  # what could not be judged is said for each expectation
            continue
        with pytest.raises(
            TableDamaged, match="Restore the file, or the table to a version without it"
        ) as caught:
            call()
        assert kind == "rubbish" or "The data file part-0.parquet of" in caught.value.message, name
    assert delta.open_snapshot(place.uri).version == 0


@pytest.mark.parametrize("where", ["local", "memory"])
@pytest.mark.parametrize("kind", ["missing", "cut", "rubbish"])
def test_fp16_damaged_vectors_are_named(kind: str, where: str, tmp_path: Path) -> None:
    place = local_place(tmp_path) if where == "local" else memory_place()
    put_table(place, [CONTENT], vectors=True)
    with duckdb.connect(":memory:") as connection:
        prepared = Merger(connection).prepare(snapshot_in(place.store, place.uri), delete=[3])
        delta.commit(prepared, application_id="a", generation=1)
        snapshot = snapshot_in(place.store, place.uri)
        vector = snapshot.files[0].vector
        assert vector is not None
        path = vector.file_path or ""
        whole = place.store.read(path)
        place.store.delete([path])
        if kind != "missing":
            put(place, path, whole[:1] if kind == "cut" else bytes(len(whole)))
        with pytest.raises(TableDamaged, match=r"A deletion vector of .* cannot be trusted"):
            delta.scan_sql(connection, snapshot)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (duckdb.OutOfMemoryException("failed to pin"), "HEADGATE_ENGINE_MEMORY"),
        (
            duckdb.ConversionException("no number"),
            "A value of t does not fit the type of its column: no number",
        ),
        (duckdb.BinderException("no such thing\n\nLINE 1: x"), "please report this: no such thing"),
        (duckdb.InternalException(""), "please report this: InternalException"),
    ],
)
def test_fp10_every_error_of_duckdb_has_a_name_and_says_what_to_do(error: duckdb.Error, message: str) -> None:
    named = engine_failure(error, "t")
    assert isinstance(named, EngineFailed)
    assert message in named.message
    assert "LINE" not in named.message


@pytest.mark.parametrize(
    "error",
    [
        duckdb.IOException("no such file."),
        duckdb.InvalidInputException("no such file."),
        duckdb.Error("no such file."),
    ],
)
def test_fp10_what_reading_a_table_fails_with_is_damage_of_the_table(error: duckdb.Error) -> None:
    named = engine_failure(error, "t", {"table_uri": "t"})
    assert isinstance(named, TableDamaged)
    assert named.message.startswith("A data file of t cannot be read: no such file. Restore the file")
    of_ours = engine_failure(error)
    assert isinstance(of_ours, EngineFailed)
    assert of_ours.message.startswith("A data file cannot be read: no such file")


def test_fp16_an_object_that_goes_after_its_footer_was_read_is_named() -> None:
    place = memory_place()
    put_table(place, [pa.table({"id": range(50_000), "t": [os.urandom(8).hex() for _ in range(50_000)]})])
    snapshot = snapshot_in(place.store, place.uri)
    with duckdb.connect(":memory:") as connection:
        source = delta.scan_sql(connection, snapshot)
        place.store.delete(["part-0.parquet"])
        with pytest.raises(TableDamaged) as caught, naming_engine_failures("t"):
            connection.execute(source).fetchall()
    assert caught.value.message == (
        "A data file of t cannot be read: FileNotFoundError: part-0.parquet. Restore the file, or the table to a "
        "version without it."
    )


def test_fp10_what_our_own_sql_refuses_is_a_refusal() -> None:
    with duckdb.connect(":memory:") as connection, pytest.raises(duckdb.Error) as caught:
        connection.execute(f"SELECT error('{REFUSAL}Column x is odd in ' || 'f') ")
    named = engine_failure(caught.value)
    assert isinstance(named, UnsupportedTable)
    assert named.message == "Column x is odd in f"


def test_fp10_too_little_memory_is_said_with_what_to_set() -> None:
    with pytest.raises(MergeError, match="HEADGATE_ENGINE_MEMORY"), session(memory_limit="10MB") as opened:
        opened.execute("SELECT list(range) FROM range(20000000)")
