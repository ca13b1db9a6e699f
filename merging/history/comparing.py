"""What differs between two states of rows: versions of a table, staged contents, the images of a merge.

Whatever the two are, their differing rows are one relation: ``n`` (0, 1, … in the order of the keys), ``op`` (insert,
update, delete), ``k<j>`` the keys, ``b<i>`` and ``a<i>`` the value columns before and after. From it come pages, and
files in the flat shape: ``_op``, the key columns, and of each column that differs in some row its two values, called by
its name and, behind a dot, what the caller calls the two sides.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from merging.delta import named_as, open_snapshot, schema_of_both
from merging.delta.keys import check_key_columns
from merging.delta.statistics import Range
from merging.engines import EngineRead, compare
from merging.errors import InvalidKeys
from merging.executing.artefacts import images_sql
from merging.history.diffs import changed_row, summary_of
from merging.model import ChangedRow, ChangesFilter, ChangesPage
from merging.sql.equality import differs
from merging.sql.failures import naming_engine_failures
from merging.sql.filtering import ChangedCells
from merging.sql.paging import choose
from merging.sql.session import Session
from merging.sql.streams import STREAM_MEMORY, RowStream, stream_query
from merging.sql.types import duckdb_type, null_of
from merging.staging.staged import ALL_CHANGES, Staged, open_for_pages

OPERATION = "_op"


@dataclass(frozen=True)
class Differences:
    """Differing rows of two states, in a session that ends with them; ``schema`` has the columns of both. ``reads``
    tells which engine read how much of the table for them, where it had to be read.
    """

    opened: Session
    schema: pa.Schema
    keys: tuple[str, ...]
    relation: str
    listing: str
    ranges: Mapping[str, Range] = dataclasses.field(default_factory=dict)
    reads: tuple[EngineRead, ...] = ()

    @property
    def _values(self) -> list[int]:
        return [place for place, field in enumerate(self.schema) if field.name not in self.keys]

    @property
    def _cells(self) -> ChangedCells:
        return ChangedCells(
            self.keys,
            self.schema,
            before={position: f"b{position}" for position in self._values},
            after={position: f"a{position}" for position in self._values},
            ranges=self.ranges,
        )

    def page(
        self, wanted: ChangesFilter = ALL_CHANGES, *, after: str | None = None, limit: int = 100
    ) -> ChangesPage[ChangedRow]:
        """Differing rows in key order (``before``, ``after``): those that the filter lets through; with ``after`` the
        page of that cursor, forwards or backwards. Raises InvalidFilter, InvalidCursor.
        """
        matching = f"(SELECT n FROM {self.relation} WHERE {self._cells.condition(wanted)})"
        chosen = choose(self.opened, matching, listing=self.listing, after=after, limit=limit)
        shown, rows = chosen.read(self.opened, f"SELECT * FROM {self.relation}")
        items = tuple(changed_row(row, self.schema, list(self.keys), self._values) for row in rows)
        return ChangesPage(items, shown.next, shown.previous, shown.start, shown.total)

    def stream(self, sides: tuple[str, str], wanted: ChangesFilter = ALL_CHANGES) -> RowStream:
        """All that the filter lets through in the flat shape, the two values of a column under the names of the sides.
        With the stream the session ends.
        """
        try:
            condition = self._cells.condition(wanted)
            changing = self._changing(condition)
            names = _Names(self.keys)
            fields = [pa.field(names.free(OPERATION), pa.string(), nullable=False)]
            selected = ["op"]
            for place, name in enumerate(self.keys):
                fields.append(self.schema.field(name).remove_metadata())
                selected.append(f"k{place}")
            for position in changing:
                field = self.schema.field(position)
                for letter, side in zip("ba", sides, strict=True):
                    fields.append(pa.field(names.free(f"{field.name}.{side}"), field.type))
                    selected.append(f"{letter}{position}")
            query = f"SELECT {', '.join(selected)} FROM {self.relation} WHERE {condition} ORDER BY n"
        except BaseException:
            self.opened.close()
            raise
        return stream_query(self.opened, query, pa.schema(fields))

    def close(self) -> None:
        """End the session."""
        self.opened.close()

    def _changing(self, condition: str) -> list[int]:
        """The value columns that differ in some row."""
        counted = self.opened.counts(
            f"FROM {self.relation} WHERE {condition}", [self._differs(position) for position in self._values]
        )
        return [position for position, number in zip(self._values, counted, strict=True) if number]

    def _differs(self, position: int) -> str:
        return differs(f"b{position}", f"a{position}", self.schema.field(position).type)


class _Names:
    """Names of columns, each given once: a column of the user's may be called like one of ours."""

    def __init__(self, taken: Sequence[str]) -> None:
        self._taken = set(taken)

    def free(self, name: str) -> str:
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name


