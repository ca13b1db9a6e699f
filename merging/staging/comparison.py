"""When a row changes a cell of its base: never by what the format it came in cannot carry.

Workbooks hold a moment as a fraction of a day, which readers take to the millisecond; Parquet and Arrow have columns of
whole seconds and milliseconds, and of floating point numbers for any others. Spreadsheets keep numbers to 15 or 16
digits. Texts can carry everything, and what they say is meant, unless all of a column is written with three digits
behind the second, as some tools export it; so are long doubles that differ only in the last digits.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from merging.sql.equality import differs
from merging.sql.parsing import EXACT_DIGITS, is_number, may_be_rounded, shortened
from merging.sql.quoting import any_of
from merging.sql.types import duckdb_type, is_text, type_name
from merging.staging.loading import Loaded, may_be_cut
from merging.staging.mapping import Columns, InputColumn
from merging.staging.sources import Source
from merging.staging.workbench import Fault, Relation, Workbench

_MOST_DIGITS_BY_HAND = 9


@dataclass(frozen=True)
class Comparison:
    """SQL over rows beside their base images: what a row gives, changes and keeps.

    ``precision``: by the column's position, that a value is the base's, as precise as the format can carry it.
    """

    columns: Columns
    leaves_out: bool
    precision: Mapping[int, str]

    def given(self, column: InputColumn) -> str:
        """SQL: the row gives a value (NULL included) for the column."""
        if not self.leaves_out:
            return "true"
        return f"NOT coalesce(list_contains(absent, {column.place}), false)"

    def silent(self, column: InputColumn) -> str:
        """SQL: a new row says nothing of the column, so that the table may fill it."""
        if column.numbered:
            return f"(NOT {self.given(column)} OR {column.cell} IS NULL)"
        return f"NOT {self.given(column)}"

    def changed(self, column: InputColumn) -> str:
        """SQL: a row of the base is given another value in the column."""
        changes = differs(column.cell, column.rules.stored(column.base), column.type)
        if column.position in self.precision:
            # As a case, since both sides of a projected AND are computed for every row.
            changes = f"CASE WHEN {changes} THEN NOT {self.precision[column.position]} ELSE false END"
        return f"({self.given(column)} AND {changes})"

    @property
    def any_changed(self) -> str:
        """SQL: a row of the base is given another value in some column."""
        return any_of([self.changed(column) for column in self.columns.values])

    def keeps_base(self, column: InputColumn) -> str:
        """SQL: the row leaves the base's value in the column."""
        untouched = f"NOT {self.given(column)}"
        if column.position in self.precision or column.rules.pads:
            untouched = f"NOT {self.changed(column)}"
        return f"effect = 'update' AND {untouched}"

    def proposed(self, column: InputColumn) -> str:
        """SQL of what a row that is not deleted proposes for the column."""
        if not self.leaves_out and column.position not in self.precision and not column.rules.pads:
            return column.cell
        return f"CASE WHEN {self.keeps_base(column)} THEN {column.base} ELSE {column.cell} END"


def comparison_of(bench: Workbench, loaded: Loaded, distinct: Relation, columns: Columns) -> Comparison:
    """How the content's rows are compared with the base's."""
    shown = [column for column in (*columns.values, *columns.computed) if not column.new]
    cut = _always_cut(bench, distinct, shown)
    found = {column.position: _same(bench.source, column, cut) for column in shown}
    precision = {position: same for position, same in found.items() if same is not None}
    return Comparison(columns, loaded.leaves_out, precision)


def _always_cut(bench: Workbench, rows: Relation, columns: Sequence[InputColumn]) -> set[int]:
    """The positions of the columns of moments of which every row has three digits behind the second."""
    asked = [column.position for column in columns if may_be_cut(bench.source, column)]
    if not asked:
        return set()
    listed = ", ".join(f"bool_and(cut{position})" for position in asked)
    [found] = bench.session.row(f"SELECT [{listed}] FROM {rows.sql}")
    return {position for position, always in zip(asked, found, strict=True) if always}


def _same(source: Source, column: InputColumn, cut: Collection[int]) -> str | None:
    if pa.types.is_timestamp(column.type):
        return _same_moment(source, column, cut)
    if source.spreadsheet:
        return _same_in_spreadsheet(column)
    return _same_in_text(source, column) or _same_in_floating(source, column)


def _same_moment(source: Source, column: InputColumn, cut: Collection[int]) -> str | None:
    given, base = column.cell, column.base
    unit = {"s": "second", "ms": "millisecond"}.get(source.units.get(column.place, ""))
    if unit is not None:
        return f"(date_trunc('{unit}', {base}) IS NOT DISTINCT FROM {given})"
    kinds = source.kinds.get(column.place, set())
    if kinds and kinds <= {"date", "timestamp"}:
        apart = f"abs(epoch_us({base})::HUGEINT - epoch_us({given})::HUGEINT)"
        return f"coalesce({apart} <= 500, false)"
    if column.position in cut:
        return f"(date_trunc('millisecond', {base}) IS NOT DISTINCT FROM {given})"
    return None


