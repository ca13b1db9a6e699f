"""What a table's columns are in files of every layout: mapped, renamed, nested, of other writers and other names."""

from __future__ import annotations

import contextlib
import datetime
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import merging
from merging import delta
from merging.delta.snapshot import Snapshot, snapshot_in
from merging.errors import MergeError, UnsupportedTable
from merging.sql.failures import naming_engine_failures
from merging.sql.quoting import column_sql, quote
from tests.merging.stores import (
    Place,
    add_action,
    head_actions,
    local_place,
    memory_place,
    parquet,
    put,
    put_commit,
)

# ---- a model of tables whose columns come, go and change their names ------------------------------------------


@dataclass
class Kind:
    """A type of the model: a plain one by Delta's name, or a struct, array or map of others."""

    name: str
    fields: list[Column] = field(default_factory=list)
    inner: list[Kind] = field(default_factory=list)


@dataclass
class Column:
    """A field for life: its id and stored name never change, its name may."""

    identity: int
    stored: str
    name: str
    kind: Kind


PLAIN = {"long": pa.int64(), "string": pa.string(), "double": pa.float64(), "date": pa.date32()}
NAMES = ("x", "y", "z", "a b", "FILE_ROW_NUMBER", "filename", "q'\"", "ä")


class Model:
    """A mapped table: every step changes its schema at some depth, every file is written as the schema then is."""

    def __init__(self, seed: int, mode: str) -> None:
        self.random = random.Random(seed)  # noqa: S311  (repeatable, no secret)
        self.mode = mode
        self.numbers = itertools.count(1)
        self.columns = [Column(next(self.numbers), "id", "id", Kind("long")), *self._some_columns(3, 0)]
        self.rows: list[dict[int, Any]] = []
        self.place = memory_place()
        self.version = -1
        self.commit_schema()
        self.write_file()

    def _some_columns(self, count: int, depth: int) -> list[Column]:
        names = self.random.sample(NAMES, count)
        return [self._column(name, depth) for name in names]

    def _column(self, name: str, depth: int) -> Column:
        number = next(self.numbers)
        # A table whose mapping was switched on later stores old columns under the names that they had then.
        stored = f"col-{number}" if self.random.random() < 0.5 else f"{name}{number}"
        return Column(number, stored, name, self._kind(depth))

    def _kind(self, depth: int) -> Kind:
        choice = self.random.choice(["plain", "struct", "array", "map"] if depth < 3 else ["plain"])
        if choice == "struct":
            return Kind("struct", fields=self._some_columns(self.random.randint(1, 3), depth + 1))
        if choice == "array":
            return Kind("array", inner=[self._kind(depth + 1)])
        if choice == "map":
            return Kind("map", inner=[Kind("string"), self._kind(depth + 1)])
        return Kind(self.random.choice(list(PLAIN)))

    def _structs(self) -> list[list[Column]]:
        """Every list of fields in the schema, that of the table first."""
        found = [self.columns]

        def walk(kind: Kind) -> None:
            if kind.fields:
                found.append(kind.fields)
            for column in kind.fields:
                walk(column.kind)
            for inner in kind.inner:
                walk(inner)

        for column in self.columns:
            walk(column.kind)
        return found

    def step(self) -> None:
        fields = self.random.choice(self._structs())
        free = [one for one in fields if one.name != "id"]
        unused = [name for name in NAMES if name.lower() not in {one.name.lower() for one in fields}]
        kind = self.random.choice(["rename", "swap", "drop", "add", "reorder"])
        if kind == "rename" and free and unused:
            self.random.choice(free).name = self.random.choice(unused)
        elif kind == "swap" and len(free) > 1:
            one, other = self.random.sample(free, 2)
            one.name, other.name = other.name, one.name
        elif kind == "drop" and len(free) > 1:
            fields.remove(self.random.choice(free))
        elif kind == "add" and unused:
            fields.append(self._column(self.random.choice(unused), 2))
        elif kind == "reorder":
            self.random.shuffle(fields)
        self.commit_schema()
        self.write_file()

    # what the log says

    def stated(self, kind: Kind) -> Any:
        if kind.name == "struct":
            return {"type": "struct", "fields": [self.stated_field(one) for one in kind.fields]}
        if kind.name == "array":
            return {"type": "array", "elementType": self.stated(kind.inner[0]), "containsNull": True}
        if kind.name == "map":
            key, value = kind.inner
            return {
                "type": "map",
                "keyType": self.stated(key),
                "valueType": self.stated(value),
                "valueContainsNull": True,
            }
        return kind.name

    def stated_field(self, column: Column) -> dict[str, Any]:
        return {
            "name": column.name,
            "type": self.stated(column.kind),
            "nullable": True,
            "metadata": {
                "delta.columnMapping.id": column.identity,
                "delta.columnMapping.physicalName": column.stored,
            },
        }

    def commit_schema(self) -> None:
        actions = head_actions(
            [self.stated_field(one) for one in self.columns],
            properties={"delta.columnMapping.mode": self.mode},
            mapping=True,
        )
        if self.version < 0:
            self.head = actions
        metadata = {**actions[1]["metaData"], "id": self.head[1]["metaData"]["id"]}
        self.commit([actions[0], {"metaData": metadata}])

    def commit(self, actions: list[dict[str, Any]]) -> None:
        self.version += 1
        put_commit(self.place, self.version, actions)

    # what stands in files

    def stored_name(self, column: Column) -> str:
        # By id, names in files mean nothing: the worst are those of other columns.
        return f"n{column.identity * 7 % 5}-{column.identity}" if self.mode == "id" else column.stored

    def arrow(self, kind: Kind) -> pa.DataType:
        if kind.name == "struct":
            return pa.struct([self.arrow_field(one) for one in kind.fields])
        if kind.name == "array":
            return pa.list_(self.arrow(kind.inner[0]))
        if kind.name == "map":
            return pa.map_(self.arrow(kind.inner[0]), self.arrow(kind.inner[1]))
        return PLAIN[kind.name]

    def arrow_field(self, column: Column) -> pa.Field:
        # In the other mode ids in files mean nothing either.
        number = column.identity if self.mode == "id" else 1_000 - column.identity
        metadata = {b"PARQUET:field_id": str(number).encode()}
        return pa.field(self.stored_name(column), self.arrow(column.kind), metadata=metadata)

    def write_file(self) -> None:
        start = len(self.rows)
        rows = [self.random_fields(self.columns) for _ in range(4)]
        for number, row in enumerate(rows, start):
            row[1] = number
        columns = list(self.columns)
        self.random.shuffle(columns)
        schema = pa.schema([self.arrow_field(one) for one in columns])
        stored = [self.stored_fields(columns, row) for row in rows]
        content = parquet(pa.Table.from_pylist(stored, schema=schema))
        path = f"part-{self.version}.parquet"
        put(self.place, path, content)
        self.commit([add_action(path, content)])
        self.rows += rows

    def random_fields(self, columns: list[Column]) -> dict[int, Any]:
        return {one.identity: self.random_value(one.kind) for one in columns}

    def random_value(self, kind: Kind) -> Any:
        if self.random.random() < 0.2:
            return None
        if kind.name == "struct":
            return self.random_fields(kind.fields)
        if kind.name == "array":
            return [self.random_value(kind.inner[0]) for _ in range(self.random.randint(0, 3))]
        if kind.name == "map":
            return [(f"k{n}", self.random_value(kind.inner[1])) for n in range(self.random.randint(0, 3))]
        number = self.random.randint(-1_000, 1_000)
        return {
            "long": number,
            "string": f"t{number}",
            "double": number / 8,
            "date": datetime.date(2000, 1, 1) + datetime.timedelta(number),
        }[kind.name]

    def stored_fields(self, columns: list[Column], row: dict[int, Any]) -> dict[str, Any]:
        return {
            self.stored_name(one): self.shown(one.kind, row[one.identity], self.stored_name)
            for one in columns
        }

    def shown(self, kind: Kind, value: Any, named: Any) -> Any:
        """A value with its fields under other names, those that it lacks as NULL."""
        if value is None:
            return None
        if kind.name == "struct":
            return {named(one): self.shown(one.kind, value.get(one.identity), named) for one in kind.fields}
        if kind.name == "array":
            return [self.shown(kind.inner[0], item, named) for item in value]
        if kind.name == "map":
            return [(key, self.shown(kind.inner[1], item, named)) for key, item in value]
        return value

    def expected(self) -> list[dict[str, Any]]:
        return [
            {one.name: self.shown(one.kind, row.get(one.identity), lambda c: c.name) for one in self.columns}
            for row in self.rows
        ]


