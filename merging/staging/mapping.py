"""Which column of the content is which column of the table, which are new, and what their names and types may be."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa

from merging.delta import Snapshot
from merging.delta.column_rules import ColumnRules, rules_of_schema
from merging.delta.naming import bare, folded, name_problem, nested_name_problem, spelled
from merging.delta.schema import delta_schema
from merging.errors import StagingRejected, UnsupportedTable
from merging.model import StagingProblem, UnknownColumn
from merging.sql.types import delta_type, is_text, null_of
from merging.staging.decisions import Decisions, suggestions
from merging.staging.layout import Layout
from merging.staging.sources import OPERATION_COLUMN, Source
from merging.staging.sources.plain_arrow import filled

_TYPES = (
    "string, long, integer, short, byte, double, float, decimal(p,s), boolean, date, timestamp, timestamp_ntz "
    "or binary"
)


@dataclass(frozen=True)
class InputColumn:
    """A column of the source: its place there, its place in the staged schema, what the table asks of its values.

    ``guessed``: a new column whose type nobody said, so that its texts must tell. ``computed``: the table computes the
    column, and what the content has of it is only looked at. ``numbered``: the table numbers new rows in it.
    """

    place: int
    name: str
    position: int
    type: pa.DataType
    new: bool
    guessed: bool = False
    computed: bool = False
    numbered: bool = False
    rules: ColumnRules = field(default_factory=ColumnRules)

    @property
    def cell(self) -> str:
        """SQL of what a row gives for the column, typed."""
        return f"v{self.position}"

    @property
    def base(self) -> str:
        """SQL of what the row's base image has in the column."""
        return null_of(self.type) if self.new else f"b{self.position}"


@dataclass(frozen=True)
class Columns:
    """The content's columns as they meet the table's, and the schema of both together.

    The first ``base_width`` columns of ``schema`` are the table's; ``operation_place`` is where the source says what
    happens to a row, if it does. ``unknown`` are columns that somebody has yet to decide about: they are no part of the
    content, their positions lie behind the schema, and ``suggestions`` say what may be meant by them.
    """

    inputs: tuple[InputColumn, ...]
    schema: pa.Schema
    keys: tuple[str, ...]
    base_width: int
    operation_place: int | None
    unknown: tuple[InputColumn, ...] = ()
    suggestions: Mapping[str, str] = field(default_factory=dict)

    @property
    def values(self) -> tuple[InputColumn, ...]:
        """The columns that the content gives values for: no keys, and none that the table computes."""
        return tuple(column for column in self.inputs if column.name not in self.keys and not column.computed)

    @property
    def computed(self) -> tuple[InputColumn, ...]:
        """The columns that the table computes, of which the content shows values."""
        return tuple(column for column in self.inputs if column.computed)

    @property
    def layout(self) -> Layout:
        """What the columns of the written rows are."""
        staged = tuple(column.position for column in self.values)
        return Layout(self.keys, self.schema, self.base_width, staged)

    @property
    def key_cells(self) -> list[str]:
        """SQL of a row's key, in the order of the key columns."""
        by_name = {column.name: column for column in self.inputs}
        return [by_name[name].cell for name in self.keys]

    @property
    def key_is_whole(self) -> str:
        """SQL: the row has a value in each key column."""
        return " AND ".join(f"{cell} IS NOT NULL" for cell in self.key_cells)


def read_column_types(given: Mapping[str, str]) -> dict[str, pa.DataType]:
    """Types that somebody chose for new columns, by their names in Delta. Raises StagingRejected for unknown ones."""
    chosen: dict[str, pa.DataType] = {}
    problems = []
    for name, text in given.items():
        data_type = _read_type(text)
        if data_type is None:
            message = f"{spelled(text)} is no type that a new column can be given; choose {_TYPES}."
            problems.append(StagingProblem("unknown_type", message, None, spelled(name)))
        else:
            chosen[name] = data_type
    if problems:
        raise StagingRejected(problems)
    return chosen


def _read_type(text: str) -> pa.DataType | None:
    described = {"name": "new", "type": text.strip().lower(), "nullable": True, "metadata": {}}
    try:
        data_type = delta_schema(json.dumps({"type": "struct", "fields": [described]})).field(0).type
    except (UnsupportedTable, ValueError):
        return None
    if pa.types.is_decimal(data_type) and not 0 <= data_type.scale <= data_type.precision:
        return None
    return data_type


def map_columns(
    source: Source,
    snapshot: Snapshot,
    primary_keys: Sequence[str],
    chosen: Mapping[str, pa.DataType],
    *,
    merge_schema: bool,
    decisions: Decisions,
) -> Columns:
    """Match the source's columns with the table's by their exact names or as was decided; others are new columns.

    Raises StagingRejected with every column that is neither.
    """
    return _Mapper(source, snapshot, primary_keys, chosen, merge_schema, decisions).run()


def without_types(columns: Columns) -> tuple[UnknownColumn, ...]:
    """The columns to decide about, where nobody has looked at their values."""
    return tuple(
        UnknownColumn(column.name, columns.suggestions.get(column.name, "")) for column in columns.unknown
    )


