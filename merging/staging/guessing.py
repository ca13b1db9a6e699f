"""The type of a new column that comes as text, where nobody chose one.

A type is guessed only where every value comes back from it exactly as it was written; else the column is text. Where
the format itself tells numbers from texts (JSON, workbooks), its word counts: a text stays a text, whatever it looks
like, and a number is a number that loses no digit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace

import pyarrow as pa

from merging.errors import UnsupportedTable
from merging.model import UnknownColumn
from merging.sql.quoting import literal
from merging.sql.session import Session
from merging.sql.types import duckdb_type, type_name
from merging.staging.checking import OPERATIONS
from merging.staging.loading import Loaded
from merging.staging.mapping import Columns, InputColumn
from merging.staging.sources.base import OPERATION_COLUMN, CellKind
from merging.staging.sources.plain_arrow import filled
from merging.staging.workbench import Workbench

_AT_ONCE = 100
_A_FEW_ROWS = 2_048
_LARGEST_DECIMAL = 38
_PLAIN_NUMBER = r"-?(0|[1-9][0-9]*)(\.[0-9]+)?"
_JSON_NUMBER = rf"{_PLAIN_NUMBER}([eE][+-]?[0-9]{{1,9}})?"
_DAY = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_MOMENT = rf"{_DAY}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{{6}})?"
"""Not 24:00:00, which is the next day to DuckDB."""


@dataclass(frozen=True)
class Guess:
    """A column's type, and SQL of its values in that type."""

    type: pa.DataType
    value: str


@dataclass(frozen=True)
class _Candidate:
    """A type that texts may have: SQL of the value, and the predicate that it comes back as it was written."""

    type: pa.DataType
    value: str
    returns: str


@dataclass(frozen=True)
class NewlyTyped:
    """What was loaded, its new columns in the types that were guessed for them."""

    loaded: Loaded
    columns: Columns
    warnings: tuple[str, ...]


def type_new_columns(bench: Workbench, loaded: Loaded, columns: Columns, *, zoneless: bool) -> NewlyTyped:
    """Give the new columns of a text source the types that their values have, where nothing is lost; warn of new
    columns of text that may not be what was meant.
    """
    guessed = [column for column in columns.inputs if column.guessed]
    kinds = bench.source.kinds
    guesses = _guess_types(bench.session, loaded.rows.sql, guessed, kinds, zoneless=zoneless)
    texts = [column for column in guessed if column.position not in guesses]
    warnings = _warnings(bench, loaded, texts)
    if not guesses:
        return NewlyTyped(loaded, columns, warnings)
    fields, inputs, typed = list(columns.schema), list(columns.inputs), {}
    for index, column in enumerate(inputs):
        guess = guesses.get(column.position)
        if guess is not None:
            inputs[index] = replace(column, type=guess.type)
            fields[column.position] = pa.field(column.name, guess.type, nullable=True)
            typed[column.cell] = f"({guess.value})::{duckdb_type(guess.type)}"
    rows = loaded.rows.made_into(bench.session.with_cells(loaded.rows.sql, typed))
    return NewlyTyped(
        replace(loaded, rows=rows), replace(columns, inputs=tuple(inputs), schema=pa.schema(fields)), warnings
    )


def types_of_unknown(
    bench: Workbench, loaded: Loaded, columns: Columns, *, zoneless: bool
) -> tuple[UnknownColumn, ...]:
    """The columns to decide about, each with the type that a new column would have for its values."""
    guessed = [column for column in columns.unknown if column.guessed]
    guesses = _guess_types(bench.session, loaded.rows.sql, guessed, bench.source.kinds, zoneless=zoneless)
    return tuple(
        UnknownColumn(
            column.name,
            columns.suggestions.get(column.name, ""),
            _told_type(guesses[column.position].type if column.position in guesses else column.type),
        )
        for column in columns.unknown
    )


def _told_type(data_type: pa.DataType) -> str:
    try:
        return type_name(filled(data_type))
    except UnsupportedTable:
        return ""


