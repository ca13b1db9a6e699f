"""Reading rows with DuckDB: find rows by key, fetch them, scan them all.

Rows are named by `file_index` (position in `Snapshot.files`) and `row_number` (position in that file), which
is how deletion vectors name them too. Relations that are taken or made here hold the table's columns under their
labels (`schema.column_label`). `locate` reads the key columns alone, of the files whose statistics
allow a key; `fetch` reads the files with hits.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import duckdb
import numpy as np
import pyarrow as pa

from merging.delta.actions import DataFile
from merging.delta.fields import TableField
from merging.delta.footers import FileField, FileLayout, file_fields, read_footers
from merging.delta.large_chunks import make_room
from merging.delta.projecting import can_be_named, project
from merging.delta.row_tracking import ROW_COMMIT_VERSION, ROW_ID
from merging.delta.snapshot import Snapshot
from merging.delta.statistics import candidate_files
from merging.delta.vectors import among_dead
from merging.sql.failures import naming_engine_failures
from merging.sql.paging import ROW_BYTES, narrow_rows
from merging.sql.parsing import beyond_text
from merging.sql.quoting import column_sql, literal, quote
from merging.sql.session import limits
from merging.sql.types import duckdb_type, holds_floating

_names = itertools.count()
_FILES_PER_STATEMENT = 64
_BYTES_PER_STATEMENT = 16 << 20
_SMALL = 1 << 20
#: To open such a file takes longer than to read all of it.
_TINY = 64 << 10
_MUCH = 64 << 20
#: Fewer rows to a key than that are sooner asked for all of it at once; and so are those of columns with few values,
#: which most rows have one of.
_ROWS_A_KEY = 32
_KEYS_A_VALUE = 8
#: A file whose number of rows the log does not tell may have so many.
_UNTOLD = 1 << 32
#: Of rows by where they stand, which Python looks at.
_ROWS_AT_A_TIME = 1 << 20


@dataclass(frozen=True)
class Located:
    """What `locate` did: rows found, the files whose key columns it read, the files with hits."""

    rows: int
    files_read: tuple[int, ...]
    files_hit: tuple[int, ...]


def locate(
    connection: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    keys: str,
    key_columns: Sequence[str],
    into: str,
    *,
    files: Collection[int] | None = None,
    further: Sequence[str] = (),
) -> Located:
    """Create the temporary table `into`(file_index, row_number, key columns, `further` ones) of live rows with a key of
    `keys`.

    `keys` names a relation with the key columns in the table's exact types; neither it nor `into` is quoted.
    `files` are the indexes of the files to look into, None for those that can hold a key.
    Raises MergeFailed when a data file or vector is missing or damaged.
    """
    candidates = candidate_files(connection, snapshot, keys, key_columns) if files is None else sorted(files)
    names = [*key_columns, *further]
    columns = ", ".join(f"p.{column_sql(name)}" for name in names)
    if not candidates:
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {into} AS {no_rows_sql(snapshot, names)}")
        return Located(0, (), ())
    using = " AND ".join(f"p.{column_sql(name)} = k.{column_sql(name)}" for name in key_columns)
    source = f"({files_sql(connection, snapshot, candidates, names)})"
    first = _telling_column(connection, snapshot, keys, key_columns, candidates)
    if first is not None:
        source = f"(SELECT p.* FROM {source} p SEMI JOIN {keys} k ON p.{first} = k.{first})"
    _run(
        connection,
        snapshot,
        f"CREATE OR REPLACE TEMP TABLE {into} AS SELECT p.file_index, p.row_number, {columns} "
        f"FROM {source} p SEMI JOIN {keys} k ON {using}",
    )
    drop_dead(connection, snapshot, into)
    rows = connection.execute(f"SELECT file_index, count(*) FROM {into} GROUP BY 1 ORDER BY 1").fetchall()
    return Located(
        sum(int(count) for _, count in rows), tuple(candidates), tuple(int(index) for index, _ in rows)
    )


def _telling_column(
    connection: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    keys: str,
    key_columns: Sequence[str],
    files: Sequence[int],
) -> str | None:
    """The key column, quoted, by which alone most rows of the files are told to have none of the keys, if there is one.

    What a scan is told of one column it looks at before it hands on any row; of several together it is told nothing.
    """
    if len(key_columns) < 2:
        return None
    names = [column_sql(name) for name in key_columns]
    asked = ", ".join(f"approx_count_distinct({name})" for name in names)
    [(number, *different)] = connection.execute(f"SELECT count(*), {asked} FROM {keys}").fetchall()
    rows = snapshot.files.numbers("records", _UNTOLD)[np.asarray(files, np.int64)].sum()
    most = max(different)
    if number * _ROWS_A_KEY > rows or most * _KEYS_A_VALUE < number:
        return None
    return names[different.index(most)]


def read_at_one_look(snapshot: Snapshot, files: Collection[int]) -> bool:
    """Whether rows of these files are found by their keys and fetched at once: of tiny local files nothing is left
    unread that would take longer than to open each of them a second time.
    """
    if not snapshot.store.is_local:
        return False
    sizes = snapshot.files.numbers("size")[np.fromiter(files, np.int64, len(files))]
    return bool((sizes <= _TINY).all() and sizes.sum() <= _MUCH)


def fetch(
    connection: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    located: str,
    columns: Sequence[str],
    into: str,
    *,
    row_ids: bool = False,
    narrow: NarrowRows | None = None,
    told: Collection[str] = (),
) -> None:
    """Create the temporary table `into`(file_index, row_number, `columns`) of the rows named in `located`; `row_ids` as
    in `files_sql`; `narrow` adds `paging.ROW_BYTES` before all others. Each row is named once, and with it may be
    `told` some of the columns, which are not read again.

    Reads only the files with hits. Raises MergeFailed when one of them is missing or damaged.
    """
    snapshot.store.attach(connection)
    found = connection.execute(f"SELECT DISTINCT file_index FROM {located} ORDER BY ALL").fetchall()
    hits = [int(index) for (index,) in found]
    empty = no_rows_sql(snapshot, columns, row_ids=row_ids)
    read = [name for name in columns if name not in told]
    told_sql = "".join(f", {column_sql(name)}" for name in told)
    cells = [f"{'l' if name in told else 'p'}.{column_sql(name)}" for name in columns]
    selected = ", ".join(
        ["p.file_index", "p.row_number", *cells, *(f"p.{one}" for one in _row_id_names(row_ids))]
    )
    beside = "JOIN" if told else "SEMI JOIN"
    if narrow is not None:
        empty = f"SELECT 0::BIGINT AS {ROW_BYTES}, * FROM ({empty})"
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {into} AS {empty}")

    def hit_sql(files: Sequence[int], hit: str) -> str:
        source = files_sql(connection, snapshot, files, read, row_ids=row_ids)
        rows = f"SELECT {selected} FROM ({source}) p {beside} {hit}"
        return rows if narrow is None else narrow.of(rows, snapshot, columns)

    small, hits = _apart(snapshot, hits)
    with _in_any_order(connection):
        if small:
            there = f"{located} l ON p.file_index = l.file_index AND p.row_number = l.row_number"
            _run(connection, snapshot, f"INSERT INTO {into} {hit_sql(small, there)}")
        for together in _batches(snapshot, hits):
            # File by file, so that each one's own range of row numbers prunes its row groups; in one statement,
            # so that files are read in parallel.
            parts = " UNION ALL ".join(
                hit_sql(
                    [index],
                    f"(SELECT row_number{told_sql} FROM {located} WHERE file_index = {index}) l "
                    "ON p.row_number = l.row_number",
                )
                for index in together
            )
            _run(connection, snapshot, f"INSERT INTO {into} {parts}")


@dataclass(frozen=True)
class NarrowRows:
    """Rows that take more than `widest` bytes have only the cells of the columns `whole` and those of a fixed size."""

    widest: int
    whole: Collection[str]

    def of(self, rows: str, snapshot: Snapshot, columns: Sequence[str]) -> str:
        """A SELECT of rows with `file_index`, `row_number` and these columns that tells how many bytes each takes."""
        types = {column_sql(name): duckdb_type(snapshot.schema.field(name).type) for name in columns}
        types = {"file_index": "BIGINT", "row_number": "BIGINT", **types}
        return narrow_rows(rows, types, self.widest, set(map(column_sql, self.whole)))


def _apart(snapshot: Snapshot, files: Sequence[int]) -> tuple[list[int], list[int]]:
    """The files that one scan reads together, and those that are read each by itself: of a small local file there is
    nothing to leave out, while a scan of its own costs more than reading it.
    """
    sizes = snapshot.files.numbers("size")
    small = [index for index in files if sizes[index] <= _SMALL] if snapshot.store.is_local else []
    if len(small) < 2:
        return [], list(files)
    return small, [index for index in files if sizes[index] > _SMALL]


def _batches(snapshot: Snapshot, files: Sequence[int]) -> Iterator[list[int]]:
    """The files that are fetched from by one statement. DuckDB reads ahead in all of them at once: of large files on
    local disk as many as there are threads keep those busy, and in a distant store it is requests that take the time.
    """
    least = limits().threads if snapshot.store.is_local else _FILES_PER_STATEMENT
    sizes = snapshot.files.numbers("size")
    batch: list[int] = []
    size = 0
    for index in files:
        if len(batch) == _FILES_PER_STATEMENT or (len(batch) >= least and size >= _BYTES_PER_STATEMENT):
            yield batch
            batch, size = [], 0
        batch.append(index)
        size += int(sizes[index])
    if batch:
        yield batch


@contextlib.contextmanager
def _in_any_order(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Rows of a union come as they are read: only so does DuckDB read its parts in parallel."""
    connection.execute("SET preserve_insertion_order = false")
    try:
        yield
    finally:
        connection.execute("RESET preserve_insertion_order")


