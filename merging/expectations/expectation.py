"""One expectation of a suite, and what is known of its type: an entry of the catalogue is one value of this module.

An entry is whole: the arguments of the type, the columns that it suits, who judges it, how it is said in words, and
what a first suite proposes of it. Entries stand in ``kinds``, one module for each family.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from merging.expectations.cage import Cage
from merging.expectations.conditions import Condition
from merging.expectations.findings import Finding
from merging.expectations.judged_rows import JudgedRows
from merging.expectations.profile import ColumnFacts, Proposal, TableFacts
from merging.expectations.values import ANY, Family, family, missing
from merging.model import Column
from merging.sql.session import Session

Severity = Literal["critical", "warning", "info"]

Kind = Literal[
    "column",
    "columns",
    "name",
    "names",
    "bound",
    "number",
    "count",
    "share",
    "flag",
    "text",
    "texts",
    "regex",
    "regexes",
    "strftime",
    "choice",
    "values",
    "pairs",
    "quantiles",
    "object",
    "schema",
    "character",
]
"""What an argument holds; ``bound`` and ``values`` are typed by the column they are compared with."""

Level = Literal["row", "group", "table", "schema", "order"]
"""``row``: each row by itself; ``group``: rows against others of their value; ``order``: rows in key order;
``table``: one number or set of the whole table; ``schema``: the columns alone."""

Route = Literal["sql", "python", "great_expectations"]

Aggregate = Literal["rows", "values", "min", "max", "sum", "mean", "median", "stdev"]
"""A number of all rows that an expectation looks at (``rows``) or judges; those of all expectations are one query."""


@dataclass(frozen=True)
class Argument:
    """One keyword argument of an expectation."""

    kind: Kind
    required: bool = False
    default: Any = None
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None


# ---- judges: who says whether an expectation holds ------------------------------------------------------------


@dataclass(frozen=True)
class RowPredicate:
    """Each row by itself, by SQL: ``fails`` is a predicate that is true of judged rows that fail, and never NULL."""

    fails: Callable[[Expectation], str]
    level: ClassVar[Level] = "row"
    route: ClassVar[Route] = "sql"


def _no_sql(_: Expectation) -> str | None:
    return None


@dataclass(frozen=True)
class TextJudge:
    """Each row by itself, by the text of its one column, judged in a confined process.

    ``function`` is called there with ``{"texts": [...]}`` and what ``question`` says of the expectation, and answers
    with the places of those texts that fail (``cage``). ``in_sql``: a predicate that is true of ASCII texts as they
    should be, None where SQL cannot tell. ``advice`` is for whoever wrote what takes too long.
    """

    function: str
    question: Callable[[Expectation], Mapping[str, Any]]
    in_sql: Callable[[Expectation], str | None] = _no_sql
    route: Route = "python"
    advice: str = ""
    level: ClassVar[Level] = "row"


@dataclass(frozen=True)
class Uniqueness:
    """Rows against others: no two have the same values in the expectation's columns."""

    level: ClassVar[Level] = "group"
    route: ClassVar[Route] = "sql"


@dataclass(frozen=True)
class KeyOrder:
    """Rows in the order of the key: each value compares so with the one before it."""

    sign: Literal[">", "<"]
    level: ClassVar[Level] = "order"
    route: ClassVar[Route] = "sql"


@dataclass(frozen=True)
class TableMetric:
    """One number or set of the whole table: ``find`` judges it, given the ``aggregates`` that it asks for."""

    find: Callable[[Measured], Finding]
    aggregates: tuple[Aggregate, ...] = ()
    route: Route = "sql"
    level: ClassVar[Level] = "table"


@dataclass(frozen=True)
class ColumnsJudge:
    """The columns alone."""

    find: Callable[[TableColumns], Finding]
    level: ClassVar[Level] = "schema"
    route: ClassVar[Route] = "sql"


Judge = RowPredicate | TextJudge | Uniqueness | KeyOrder | TableMetric | ColumnsJudge


