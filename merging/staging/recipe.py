"""Staging: proposed changes read, typed, checked and written down with the base image of every row.

Nothing is staged unless everything is right; then the content no longer depends on the table's old files.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from merging.delta import Snapshot, fetch, locate, open_snapshot
from merging.delta.column_rules import ColumnRules, rules_of_schema
from merging.delta.keys import check_key_columns
from merging.errors import StagingRejected, UnsupportedTable
from merging.model import Operation, Progress, StagingProblem
from merging.sql.equality import differs, digest_of, fingerprint
from merging.sql.parsing import (
    EXACT_DIGITS,
    Refused,
    explain,
    from_text,
    from_typed,
    is_number,
    may_be_rounded,
    shortened,
    shown,
)
from merging.sql.quoting import any_of, column_sql, literal
from merging.sql.session import Session, limits, session
from merging.sql.types import duckdb_type, is_text, null_of, type_name
from merging.staging.guessing import guess_types
from merging.staging.mapping import InputColumn, Mapped, map_columns, read_column_types
from merging.staging.pinning import ABSENT, refuse_duplicates, write_base_files
from merging.staging.sources import OPERATION_COLUMN, Problems, Source, format_of, open_source
from merging.staging.staged import Staged, column_ids, new_content, open_staged, write_manifest
from merging.store.publishing import flush_file

OPERATIONS = ("upsert", "insert", "update", "delete")
_EXAMPLES = 5
_DIGEST_ROWS = 200_000
_ROWS_PER_GROUP = 50_000
_MILLISECONDS = r":[0-9]{2}\.[0-9]{3}($|[^0-9])"
_MOST_DIGITS_BY_HAND = 9
_BYTES_PER_GROUP = 16 << 20
_BYTES_PER_PART = 64 << 20
_ROWS_PER_VECTOR = 2_048  # what DuckDB hands from one operator to the next


def stage(
    table_uri: str,
    changes: Any,
    primary_keys: Sequence[str],
    base_version: int | None = None,
    destination: str | None = None,
    *,
    storage_options: Mapping[str, str] | None = None,
    null_token: str = "",
    merge_schema: bool = True,
    file_format: str | None = None,
    file_name: str = "",
    column_types: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Staged:
    """Read, type and check proposed changes against a table, pin their base images and write them down.

    ``changes``: a pyarrow Table or RecordBatchReader, a DuckDB relation, or the path of a file (CSV, Parquet, JSON
    lines, Arrow, XLSX) with the key columns, any of the value columns and optionally ``_op`` (``upsert`` by default,
    ``insert``, ``update``, ``delete``). ``null_token`` is what an unquoted CSV cell holds for NULL.
    ``file_format`` (``csv``, ``jsonl``, ``xlsx``, ``parquet``, ``arrow``) is else told by the ending of ``file_name``,
    the name that a file was uploaded under, or of its path; a compressed text is known by its content.
    ``base_version`` is the table version the author worked on (default: the newest). The content is written to a new
    folder under ``destination`` (default: ``_staging`` beside the table). With ``merge_schema`` unknown columns are
    staged as new nullable columns, otherwise they are refused. ``column_types`` says the types of new columns by their
    names in Delta (``decimal(10,2)``); without it a column of texts has the type from which every value comes back
    exactly as it was written, or is text.

    Raises StagingRejected with every problem by line and column; DuplicateKeys, InvalidKeys, UnsupportedTable,
    TableNotFound. Nothing is left behind then.
    """
    snapshot = open_snapshot(table_uri, version=base_version, storage_options=storage_options)
    snapshot.require_writable()
    check_key_columns(snapshot.schema, list(primary_keys), snapshot.rules.compared_otherwise)
    _refuse_reserved(snapshot)
    problems = Problems()
    chosen = read_column_types(column_types or {})
    targets = {field.name: field.type for field in snapshot.schema}
    # A column that shall be text takes whatever its cells are; other types ask for cells of their kind.
    targets |= {name: kind for name, kind in chosen.items() if name not in targets and not is_text(kind)}
    source = open_source(
        changes,
        targets,
        problems,
        null_token=null_token,
        file_format=file_format or format_of(file_name),
        file_name=file_name,
    )
    mapped = map_columns(source, snapshot, primary_keys, chosen, merge_schema=merge_schema)
    with new_content(destination, table_uri) as folder:
        with session(memory_limit=limits().staging_memory) as opened:
            staging = _Staging(opened, snapshot, source, tuple(primary_keys), problems, mapped, folder.path)
            if progress is not None:
                progress("checking", version=snapshot.version)
            staged = staging.run(table_uri)
        write_manifest(folder.path, replace(staged, location=str(folder.final)), snapshot.schema_json)
    return open_staged(str(folder.final))


def _refuse_reserved(snapshot: Snapshot) -> None:
    if OPERATION_COLUMN in snapshot.schema.names:
        raise UnsupportedTable(
            [f"column {OPERATION_COLUMN}"],
            f"The table has a column named {OPERATION_COLUMN}, which uploads use to name the operation of a row.",
        )


def _rows(number: int) -> str:
    return f"{number:,} {'row' if number == 1 else 'rows'}"


def _readable(column: InputColumn) -> str:
    """SQL: the cell is not one of those that could not be read."""
    return f"NOT coalesce(list_contains(list_transform(bad, lambda cell: cell.c), {column.place}), false)"


class _Staging:
    """One staging operation on one session; its steps in the order of ``run``."""

    def __init__(
        self,
        opened: Session,
        snapshot: Snapshot,
        source: Source,
        primary_keys: tuple[str, ...],
        problems: Problems,
        mapped: Mapped,
        folder: Path,
    ) -> None:
        self.session = opened
        self.folder = folder
        self.views: dict[str, str] = {}
        self.snapshot = snapshot
        self.source = source
        self.keys = primary_keys
        self.problems = problems
        self.rules = rules_of_schema(snapshot.schema_json)
        self.base_width = len(snapshot.schema)
        self.schema: pa.Schema = mapped.schema
        self.inputs: list[InputColumn] = list(mapped.inputs)
        self.operation_place = mapped.operation_place
        self.warnings: list[str] = []
        self.rekeyed = 0
        self._leaves_out = True

    def run(self, table_uri: str) -> Staged:
        """Read, check, pin, write ``rows.parquet``. The location of the result is filled in by the caller."""
        # Freed memory goes back at once: what the allocator keeps counts as the process' too.
        for setting in ("allocator_flush_threshold", "allocator_bulk_deallocation_flush_threshold"):
            self.session.execute(f"SET {setting} = '16MB'")
        self.session.execute("SET allocator_background_threads = true")
        self.session.expect_columns(len(self.schema))
        self._load()
        self._list_bad_cells()
        self._guess_new_columns()
        self._check_operations()
        self._check_null_keys()
        duplicates = self._collapse_duplicates()
        self._pin_base()
        self._check_against_base()
        self._raise_problems()
        noops, cells = self._write_rows()
        return self._describe(table_uri, duplicates, noops, cells)

    def _keep(
        self, name: str, query: str, settings: str = "COMPRESSION lz4_raw", *, ordered: bool = True
    ) -> Path:
        """Write what a query finds to a file of the folder and give it a view.

        Nothing that is as large as the content is held as a table: those crowd out the sort that comes in the end.
        Row groups are bounded in rows and in bytes, since DuckDB holds whole ones in memory: by itself where any order
        will do, which also takes less memory, else by the width of the rows that came so far.
        """
        path = self.folder / f"{name}.parquet"
        size = f"ROW_GROUP_SIZE {self._rows_per_group()}"
        if not ordered:
            size = f"ROW_GROUP_SIZE {_ROWS_PER_GROUP}, ROW_GROUP_SIZE_BYTES {_BYTES_PER_GROUP}"
        self.session.execute(f"SET preserve_insertion_order = {str(ordered).lower()}")
        self.session.execute(f"COPY ({query}) TO {literal(str(path))} (FORMAT parquet, {size}, {settings})")
        self.session.execute("SET preserve_insertion_order = true")
        self._view(name, f"FROM read_parquet({literal(str(path))})")
        return path

    def _rows_per_group(self) -> int:
        return max(1, min(_ROWS_PER_GROUP, _BYTES_PER_GROUP // max(1, self._row_width())))

    def _row_width(self) -> int:
        """About how many bytes a row takes: it carries its base image beside what came."""
        return 2 * self.source.bytes_read // max(1, self.source.rows_read)

    def _view(self, name: str, query: str) -> None:
        self.views[name] = query
        self.session.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS {query}")

    # reading

    def _load(self) -> None:
        """Read the whole source into ``loaded``: ordinal, operation, absent, v<i> typed, and the bad cells."""
        values: list[str] = []
        bad_cells: list[str] = []
        bad_any: list[str] = []
        column_problems: list[StagingProblem] = []
        for column in self.inputs:
            cell = f"f{column.place}"
            given = self.source.schema.field(column.place).type
            if column.guessed:
                values.append(f"{cell} AS v{column.position}")
                continue
            try:
                already_typed = self.source.text and not is_text(given)
                typed = (
                    from_text(cell, column.type)
                    if self.source.text and not already_typed
                    else from_typed(cell, given, column.type)
                )
            except Refused as refusal:
                column_problems.append(
                    StagingProblem("wrong_type", str(refusal), self.source.header_line, column.name)
                )
                continue
            values.append(f"{self._rules_of(column).stored(typed.value)} AS v{column.position}")
            if self._may_be_cut(column):
                values.append(f"regexp_matches({cell}, '{_MILLISECONDS}') AS cut{column.position}")
            if typed.bad != "false":
                raw = f"left({cell}::VARCHAR, 200)"
                told = f"'c': {column.place}, 'v': {raw}, 'code': NULL::VARCHAR, 'message': NULL::VARCHAR"
                bad_cells.append(f"CASE WHEN {typed.bad} THEN {{{told}}} END")
                bad_any.append(typed.bad)
        if column_problems:
            raise StagingRejected(column_problems)
        listed = f"list_filter([{', '.join(bad_cells)}], lambda cell: cell IS NOT NULL)"
        bad = "refused"
        if bad_any:
            bad = f"CASE WHEN {' OR '.join(bad_any)} THEN list_concat(refused, {listed}) ELSE refused END"
        operation = "'upsert'"
        if self.operation_place is not None:
            operation = f"coalesce(lower(trim(f{self.operation_place}::VARCHAR)), 'upsert')"
        reader = self.source.reader()
        self.session.connection.register("source", reader)
        try:
            self._loaded = self._keep(
                "loaded",
                f"SELECT ordinal, absent, {operation} AS op, {', '.join(values)}, {bad} AS bad FROM source",
                ordered=False,
            )
        except Exception:
            if self.source.failure is not None:
                raise self.source.failure from None
            raise
        finally:
            self.session.connection.unregister("source")
        self._leaves_out = bool(self.session.number("SELECT count(absent) FROM loaded"))

    def _list_bad_cells(self) -> None:
        total = self.session.number(
            "SELECT coalesce(sum(len(bad)), 0) FROM loaded WHERE bad IS NOT NULL AND op <> 'delete'"
        )
        by_place = {column.place: column for column in self.inputs}
        keys = [column.place for column in self.inputs if column.name in self.keys]
        of_deleted = (
            f"SELECT ordinal, cell.c AS place, cell FROM (SELECT ordinal, unnest(bad) AS cell FROM loaded "
            f"WHERE op = 'delete' AND bad IS NOT NULL) WHERE cell.c IN ({', '.join(map(str, keys))})"
        )
        found = self.session.table(
            f"SELECT ordinal, cell.c AS place, cell FROM (SELECT ordinal, unnest(bad) AS cell FROM loaded "
            f"WHERE bad IS NOT NULL AND op <> 'delete') UNION ALL {of_deleted} "
            f"ORDER BY ordinal, place LIMIT {self.problems.room}"
        ).to_pylist()
        total += self.session.number(f"SELECT count(*) FROM ({of_deleted})")
        for row in found:
            cell = row["cell"]
            column = by_place[cell["c"]]
            code, message = cell["code"], cell["message"]
            if message is None:
                code, message = explain(cell["v"], column.type, self.source.null_token)
            self.problems.add(code, message, ordinal=row["ordinal"], column=column.name, value=cell["v"])
        self.problems.count_only(total - len(found))

    def _guess_new_columns(self) -> None:
        """Give new columns of a text source the types that their values have, where nothing is lost."""
        guessed = [column for column in self.inputs if column.guessed]
        guesses = guess_types(
            self.session,
            "loaded",
            guessed,
            self.source.kinds,
            zoneless=self.snapshot.has_zoneless_timestamps,
        )
        fields = list(self.schema)
        typed: list[str] = []
        for index, column in enumerate(self.inputs):
            guess = guesses.get(column.position)
            if guess is None:
                continue
            self.inputs[index] = replace(column, type=guess.type)
            fields[column.position] = pa.field(column.name, guess.type, nullable=True)
            typed.append(f"({guess.value})::{duckdb_type(guess.type)} AS v{column.position}")
        self.schema = pa.schema(fields)
        self._warn_of_new_columns([column for column in guessed if column.position not in guesses])
        if typed:
            self._view("loaded", f"SELECT * REPLACE ({', '.join(typed)}) FROM ({self.views['loaded']})")

    def _warn_of_new_columns(self, texts: Sequence[InputColumn]) -> None:
        """Say which new columns of text may not be what was meant."""
        for column in texts:
            kinds = sorted(self.source.kinds.get(column.place, set()) - {"text"})
            if kinds:
                mixed = " and ".join(f"{kind}s" for kind in [*kinds, "text"])
                self.warnings.append(f"The new column {column.name} mixes {mixed}, and is taken as text.")
        operations = ", ".join(literal(name) for name in OPERATIONS)
        cells = [f"v{column.position}" for column in texts]
        conditions = [f"lower(trim({cell})) IN ({operations})" for cell in cells]
        conditions += [f"{cell} IS NOT NULL" for cell in cells]
        counts = self.session.counts("FROM loaded", conditions)
        for column, named, given in zip(texts, counts[: len(texts)], counts[len(texts) :], strict=True):
            if given and named == given:
                self.warnings.append(
                    f"The new column {column.name} holds nothing but names of operations; "
                    f"a column named {OPERATION_COLUMN} says what happens to a row."
                )

    # checks of the content alone

    def _check_operations(self) -> None:
        if self.operation_place is None:
            return
        known = ", ".join(literal(name) for name in OPERATIONS)
        self._list_rows(
            "unknown_operation",
            f"op NOT IN ({known})",
            lambda row: f"found {shown(row['op'])} as operation; it must be one of {', '.join(OPERATIONS)}.",
            column=OPERATION_COLUMN,
            extra=", op",
        )

    def _check_null_keys(self) -> None:
        for column in self.inputs:
            if column.name in self.keys:
                self._list_rows(
                    "null_key",
                    f"v{column.position} IS NULL AND {_readable(column)}",
                    lambda _: "the key is missing; every row needs a value in each key column.",
                    column=column.name,
                )

    def _list_rows(
        self, code: str, condition: str, message: Any, *, column: str | None, extra: str = ""
    ) -> None:
        """List the rows of ``loaded`` that a condition finds as problems, and count the rest."""
        total = self.session.number(f"SELECT count(*) FROM loaded WHERE {condition}")
        if not total:
            return
        found = self.session.rows(
            f"SELECT ordinal{extra} FROM loaded WHERE {condition} ORDER BY ordinal LIMIT {self.problems.room}"
        )
        for row in found:
            self.problems.add(code, message(row), ordinal=row["ordinal"], column=column)
        self.problems.count_only(total - len(found))

    def _key_cells(self, prefix: str = "") -> list[str]:
        by_name = {column.name: column for column in self.inputs}
        return [f"{prefix}v{by_name[name].position}" for name in self.keys]

    def _collapse_duplicates(self) -> int:
        """Rows that stand twice: identical ones collapse to the first, different ones are problems."""
        cells = self._key_cells()
        complete = " AND ".join(f"{cell} IS NOT NULL" for cell in cells)
        listed = ", ".join(cells)
        self.session.execute(
            f"CREATE TEMP TABLE twice AS SELECT {listed} FROM loaded WHERE {complete} GROUP BY ALL HAVING count(*) > 1"
        )
        if not self.session.number("SELECT count(*) FROM twice"):
            return 0
        content = [fingerprint(f"v{column.position}", column.type) for column in self.inputs]
        whole = digest_of(["op", "coalesce(absent::VARCHAR, '')", *content])
        of_deleted = digest_of(
            ["op", *(fingerprint(f"v{c.position}", c.type) for c in self.inputs if c.name in self.keys)]
        )
        self.session.execute(
            f"CREATE TEMP TABLE repeated AS SELECT ordinal, {listed}, "
            f"CASE WHEN op = 'delete' THEN {of_deleted} ELSE {whole} END AS content "
            f"FROM loaded SEMI JOIN twice USING ({listed})"
        )
        self.session.execute(
            f"CREATE TEMP TABLE groups AS SELECT {listed}, count(DISTINCT content) AS contents, "
            f"min(ordinal) AS kept, list(ordinal ORDER BY ordinal)[:{_EXAMPLES}] AS ordinals, count(*) AS number "
            "FROM repeated GROUP BY ALL".replace("GROUP BY ALL", f"GROUP BY {listed}")
        )
        total = self.session.number("SELECT count(*) FROM groups WHERE contents > 1")
        if total:
            self._list_repeated(total, listed)
            return 0
        collapsed = self.session.number("SELECT sum(number - 1) FROM groups")
        self._view(
            "loaded",
            f"SELECT * FROM ({self.views['loaded']}) one WHERE NOT EXISTS (FROM repeated r "
            "WHERE r.ordinal = one.ordinal AND r.ordinal NOT IN (SELECT kept FROM groups))",
        )
        rows = (
            "row repeats another one exactly and is"
            if collapsed == 1
            else "rows repeat another one exactly and are"
        )
        self.warnings.append(f"{collapsed:,} {rows} counted once.")
        return collapsed

    def _list_repeated(self, total: int, listed: str) -> None:
        found = self.session.rows(
            f"SELECT {listed}, ordinals, number FROM groups WHERE contents > 1 ORDER BY kept LIMIT {self.problems.room}"
        )
        wanted = {ordinal for row in found for ordinal in row["ordinals"]}
        lines = self.source.lines(wanted)
        for row in found:
            places = [lines[ordinal] for ordinal in row["ordinals"] if ordinal in lines]
            named = ", ".join(str(place) for place in places[:-1]) + f" and {places[-1]}"
            more = " (and more)" if row["number"] > len(places) else ""
            key = ", ".join(
                f"{name} = {shown(str(row[cell]))}"
                for name, cell in zip(self.keys, self._key_cells(), strict=True)
            )
            self.problems.add(
                "duplicate_key",
                f"lines {named}{more} give different rows for the key {key}; keep one of them.",
                line=places[0],
                column=", ".join(self.keys),
            )
        self.problems.count_only(total - len(found))

    def _raise_problems(self) -> None:
        if self.problems.total:
            lines = self.source.lines(self.problems.ordinals())
            raise self.problems.rejection(lines, self.source.columns)

    # the base

    def _pin_base(self) -> None:
        """Create ``base``: the rows of the base version that have a staged key, whole."""
        keys = ", ".join(
            f"{cell} AS {column_sql(name)}" for name, cell in zip(self.keys, self._key_cells(), strict=True)
        )
        complete = " AND ".join(f"{cell} IS NOT NULL" for cell in self._key_cells())
        self.session.execute(f"CREATE TEMP TABLE staged_keys AS SELECT {keys} FROM loaded WHERE {complete}")
        locate(self.session.connection, self.snapshot, "staged_keys", list(self.keys), "located_base")
        if not self.problems.total:
            refuse_duplicates(self.session, "located_base", self.keys)
        fetch(
            self.session.connection,
            self.snapshot,
            "located_base",
            self.snapshot.schema.names,
            "base_rows",
        )
        named = ", ".join(
            f"{column_sql(name)} AS b{index}" for index, name in enumerate(self.snapshot.schema.names)
        )
        self.session.execute(
            "CREATE TEMP VIEW base AS SELECT true AS in_base, file_index AS base_file, row_number AS base_row, "
            f"{named} FROM base_rows"
        )
        on = " AND ".join(
            f"l.{cell} = b.b{self.schema.names.index(name)}"
            for name, cell in zip(self.keys, self._key_cells(), strict=True)
        )
        # In any order: _write_rows sorts by key.
        changed = any_of([self._changed(column) for column in self._values()])
        paired = (
            "SELECT l.*, coalesce(b.in_base, false) AS in_base, "
            "CASE WHEN l.op = 'delete' THEN 'delete' WHEN b.in_base THEN 'update' ELSE 'insert' END AS effect, "
            f"b.* EXCLUDE (in_base) FROM loaded l LEFT JOIN base b ON {on} WHERE {complete}"
        )
        self._paired = self._keep(
            "paired", f"SELECT *, in_base AND {changed} AS changed FROM ({paired})", ordered=False
        )
        self.session.execute("DROP TABLE staged_keys")
        os.unlink(self._loaded)

    def _values(self) -> list[InputColumn]:
        return [column for column in self.inputs if column.name not in self.keys]

    def _given(self, column: InputColumn) -> str:
        """SQL: the row gives a value (NULL included) for the column."""
        if not self._leaves_out:
            return "true"
        return f"NOT coalesce(list_contains(absent, {column.place}), false)"

    def _base_cell(self, column: InputColumn) -> str:
        return null_of(column.type) if column.new else f"b{column.position}"

    def _rules_of(self, column: InputColumn) -> ColumnRules:
        return self.rules.get(column.name, ColumnRules())

    def _changed(self, column: InputColumn) -> str:
        """SQL: a row of the base is given another value in the column."""
        base = self._rules_of(column).stored(self._base_cell(column))
        changes = differs(f"v{column.position}", base, column.type)
        if column.position in self._precision:
            # As a case, since both sides of a projected AND are computed for every row.
            changes = f"CASE WHEN {changes} THEN NOT {self._precision[column.position]} ELSE false END"
        return f"({self._given(column)} AND {changes})"

    @cached_property
    def _precision(self) -> Mapping[int, str]:
        """SQL by column: the value is the base's, as precise as the format can carry it.

        Workbooks hold a moment as a fraction of a day, which readers take to the millisecond; Parquet and Arrow have
        columns of whole seconds and milliseconds, and of floating point numbers for any others. Spreadsheets keep
        numbers to 15 or 16 digits. Texts can carry everything, and what they say is meant, unless all of a column is
        written with three digits behind the second, as some tools export it; so are long doubles that differ only in
        the last digits.
        """
        found = {
            column.position: self._same_moment(column)
            if pa.types.is_timestamp(column.type)
            else self._same_in_spreadsheet(column)
            if self.source.spreadsheet
            else self._same_in_text(column) or self._same_in_floating(column)
            for column in self._values()
            if not column.new
        }
        return {position: same for position, same in found.items() if same is not None}

    def _same_moment(self, column: InputColumn) -> str | None:
        given, base = f"v{column.position}", f"b{column.position}"
        unit = {"s": "second", "ms": "millisecond"}.get(self.source.units.get(column.place, ""))
        if unit is not None:
            return f"(date_trunc('{unit}', {base}) IS NOT DISTINCT FROM {given})"
        if self._held_as_moments(column):
            apart = f"abs(epoch_us({base})::HUGEINT - epoch_us({given})::HUGEINT)"
            return f"coalesce({apart} <= 500, false)"
        if (
            self._may_be_cut(column)
            and self.session.row(f"SELECT bool_and(cut{column.position}) FROM loaded")[0]
        ):
            return f"(date_trunc('millisecond', {base}) IS NOT DISTINCT FROM {given})"
        return None

    def _same_in_spreadsheet(self, column: InputColumn) -> str | None:
        """Writers of workbooks cut doubles and decimals to 15 or 16 digits, and leave an empty text's cell empty."""
        given, base = f"v{column.position}", f"b{column.position}"
        if is_text(column.type):
            return f"coalesce({given} IS NULL AND {base} = '', false)"
        if not pa.types.is_float64(column.type) and not pa.types.is_decimal(column.type):
            return None
        kind = duckdb_type(column.type)
        cut = [f"TRY_CAST(format('{{:.{digits}g}}', {base}::DOUBLE) AS {kind})" for digits in (15, 16)]
        return f"coalesce({given} IN ({', '.join(cut)}), false)"

    def _same_in_text(self, column: InputColumn) -> str | None:
        """Some writers of texts cut doubles to 15 or 16 digits (R), and not always exactly (the JSON of pandas). Nobody
        cuts a number so by hand: what has few digits is meant.
        """
        if not self.source.text or not pa.types.is_float64(column.type):
            return None
        given, base = f"v{column.position}", f"b{column.position}"
        digits = f"regexp_replace(split_part({given}::VARCHAR, 'e', 1), '[^0-9]', '', 'g')"
        long = f"length(ltrim({digits}, '0')) > {_MOST_DIGITS_BY_HAND}"
        return f"coalesce({long} AND abs({given} - {base}) <= 1e-14 * abs({base}), false)"

    def _floating(self, column: InputColumn) -> pa.DataType | None:
        """The type of floating point numbers in which a typed source has a column of other numbers; else None."""
        given: pa.DataType = self.source.schema.field(column.place).type
        others = not self.source.text and pa.types.is_floating(given) and given != column.type
        return given if others and is_number(column.type) else None

    def _same_in_floating(self, column: InputColumn) -> str | None:
        """Tools make floating point numbers of whole numbers beside NULLs (pandas) and of decimals."""
        floating = self._floating(column)
        if floating is None:
            return None
        given, base, kind = f"v{column.position}", f"b{column.position}", duckdb_type(floating)
        same = f"{given}::{kind} = {base}::{kind}"
        if pa.types.is_decimal(column.type):
            # Not every tool rounds right to the last digit.
            same = f"{shortened(given, floating)} = {shortened(base, floating)}"
        return f"coalesce({self._may_be_rounded(column)} AND {same}, false)"

    def _may_be_rounded(self, column: InputColumn) -> str:
        given = self.source.schema.field(column.place).type
        return may_be_rounded(f"v{column.position}", given, column.type)

    def _check_rounded(self) -> None:
        """A key or a changed value must not be one that a floating point number only comes near to."""
        for column in self.inputs:
            floating = self._floating(column)
            if floating is None or pa.types.is_floating(column.type):
                continue
            changed = (
                "true" if column.name in self.keys else f"(effect = 'insert' OR {self._changed(column)})"
            )
            self._list_paired(
                "may_be_rounded",
                f"(effect <> 'delete' OR {column.name in self.keys}) AND {changed} AND {self._may_be_rounded(column)}",
                f"the upload has the column as {type_name(floating)}, which keeps {EXACT_DIGITS[floating]} digits, so "
                f"that the number may have been rounded (key {{key}}); write the column as {type_name(column.type)} "
                "or as text.",
                column=column.name,
            )

    def _may_be_cut(self, column: InputColumn) -> bool:
        """Whether the column has moments as texts, which show how precisely they were written."""
        given = self.source.schema.field(column.place).type
        return not column.new and pa.types.is_timestamp(column.type) and bool(is_text(given))

    def _held_as_moments(self, column: InputColumn) -> bool:
        kinds = self.source.kinds.get(column.place, set())
        return bool(kinds) and kinds <= {"date", "timestamp"}

    def _check_against_base(self) -> None:
        """Operations must fit the base, and columns that take no NULL must have a value."""
        self._list_paired(
            "key_exists",
            "op = 'insert' AND changed",
            "the table already has a row with the key {key}: write update (or upsert) to change it.",
        )
        self._list_paired(
            "key_absent",
            "op = 'update' AND NOT in_base",
            "there is no row with the key {key} in the table to update: write insert (or upsert) to add it.",
        )
        self._list_paired(
            "key_absent",
            "op = 'delete' AND NOT in_base",
            "there is no row with the key {key} in the table to delete.",
        )
        self._check_rounded()
        self._check_values_missing()
        self._check_rules()
        self._check_append_only()
        self._check_partitions()

    def _check_values_missing(self) -> None:
        given = {column.name: column for column in self.inputs}
        for field in self.snapshot.schema:
            if field.nullable or field.name in self.keys or field.name in self.snapshot.generated_columns:
                continue
            column = given.get(field.name)
            if column is None:
                self._list_paired(
                    "missing_value",
                    "effect = 'insert'",
                    f"a new row (key {{key}}) needs a value for {field.name}, which takes no NULL, "
                    "but the content lacks the column.",
                    column=field.name,
                )
                continue
            self._list_paired(
                "missing_value",
                f"effect = 'insert' AND NOT {self._given(column)}",
                f"the new row (key {{key}}) lacks a value for {field.name}, which takes no NULL.",
                column=field.name,
            )
            self._list_paired(
                "null_not_allowed",
                f"effect <> 'delete' AND {self._given(column)} AND v{column.position} IS NULL AND {_readable(column)}",
                f"{field.name} takes no NULL; give a value (key {{key}}).",
                column=field.name,
            )

    def _check_rules(self) -> None:
        """What the schema asks of values inside columns; cells that the row leaves as they are are not judged."""
        for column in self.inputs:
            for rule in self._rules_of(column).rules:
                value = f"v{column.position}"
                changed = "false" if column.name in self.keys else self._changed(column)
                code = "null_not_allowed" if rule.limit is None else "text_too_long"
                self._list_paired(
                    code,
                    f"effect <> 'delete' AND (effect = 'insert' OR {changed}) AND {rule.broken_by(value)}",
                    f"{rule.place} {rule.demand} (key {{key}}).",
                    column=column.name,
                )

    def _check_append_only(self) -> None:
        if not self.snapshot.append_only:
            return
        rule = "the table is append-only (delta.appendOnly)"
        self._list_paired(
            "append_only",
            "effect = 'update' AND changed AND op <> 'insert'",
            f"{rule}: rows can be added, and the row with the key {{key}} cannot be changed; leave it out.",
        )
        self._list_paired(
            "append_only",
            "effect = 'delete' AND in_base",
            f"{rule}: rows can be added, and the row with the key {{key}} cannot be deleted; leave it out.",
        )

    def _check_partitions(self) -> None:
        """Delta stores an empty text of a partition column as NULL (PROTOCOL.md, "Partition Value Serialization")."""
        for column in self.inputs:
            if column.name in self.snapshot.partition_columns and is_text(column.type):
                self._list_paired(
                    "empty_partition_value",
                    f"effect <> 'delete' AND v{column.position} = ''",
                    f"{column.name} partitions the table, and an empty text cannot be told from NULL there (key "
                    "{key}); give a value or NULL.",
                    column=column.name,
                )

    def _list_paired(self, code: str, condition: str, message: str, *, column: str | None = None) -> None:
        total = self.session.number(f"SELECT count(*) FROM paired WHERE {condition}")
        if not total:
            return
        cells = self._key_cells()
        found = self.session.rows(
            f"SELECT ordinal, {', '.join(cells)} FROM paired WHERE {condition} "
            f"ORDER BY ordinal LIMIT {self.problems.room}"
        )
        for row in found:
            key = ", ".join(
                f"{name} = {shown(str(row[cell]))}" for name, cell in zip(self.keys, cells, strict=True)
            )
            self.problems.add(code, message.replace("{key}", key), ordinal=row["ordinal"], column=column)
        self.problems.count_only(total - len(found))

    # writing

    def _write_rows(self) -> tuple[int, dict[str, int]]:
        """Drop what changes nothing, number the rest in key order, write it; count no-ops and changed cells."""
        values = self._values()
        self._warn_of_precision()
        keep = "(effect <> 'update' OR changed)"
        total, kept = self.session.row(f"SELECT count(*), count(*) FILTER ({keep}) FROM paired")
        cells = self._key_cells()
        key_columns = ", ".join(f"{cell} AS k{index}" for index, cell in enumerate(cells))
        base_columns = "".join(
            f", CASE WHEN effect <> 'insert' THEN b{index} END AS b{index}"
            for index, name in enumerate(self.snapshot.schema.names)
            if name not in self.keys
        )
        proposed = "".join(
            f", CASE WHEN effect = 'delete' THEN NULL WHEN {self._kept_base(column)} "
            f"THEN {self._base_cell(column)} ELSE v{column.position} END AS p{column.position}"
            for column in values
        )
        in_order = self._keep_in_key_order(
            f"effect AS op, "
            f"{self._absent_positions()} AS absent, coalesce(base_file, {ABSENT})::INTEGER AS base_file, base_row, "
            f"{key_columns}{base_columns}{proposed}",
            keep,
            cells,
        )
        os.unlink(self._paired)
        self._find_rekeyed()
        counts = self.session.counts(
            "FROM final",
            [
                f"op = 'update' AND {differs(f'p{column.position}', self._base_cell(column), column.type)}"
                for column in values
            ],
        )
        cells_updated = {
            column.name: int(number) for column, number in zip(values, counts, strict=True) if number
        }
        rows = "SELECT f.*, r.rekeyed FROM final f LEFT JOIN rekeyed r USING (n) ORDER BY n"
        if not self.rekeyed:
            rows = "SELECT *, NULL::BIGINT AS rekeyed FROM final"
        written = self._keep("rows", rows, "COMPRESSION zstd")
        for part in in_order:
            os.unlink(part)
        flush_file(written)
        write_base_files(self.folder, self.snapshot.files)
        return total - kept, cells_updated

    def _keep_in_key_order(self, columns: str, keep: str, cells: Sequence[str]) -> list[Path]:
        """Write the rows that are kept in key order to one file or several; ``final`` reads them with their numbers.

        A sort hands on rows by the thousand: wide ones would not fit. Those are numbered by their keys alone and then
        written by and by, each part with one look at the rows that it can come from.
        """
        at_once = _BYTES_PER_PART // max(1, self._row_width())
        if at_once >= _ROWS_PER_VECTOR:
            path = self._keep(
                "in_order", f"SELECT {columns} FROM paired WHERE {keep} ORDER BY {', '.join(cells)}"
            )
            self._view(
                "final",
                "SELECT file_row_number AS n, * EXCLUDE (file_row_number) "
                f"FROM read_parquet({literal(str(path))}, file_row_number = true)",
            )
            return [path]
        self.session.execute(
            f"CREATE TEMP TABLE turns AS SELECT ordinal AS turn, row_number() OVER (ORDER BY {', '.join(cells)}) - 1 "
            f"AS n FROM paired WHERE {keep}"
        )
        number = self.session.number("SELECT count(*) FROM turns")
        at_once = max(1, at_once)
        paths = []
        for part, start in enumerate(range(0, max(1, number), at_once)):
            turns = f"SELECT turn, n FROM turns WHERE n >= {start} AND n < {start + at_once}"
            first, last = self.session.row(f"SELECT min(turn), max(turn) FROM ({turns})")
            within = "false" if first is None else f"ordinal BETWEEN {first} AND {last}"
            paths.append(
                self._keep(
                    f"in_order_{part}",
                    f"SELECT n, {columns} FROM paired JOIN ({turns}) ON ordinal = turn WHERE {within} ORDER BY n",
                )
            )
        listed = ", ".join(literal(str(path)) for path in paths)
        self._view("final", f"FROM read_parquet([{listed}])")
        return paths

    def _warn_of_precision(self) -> None:
        """Say where values were cut: by the format or a tool, which changes nothing, or before they came here, which
        does."""
        told: tuple[tuple[str, Callable[[pa.DataType], bool]], ...] = (
            ("timestamps cut to whole seconds or milliseconds", pa.types.is_timestamp),
            ("numbers without their last digits", is_number),
        )
        for what, of_kind in told:
            parts = [
                f"({self._given(column)} AND v{column.position} IS DISTINCT FROM b{column.position} "
                f"AND {self._precision[column.position]})"
                for column in self._values()
                if column.position in self._precision and of_kind(column.type)
            ]
            if not parts:
                continue
            number = self.session.number(
                f"SELECT count(*) FROM paired WHERE effect = 'update' AND {any_of(parts)}"
            )
            if number:
                verb = "gives" if number == 1 else "give"
                self.warnings.append(
                    f"{_rows(number)} {verb} {what}; "
                    "where only the cut-off part differs from the table they change nothing."
                )
        for column in self._values():
            if column.new or not pa.types.is_timestamp(column.type) or column.position in self._precision:
                continue
            cut = f"date_trunc('millisecond', b{column.position}) = v{column.position}"
            number = self.session.number(
                f"SELECT count(*) FROM paired WHERE effect = 'update' AND {self._changed(column)} AND {cut}"
            )
            if number:
                self.warnings.append(
                    f"{_rows(number)} changed in {column.name} only behind the millisecond: "
                    "leave the column out if an export has cut its values."
                )

    def _kept_base(self, column: InputColumn) -> str:
        """SQL: the row leaves the base's value in the column."""
        untouched = f"NOT {self._given(column)}"
        if column.position in self._precision or self._rules_of(column).pads:
            untouched = f"NOT {self._changed(column)}"
        return f"effect = 'update' AND {untouched}"

    def _absent_positions(self) -> str:
        """SQL: positions of the value columns that an inserted row did not give."""
        cases = ", ".join(
            f"CASE WHEN list_contains(absent, {column.place}) THEN {column.position}::SMALLINT END"
            for column in self._values()
        )
        if not cases or not self._leaves_out:
            return "NULL::SMALLINT[]"
        listed = f"list_filter([{cases}], lambda position: position IS NOT NULL)"
        return f"CASE WHEN effect = 'insert' AND absent IS NOT NULL THEN {listed} END"

    def _find_rekeyed(self) -> None:
        """Pair deleted with inserted rows of the same content: the row was given another key."""
        deleted, inserted = self.session.row(
            "SELECT count(*) FILTER (op = 'delete'), count(*) FILTER (op = 'insert') FROM final"
        )
        values = [column for column in self._values() if not column.new]
        if not deleted or not inserted or len(values) < self.base_width - len(self.keys) or not values:
            return
        of_base = digest_of([fingerprint(f"b{column.position}", column.type) for column in values])
        of_proposed = digest_of([fingerprint(f"p{column.position}", column.type) for column in values])
        empty = " AND ".join(f"coalesce(b{column.position}, p{column.position}) IS NULL" for column in values)
        self.session.execute(
            f"CREATE TEMP TABLE contents AS SELECT n, op, CASE WHEN op = 'delete' THEN {of_base} "
            f"ELSE {of_proposed} END AS content FROM final WHERE op <> 'update' AND NOT ({empty})"
        )
        self.session.execute(
            "CREATE TEMP TABLE pairs AS SELECT d.n AS old, i.n AS new FROM "
            "(SELECT content, min(n) AS n FROM contents WHERE op = 'delete' GROUP BY content HAVING count(*) = 1) d "
            "JOIN (SELECT content, min(n) AS n FROM contents WHERE op = 'insert' GROUP BY content "
            "HAVING count(*) = 1) i USING (content)"
        )
        self.session.execute(
            "CREATE TEMP TABLE rekeyed AS "
            "SELECT old AS n, new AS rekeyed FROM pairs UNION ALL SELECT new, old FROM pairs"
        )
        self.rekeyed = self.session.number("SELECT count(*) FROM pairs")

    def _describe(self, table_uri: str, duplicates: int, noops: int, cells: Mapping[str, int]) -> Staged:
        inserts, updates, deletes, absent = self.session.row(
            "SELECT count(*) FILTER (op = 'insert'), count(*) FILTER (op = 'update'), "
            "count(*) FILTER (op = 'delete'), count(absent) FROM rows"
        )
        counts: dict[Operation, int] = {"insert": inserts, "update": updates, "delete": deletes}
        if self.rekeyed:
            rows = "row keeps its content under" if self.rekeyed == 1 else "rows keep their content under"
            self.warnings.append(f"{self.rekeyed:,} {rows} another key.")
        return Staged(
            location=str(self.folder),
            digest=self._digest(),
            base_version=self.snapshot.version,
            table_id=self.snapshot.table_id,
            table_uri=table_uri,
            primary_keys=self.keys,
            schema=self.schema,
            base_column_count=self.base_width,
            columns=tuple(column.name for column in sorted(self.inputs, key=lambda one: one.position)),
            new_columns=tuple(column.name for column in self.inputs if column.new),
            counts=counts,
            cells_updated=dict(cells),
            noop_rows=noops,
            duplicate_rows=duplicates,
            rekeyed_rows=self.rekeyed,
            has_absent=bool(absent),
            warnings=(*self.source.warnings, *self.warnings),
            column_ids=column_ids(self.snapshot.schema_json),
        )

    def _digest(self) -> str:
        values = self._values()
        return content_digest(
            self.session,
            "rows",
            table_id=self.snapshot.table_id,
            schema=self.schema,
            keys=self.keys,
            base_width=self.base_width,
            staged=frozenset(column.position for column in values),
            new_columns=frozenset(column.name for column in self.inputs if column.new),
        )