@contextmanager
def _session(columns: int) -> Iterator[Session]:
    """A session for whoever comes after; closed where it cannot be filled."""
    opened = Session(memory_limit=STREAM_MEMORY)
    try:
        opened.expect_columns(columns)
        yield opened
    except BaseException:
        opened.close()
        raise


def compare_versions(
    table_uri: str,
    *,
    primary_keys: Sequence[str],
    before: int,
    after: int,
    storage_options: Mapping[str, str] | None = None,
) -> Differences:
    """What differs between two versions of a table, either of which may be the newer one. Files that both have are not
    read, and the engine that suits the size of the others reads them. Columns are those of ``after``, in the type that
    holds what they have in either, or as text; what ``before`` calls otherwise and files store alike is the same
    column.

    Raises VersionGone where one is not there any more, TableChanged where the table was made anew between them.
    """
    sides = [
        open_snapshot(table_uri, version=version, storage_options=storage_options)
        for version in (before, after)
    ]
    sides[0] = named_as(*sides)
    schema, keys = schema_of_both(*sides), list(primary_keys)
    for snapshot in sides:
        check_key_columns(snapshot.schema, keys)
    with _session(3 * len(schema)) as opened:
        with naming_engine_failures(table_uri, {"table_uri": table_uri}):
            read = compare(opened, sides[0], sides[1], keys, "changed")
        listing = f"versions {before} {after}"
        reads = () if read is None else (read,)
        return Differences(opened, schema, tuple(keys), "changed", listing, reads=reads)


def changes_staged(location: str) -> Differences:
    """What staged content changes: Base against Proposed. Raises StagedCorrupt."""
    staged = open_for_pages(location)
    with _session(3 * len(staged.schema)) as opened:
        relation = f"(SELECT n, op, {', '.join(_keys(staged) + _images(staged))} FROM {staged.source_sql()})"
        return Differences(
            opened, staged.schema, staged.primary_keys, relation, "staged changes", staged.ranges
        )


def changes_merged(artefacts: str) -> Differences:
    """What a merge changed, from the images that it stored. Raises StagedCorrupt."""
    folder = Path(artefacts)
    summary, schema = summary_of(folder)
    with _session(3 * len(schema)) as opened:
        relation = images_sql(folder, summary)
        return Differences(opened, schema, tuple(summary["primary_keys"]), relation, "merged changes")


def read_diff(
    artefacts: str, wanted: ChangesFilter = ALL_CHANGES, *, after: str | None = None, limit: int = 100
) -> ChangesPage[ChangedRow]:
    """A page of the rows that a merge changed, in key order: ``current`` is the row before it, ``merged`` the row after
    it. O(page) without a filter. Raises StagedCorrupt where the folder is not whole, InvalidFilter, InvalidCursor.
    """
    with closing(changes_merged(artefacts)) as found:
        return found.page(wanted, after=after, limit=limit)