def _same_in_spreadsheet(column: InputColumn) -> str | None:
    """Writers of workbooks cut doubles and decimals to 15 or 16 digits, and leave an empty text's cell empty."""
    given, base = column.cell, column.base
    if is_text(column.type):
        return f"coalesce({given} IS NULL AND {base} = '', false)"
    if not pa.types.is_float64(column.type) and not pa.types.is_decimal(column.type):
        return None
    kind = duckdb_type(column.type)
    cut = [f"TRY_CAST(format('{{:.{digits}g}}', {base}::DOUBLE) AS {kind})" for digits in (15, 16)]
    return f"coalesce({given} IN ({', '.join(cut)}), false)"


def _same_in_text(source: Source, column: InputColumn) -> str | None:
    """Some writers of texts cut doubles to 15 or 16 digits (R), and not always exactly (the JSON of pandas). Nobody
    cuts a number so by hand: what has few digits is meant.
    """
    if not source.text or not pa.types.is_float64(column.type):
        return None
    given, base = column.cell, column.base
    digits = f"regexp_replace(split_part({given}::VARCHAR, 'e', 1), '[^0-9]', '', 'g')"
    long = f"length(ltrim({digits}, '0')) > {_MOST_DIGITS_BY_HAND}"
    # What is infinite, or no number, is as far from every number as it is large to DuckDB.
    return f"coalesce({long} AND isfinite({base}) AND abs({given} - {base}) <= 1e-14 * abs({base}), false)"


def _floating(source: Source, column: InputColumn) -> pa.DataType | None:
    """The type of floating point numbers in which a typed source has a column of other numbers; else None."""
    given: pa.DataType = source.schema.field(column.place).type
    others = not source.text and pa.types.is_floating(given) and given != column.type
    return given if others and is_number(column.type) else None


def _same_in_floating(source: Source, column: InputColumn) -> str | None:
    """Tools make floating point numbers of whole numbers beside NULLs (pandas) and of decimals."""
    floating = _floating(source, column)
    if floating is None:
        return None
    given, base, kind = column.cell, column.base, duckdb_type(floating)
    same = (
        f"TRY_CAST({given} AS {kind}) = TRY_CAST({base} AS {kind})"  # a double may be too large for a float
    )
    if pa.types.is_decimal(column.type):
        # Not every tool rounds right to the last digit.
        same = f"{shortened(given, floating)} = {shortened(base, floating)}"
    return f"coalesce({may_be_rounded(given, floating, column.type)} AND {same}, false)"


def rounded(columns: Columns, source: Source, comparison: Comparison) -> Iterator[Fault]:
    """A key or a changed value must not be one that a floating point number only comes near to."""
    for column in columns.inputs:
        floating = _floating(source, column)
        if floating is None or column.computed or pa.types.is_floating(column.type):
            continue
        is_key = column.name in columns.keys
        changed = "true" if is_key else f"(effect = 'insert' OR {comparison.changed(column)})"
        inexact = may_be_rounded(column.cell, floating, column.type)
        yield Fault(
            "may_be_rounded",
            f"(effect <> 'delete' OR {is_key}) AND {changed} AND {inexact}",
            f"the content has the column as {type_name(floating)}, which keeps {EXACT_DIGITS[floating]} digits, so "
            f"that the number may have been rounded (key {{key}}); write the column as {type_name(column.type)} "
            "or as text.",
            column.name,
        )


def precision_warnings(
    bench: Workbench, paired: Relation, comparison: Comparison, edited: Collection[int]
) -> tuple[str, ...]:
    """Where values were cut: by the format or a tool, which changes nothing, or before they came here, which does.

    ``edited`` are the positions of the columns that some updated row changes.
    """
    told: tuple[tuple[str, Callable[[pa.DataType], bool]], ...] = (
        ("timestamps cut to whole seconds or milliseconds", pa.types.is_timestamp),
        ("numbers without their last digits", is_number),
    )
    columns, precision, warnings = comparison.columns.values, comparison.precision, []
    for what, of_kind in told:
        parts = [
            f"({comparison.given(column)} AND {column.cell} IS DISTINCT FROM {column.base} "
            f"AND {precision[column.position]})"
            for column in columns
            if column.position in precision and of_kind(column.type)
        ]
        number = _updates(bench, paired, any_of(parts)) if parts else 0
        if number:
            verb = "gives" if number == 1 else "give"
            warnings.append(
                f"{_rows(number)} {verb} {what}; "
                "where only the cut-off part differs from the table they change nothing."
            )
    moments = [
        column
        for column in columns
        if column.position in edited
        and column.position not in precision
        and not column.new
        and pa.types.is_timestamp(column.type)
    ]
    cut = [
        f"{comparison.changed(column)} AND date_trunc('millisecond', {column.base}) = {column.cell}"
        for column in moments
    ]
    numbers = bench.session.counts(f"FROM {paired.sql} WHERE effect = 'update' AND {any_of(cut)}", cut)
    for column, number in zip(moments, numbers, strict=True):
        if number:
            warnings.append(
                f"{_rows(number)} changed in {column.name} only behind the millisecond: "
                "leave the column out if an export has cut its values."
            )
    return tuple(warnings)


def _updates(bench: Workbench, paired: Relation, condition: str) -> int:
    return bench.session.number(f"SELECT count(*) FROM {paired.sql} WHERE effect = 'update' AND {condition}")


def _rows(number: int) -> str:
    return f"{number:,} {'row' if number == 1 else 'rows'}"
