"""What somebody wrote, as one SELECT: the first judge of a statement, and the translation of those that change rows.

A SELECT stays as it was written. An UPDATE, DELETE or INSERT becomes the SELECT of the keys and new values that it
means, and the operation that each of its rows is. Nothing is run here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.errors import ParseError, TokenError

from merging.model import Operation
from merging.sql.parsing import shown
from merging.staging.queries.allowed import NODES
from merging.staging.queries.judging import unknown_table
from merging.staging.queries.places import Place, did_you_mean, find_word, refused

MOST_CHARACTERS = 200_000
"""How long a statement may be: what is longer holds data, and data comes as a file."""

_DIALECT = "duckdb"
_NO_TEXT = re.compile("[\x00\ud800-\udfff]")
_INSTEAD = "write one SELECT (keys, new values and, where you like, _op), UPDATE, DELETE or INSERT"


@dataclass(frozen=True)
class TableNames:
    """What statements may call: the dataset by any of ``tables``, its columns and, among them, keys."""

    tables: tuple[str, ...]
    columns: tuple[str, ...]
    keys: tuple[str, ...]
    generated: tuple[str, ...] = ()

    def column(self, name: str) -> str | None:
        """The column that a name means: the one so spelled, else the only one that is but for its case."""
        if name in self.columns:
            return name
        alike = [one for one in self.columns if one.casefold() == name.casefold()]
        return alike[0] if len(alike) == 1 else None

    def is_table(self, name: str) -> bool:
        """Whether a name is one of the dataset's."""
        return name.casefold() in {one.casefold() for one in self.tables}


@dataclass(frozen=True)
class Statement:
    """One SELECT, and what its rows are.

    ``columns`` are the names of its columns by their places, None where it gives them itself; ``operation`` is what
    every row is, None where the content says (``_op``), or is an upsert.
    """

    written: str
    select: str
    operation: Operation | None = None
    columns: tuple[str, ...] | None = None

    def place(self, offset: int, name: str) -> Place | None:
        """Where the author wrote what stands at an offset (in UTF-8) of the SELECT, or the name."""
        if offset >= 0 and self.select == self.written:
            return Place.at(self.written, len(self.select.encode()[:offset].decode("utf-8", "replace")))
        return find_word(self.written, name) if name else None


def read_statement(written: str, names: TableNames) -> Statement:
    """Read a statement. Raises StagingRejected, with the place in it, for what is no statement that may be run, and
    RecursionError where it is nested deeper than Python goes.
    """
    if len(written) > MOST_CHARACTERS:
        raise refused(
            "sql_too_long",
            f"the statement has {len(written):,} characters, {MOST_CHARACTERS:,} are possible: send its values as a "
            "file instead.",
        )
    strange = _NO_TEXT.search(written)
    if strange is not None:
        raise refused(
            "sql_unreadable",
            f"the character \\u{ord(strange[0]):04x} is in no text that can be kept: take it out.",
            Place.at(written, strange.start()),
        )
    tree = _parsed(written)
    _judge_nodes(tree, written)
    if isinstance(tree, exp.Update):
        return _Translation(tree, written, names).of_update(tree)
    if isinstance(tree, exp.Delete):
        return _Translation(tree, written, names).of_delete(tree)
    if isinstance(tree, exp.Insert):
        return _Translation(tree, written, names).of_insert(tree)
    if not isinstance(tree, exp.Query | exp.Values):
        message = f"this is no statement that proposes rows: {_INSTEAD}."
        raise refused("sql_not_allowed", message, Place.at(written, _begin(written)))
    return Statement(written, written)