def scan_sql(
    connection: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    columns: Sequence[str] | None = None,
    *,
    files: Sequence[int] | None = None,
    with_positions: bool = False,
    row_ids: bool = False,
) -> str:
    """A SELECT over all live rows (or those of `files`): vectors applied, partition values included.

    It refers to temporary tables made on the connection, so it runs there only. `with_positions` adds
    file_index and row_number in front; `row_ids` as in `files_sql`.
    """
    names = list(snapshot.schema.names if columns is None else columns)
    chosen = range(len(snapshot.files)) if files is None else files
    selected = ", ".join(
        (["p.file_index", "p.row_number"] if with_positions else [])
        + [f"p.{name}" for name in (*map(column_sql, names), *_row_id_names(row_ids))]
    )
    parts = []
    has_vector = snapshot.files.having_vectors()
    whole = [index for index in chosen if not has_vector[index]]
    holed = [index for index in chosen if has_vector[index]]
    if whole:
        source = files_sql(connection, snapshot, whole, names, row_ids=row_ids)
        parts.append(f"SELECT {selected} FROM ({source}) p")
    if holed:
        dead = _dead_table(connection, snapshot, holed)
        source = files_sql(connection, snapshot, holed, names, row_ids=row_ids)
        parts.append(
            f"SELECT {selected} FROM ({source}) p ANTI JOIN {dead} d "
            "ON p.row_number = d.row_number AND p.file_index = d.file_index"
        )
    if not parts:
        return no_rows_sql(snapshot, names, with_positions=with_positions, row_ids=row_ids)
    return " UNION ALL ".join(parts)