def content_digest(
    opened: Session,
    rows: str,
    *,
    table_id: str,
    schema: pa.Schema,
    keys: Sequence[str],
    base_width: int,
    staged: frozenset[int],
    new_columns: frozenset[str],
) -> str:
    """SHA-256 over rows (columns as in ``rows.parquet``) in key order: operation, key, base image, proposed values,
    columns left out. ``staged`` holds the positions of the columns that the content gives values for.
    """
    parts = ["op"]
    parts += [fingerprint(f"k{index}", schema.field(name).type) for index, name in enumerate(keys)]
    for position, field in enumerate(schema):
        if field.name in keys:
            continue
        if position < base_width:
            parts.append(fingerprint(f"b{position}", field.type))
        given = position in staged
        proposed = fingerprint(f"p{position}", field.type) if given else ""
        unstaged = fingerprint(f"b{position}", field.type) if position < base_width else "'~'"
        left_out = f"coalesce(list_contains(absent, {position}), false)" if given else "true"
        parts.append(
            f"CASE WHEN op = 'delete' THEN '' WHEN op = 'insert' AND {left_out} THEN '!' "
            f"ELSE {proposed if given else unstaged} END"
        )
    overall = hashlib.sha256()
    described = [table_id, *keys]
    described += [
        f"{field.name} {type_name(field.type)}"
        for field in sorted(schema, key=lambda field: field.name)
        if field.name in new_columns
    ]
    overall.update("\x00".join(described).encode())
    # In slices: a sort of all the digests would hold more than a session may for a large upload.
    [last] = opened.row(f"SELECT coalesce(max(n), -1) FROM {rows}")
    for start in range(0, last + 1, _DIGEST_ROWS):
        found = opened.table(
            f"SELECT {digest_of(parts)} AS d FROM {rows} "
            f"WHERE n >= {start} AND n < {start + _DIGEST_ROWS} ORDER BY n"
        )
        for chunk in found.column("d").chunks:
            overall.update("".join(chunk.to_pylist()).encode())
    return overall.hexdigest()