def _parsed(written: str) -> exp.Expr:
    try:
        trees = [tree for tree in sqlglot.parse(written, dialect=_DIALECT) if tree is not None]
    except TokenError as error:
        raise refused("sql_syntax", "a text or a name is not closed: look for a missing quote.") from error
    except ParseError as error:
        place = None
        if error.errors and error.errors[0].get("line"):
            found = error.errors[0]
            place = Place(found["line"], max(1, found["col"] - len(found.get("highlight") or "") + 1))
            near = shown(found.get("highlight") or "its end")
            raise refused("sql_syntax", f"the statement cannot be read at {near}.", place) from error
        raise refused("sql_syntax", "the statement cannot be read.") from error
    trees = [tree for tree in trees if not isinstance(tree, exp.Semicolon)]
    if not trees:
        raise refused("sql_empty", f"there is no statement: {_INSTEAD}.")
    if len(trees) > 1:
        raise refused(
            "sql_several_statements", "write one statement: there is more than one.", _second(written)
        )
    return trees[0]


def too_deep() -> Exception:
    """The refusal of what is nested deeper than either parser goes."""
    return refused(
        "sql_too_deep", "the statement nests its parts too deeply: write it flatter, or in steps (WITH)."
    )


def _second(written: str) -> Place | None:
    tokens = sqlglot.tokenize(written, dialect=_DIALECT)
    ends = [place for place, token in enumerate(tokens) if token.text == ";"]
    follows = tokens[ends[0] + 1] if ends and ends[0] + 1 < len(tokens) else None
    return None if follows is None else Place.at(written, follows.start)


def _judge_nodes(tree: exp.Expr, written: str) -> None:
    for node in tree.walk():
        if not isinstance(node, NODES):
            kind = written.split(maxsplit=1)[0] if isinstance(node, exp.Command) else type(node).__name__
            message = f"{kind.upper()} is not possible in a proposal: {_INSTEAD}."
            place = None if node is tree else _place(node, written)
            raise refused("sql_not_allowed", message, place or Place.at(written, _begin(written)))
        if isinstance(node, exp.With) and node.args.get("recursive"):
            raise refused(
                "sql_not_allowed",
                "WITH RECURSIVE is not possible in a proposal: join the dataset with itself instead.",
                find_word(written, "recursive"),
            )


def _begin(written: str) -> int:
    return len(written) - len(written.lstrip())


def _place(node: exp.Expr, written: str) -> Place | None:
    """Where a node stands, by the first of its parts that knows."""
    for part in node.walk():
        if "start" in part.meta:
            return Place.at(written, part.meta["start"])
    return None