def no_rows_sql(
    snapshot: Snapshot, columns: Sequence[str], *, with_positions: bool = True, row_ids: bool = False
) -> str:
    """A SELECT of no rows with the columns that `scan_sql` gives."""
    empty = ["0::BIGINT AS file_index", "0::BIGINT AS row_number"] if with_positions else []
    empty += [_null_column(snapshot, name) for name in columns]
    empty += [f"NULL::BIGINT AS {name}" for name in _row_id_names(row_ids)]
    return f"SELECT {', '.join(empty)} WHERE false"


def files_sql(
    connection: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    files: Sequence[int],
    columns: Sequence[str],
    *,
    row_ids: bool = False,
) -> str:
    """A SELECT of file_index, row_number and `columns` over the stored rows of `files`, dead rows included.

    `row_ids`, of a table whose rows keep their ids, adds `row_id` and `row_commit_version` at the end; they are NULL in
    rows that never got any.

    A column that a file lacks is NULL (it was added later); order, presence and nesting of columns may differ by
    file. Raises MergeFailed and UnsupportedTable as `read_footers` and `project` do.
    """
    snapshot.store.attach(connection)
    stored = set(columns) - set(snapshot.partition_columns)
    wanted = [one for one in snapshot.fields if one.name in stored]
    tracking = snapshot.row_tracking if row_ids else None
    kept = () if tracking is None else tracking.kept
    legs = _legs(connection, snapshot, files, [*wanted, *kept])
    return " UNION ALL ".join(_leg_sql(snapshot, leg, columns, kept) for leg in legs)