class _Mapper:
    def __init__(
        self,
        source: Source,
        snapshot: Snapshot,
        primary_keys: Sequence[str],
        chosen: Mapping[str, pa.DataType],
        merge_schema: bool,
        decisions: Decisions,
    ) -> None:
        self.source = source
        self.snapshot = snapshot
        self.keys = primary_keys
        self.chosen = chosen
        self.merge_schema = merge_schema
        self.decisions = decisions
        self.positions = {name: position for position, name in enumerate(snapshot.schema.names)}
        self.taken = {folded(name): name for name in snapshot.schema.names}
        self.header_line = source.header_line
        self.rules = rules_of_schema(snapshot.schema_json)
        self.inputs: list[InputColumn] = []
        self.new: list[pa.Field] = []
        self.unknown: list[InputColumn] = []
        self.problems: list[StagingProblem] = []

    def run(self) -> Columns:
        self.decisions.check(self.source.columns, self.positions, self.header_line)
        self._refuse_misspelt_operation()
        operation_place = None
        for place, given in enumerate(self.source.columns):
            name = self.decisions.name_of(given)
            if name == OPERATION_COLUMN:
                operation_place = place
            elif name is not None and name in self.positions:
                self._known(place, name)
            elif name is not None and self.decisions.asks_about(given):
                self._ask_about(place, given)
            elif name is not None:
                self._unknown(place, name)
        self._find_missing()
        columns = self._columns(operation_place)
        if self.problems:
            refusal = StagingRejected(self.problems)
            refusal.unknown_columns = without_types(columns)
            raise refusal
        return columns

    def _columns(self, operation_place: int | None) -> Columns:
        schema = pa.schema([*self.snapshot.schema, *self.new])
        given = {column.name for column in self.inputs}
        free = [*(name for name in self.positions if name not in given), OPERATION_COLUMN]
        return Columns(
            tuple(self.inputs),
            schema,
            tuple(self.keys),
            len(self.snapshot.schema),
            operation_place,
            tuple(
                replace(column, position=len(schema) + number) for number, column in enumerate(self.unknown)
            ),
            suggestions([column.name for column in self.unknown], free),
        )

    def _ask_about(self, place: int, name: str) -> None:
        given: pa.DataType = self.source.schema.field(place).type
        self.unknown.append(InputColumn(place, name, -1, given, True, self.source.text and is_text(given)))

    def _problem(self, code: str, message: str, name: str) -> None:
        self.problems.append(StagingProblem(code, message, self.header_line, spelled(name)))

    def _refuse_misspelt_operation(self) -> None:
        """Said before anything else: a delete that is not seen as one would be an update."""
        undecided = (name for name in self.source.columns if name not in self.decisions.actions)
        for name in undecided if not self.decisions.asks else ():
            if name != OPERATION_COLUMN and name not in self.positions and bare(name) == OPERATION_COLUMN:
                message = (
                    f'the content has a column "{spelled(name)}"; did you mean {OPERATION_COLUMN}? '
                    "The column with the operations must be named exactly so."
                )
                self._problem("misspelt_operation_column", message, name)
        if self.problems:
            raise StagingRejected(self.problems)

    def _known(self, place: int, name: str) -> None:
        position = self.positions[name]
        data_type = self.snapshot.schema.field(position).type
        self.inputs.append(
            InputColumn(
                place,
                name,
                position,
                data_type,
                new=False,
                computed=name in self.snapshot.generated_columns and name not in self.keys,
                numbered=name in self.snapshot.rules.identities and name not in self.keys,
                rules=self.rules.get(name, ColumnRules()),
            )
        )

    def _unknown(self, place: int, name: str) -> None:
        near = self.taken.get(bare(name)) or self.taken.get(folded(name))
        if near in self.positions:
            meant = f"did you mean {near}? Names must be written exactly alike."
            message = f'the table has no column "{spelled(name)}"; {meant}'
            self._problem("unknown_column", message, name)
            return
        if near is not None:
            message = f"the name differs from that of the new column {near} only in case or form; rename one of them."
            self._problem("repeated_column", message, name)
            return
        if not self.merge_schema:
            known = ", ".join(self.snapshot.schema.names)
            message = f"the table has no such column; its columns are {known}. Remove the column, or allow new columns."
            self._problem("unknown_column", message, name)
            return
        problem = name_problem(name, blanks=self.snapshot.blanks_in_names)
        if problem is not None:
            self._problem("bad_column_name", f"a new column cannot be named so: the name {problem}.", name)
            return
        data_type = self._new_type(place, name)
        if data_type is None:
            return
        guessed = self.source.text and name not in self.chosen and is_text(data_type)
        position = len(self.positions) + len(self.new)
        self.inputs.append(InputColumn(place, name, position, data_type, True, guessed))
        self.new.append(pa.field(name, data_type, nullable=True))
        self.taken[folded(name)] = name

    def _new_type(self, place: int, name: str) -> pa.DataType | None:
        if name in self.chosen:
            return self.chosen[name]
        given: pa.DataType = self.source.schema.field(place).type
        if self.source.text:
            return pa.string()
        widened = filled(given)
        try:
            delta_type(widened)
        except UnsupportedTable:
            self._problem("unsupported_type", f"a new column cannot be of the type {given}.", name)
            return None
        problem = nested_name_problem(widened, blanks=self.snapshot.blanks_in_names)
        if problem is not None:
            self._problem("bad_column_name", problem, name)
            return None
        return widened

    def _find_missing(self) -> None:
        given = {column.name: column for column in self.inputs}
        refused = {problem.column for problem in self.problems}
        for name in self.keys:
            if name not in given:
                self._problem("missing_key_column", f"the key column {name} is missing.", name)
        for name in self.chosen:
            if spelled(name) in refused:
                continue
            if name in self.positions:
                message = "a type was chosen for this column, which the table has: its type stays as it is."
                self._problem("type_of_known_column", message, name)
            elif name not in given:
                message = "a type was chosen for this column, which the content does not have."
                self._problem("type_of_missing_column", message, name)