@dataclass(frozen=True)
class Entry:
    """One supported expectation, whole.

    ``words`` is its sentence, without the full stop: a text with the names of arguments in braces, or what makes one of
    the arguments. ``judges_missing``: missing values are what is judged, so rows without a value count, too.
    ``propose_for_column`` and ``propose_for_table`` say what a first suite holds of it, None where nothing.
    """

    type: str
    arguments: Mapping[str, Argument]
    judge: Judge
    words: str | Callable[[Mapping[str, Any]], str]
    families: frozenset[Family] = ANY
    needs_bound: bool = False
    conditional: bool = True
    same_family: bool = False
    judges_missing: bool = False
    propose_for_column: Callable[[ColumnFacts], Proposal | None] | None = None
    propose_for_table: Callable[[TableFacts], Proposal | None] | None = None

    @property
    def level(self) -> Level:
        """What is judged: rows, groups of rows, the table."""
        return self.judge.level

    @property
    def route(self) -> Route:
        """Who computes the verdict."""
        return self.judge.route

    def sentence(self, arguments: Mapping[str, Any]) -> str:
        """The expectation in words, for typed arguments; no full stop."""
        return self.words.format(**arguments) if isinstance(self.words, str) else self.words(arguments)


@dataclass(frozen=True)
class Expectation:
    """One expectation of a suite. ``arguments`` hold typed values and defaults, ``kwargs`` the JSON as given, ``types``
    Delta's names of its columns' types.
    """

    number: int
    entry: Entry
    kwargs: Mapping[str, Any]
    arguments: Mapping[str, Any]
    types: Mapping[str, str]
    severity: Severity = "critical"
    condition: Condition | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    id: str | None = None

    @property
    def type(self) -> str:
        """Its name in Great Expectations."""
        return self.entry.type

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it judges, without those of its condition."""
        names: list[str] = []
        for name, argument in self.entry.arguments.items():
            if argument.kind == "column":
                names.append(self.arguments[name])
            elif argument.kind == "columns":
                names.extend(self.arguments[name])
        return tuple(dict.fromkeys(names))

    @property
    def families(self) -> Mapping[str, Family]:
        """The families of the columns that it judges."""
        return {name: family(kind) for name, kind in self.types.items()}

    @property
    def read_columns(self) -> tuple[str, ...]:
        """The columns that it needs, with those of its condition."""
        extra = self.condition.columns if self.condition else ()
        return tuple(dict.fromkeys((*self.columns, *extra)))

    @property
    def mostly(self) -> float:
        """The share of rows that must satisfy it."""
        return float(self.arguments.get("mostly", 1))

    @property
    def domain(self) -> str:
        """SQL: the expectation looks at the row."""
        return self.condition.sql() if self.condition is not None else "true"

    @property
    def considered(self) -> str:
        """SQL: a row that is looked at is judged, too.

        Missing values follow pandas, which Great Expectations runs on: NULL and NaN are one, a missing value equals
        nothing, and most expectations do not judge rows without a value.
        """
        if self.entry.judges_missing or not self.columns:
            return "true"
        absent = [missing(name, self.families[name]) for name in self.columns]
        ignore = self.arguments.get("ignore_row_if")
        if ignore in ("neither", "never"):
            return "true"
        if ignore in ("both_values_are_missing", "all_values_are_missing"):
            return f"(NOT ({' AND '.join(absent)}))"
        return f"(NOT ({' OR '.join(absent)}))"

    @property
    def judged(self) -> str:
        """SQL: the expectation looks at the row and judges it."""
        return f"{self.domain} AND {self.considered}"


@dataclass(frozen=True)
class Measured:
    """A relation of which a number or a set is judged, with the aggregates that the judge asked for."""

    opened: Session
    expectation: Expectation
    relation: JudgedRows
    numbers: Mapping[str, Any]
    cage: Cage


@dataclass(frozen=True)
class TableColumns:
    """The columns of a relation whose schema is judged."""

    opened: Session
    expectation: Expectation
    relation: JudgedRows
    columns: Sequence[Column]

    @property
    def names(self) -> list[str]:
        """Their names, in order."""
        return [column.name for column in self.columns]