def _row_id_names(asked: bool) -> tuple[str, ...]:
    return (ROW_ID, ROW_COMMIT_VERSION) if asked else ()


@dataclass
class _Leg:
    """Files that one scan reads alike: how it names them, and what it makes of each stored column."""

    expressions: Mapping[str, str]
    by_name: bool
    layouts: list[FileLayout] = field(default_factory=list)
    files: list[int] = field(default_factory=list)
    types: dict[str, str] = field(default_factory=dict)


def _legs(
    connection: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    files: Sequence[int],
    wanted: Sequence[TableField],
) -> list[_Leg]:
    """The scans that read `files`: one for each layout, or for all layouts that can be told by the names of their
    columns (`union_by_name`), which is what most tables are."""
    by_layout: dict[str, tuple[FileLayout, list[int]]] = {}
    footers = read_footers(snapshot.store, snapshot.files.at(files))
    make_room(connection, snapshot, zip(snapshot.files.at(files), footers, strict=True), wanted)
    for index, footer in zip(files, footers, strict=True):
        by_layout.setdefault(footer.layout.signature, (footer.layout, []))[1].append(index)
    legs: list[_Leg] = []
    for layout, indexes in by_layout.values():
        first = snapshot.files[indexes[0]]
        with named_failures(snapshot):
            held = file_fields(connection, layout, _engine_path(snapshot, first))
        named = len(by_layout) > 1 and can_be_named(held)
        made = project(
            layout,
            held,
            wanted,
            snapshot.mapping_mode,
            first.path,
            functools.partial(_spelled, held if named else None),
        )
        leg = _Leg(dict(zip((one.name for one in wanted), made, strict=True)), named)
        types = {one.name.casefold(): one.type_text for one in held}
        for other in legs if named else ():
            if other.by_name and other.expressions == leg.expressions and _agree(other.types, types):
                leg = other
                break
        else:
            legs.append(leg)
        leg.types.update(types)
        leg.layouts.append(layout)
        leg.files += indexes
    return legs


def _spelled(held: Sequence[FileField] | None, place: int) -> str:
    return f"p{place}" if held is None else quote(held[place].name)


def _agree(left: Mapping[str, str], right: Mapping[str, str]) -> bool:
    return all(left[name] == right[name] for name in left.keys() & right.keys())


def _leg_sql(snapshot: Snapshot, leg: _Leg, columns: Sequence[str], kept: Sequence[TableField]) -> str:
    files = snapshot.files.at(leg.files)
    paths = ", ".join(literal(_engine_path(snapshot, file)) for file in files)
    source = f"read_parquet([{paths}], hive_partitioning = false"
    if len(leg.layouts) > 1:
        source += ", union_by_name = true)"
    elif leg.by_name:
        source += ")"
    else:
        # Every column gets a name of ours, so none can take the place of DuckDB's own (`file_row_number`, …).
        renamed = ", ".join(f"p{place}" for place in range(len(leg.layouts[0].arrow)))
        source += f") AS t({renamed})"
    if leg.files == list(range(len(leg.files))):
        index_sql = "file_index::BIGINT"
    elif len(leg.files) == 1:
        index_sql = f"{leg.files[0]}::BIGINT"
    else:
        index_sql = f"([{', '.join(str(index) for index in leg.files)}]::BIGINT[])[file_index::BIGINT + 1]"
    selected = [f"{index_sql} AS file_index", "file_row_number AS row_number"]
    for name in columns:
        if name in snapshot.partition_columns:
            selected.append(f"{_partition_sql(snapshot, files, name)} AS {column_sql(name)}")
        else:
            value = _unbounded(leg.expressions[name], snapshot.schema.field(name).type)
            selected.append(f"{value} AS {column_sql(name)}")
    if kept:
        for one, label, fresh in zip(kept, _row_id_names(True), _fresh(files), strict=True):
            selected.append(f"coalesce({leg.expressions[one.name]}, {fresh}) AS {label}")
    return f"SELECT {', '.join(selected)} FROM {source}"


def _unbounded(value: str, data_type: pa.DataType) -> str:
    """The same, of floating numbers in a form of which DuckDB knows no bounds: footers of others leave NaN out of
    theirs, and a filter that is true of it would leave out row groups that have it.
    """
    if not holds_floating(data_type):
        return value
    length = _length_within(value, data_type)
    if length is None:
        return f"CASE WHEN {value} IS NULL THEN NULL ELSE {value} END"
    # Of what is in a list DuckDB knows bounds through any CASE: there they are those of NaN, too, which no row takes.
    nan = f"{_nan_sql(data_type)}::{duckdb_type(data_type)}"
    return f"CASE WHEN {length} < 0 THEN {nan} ELSE {value} END"