def read(
    snapshot: Snapshot, columns: list[str] | None = None, files: list[int] | None = None
) -> list[dict[str, Any]]:
    """All rows as `scan_sql` gives them, in the order of the column id."""
    names = columns or snapshot.schema.names
    with duckdb.connect(":memory:", config={"threads": 2}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        listed = ", ".join(f"{column_sql(name)} AS {quote(name)}" for name in names)
        with naming_engine_failures():
            source = delta.scan_sql(connection, snapshot, names, files=files)
            found = connection.sql(f"SELECT {listed} FROM ({source})").to_arrow_table()
    rows: list[dict[str, Any]] = found.to_pylist()
    return sorted(rows, key=lambda row: row["id"]) if "id" in names else rows


def fetched(snapshot: Snapshot, ids: list[int]) -> list[dict[str, Any]]:
    """The rows with these ids as `locate` and `fetch` give them."""
    with duckdb.connect(":memory:", config={"threads": 2}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        values = ", ".join(f"({number}::BIGINT)" for number in ids)
        connection.execute(f"CREATE TEMP TABLE keys AS SELECT * FROM (VALUES {values}) t({column_sql('id')})")
        delta.locate(connection, snapshot, "keys", ["id"], "located")
        delta.fetch(connection, snapshot, "located", snapshot.schema.names, "images")
        listed = ", ".join(f"{column_sql(name)} AS {quote(name)}" for name in snapshot.schema.names)
        found = connection.sql(f"SELECT {listed} FROM images").to_arrow_table()
    return sorted(found.to_pylist(), key=lambda row: row["id"])


@pytest.mark.parametrize("mode", ["name", "id"])
@settings(max_examples=25)
@given(seed=st.integers(0, 2**32))
def test_fp1_columns_renamed_swapped_dropped_and_added_at_every_depth(mode: str, seed: int) -> None:
    model = Model(seed, mode)
    for _ in range(6):
        model.step()
    snapshot = snapshot_in(model.place.store, model.place.uri)
    expected = model.expected()
    assert read(snapshot) == expected
    assert fetched(snapshot, [0, 5, len(expected) - 1]) == [expected[0], expected[5], expected[-1]]


def test_fp1_a_table_mapped_by_id_refuses_a_file_without_ids() -> None:
    model = Model(1, "id")
    content = parquet(pa.table({"id": [1]}))
    put(model.place, "bare.parquet", content)
    model.commit([add_action("bare.parquet", content)])
    with pytest.raises(
        UnsupportedTable, match=r"Column id cannot be read from bare\.parquet: .* by field id"
    ):
        read(snapshot_in(model.place.store, model.place.uri))


# ---- files of others -----------------------------------------------------------------------------------------


def table_of(
    fields: list[tuple[str, Any]] | pa.Schema, *contents: bytes, place: Place | None = None, **options: Any
) -> Snapshot:
    """A table with these fields (name, Delta type) and files of this content."""
    place = place or memory_place()
    stated = (
        fields
        if isinstance(fields, pa.Schema)
        else [{"name": name, "type": kind, "nullable": True, "metadata": {}} for name, kind in fields]
    )
    actions = head_actions(stated, **options)
    for number, content in enumerate(contents):
        put(place, f"part-{number}.parquet", content)
        actions.append(add_action(f"part-{number}.parquet", content))
    put_commit(place, 0, actions)
    return snapshot_in(place.store, place.uri)


STRUCT = {
    "type": "struct",
    "fields": [{"name": name, "type": "long", "nullable": True, "metadata": {}} for name in ("Aa", "Bb")],
}


def test_fp4_names_that_differ_in_case_are_found_at_every_depth() -> None:
    hive = pa.table({"ID": [1, 2], "s": [{"bb": 20, "AA": 10}, None], "NAME": ["x", None]})
    exact = pa.table({"id": [3], "S": [{"Aa": 30, "Bb": 31}], "Name": ["z"]})
    snapshot = table_of([("id", "long"), ("S", STRUCT), ("Name", "string")], parquet(hive), parquet(exact))
    expected = [
        {"id": 1, "S": {"Aa": 10, "Bb": 20}, "Name": "x"},
        {"id": 2, "S": None, "Name": None},
        {"id": 3, "S": {"Aa": 30, "Bb": 31}, "Name": "z"},
    ]
    assert read(snapshot) == expected
    assert fetched(snapshot, [1, 3]) == [expected[0], expected[2]]


def test_fp4_the_exact_name_wins_and_two_that_fit_no_better_are_refused() -> None:
    both = parquet(pa.table({"id": [1], "NAME": ["wrong"], "Name": ["right"], "name": ["wrong"]}))
    snapshot = table_of([("id", "long"), ("Name", "string")], both)
    assert read(snapshot) == [{"id": 1, "Name": "right"}]
    unclear = parquet(pa.table({"id": [1], "NAME": ["?"], "name": ["?"]}))
    with pytest.raises(UnsupportedTable, match=r"Column Name cannot be read from part-0\.parquet: several"):
        read(table_of([("id", "long"), ("Name", "string")], unclear))
    inside = parquet(pa.table({"id": [1], "S": [{"AA": 1, "aa": 2}]}))
    with pytest.raises(UnsupportedTable, match=r"Column S\.Aa cannot be read from part-0\.parquet: several"):
        read(table_of([("id", "long"), ("S", STRUCT)], inside))


@pytest.mark.parametrize("named", ["P", "ｐ", "p"])
@pytest.mark.parametrize("gone", [True, False], ids=["file removed", "file there"])
def test_fp4_partition_values_under_a_name_in_other_letters_are_refused(named: str, gone: bool) -> None:
    """Spark finds no value there, others do: a merge would have moved rows to the partition of NULL."""
    place = memory_place()
    content = parquet(pa.table({"id": [1]}))
    fields = [
        {"name": name, "type": kind, "nullable": True, "metadata": {}}
        for name, kind in (("id", "long"), ("p", "string"))
    ]
    for name in ("other.parquet", "one.parquet"):
        put(place, name, content)
    other = {**add_action("other.parquet", content)["add"], "partitionValues": {named: "a"}}
    one = {**add_action("one.parquet", content)["add"], "partitionValues": {"p": "a"}}
    put_commit(place, 0, [*head_actions(fields, partition_by=["p"]), {"add": other}, {"add": one}])
    if gone:
        removed = {"path": "other.parquet", "deletionTimestamp": 1, "dataChange": True}
        put_commit(place, 1, [{"remove": removed}])
    snapshot = snapshot_in(place.store, place.uri)
    refused = pytest.raises(
        UnsupportedTable, match=r"column p under the name [Pｐ], .* Have those files written again"
    )
    with refused if named != "p" and not gone else contextlib.nullcontext():
        snapshot.require_writable()


OWN = ("file_row_number", "file_index", "filename", "row_number", "rowid", "file_size", "file_last_modified")


@settings(max_examples=25)
@given(
    names=st.lists(st.sampled_from(OWN), min_size=1, max_size=4, unique=True),
    upper=st.booleans(),
    known=st.booleans(),
    files=st.integers(1, 3),
)
def test_fd1_no_column_of_a_file_takes_the_place_of_a_position(
    names: list[str], upper: bool, known: bool, files: int
) -> None:
    """Whether the table has the column or only its files do (it was dropped): rows stand where they stand."""
    spelled = [name.upper() if upper else name for name in names]
    contents = []
    for number in range(files):
        columns: dict[str, Any] = {name: [7] * 5 for name in spelled[: len(spelled) - number % 2]}
        contents.append(
            parquet(pa.table({**columns, "id": range(number * 5, number * 5 + 5)}), row_group_size=2)
        )
    fields = [("id", "long"), *((name, "long") for name in (spelled if known else []))]
    snapshot = table_of(fields, *contents)
    with duckdb.connect(":memory:") as connection:
        source = delta.scan_sql(connection, snapshot, with_positions=True)
        found = connection.execute(
            f"SELECT file_index, row_number, {column_sql('id')} FROM ({source})"
        ).fetchall()
        assert sorted(found) == [(n // 5, n % 5, n) for n in range(files * 5)]
    rows = fetched(snapshot, list(range(0, files * 5, 3)))
    assert [row["id"] for row in rows] == list(range(0, files * 5, 3))
    if known:
        lacking = {1} if len(spelled) == 1 else set()
        assert all(row[spelled[0]] == (None if row["id"] // 5 in lacking else 7) for row in rows)


def test_fp14_statistics_that_name_a_column_which_the_file_lacks(tmp_path: Path) -> None:
    place = local_place(tmp_path)
    content = parquet(pa.table({"id": [1, 2]}))
    put(place, "part-0.parquet", content)
    stats = '{"numRecords":2,"nullCount":{"id":0,"later":2},"minValues":{"id":1},"maxValues":{"id":2}}'
    fields = pa.schema([("id", pa.int64()), ("later", pa.string())])
    put_commit(
        place, 0, [*head_actions(fields, vectors=True), add_action("part-0.parquet", content, stats=stats)]
    )
    page = merging.preview(place.uri, primary_keys=["id"])
    assert list(page.rows) == [{"id": 1, "later": None}, {"id": 2, "later": None}]
    staged = merging.stage(
        place.uri, pa.table({"id": [2], "later": ["x"]}), ["id"], destination=str(tmp_path / "s")
    )
    merging.merge(merging.MergeRequest(place.uri, "CR-1", ["id"], staged, destination=str(tmp_path / "a")))
    page = merging.preview(place.uri, primary_keys=["id"])
    assert list(page.rows) == [{"id": 1, "later": None}, {"id": 2, "later": "x"}]


# ---- how values are stored -----------------------------------------------------------------------------------

UTC = datetime.UTC
MOMENT = datetime.datetime(2013, 1, 1, 5, 0, 0, 123456)  # noqa: DTZ001


def cases() -> Iterator[Any]:
    def case(name: str, kind: str, stored: pa.Array, *shown: Any, **options: Any) -> Any:
        return pytest.param(kind, stored, list(shown), options, id=name)

    zoned = MOMENT.replace(tzinfo=UTC)
    coarse = MOMENT.replace(microsecond=123000)
    yield case("unannotated text", "string", pa.array([b"\xc3\xa4"]), "ä")
    yield case("annotated bytes", "binary", pa.array(["ä"]), b"\xc3\xa4")
    yield case("byte as int32", "byte", pa.array([-128, 127], pa.int32()), -128, 127)
    yield case("widened from int", "long", pa.array([1], pa.int32()), 1)
    yield case("widened to double", "double", pa.array([1], pa.int32()), 1.0)
    yield case("single as double", "double", pa.array([0.5], pa.float32()), 0.5)
    yield case("unsigned", "long", pa.array([2**32 - 1], pa.uint32()), 2**32 - 1)
    yield case("unsigned long", "long", pa.array([2**63 - 1], pa.uint64()), 2**63 - 1)
    for precision in (5, 15, 30):
        for integer in (True, False):
            yield case(
                f"decimal {precision} {'int' if integer else 'fixed'}",
                f"decimal({precision},2)",
                pa.array([Decimal("1.25"), Decimal("-9.99")], pa.decimal128(precision, 2)),
                Decimal("1.25"),
                Decimal("-9.99"),
                store_decimal_as_integer=integer,
            )
    yield case(
        "grown decimal", "decimal(20,4)", pa.array([Decimal("1.25")], pa.decimal128(9, 2)), Decimal("1.2500")
    )
    yield case("int as decimal", "decimal(20,4)", pa.array([7], pa.int32()), Decimal("7.0000"))
    yield case("ms", "timestamp", pa.array([coarse], pa.timestamp("ms", "UTC")), coarse.replace(tzinfo=UTC))
    yield case("local", "timestamp", pa.array([MOMENT], pa.timestamp("us")), zoned)
    yield case("ntz from utc", "timestamp_ntz", pa.array([zoned], pa.timestamp("us", "UTC")), MOMENT)
    yield case("ns", "timestamp", pa.array([zoned], pa.timestamp("ns", "UTC")), zoned)
    yield case("ns ntz", "timestamp_ntz", pa.array([MOMENT], pa.timestamp("ns")), MOMENT)
    early = datetime.datetime(1, 1, 1, tzinfo=UTC)
    late = datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    int96 = {"use_deprecated_int96_timestamps": True}
    yield case("INT96", "timestamp", pa.array([zoned], pa.timestamp("us", "UTC")), zoned, **int96)
    yield case(
        "INT96 far", "timestamp", pa.array([early, late], pa.timestamp("us", "UTC")), early, late, **int96
    )
    yield case("date as timestamp", "timestamp_ntz", pa.array([MOMENT.date()]), datetime.datetime(2013, 1, 1))  # noqa: DTZ001
    yield case("nothing but NULL", "long", pa.nulls(2), None, None)
    yield case("dictionary", "string", pa.array(["a", "a"]).dictionary_encode(), "a", "a")
    yield case("half", "float", pa.array([1.5], pa.float16()), 1.5)


@pytest.mark.parametrize(("kind", "stored", "shown", "options"), list(cases()))
def test_fp10_every_way_to_store_a_value_is_read_right(
    kind: str, stored: pa.Array, shown: list[Any], options: dict[str, Any]
) -> None:
    """Beside values that are NULL, too."""
    stored, shown = pa.concat_arrays([stored, pa.nulls(1, stored.type)]), [*shown, None]
    rows = pa.table({"id": range(len(shown)), "v": stored})
    snapshot = table_of([("id", "long"), ("v", kind)], parquet(rows, **options))
    assert [row["v"] for row in read(snapshot)] == shown
    inside = pa.table(
        {
            "id": range(len(shown)),
            "v": pa.array([[one] for one in shown], pa.list_(stored.type))
            if not pa.types.is_dictionary(stored.type)
            else pa.array([["a"], ["a"], [None]]),
        }
    )
    listed = {"type": "array", "elementType": kind, "containsNull": True}
    if stored.type in (pa.binary(), pa.string()) and kind in ("string", "binary"):
        return  # spelled otherwise in Python
    snapshot = table_of([("id", "long"), ("v", listed)], parquet(inside, **options))
    assert [row["v"] for row in read(snapshot)] == [[one] for one in shown]


REFUSED = [
    ("time", "long", pa.array([datetime.time(1)])),
    ("double as long", "long", pa.array([1.5])),
    ("long as double", "double", pa.array([2**53 + 1])),
    ("finer decimal", "decimal(9,1)", pa.array([Decimal("1.25")])),
    ("text as long", "long", pa.array(["1"])),
    ("long as text", "string", pa.array([1])),
    ("struct as long", "long", pa.array([{"a": 1}])),
    ("list as struct", STRUCT, pa.array([[1]])),
    ("long as struct", STRUCT, pa.array([1])),
]


@pytest.mark.parametrize(("kind", "stored"), [pytest.param(*case[1:], id=case[0]) for case in REFUSED])
def test_fp10_what_cannot_be_read_right_is_refused_by_column_and_file(kind: Any, stored: pa.Array) -> None:
    snapshot = table_of([("id", "long"), ("v", kind)], parquet(pa.table({"id": [1], "v": stored})))
    with pytest.raises(
        UnsupportedTable, match=r"Column v cannot be read from part-0\.parquet: it holds .* where"
    ):
        read(snapshot)
    assert read(snapshot, ["id"]) == [{"id": 1}]


OVERFLOWING = [
    ("too large", "integer", pa.array([2**40])),
    ("too large unsigned", "long", pa.array([2**64 - 1], pa.uint64())),
    ("no text", "string", pa.array([b"\xff"])),
    ("nanoseconds", "timestamp", pa.array([1], pa.timestamp("ns", "UTC"))),
]


@pytest.mark.parametrize(("kind", "stored"), [pytest.param(*case[1:], id=case[0]) for case in OVERFLOWING])
def test_fp10_a_value_that_does_not_fit_ends_in_a_named_error(kind: str, stored: pa.Array) -> None:
    snapshot = table_of([("id", "long"), ("v", kind)], parquet(pa.table({"id": [1], "v": stored})))
    with pytest.raises(MergeError):
        read(snapshot)


# ---- the calendar of old ------------------------------------------------------------------------------------

EPOCH = datetime.date(1970, 1, 1)


def julian(year: int, month: int, day: int) -> int:
    """Days since 1970 of a day that the Julian calendar calls so (Fliegel and Van Flandern's count)."""
    a = (14 - month) // 12
    y, m = year + 4800 - a, month + 12 * a - 3
    return day + (153 * m + 2) // 5 + 365 * y + y // 4 - 32083 - 2_440_588


LEGACY = {"org.apache.spark.version": "3.2.0", "org.apache.spark.legacyDateTime": ""}


def legacy_parquet(rows: pa.Table, stated: dict[str, str], **options: Any) -> bytes:
    return parquet(rows.replace_schema_metadata(stated), **options)


DAYS = [
    (1, 1, 1),
    (99, 12, 31),
    (100, 2, 28),
    (100, 3, 1),
    (200, 3, 1),
    (1000, 1, 1),
    (1100, 2, 28),
    (1500, 3, 1),
    (1582, 10, 4),
]


@pytest.mark.parametrize(
    "stated", [LEGACY, {"org.apache.spark.version": "2.4.8"}], ids=["written so", "by Spark 2"]
)
def test_fp9_days_of_the_legacy_calendar_keep_their_names(stated: dict[str, str]) -> None:
    named = [datetime.date(*day) for day in DAYS] + [datetime.date(1582, 10, 15), datetime.date(2020, 1, 1)]
    counted = [julian(*day) for day in DAYS] + [(day - EPOCH).days for day in named[-2:]]
    zone = {"org.apache.spark.timeZone": "UTC"}
    rows = pa.table(
        {
            "id": range(len(named)),
            "d": pa.array(counted, pa.int32()).cast(pa.date32()),
            "t": pa.array([day * 86_400_000_000 + 1 for day in counted], pa.timestamp("us", "UTC")),
            "n": pa.array([day * 86_400_000_000 for day in counted], pa.timestamp("us")),
        }
    )
    snapshot = table_of(
        [("id", "long"), ("d", "date"), ("t", "timestamp"), ("n", "timestamp_ntz")],
        legacy_parquet(rows, {**stated, **zone}),
    )
    found = read(snapshot, ["id", "d", "t"])
    assert [row["d"] for row in found] == named
    moments = [datetime.datetime.combine(day, datetime.time(0, 0, 0, 1), UTC) for day in named]
    assert [row["t"] for row in found] == moments
    # Spark never moves timestamps without zone.
    assert fetched(snapshot, [3])[0]["d"] == named[3]


def test_fp9_the_day_that_the_gregorian_calendar_lacks_is_the_first_of_march() -> None:
    rows = pa.table({"id": [1], "d": pa.array([julian(1500, 2, 29)], pa.int32()).cast(pa.date32())})
    snapshot = table_of([("id", "long"), ("d", "date")], legacy_parquet(rows, LEGACY))
    assert read(snapshot) == [{"id": 1, "d": datetime.date(1500, 3, 1)}]


def test_fp9_files_of_today_and_of_nobody_are_taken_as_they_stand() -> None:
    day = datetime.date(1500, 1, 1)
    rows = pa.table({"id": [1], "d": [day]})
    for stated in ({}, {"org.apache.spark.version": "3.5.0"}):
        snapshot = table_of([("id", "long"), ("d", "date")], legacy_parquet(rows, stated))
        assert read(snapshot) == [{"id": 1, "d": day}]


@pytest.mark.parametrize(
    "zone", [{}, {"org.apache.spark.timeZone": "Europe/Amsterdam"}], ids=["none", "other"]
)
@pytest.mark.parametrize("int96", [True, False])
def test_fp9_old_moments_of_another_zone_are_refused_and_new_ones_read(
    zone: dict[str, str], int96: bool
) -> None:
    new = datetime.datetime(1950, 1, 1, tzinfo=UTC)
    old = datetime.datetime(1850, 1, 1, tzinfo=UTC)
    legacy = "org.apache.spark.legacyINT96" if int96 else "org.apache.spark.legacyDateTime"
    stated = {"org.apache.spark.version": "3.5.0", legacy: "", **zone}

    def snapshot(*moments: datetime.datetime) -> Snapshot:
        rows = pa.table({"id": range(len(moments)), "t": pa.array(moments, pa.timestamp("us", "UTC"))})
        content = legacy_parquet(rows, stated, use_deprecated_int96_timestamps=int96)
        return table_of([("id", "long"), ("t", "timestamp")], content)

    assert read(snapshot(new)) == [{"id": 0, "t": new}]
    with pytest.raises(
        UnsupportedTable, match=r"Column t holds a timestamp before 1900 in the legacy calendar"
    ):
        read(snapshot(new, old))


# ---- partition values ---------------------------------------------------------------------------------------


def partitioned(kind: str, *values: str, **properties: str) -> Snapshot:
    place = memory_place()
    actions = head_actions(
        [
            {"name": name, "type": of, "nullable": True, "metadata": {}}
            for name, of in (("id", "long"), ("p", kind))
        ],
        partition_by=["p"],
        properties=properties,
    )
    for number, value in enumerate(values):
        content = parquet(pa.table({"id": [number]}))
        put(place, f"part-{number}.parquet", content)
        actions.append(add_action(f"part-{number}.parquet", content, {"p": value}))
    put_commit(place, 0, actions)
    return snapshot_in(place.store, place.uri)


def test_fp5_partition_moments_are_read_by_their_zone() -> None:
    spelled = ("2024-01-01T17:00:00.000000Z", "2024-01-01 18:00:00+01:00", "2024-01-01T17:00:00.000Z")
    moment = datetime.datetime(2024, 1, 1, 17, tzinfo=UTC)
    assert [row["p"] for row in read(partitioned("timestamp", *spelled))] == [moment] * 3


def test_fp5_partition_moments_without_a_zone_are_refused_until_the_table_says_it() -> None:
    bare = ("2024-07-01 17:00:00", "2024-01-01T17:00:00.5", "2024-01-01")
    with pytest.raises(
        UnsupportedTable, match=r"The partition column p holds timestamps without a time zone"
    ):
        read(partitioned("timestamp", *bare))
    with pytest.raises(UnsupportedTable, match=r"without a time zone"):
        partitioned("timestamp", *bare).strategy()
    told = partitioned("timestamp", *bare, **{"headgate.partitionTimeZone": "Europe/Amsterdam"})
    assert [row["p"] for row in read(told)] == [
        datetime.datetime(2024, 7, 1, 15, tzinfo=UTC),
        datetime.datetime(2024, 1, 1, 16, 0, 0, 500_000, tzinfo=UTC),
        datetime.datetime(2023, 12, 31, 23, tzinfo=UTC),
    ]
    with duckdb.connect(":memory:") as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(
            f"CREATE TEMP TABLE keys AS SELECT TIMESTAMPTZ '2024-07-01 15:00:00Z' AS {column_sql('p')}"
        )
        located = delta.locate(connection, told, "keys", ["p"], "located")
        assert (located.rows, located.files_read) == (1, (0,))
    assert read(partitioned("timestamp_ntz", bare[0]))[0]["p"] == datetime.datetime(2024, 7, 1, 17)  # noqa: DTZ001


@pytest.mark.parametrize("kind", ["double", "float"])
def test_fp5_infinities_of_all_spellings(kind: str) -> None:
    spelled = ("inf", "Infinity", "-inf", "-Infinity", "1.5")
    infinity = float("inf")
    assert [row["p"] for row in read(partitioned(kind, *spelled))] == [
        infinity,
        infinity,
        -infinity,
        -infinity,
        1.5,
    ]


@pytest.mark.parametrize("vectors", [True, False])
def test_fp2_int96_before_its_first_day_is_refused_never_taken_for_the_far_future(
    vectors: bool, tmp_path: Path
) -> None:
    """Spark's day is signed, DuckDB's and pyarrow's is not: -1 is the day before Julian day 0."""
    rows = pa.table({"id": [1, 2], "t": pa.array([0, 86_400_000_000], pa.timestamp("us", "UTC"))})
    content = parquet(
        rows,
        use_deprecated_int96_timestamps=True,
        compression="none",
        use_dictionary=False,
        write_statistics=False,
    )
    midnight = bytes(8)
    second = midnight + (2_440_589).to_bytes(4, "little")
    assert content.count(second) == 1
    place = local_place(tmp_path)
    put(place, "part-0.parquet", content.replace(second, midnight + (-1).to_bytes(4, "little", signed=True)))
    put_commit(place, 0, [*head_actions(rows.schema, vectors=vectors), add_action("part-0.parquet", content)])
    changes = pa.table({"id": [2], "t": rows["t"][:1]})
    with pytest.raises(UnsupportedTable, match="holds an INT96 timestamp before"):
        merging.stage(place.uri, changes, ["id"], destination=str(tmp_path / "staged"))
    assert delta.open_snapshot(place.uri).version == 0