class _Translation:
    """An UPDATE, DELETE or INSERT made into a SELECT."""

    def __init__(self, tree: exp.Expr, written: str, names: TableNames) -> None:
        self._written = written
        self._names = names
        self._with = tree.args.get("with_")
        target = tree.this
        self._target: exp.Expr = target.this if isinstance(target, exp.Schema) else target
        self._check_target()

    def _check_target(self) -> None:
        target = self._target
        if (
            not isinstance(target, exp.Table)
            or target.args.get("db")
            or not self._names.is_table(target.name)
        ):
            raise unknown_table(target.name, _place(target, self._written))
        if target.args.get("joins"):
            raise refused(
                "sql_not_allowed",
                "name one table here; others go into FROM (of UPDATE) or USING (of DELETE).",
                _place(target, self._written),
            )

    def _only(self, tree: exp.Expr, *possible: str) -> None:
        """Refuse clauses that the translation would lose."""
        for name, value in tree.args.items():
            if value and name not in {"this", "with_", *possible}:
                clause = name.strip("_").replace("_", " ").upper()
                known = {"ALTERNATIVE": "OR REPLACE and OR IGNORE", "CONFLICT": "ON CONFLICT"}
                raise refused(
                    "sql_not_allowed",
                    f"{known.get(clause, clause)} is not possible here: leave it out. A SELECT whose rows have no _op "
                    "adds the rows that are new and changes the others.",
                    _place(value, self._written)
                    if isinstance(value, exp.Returning | exp.Order | exp.Limit)
                    else find_word(self._written, clause),
                )

    def of_update(self, tree: exp.Update) -> Statement:
        """The rows that it finds, with their keys and new values."""
        self._only(tree, "expressions", "from_", "where")
        self._require_where(tree)
        given: dict[str, exp.Expr] = {}
        for assignment in tree.expressions:
            name = self._assigned(assignment)
            if name in given:
                raise refused(
                    "sql_repeated_column",
                    f"{shown(name)} is set twice: set it once.",
                    _place(assignment.this, self._written),
                )
            given[name] = assignment.expression
        source = tree.args.get("from_")
        found = self._found(tree, [source.this] if source is not None else [])
        for value in given.values():
            found = found.select(exp.alias_(value.copy(), f"value_{len(found.expressions)}"), copy=False)
        return self._made(found, "update", (*self._names.keys, *given))

    def _assigned(self, assignment: exp.Expr) -> str:
        column = assignment.this
        place = _place(column, self._written)
        if not isinstance(assignment, exp.EQ) or not isinstance(column, exp.Column):
            raise refused(
                "sql_not_allowed", "SET takes single columns: column = value, column = value.", place
            )
        if column.table and column.table.casefold() != self._target.alias_or_name.casefold():
            raise refused(
                "sql_not_allowed",
                f"SET takes columns of the dataset, and whole ones: {shown(column.sql(_DIALECT))} is none.",
                place,
            )
        name = self._column(column.name, place)
        if name in self._names.keys:
            raise refused(
                "sql_key_changed",
                f"{shown(name)} is part of the key, which stays: to move a row to another key, delete it and insert "
                "it again (a SELECT with _op does both at once).",
                place,
            )
        return name

    def _column(self, name: str, place: Place | None) -> str:
        found = self._names.column(name)
        if found is None:
            raise refused(
                "sql_unknown_column",
                f"the dataset has no column {shown(name)}.{did_you_mean(name, self._names.columns)}",
                place,
            )
        return found

    def of_delete(self, tree: exp.Delete) -> Statement:
        """The keys of the rows that it finds."""
        self._only(tree, "using", "where")
        self._require_where(tree)
        found = self._found(tree, tree.args.get("using") or [])
        return self._made(found.distinct(copy=False), "delete", self._names.keys)

    def of_insert(self, tree: exp.Insert) -> Statement:
        """The rows that it gives, under the names of the columns that it lists."""
        self._only(tree, "expression", "by_name")
        source = tree.expression
        if not isinstance(source, exp.Query | exp.Values):
            raise refused("sql_syntax", "INSERT takes its rows from VALUES or a SELECT.")
        source = source.copy()
        if self._with is not None:
            source.set("with_", self._with.copy())
        listed: tuple[str, ...] | None = tuple(
            one for one in self._names.columns if one not in self._names.generated
        )
        if tree.args.get("by_name"):
            listed = None
        elif isinstance(tree.this, exp.Schema):
            listed = self._listed(tree.this.expressions)
        return self._made(source, "insert", listed)

    def _listed(self, columns: Sequence[exp.Expr]) -> tuple[str, ...]:
        names = [self._column(one.name, _place(one, self._written)) for one in columns]
        repeated = next((name for name in names if names.count(name) > 1), None)
        if repeated is not None:
            raise refused("sql_repeated_column", f"{shown(repeated)} is listed twice: list it once.")
        return tuple(names)

    def _require_where(self, tree: exp.Expr) -> None:
        if tree.args.get("where") is None:
            raise refused(
                "sql_every_row",
                "there is no WHERE, so that every row is meant: write WHERE true if that is so.",
                Place(1, 1),
            )

    def _found(self, tree: exp.Expr, others: Sequence[exp.Expr]) -> exp.Select:
        """The keys of the rows of the dataset that the statement is about."""
        target = self._target.copy()
        called = exp.to_identifier(target.alias_or_name, quoted=True)
        keys = [
            exp.alias_(exp.column(name, table=called.copy(), quoted=True), f"key_{place}")
            for place, name in enumerate(self._names.keys)
        ]
        found = exp.select(*keys).from_(target)
        for other in others:
            found.append("joins", exp.Join(this=other.copy(), kind="CROSS"))
        found.set("where", tree.args["where"].copy())
        if self._with is not None:
            found.set("with_", self._with.copy())
        return found

    def _made(self, select: exp.Expr, operation: Operation, columns: tuple[str, ...] | None) -> Statement:
        return Statement(self._written, select.sql(dialect=_DIALECT, comments=False), operation, columns)