def _length_within(value: str, data_type: pa.DataType) -> str | None:
    """How many elements the first list or map has that stands in a value; None where none does."""
    if pa.types.is_map(data_type):
        return f"cardinality({value})"
    if not pa.types.is_struct(data_type):
        return f"len({value})" if pa.types.is_nested(data_type) else None
    parts = (
        _length_within(f"struct_extract_at({value}, {index + 1})", data_type.field(index).type)
        for index in range(data_type.num_fields)
    )
    return next((part for part in parts if part is not None), None)


def _nan_sql(data_type: pa.DataType) -> str:
    """A value of a type in which every floating number is NaN, and of all else as little as there can be."""
    if pa.types.is_floating(data_type):
        return "'nan'::DOUBLE"
    if pa.types.is_struct(data_type):
        return f"row({', '.join(_nan_sql(field.type) for field in data_type)})"
    if pa.types.is_map(data_type):
        key = data_type.key_type
        of_key = _nan_sql(key) if holds_floating(key) else _some_sql(key)
        return f"map([{of_key}], [{_nan_sql(data_type.item_type)}])"
    if pa.types.is_nested(data_type):
        return f"[{_nan_sql(data_type.value_type)}]"
    return f"NULL::{duckdb_type(data_type)}"


def _some_sql(data_type: pa.DataType) -> str:
    """A value of a type, not NULL: keys of maps never are."""
    if pa.types.is_struct(data_type):
        return f"row({', '.join(_some_sql(field.type) for field in data_type)})"
    if pa.types.is_nested(data_type):
        return f"[]::{duckdb_type(data_type)}"
    written = "2000-01-01" if pa.types.is_temporal(data_type) else "0"
    return f"'{written}'::{duckdb_type(data_type)}"


def _fresh(files: Sequence[DataFile]) -> tuple[str, str]:
    """The row id and commit version of a row that keeps no others: counted from what the log says of its file."""
    stated = [
        [str(file.extra.get(name, "NULL")) for file in files]
        for name in ("baseRowId", "defaultRowCommitVersion")
    ]
    first, version = (_by_file(one, "BIGINT") for one in stated)
    return f"{first} + file_row_number", version


def engine_paths(snapshot: Snapshot) -> list[str]:
    """What DuckDB opens to read the data files: all that a session needs that is locked to one snapshot."""
    return [_engine_path(snapshot, file) for file in snapshot.files]


def _engine_path(snapshot: Snapshot, file: DataFile) -> str:
    return snapshot.store.engine_path(snapshot.store.relative(file.path))


def _partition_sql(snapshot: Snapshot, files: Sequence[DataFile], name: str) -> str:
    type_name = duckdb_type(snapshot.schema.field(name).type)
    return _by_file(partition_constants(snapshot, files, name), type_name)


def partition_constants(snapshot: Snapshot, files: Sequence[DataFile], name: str) -> list[str]:
    """SQL of each file's value of a partition column, to be cast to the column's type."""
    data_type = snapshot.schema.field(name).type
    type_name = duckdb_type(data_type)
    values = [snapshot.partition_text(file, name) for file in files]
    spelled = ["NULL" if value is None else literal(value) for value in values]
    if pa.types.is_binary(data_type):
        # The log has bytes as the text that they are; a cast would take some of it for escapes, and refuse the rest.
        spelled = [f"encode({value})" for value in spelled]
    beyond = [None if value is None else beyond_text(value, data_type) for value in values]
    if any(beyond):
        spelled = [one or f"CAST({text} AS {type_name})" for one, text in zip(beyond, spelled, strict=True)]
    return spelled


def _by_file(spelled: Sequence[str], type_name: str) -> str:
    """SQL of a value that each file of a scan has one of."""
    if len(set(spelled)) == 1:
        return f"CAST({spelled[0]} AS {type_name})"
    return f"(CAST([{', '.join(spelled)}] AS {type_name}[]))[file_index::BIGINT + 1]"


def _null_column(snapshot: Snapshot, name: str) -> str:
    return f"NULL::{duckdb_type(snapshot.schema.field(name).type)} AS {column_sql(name)}"