def _warnings(bench: Workbench, loaded: Loaded, texts: Sequence[InputColumn]) -> tuple[str, ...]:
    warnings = []
    for column in texts:
        kinds = sorted(bench.source.kinds.get(column.place, set()) - {"text"})
        if kinds:
            spoken = ["other values" if kind == "other" else f"{kind}s" for kind in [*kinds, "text"]]
            mixed = " and ".join(spoken)
            warnings.append(f"The new column {column.name} mixes {mixed}, and is taken as text.")
    operations = ", ".join(literal(name) for name in OPERATIONS)
    conditions = [f"lower(trim({column.cell})) IN ({operations})" for column in texts]
    conditions += [f"{column.cell} IS NOT NULL" for column in texts]
    counts = bench.session.counts(f"FROM {loaded.rows.sql}", conditions)
    for column, named, given in zip(texts, counts[: len(texts)], counts[len(texts) :], strict=True):
        if given and named == given:
            warnings.append(
                f"The new column {column.name} holds nothing but names of operations; "
                f"a column named {OPERATION_COLUMN} says what happens to a row."
            )
    return tuple(warnings)


def _guess_types(
    opened: Session,
    relation: str,
    columns: Sequence[InputColumn],
    kinds: dict[int, set[CellKind]],
    *,
    zoneless: bool,
) -> dict[int, Guess]:
    """The type of each column (cells are texts, ``v<position>``) by its position; text where it is not listed.

    ``zoneless``: whether the table has timestamps without a zone, which are a table feature that a guess must not
    switch on.
    """
    guesses: dict[int, Guess] = {}
    offers = {
        column.position: list(_candidates(column, kinds.get(column.place, set()), zoneless=zoneless))
        for column in columns
    }
    for start in range(0, len(columns), _AT_ONCE):
        some = {column.position: offers[column.position] for column in columns[start : start + _AT_ONCE]}
        # What a few rows rule out need not be asked of all of them.
        few = _returning(opened, f"(FROM {relation} LIMIT {_A_FEW_ROWS})", some)
        possible = {position: found for position, (_, found) in few.items()}
        for position, (given, found) in _returning(opened, relation, possible).items():
            if given and found:
                guesses[position] = Guess(found[0].type, found[0].value)
    for column in columns:
        if kinds.get(column.place) == {"number"} and column.position not in guesses:
            exact = _exact_decimal(opened, relation, column)
            if exact is not None:
                guesses[column.position] = exact
    return guesses


def _returning(
    opened: Session, relation: str, offers: Mapping[int, Sequence[_Candidate]]
) -> dict[int, tuple[int, list[_Candidate]]]:
    """Of each column that has offers: how many cells are not NULL, and the offers that all of them return from."""
    asked = {position: candidates for position, candidates in offers.items() if candidates}
    if not asked:
        return {}
    counted = [
        part
        for position, candidates in asked.items()
        for part in (
            f"count(v{position})",
            *(f"count(v{position}) FILTER ({one.returns})" for one in candidates),
        )
    ]
    counts = iter(opened.row(f"SELECT {', '.join(counted)} FROM {relation}"))
    answers = {}
    for position, candidates in asked.items():
        given = next(counts)
        answers[position] = given, [one for one in candidates if next(counts) == given]
    return answers


def _candidates(column: InputColumn, kinds: Set[CellKind], *, zoneless: bool) -> Iterator[_Candidate]:
    cell = f"v{column.position}"
    if not kinds:
        yield from _of_texts(cell, zoneless=zoneless)
    elif kinds == {"number"}:
        yield from _of_numbers(cell)
    elif kinds == {"boolean"}:
        yield _candidate(cell, pa.bool_(), "true")
    elif kinds == {"date"}:
        value = f"TRY_CAST(TRY_CAST({cell} AS TIMESTAMP) AS DATE)"
        yield _Candidate(pa.date32(), value, f"{value} IS NOT NULL")
    elif kinds <= {"date", "timestamp"}:
        value = f"TRY_CAST({cell} AS TIMESTAMP)"
        zoned = value if zoneless else f"({value} AT TIME ZONE 'UTC')"
        yield _Candidate(pa.timestamp("us", tz=None if zoneless else "UTC"), zoned, f"{value} IS NOT NULL")