def compare_staged(before: str, after: str) -> Differences:
    """What differs between the rows that two staged contents of one request propose: ``insert`` are rows that only
    ``after`` is about, ``delete`` rows that only ``before`` is about, ``update`` rows that both are about and do not
    propose the same for. What each proposes to do stands in a column ``_op`` of its own; a row that is proposed to be
    deleted has no other values. A column that was renamed between them has the name that ``after`` has for it.

    Raises StagedCorrupt, and InvalidKeys where the two have other keys.
    """
    sides = [open_for_pages(location) for location in (before, after)]
    keys = sides[1].primary_keys
    if sides[0].primary_keys != keys:
        raise InvalidKeys("The two contents have other key columns.", data={"key_columns": list(keys)})
    called: list[Sequence[str | None]] = [_called(*sides), sides[1].schema.names]
    named = zip(sides[0].schema, called[0], strict=True)
    before_here = [field.with_name(name) for field, name in named if name is not None]
    schema = _both(pa.schema(before_here), sides[1].schema)
    with _session(5 * len(schema)) as opened:
        for name, side, names in zip("lr", sides, called, strict=True):
            opened.execute(f"CREATE TEMP VIEW {name} AS {_proposed(side, names, schema)}")
        on = " AND ".join(f"l.k{place} = r.k{place}" for place in range(len(keys)))
        values = [place for place, field in enumerate(schema) if field.name not in keys]
        differing = " OR ".join(differs(f"l.a{one}", f"r.a{one}", schema.field(one).type) for one in values)
        listed = [f"coalesce(l.k{place}, r.k{place}) AS k{place}" for place in range(len(keys))]
        listed += [f"l.a{one} AS b{one}, r.a{one} AS a{one}" for one in values]
        order = ", ".join(f"coalesce(l.k{place}, r.k{place})" for place in range(len(keys)))
        opened.execute(
            f"CREATE TEMP TABLE changed AS SELECT row_number() OVER (ORDER BY {order}) - 1 AS n, "
            "CASE WHEN l.op IS NULL THEN 'insert' WHEN r.op IS NULL THEN 'delete' ELSE 'update' END AS op, "
            f"{', '.join(listed)} FROM l FULL JOIN r ON {on} "
            f"WHERE l.op IS NULL OR r.op IS NULL OR {differing}"
        )
        return Differences(opened, schema, keys, "changed", f"contents {sides[0].digest} {sides[1].digest}")


def _called(before: Staged, after: Staged) -> list[str | None]:
    """What ``after`` calls the columns of ``before``: those of the table by the names under which files store them.
    None for one whose name another one has there.
    """
    based = after.schema.names[: after.base_column_count]
    stored = {after.stored_names.get(name, name): name for name in based}
    twins = {
        name: stored.get(before.stored_names.get(name, name))
        for name in before.schema.names[: before.base_column_count]
    }
    taken = {name.lower() for name in twins.values() if name is not None}
    spelled = {name.lower(): name for name in after.schema.names}
    return [
        twins.get(name) or (None if name.lower() in taken else spelled.get(name.lower(), name))
        for name in before.schema.names
    ]


def _both(before: pa.Schema, after: pa.Schema) -> pa.Schema:
    """The columns of both, one that has two types as text, and one for what is proposed to be done."""
    types, names = dict(zip(before.names, before.types, strict=True)), set(after.names)
    fields = []
    for field in after:
        same = types.get(field.name, field.type) == field.type
        fields.append(field if same else pa.field(field.name, pa.string()))
    fields += [field for field in before if field.name not in names]
    own = [pa.field(OPERATION, pa.string())] if OPERATION not in {field.name for field in fields} else []
    return pa.schema([*fields, *own])


def _keys(staged: Staged) -> list[str]:
    return [f"k{place}" for place in range(len(staged.primary_keys))]


def _images(staged: Staged) -> list[str]:
    """SQL of the base and the proposed value of every value column, as ``b<i>`` and ``a<i>``."""
    layout = staged.layout
    parts: list[str] = []
    for position, field in enumerate(staged.schema):
        if field.name in staged.primary_keys:
            continue
        base = layout.base(position)
        given = f"p{position}" if position in layout.staged else base
        proposed = f"CASE WHEN op <> 'delete' THEN {given} END"
        parts += [f"{base} AS b{position}", f"{proposed} AS a{position}"]
    return parts


def _proposed(staged: Staged, names: Sequence[str | None], schema: pa.Schema) -> str:
    """SELECT of op, keys and the proposed values (``a<i>``) in the columns of a wider schema, where the content's have
    these names."""
    places = {name: position for position, name in enumerate(names)}
    parts = []
    for position, field in enumerate(schema):
        if field.name in staged.primary_keys:
            continue
        missing = "op" if field.name == OPERATION else null_of(field.type)
        value = f"a{places[field.name]}" if field.name in places else missing
        parts.append(f"({value})::{duckdb_type(field.type)} AS a{position}")
    inner = f"SELECT op, {', '.join(_keys(staged) + _images(staged))} FROM {staged.source_sql()}"
    return f"SELECT {', '.join(['op', *_keys(staged), *parts])} FROM ({inner})"