def drop_dead(connection: duckdb.DuckDBPyConnection, snapshot: Snapshot, table: str) -> None:
    """Delete from `table` the rows that vectors mark as gone: only found rows are looked up, not whole vectors."""
    has_vector = snapshot.files.having_vectors()
    if not has_vector.any():
        return
    hit = connection.execute(
        f"SELECT file_index, count(*) AS number FROM {table} GROUP BY file_index"
    ).fetchnumpy()
    holed = has_vector[hit["file_index"]]
    if not holed.any():
        return
    marks = ", ".join(map(str, sorted(hit["file_index"][holed].tolist())))
    some_rows = (
        f"SELECT file_index, row_number FROM {table} WHERE file_index IN ({marks}) ORDER BY file_index"
    )
    dead_indexes: list[np.ndarray] = []
    dead_numbers: list[np.ndarray] = []
    for indexes, numbers in positions_in(connection, some_rows, int(hit["number"][holed].sum())):
        there = np.unique(indexes)
        for index, file in zip(there, snapshot.files.at(there), strict=True):
            if file.vector is not None:
                mine = numbers[indexes == index]
                dead = mine[among_dead(snapshot.store, file.vector, mine)]
                dead_indexes.append(np.full(len(dead), int(index), dtype=np.int64))
                dead_numbers.append(dead)
    if not any(map(len, dead_numbers)):
        return
    _register(connection, "headgate_dead", np.concatenate(dead_indexes), np.concatenate(dead_numbers))
    try:
        connection.execute(
            f"DELETE FROM {table} USING headgate_dead d "
            f"WHERE {table}.file_index = d.file_index AND {table}.row_number = d.row_number"
        )
    finally:
        connection.unregister("headgate_dead")


def positions_in(
    connection: duckdb.DuckDBPyConnection, query: str, number: int | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The two columns of a query of rows by where they stand, in portions: of many no more are held than in one.

    ``number`` is how many there are, where that is known. Nothing else is asked of the connection meanwhile.
    """
    if number is not None and number <= _ROWS_AT_A_TIME:  # a reader would have it planned twice
        found = connection.execute(query).fetchnumpy()
        yield found["file_index"], found["row_number"]
        return
    for portion in connection.sql(query).to_arrow_reader(_ROWS_AT_A_TIME):
        indexes, numbers = (column.to_numpy() for column in portion.columns)
        yield indexes, numbers


def _dead_table(connection: duckdb.DuckDBPyConnection, snapshot: Snapshot, files: Sequence[int]) -> str:
    indexes: list[np.ndarray] = []
    numbers: list[np.ndarray] = []
    for index, file in zip(files, snapshot.files.at(files), strict=True):
        dead = np.asarray(snapshot.dead_rows(file).to_array(), dtype=np.int64)
        indexes.append(np.full(len(dead), index, dtype=np.int64))
        numbers.append(dead)
    return register_positions(connection, np.concatenate(indexes), np.concatenate(numbers))


def register_positions(
    connection: duckdb.DuckDBPyConnection,
    indexes: np.ndarray,
    numbers: np.ndarray,
    *,
    for_cursors: bool = False,
) -> str:
    """A fresh temporary table (file_index, row_number) of these positions; its name. Where it is `for_cursors` those of
    the connection see it, too.
    """
    name = f"headgate_positions_{next(_names)}"
    source = f"{name}_source"
    _register(connection, source, indexes, numbers)
    kind = "TABLE" if for_cursors else "TEMP TABLE"
    try:
        connection.execute(f"CREATE {kind} {name} AS SELECT * FROM {source}")
    finally:
        connection.unregister(source)
    return name


def _register(
    connection: duckdb.DuckDBPyConnection, name: str, indexes: np.ndarray, numbers: np.ndarray
) -> None:
    connection.register(name, pa.table({"file_index": indexes, "row_number": numbers}))


def _run(connection: duckdb.DuckDBPyConnection, snapshot: Snapshot, statement: str) -> None:
    with named_failures(snapshot):
        connection.execute(statement)


def named_failures(snapshot: Snapshot) -> contextlib.AbstractContextManager[None]:
    """Turns what DuckDB says of the table's files into errors of the engine's family."""
    return naming_engine_failures(snapshot.uri, {"table_uri": snapshot.uri, "version": snapshot.version})