def _candidate(cell: str, data_type: pa.DataType, condition: str) -> _Candidate:
    value = f"TRY_CAST({cell} AS {duckdb_type(data_type)})"
    return _Candidate(data_type, value, f"{value} IS NOT NULL AND {condition}")


def _matches(cell: str, pattern: str) -> str:
    return f"regexp_full_match({cell}, '{pattern}')"


def _of_texts(cell: str, *, zoneless: bool) -> Iterator[_Candidate]:
    yield _candidate(cell, pa.int64(), f"TRY_CAST({cell} AS BIGINT)::VARCHAR = {cell}")
    # Written plainly: not 1e+20, nor inf or nan.
    plain = f"contains({cell}, '.') AND NOT contains({cell}, 'e')"
    yield _candidate(cell, pa.float64(), f"TRY_CAST({cell} AS DOUBLE)::VARCHAR = {cell} AND {plain}")
    yield _candidate(cell, pa.bool_(), f"{cell} IN ('true', 'false')")
    yield _candidate(cell, pa.date32(), _matches(cell, _DAY))
    # Six digits after the second, or none where they are all zero: so timestamps are given out.
    short = f"{cell} NOT LIKE '%.000000%'"
    yield _candidate(cell, pa.timestamp("us", tz="UTC"), f"{_matches(cell, _MOMENT + 'Z')} AND {short}")
    if zoneless:
        yield _candidate(cell, pa.timestamp("us"), f"{_matches(cell, _MOMENT)} AND {short}")


def _of_numbers(cell: str) -> Iterator[_Candidate]:
    yield _candidate(cell, pa.int64(), f"TRY_CAST({cell} AS BIGINT)::VARCHAR = {cell}")
    double = f"TRY_CAST({cell} AS DOUBLE)"
    yield _candidate(
        cell, pa.float64(), f"isfinite({double}) AND {_digits(f'{double}::VARCHAR')} = {_digits(cell)}"
    )


def _digits(text: str) -> str:
    """SQL of a number's text in one spelling: no zeros that say nothing, exponents without plus and padding."""
    mantissa = f"regexp_replace(split_part(lower({text}), 'e', 1), '(\\.[0-9]*[1-9])0+$|\\.0+$', '\\1')"
    exponent = f"regexp_replace(split_part(lower({text}), 'e', 2), '^([-]?)[+]?0*', '\\1')"
    return f"concat({mantissa}, 'e', {exponent})"


def _exact_decimal(opened: Session, relation: str, column: InputColumn) -> Guess | None:
    """The decimal that holds every digit of a column of numbers, if one does."""
    cell = f"v{column.position}"
    mantissa = f"split_part(lower({cell}), 'e', 1)"
    exponent = f"coalesce(TRY_CAST(nullif(split_part(lower({cell}), 'e', 2), '') AS BIGINT), 0)"
    before = f"length(ltrim(split_part({mantissa}, '.', 1), '-0')) + {exponent}"
    after = f"length(split_part({mantissa}, '.', 2)) - {exponent}"
    numbers, given, whole, scale = opened.row(
        f"SELECT count(*) FILTER ({_matches(cell, _JSON_NUMBER)}), count(*), max(greatest({before}, 0)), "
        f"max(greatest({after}, 0)) FROM {relation} WHERE {cell} IS NOT NULL"
    )
    if not given or numbers < given or whole + scale > _LARGEST_DECIMAL:
        return None
    data_type = pa.decimal128(max(whole + scale, 1), scale)
    value = f"TRY_CAST({cell} AS {duckdb_type(data_type)})"
    if opened.number(f"SELECT count(*) FROM {relation} WHERE {cell} IS NOT NULL AND {value} IS NULL"):
        return None
    return Guess(data_type, value)
