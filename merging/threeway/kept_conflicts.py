"""Conflicts kept in a folder beside the staged content, so that a page of them costs a page and not a plan.

What is in conflict follows from the content, the table's version and the rules of the request, not from what is chosen
for rows and cells. So it is written down once for each version, by whoever plans first, and read back with whatever is
chosen by then: ``conflicts.parquet`` (``n``, ``col``, ``kind``, ``digest`` as ``sides`` has them, and ``beside``),
``rows.parquet`` (the rows of ``joined`` that they are in) and ``about.json`` (the columns, conflicts of the schema). A
folder is whole or not there; it is no truth of its own, and may be removed at any time.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import duckdb
import pyarrow as pa

from merging.delta import Snapshot, open_snapshot
from merging.errors import InvalidFilter, MergeFailed
from merging.model import Choice, Conflict, ConflictFilter, ConflictKind, Held, Page, Resolution, Sides
from merging.sql.cursors import make_cursor, read_cursor
from merging.sql.equality import differs
from merging.sql.failures import naming_engine_failures
from merging.sql.paging import is_one_of
from merging.sql.parsing import Refused, cell_value
from merging.sql.quoting import literal
from merging.sql.session import Session
from merging.sql.values import read_text, sql_form
from merging.store.space import naming_full_disks
from merging.threeway.alignment import Alignment, MergedColumn
from merging.threeway.conflicts import conflict_of, page_of_schema, rows_of_conflicts
from merging.threeway.plan import MergePlan, plan_on, resolve_staged
from merging.threeway.request import MergeRequest
from merging.threeway.resolutions import ROW, legal_choices, value_of
from merging.threeway.sides import disagree, edits

_FORMAT = 1
_CONFLICTS, _ROWS, _ABOUT = "conflicts.parquet", "rows.parquet", "about.json"
#: A page reads the row groups that its rows are in.
_ROW_GROUP = 2_048
_BYTES_PER_GROUP = 16 << 20
#: Whoever reads a folder that is not the newest any more has so long to finish.
_SECONDS_TO_READ = 600
_ITERATION_PAGE = 1_000
_ALL = ConflictFilter()


class StandingChoice(NamedTuple):
    """A choice as whoever keeps it has it; ``column`` is empty for whole rows, ``value`` that of a custom one in
    JSON.
    """

    inputs_digest: str
    column: str
    choice: str
    value: Any = None


@dataclass(frozen=True)
class ConflictColumn:
    """How many conflicts of a kind a column has (empty for whole rows), and how many of them wait for a choice."""

    column: str
    kind: ConflictKind
    total: int
    unresolved: int


class KeptConflicts:
    """The conflicts of a request with one version of the table and the choices that stand for them, in key order.

    While the schema is in conflict only those conflicts are here: they come first. Close it when done.
    """

    def __init__(
        self,
        opened: Session,
        alignment: Alignment,
        about: Mapping[str, Any],
        choices: Sequence[StandingChoice],
    ) -> None:
        self._session = opened
        self._choices: Sequence[StandingChoice] = ()
        self.alignment = alignment
        self.version: int = about["version"]
        self.staged_digest: str = about["staged_digest"]
        self._has_rows = bool(about["found"])
        self._positions = {column.name: column.position for column in alignment.columns}
        self.choose(choices)

    @naming_engine_failures()
    def choose(self, choices: Sequence[StandingChoice]) -> None:
        """Let these choices stand, and no others. Those that judged other values do not count."""
        self._choices = choices
        if self.alignment.conflicts:
            return
        given = pa.table(
            {
                "digest": pa.array([one.inputs_digest for one in choices], pa.string()),
                "col": pa.array([self._column_number(one.column) for one in choices], pa.int32()),
                "choice": pa.array([one.choice for one in choices], pa.string()),
                "pick": pa.array(range(len(choices)), pa.int64()),
            }
        )
        self._session.connection.register("given_choices", given)
        self._session.execute(
            "CREATE OR REPLACE TABLE conflicts AS SELECT f.*, g.choice, g.pick FROM found f "
            "LEFT JOIN given_choices g ON g.digest = f.digest AND g.col = f.col"
        )
        self._session.connection.unregister("given_choices")

    def _column_number(self, name: str) -> int | None:
        return self._positions.get(name) if name else ROW

    def __len__(self) -> int:
        return self.count()

    def __iter__(self) -> Iterator[Conflict]:
        return self.matching(_ALL)

    @property
    def unresolved(self) -> int:
        """How many still wait for a choice."""
        return self.count(unresolved_only=True)

    def close(self) -> None:
        """End the session. Nothing can be read any more."""
        self._session.close()

    def interrupt(self) -> None:
        """End the statement that runs, from another thread."""
        self._session.interrupt()

    @naming_engine_failures()
    def count(self, wanted: ConflictFilter = _ALL, *, unresolved_only: bool = False) -> int:
        """How many there are, exactly. Raises InvalidFilter."""
        if self.alignment.conflicts:
            return len(self._of_schema(wanted))
        condition = self._condition(wanted, unresolved_only=unresolved_only)
        return self._session.number(f"SELECT count(*) FROM {self._source(wanted)} WHERE {condition}")

    @naming_engine_failures()
    def columns(self) -> tuple[ConflictColumn, ...]:
        """In which columns they are, and of which kinds."""
        if self.alignment.conflicts:
            return tuple(ConflictColumn(one.column or "", one.kind, 1, 1) for one in self.alignment.conflicts)
        names = {column.position: column.name for column in self.alignment.columns}
        return tuple(
            ConflictColumn(names.get(col, ""), cast(ConflictKind, kind), total, unresolved)
            for col, kind, total, unresolved in self._session.connection.execute(
                "SELECT col, kind, count(*), count(*) FILTER (choice IS NULL) FROM conflicts "
                "GROUP BY col, kind ORDER BY col, kind"
            ).fetchall()
        )

    @naming_engine_failures()
    def offered(self, wanted: ConflictFilter = _ALL) -> dict[Choice, int]:
        """For how many of those without a choice each choice can be made. Raises InvalidFilter."""
        counts: dict[Choice, int] = {}
        if self.alignment.conflicts:
            kinds = [(one.kind, False, 1) for one in self._of_schema(wanted)]
        else:
            condition = self._condition(wanted, unresolved_only=True)
            kinds = self._session.connection.execute(
                f"SELECT x.kind, x.col = {ROW}, count(*) FROM {self._source(wanted)} WHERE {condition} GROUP BY ALL"
            ).fetchall()
        for kind, of_row, number in kinds:
            for choice in legal_choices(kind, row=of_row):
                counts[choice] = counts.get(choice, 0) + number
        return counts

    @naming_engine_failures()
    def selection(self, wanted: ConflictFilter = _ALL) -> str:
        """A digest of which conflicts there are and what is chosen for them. Raises InvalidFilter."""
        whole = hashlib.sha256()
        if self.alignment.conflicts:
            for one in self._of_schema(wanted):
                whole.update(f"{one.inputs_digest}\n".encode())
            return whole.hexdigest()
        condition = self._condition(wanted)
        for digest, choice, pick in self._session.each(
            f"SELECT x.digest, x.choice, x.pick FROM {self._source(wanted)} WHERE {condition} ORDER BY x.n, x.col"
        ):
            value = self._choices[pick].value if choice == "custom" else None
            whole.update(f"{digest} {choice} {value!r}\n".encode())
        return whole.hexdigest()

    @naming_engine_failures()
    def page(
        self,
        wanted: ConflictFilter = _ALL,
        *,
        after: str | None = None,
        limit: int = 100,
        unresolved_only: bool = False,
    ) -> Page[Conflict]:
        """Conflicts from a cursor on. Raises InvalidFilter and InvalidCursor."""
        if self.alignment.conflicts:
            return page_of_schema(self._of_schema(wanted), after, limit)
        n, col = read_cursor(after, "conflicts", 2) if after else (-1, ROW)
        condition = self._condition(wanted, unresolved_only=unresolved_only)
        # The places of the page first: the rows are in a file, of which only these are read.
        places = self._session.connection.execute(
            f"SELECT x.n, x.col FROM {self._source(wanted)} WHERE (x.n > {n} OR (x.n = {n} AND x.col > {col})) "
            f"AND {condition} ORDER BY x.n, x.col LIMIT {limit + 1}"
        ).fetchall()
        rows = rows_of_conflicts(self._session, "joined", [n for n, _ in places[:limit]])
        shown = [place for place in places[:limit] if place[0] in rows]
        items = tuple(self._read(shown, rows))
        return Page(items, make_cursor("conflicts", *shown[-1]) if len(places) > len(shown) else None)

    def matching(self, wanted: ConflictFilter, *, unresolved_only: bool = False) -> Iterator[Conflict]:
        """All of them, page by page. Raises InvalidFilter."""
        after = None
        while True:
            page = self.page(wanted, after=after, limit=_ITERATION_PAGE, unresolved_only=unresolved_only)
            yield from page.items
            if page.next is None:
                return
            after = page.next

    @naming_engine_failures()
    def at(self, digests: Iterable[str]) -> dict[tuple[str, str], Conflict]:
        """Those with these input digests, by digest and column (empty for whole rows)."""
        asked = set(digests)
        if self.alignment.conflicts:
            found: Iterable[Conflict] = [
                one for one in self.alignment.conflicts if one.inputs_digest in asked
            ]
        else:
            self._session.connection.register(
                "asked", pa.table({"digest": pa.array(sorted(asked), pa.string())})
            )
            places = self._session.connection.execute(
                "SELECT n, col FROM conflicts SEMI JOIN asked USING (digest) ORDER BY n, col"
            ).fetchall()
            self._session.connection.unregister("asked")
            numbers = sorted({n for n, _ in places})
            rows = self._session.rows(f"SELECT * FROM joined WHERE {is_one_of(numbers)}")
            found = self._read(places, {row["n"]: row for row in rows})
        return {(one.inputs_digest, one.column or ""): one for one in found}

    def value_of(self, column: str, value: Any, *, as_text: bool = False) -> Any:
        """A value that somebody chose for a column, or a key, as the merged table holds it.

        ``value`` is JSON, or with ``as_text`` the text of a cell. Raises InvalidResolution where it does not fit.
        """
        return value_of(self.alignment, column, value, as_text=as_text)

    def _read(
        self, places: Sequence[tuple[int, int]], rows: Mapping[int, Mapping[str, Any]]
    ) -> Iterator[Conflict]:
        found = self._session.rows(
            "SELECT n, col, kind, digest, beside, choice, pick FROM conflicts "
            f"WHERE {is_one_of(sorted(rows))} ORDER BY n, col"
        )
        wanted = set(places)
        for one in found:
            if (one["n"], one["col"]) in wanted:
                row = {**rows[one["n"]], **one}
                yield conflict_of(self._session, self.alignment, row, self._custom(row))

    def _custom(self, row: Mapping[str, Any]) -> Resolution | None:
        if row["choice"] != "custom":
            return None
        return Resolution({}, None, "custom", self._choices[row["pick"]].value)

    def _of_schema(self, wanted: ConflictFilter) -> list[Conflict]:
        if wanted.current is not None or wanted.proposed is not None:
            raise InvalidFilter("Conflicts of the schema are not found by values.", data={})
        return [
            one
            for one in self.alignment.conflicts
            if wanted.column in (None, one.column) and wanted.kind in (None, one.kind)
        ]

    def _source(self, wanted: ConflictFilter) -> str:
        valued = wanted.current is not None or wanted.proposed is not None
        return "conflicts x JOIN joined j ON j.n = x.n" if valued else "conflicts x"

    def _condition(self, wanted: ConflictFilter, *, unresolved_only: bool = False) -> str:
        conditions = ["x.choice IS NULL"] if unresolved_only else []
        if wanted.kind is not None:
            conditions.append(f"x.kind = {literal(wanted.kind)}")
        if wanted.column is not None:
            number = self._column_number(wanted.column)
            conditions.append("false" if number is None else f"x.col = {number}")
        for side, letter in (("current", "c"), ("proposed", "p")):
            held: Held | None = getattr(wanted, side)
            if held is not None:
                conditions.append(self._holds(wanted.column, side, letter, held))
        return " AND ".join(conditions) or "true"

    def _holds(self, name: str | None, side: str, letter: str, held: Held) -> str:
        column = next((one for one in self.alignment.values if one.name == name), None)
        if column is None or not column.staged:
            known = [one.column for one in self.columns() if one.column]
            raise InvalidFilter(
                f"To find conflicts by the value of {side}, name their column: one of {', '.join(known) or 'none'}.",
                data={"columns": known},
            )
        try:
            typed = (
                read_text(held.value, column.type)
                if held.as_text and held.value is not None
                else cell_value(held.value, column.type)
            )
        except Refused as error:
            raise InvalidFilter(
                f"No {side} value of {column.name} is {held.value!r}: {error}", data={"column": column.name}
            ) from error
        if not self._has_rows:
            return "false"
        return f"NOT {differs(f'j.{letter}{column.position}', sql_form(typed, column.type), column.type)}"


@contextmanager
def open_conflicts(
    request: MergeRequest, folder: str, choices: Sequence[StandingChoice]
) -> Iterator[KeptConflicts]:
    """The conflicts of a request with the table as it is now, from ``folder`` or, where they are not kept there yet,
    from a plan that leaves them there. Of the request's own resolutions only those of the schema count.

    Raises as ``plan`` does.
    """
    snapshot = open_snapshot(request.table_uri, storage_options=request.storage_options)
    digest = request.staged_digest or resolve_staged(request).digest
    place = Path(folder) / _name(request, digest, snapshot)
    found = _read_folder(place, choices)
    if found is None:
        with plan_on(request, resolve_staged(request), snapshot) as planned:
            place = keep_conflicts(planned, folder)
        found = _read_folder(place, choices)
    if found is None:
        raise MergeFailed(
            f"The conflicts could not be kept in {place}: what was just written there cannot be read."
        )
    try:
        yield found
    finally:
        found.close()


def keep_conflicts(plan: MergePlan, folder: str) -> Path:
    """Write the conflicts of a plan down in ``folder``, for ``open_conflicts``; returns where they are."""
    root = Path(folder)
    target = root / _name(plan.request, plan.staged.digest, plan.snapshot)
    if (target / _ABOUT).is_file():
        return target
    made = root / f".{uuid.uuid4().hex}"
    with naming_full_disks("keep the conflicts", str(root)), naming_engine_failures():
        made.mkdir(parents=True)
        try:
            if len(plan.conflicts) and not plan.alignment.conflicts:
                _write_rows(plan, made)
            (made / _ABOUT).write_text(json.dumps(_about(plan)), encoding="utf-8")
            with suppress(OSError):  # somebody else kept the same meanwhile
                os.replace(made, target)
        finally:
            shutil.rmtree(made, ignore_errors=True)
    _remove_older(root, target)
    return target


def _name(request: MergeRequest, staged_digest: str, snapshot: Snapshot) -> str:
    """What conflicts follow from, in one name."""
    facts = [
        _FORMAT,
        staged_digest,
        snapshot.table_id,
        snapshot.mark,
        request.conflict_policy,
        request.merge_schema,
        sorted(
            (one.column or "", one.choice, one.inputs_digest) for one in request.resolutions if not one.key
        ),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def _write_rows(plan: MergePlan, folder: Path) -> None:
    form = f"(FORMAT parquet, ROW_GROUP_SIZE {_ROW_GROUP}, ROW_GROUP_SIZE_BYTES {_BYTES_PER_GROUP})"
    plan.session.execute(
        "COPY (SELECT x.n, x.col, x.kind, x.digest, "
        f"(CASE WHEN x.col = {ROW} THEN 0 ELSE {_cells_that_merge(plan.alignment)} "
        f"- count(*) FILTER (x.col <> {ROW}) OVER (PARTITION BY x.n) END)::BIGINT AS beside "
        "FROM conflicts x JOIN joined j ON j.n = x.n ORDER BY x.n, x.col) "
        f"TO {literal(str(folder / _CONFLICTS))} {form}"
    )
    plan.session.execute(
        "COPY (SELECT * FROM joined WHERE n IN (SELECT n FROM conflicts) OR n IN "
        "(SELECT rekeyed FROM joined SEMI JOIN conflicts USING (n) WHERE rekeyed IS NOT NULL) ORDER BY n) "
        f"TO {literal(str(folder / _ROWS))} {form}"
    )


def _cells_that_merge(alignment: Alignment) -> str:
    """SQL: how many cells of a row of ``joined`` the request would change in the table, those in conflict included."""
    staged = [column for column in alignment.values if column.staged]
    changing = [f"coalesce({edits(one)} AND {disagree(one)}, false)::INTEGER" for one in staged]
    adding = [f"(p{one.position} IS NOT NULL)::INTEGER" for one in staged if one.added]
    clashing = [
        f"coalesce(NOT a{one.position} AND {disagree(one)}, false)::INTEGER"
        for one in staged
        if not one.added
    ]
    return (
        f"CASE op WHEN 'update' THEN list_sum([{', '.join(changing)}]) "
        f"ELSE list_sum([{', '.join([*adding, *clashing, '0'])}]) END"
    )


def _about(plan: MergePlan) -> dict[str, Any]:
    alignment = plan.alignment
    columns = [
        {
            "nullable": one.nullable,
            "staged_position": one.staged_position,
            "in_base": one.in_base,
            "staged": one.staged,
            "added": one.added,
        }
        for one in alignment.columns
    ]
    bare = pa.schema([pa.field(one.name, one.type) for one in alignment.columns])
    return {
        "version": plan.version,
        "staged_digest": plan.staged.digest,
        "keys": list(alignment.keys),
        "schema": base64.b64encode(bare.serialize().to_pybytes()).decode(),
        "columns": columns,
        "conflicts": [
            {**vars(one), "sides": list(one.sides), "legal_choices": list(one.legal_choices)}
            for one in alignment.conflicts
        ],
        "found": len(plan.conflicts),
    }


def _alignment(about: Mapping[str, Any]) -> Alignment:
    """The merged columns as ``conflict_of`` needs them; where staged values come from is not kept."""
    schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(about["schema"])))
    columns = tuple(
        MergedColumn(position=position, name=field.name, type=field.type, staged_type=None, **facts)
        for position, (field, facts) in enumerate(zip(schema, about["columns"], strict=True))
    )
    conflicts = tuple(
        Conflict(**{**one, "sides": Sides(*one["sides"]), "legal_choices": tuple(one["legal_choices"])})
        for one in about["conflicts"]
    )
    return Alignment(columns, tuple(about["keys"]), (), conflicts, ())


def _read_folder(place: Path, choices: Sequence[StandingChoice]) -> KeptConflicts | None:
    """None where there is none, or none that can be read: it is made again then."""
    try:
        about = json.loads((place / _ABOUT).read_text(encoding="utf-8"))
        alignment = _alignment(about)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
        shutil.rmtree(place, ignore_errors=True)
        return None
    opened = Session()
    try:
        opened.expect_columns(len(alignment.columns))
        if about["found"] and not alignment.conflicts:
            opened.execute(f"CREATE TABLE found AS FROM read_parquet({literal(str(place / _CONFLICTS))})")
            opened.execute(f"CREATE VIEW joined AS FROM read_parquet({literal(str(place / _ROWS))})")
        else:
            opened.execute(
                "CREATE TABLE found(n BIGINT, col INTEGER, kind VARCHAR, digest VARCHAR, beside BIGINT)"
            )
            opened.execute("CREATE TABLE joined(n BIGINT)")
        return KeptConflicts(opened, alignment, about, choices)
    except duckdb.Error:
        opened.close()
        shutil.rmtree(place, ignore_errors=True)
        return None
    except BaseException:
        opened.close()
        raise


def _remove_older(root: Path, newest: Path) -> None:
    """Those of versions that are gone, once nobody can be reading them any more."""
    long_ago = time.time() - _SECONDS_TO_READ
    with suppress(OSError):
        for other in root.iterdir():
            if other != newest and other.stat().st_mtime < long_ago:
                shutil.rmtree(other, ignore_errors=True)
