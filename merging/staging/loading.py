"""The source read in one stream, every cell typed for its column; the cells that could not be are listed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from merging.errors import StagingRejected
from merging.model import StagingProblem
from merging.sql.parsing import (
    Refused,
    Typed,
    explain,
    from_text,
    from_typed,
    without_blanks,
    without_exponent,
)
from merging.sql.types import is_text
from merging.staging.mapping import Columns, InputColumn
from merging.staging.sources import Problems, Source
from merging.staging.workbench import Relation, Workbench

_MILLISECONDS = r":[0-9]{2}\.[0-9]{3}($|[^0-9])"


@dataclass(frozen=True)
class Loaded:
    """What was read: ``ordinal``, ``absent``, ``op``, ``v<i>`` typed, ``bad`` (the cells that could not be), and
    ``cut<i>`` (whether a moment was written with three digits behind the second).

    ``leaves_out``: whether any row lacks a column that others have.
    """

    rows: Relation
    leaves_out: bool


def load(bench: Workbench, columns: Columns) -> Loaded:
    """Read and type the source. Raises StagingRejected where a column's type can't meet the table's, and what ended
    the stream.
    """
    source = bench.source
    values, bad_cells, bad_any = _typed_cells(source, columns)
    bad = refused = _refused(source, columns)
    if bad_any:
        listed = f"list_filter([{', '.join(bad_cells)}], lambda cell: cell IS NOT NULL)"
        bad = f"CASE WHEN {' OR '.join(bad_any)} THEN list_concat({refused}, {listed}) ELSE {refused} END"
    operation = "'upsert'"
    if columns.operation_place is not None:
        operation = f"coalesce(lower(trim(f{columns.operation_place}::VARCHAR)), 'upsert')"
    connection = bench.session.connection
    connection.register("source", source.reader())
    try:
        rows = bench.in_any_order(
            "loaded",
            f"SELECT ordinal, absent, {operation} AS op, {', '.join(values)}, {bad} AS bad "
            f"FROM {_with_trimmed(source, columns)}",
            read_often=True,
        )
    except Exception:
        if source.failure is not None:
            raise source.failure from None
        raise
    finally:
        connection.unregister("source")
    return Loaded(rows, bool(bench.session.number(f"SELECT count(absent) FROM {rows.sql}")))


def _refused(source: Source, columns: Columns) -> str:
    """SQL of the cells that the reader refused: not those of columns that are no part of the content."""
    read = {column.place for column in columns.inputs}
    if len(read) + (columns.operation_place is not None) == len(source.columns):
        return "refused"
    return f"list_filter(refused, lambda cell: list_contains({sorted(read)}, cell.c))"


def _typed_cells(source: Source, columns: Columns) -> tuple[list[str], list[str], list[str]]:
    """SQL of the typed cells, of the cells that cannot be typed, and of whether there is one."""
    values: list[str] = []
    bad_cells: list[str] = []
    bad_any: list[str] = []
    problems: list[StagingProblem] = []
    for column in (*columns.inputs, *(one for one in columns.unknown if one.guessed)):
        cell = f"f{column.place}"
        if column.guessed:
            values.append(f"{cell} AS {column.cell}")
            continue
        try:
            typed = _typed(source, column)
        except Refused as refusal:
            problems.append(StagingProblem("wrong_type", str(refusal), source.header_line, column.name))
            continue
        value = column.rules.stored(typed.value)
        if column.name in columns.keys and typed.bad != "false":
            # A cast may round what it cannot take; a key that was refused is nobody's, the rounded one included.
            value = f"CASE WHEN {typed.bad} THEN NULL ELSE {value} END"
        values.append(f"{value} AS {column.cell}")
        if may_be_cut(source, column):
            values.append(f"regexp_matches({cell}, '{_MILLISECONDS}') AS cut{column.position}")
        if typed.bad != "false":
            raw = f"left({cell}::VARCHAR, 200)"
            told = f"'c': {column.place}, 'v': {raw}, 'code': NULL::VARCHAR, 'message': NULL::VARCHAR"
            bad_cells.append(f"CASE WHEN {typed.bad} THEN {{{told}}} END")
            bad_any.append(typed.bad)
    if problems:
        raise StagingRejected(problems)
    return values, bad_cells, bad_any


def _with_trimmed(source: Source, columns: Columns) -> str:
    """SQL of the source with each text that is to be typed once more, ``t<i>``, without the blanks around it, and
    ``d<i>`` where that is to be a decimal, without an exponent.
    """
    read = [column.place for column in columns.inputs if not column.guessed and not is_text(column.type)]
    texts = [place for place in read if source.text and is_text(source.schema.field(place).type)]
    trimmed = [f"{without_blanks(f'f{place}')} AS t{place}" for place in texts]
    found = f"(SELECT {', '.join(['*', *trimmed])} FROM source)"
    # Of a decimal what is needed often is long: planned with each use, a hundred such columns took 20 seconds.
    decimals = {column.place for column in columns.inputs if pa.types.is_decimal(column.type)}
    plain = [f"{without_exponent(f't{place}')} AS d{place}" for place in texts if place in decimals]
    return f"(SELECT {', '.join(['*', *plain])} FROM {found})"


def _typed(source: Source, column: InputColumn) -> Typed:
    cell = f"f{column.place}"
    given: pa.DataType = source.schema.field(column.place).type
    if source.text and is_text(given):
        ready = "d" if pa.types.is_decimal(column.type) else "t"
        return from_text(cell, column.type, f"{ready}{column.place}")
    return from_typed(cell, given, column.type)


def may_be_cut(source: Source, column: InputColumn) -> bool:
    """Whether the column has moments as texts, which show how precisely they were written."""
    given = source.schema.field(column.place).type
    return not column.new and pa.types.is_timestamp(column.type) and bool(is_text(given))


def is_readable(column: InputColumn) -> str:
    """SQL: the cell is not one of those that could not be read."""
    return f"NOT coalesce(list_contains(list_transform(bad, lambda cell: cell.c), {column.place}), false)"


def list_unreadable(bench: Workbench, loaded: Loaded, columns: Columns, problems: Problems) -> None:
    """List the cells that could not be read, with the reason; of rows to delete only those of the key."""
    opened, rows = bench.session, loaded.rows.sql
    total = opened.number(
        f"SELECT coalesce(sum(len(bad)), 0) FROM {rows} WHERE bad IS NOT NULL AND op <> 'delete'"
    )
    by_place = {column.place: column for column in columns.inputs}
    keys = _listed([column for column in columns.inputs if column.name in columns.keys])
    of_deleted = (
        f"SELECT ordinal, cell.c AS place, cell FROM (SELECT ordinal, unnest(bad) AS cell FROM {rows} "
        f"WHERE op = 'delete' AND bad IS NOT NULL) WHERE cell.c IN ({keys})"
    )
    found = opened.table(
        f"SELECT ordinal, cell.c AS place, cell FROM (SELECT ordinal, unnest(bad) AS cell FROM {rows} "
        f"WHERE bad IS NOT NULL AND op <> 'delete') UNION ALL {of_deleted} "
        f"ORDER BY ordinal, place LIMIT {problems.room}"
    ).to_pylist()
    total += opened.number(f"SELECT count(*) FROM ({of_deleted})")
    for row in found:
        cell = row["cell"]
        column = by_place[cell["c"]]
        code, message = cell["code"], cell["message"]
        if message is None:
            code, message = explain(cell["v"], column.type, bench.source.null_token)
        problems.add(code, message, ordinal=row["ordinal"], column=column.name, value=cell["v"])
    problems.count_only(total - len(found))


def _listed(columns: Sequence[InputColumn]) -> str:
    return ", ".join(str(column.place) for column in columns)
