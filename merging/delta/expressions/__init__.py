"""Expressions of Spark in rules of tables (CHECK constraints, generated columns, defaults …), computed by DuckDB.

The two engines agree on little by themselves: they coerce types, overflow, round, compare and cast differently, and
Spark's own answer may depend on its ANSI mode and on the session's time zone. So every node is translated here from
the types of the table's columns, and only where its meaning is proved equal to Spark's in either mode: by tests that
ask Spark (`tests/merging/delta/test_delta_expressions.py`). All else raises NotUnderstood, before anything is staged.

Where equality holds for part of the values only (no overflow, ASCII, years 1 to 9999), `Expression.doubtful` says in
SQL which rows lie outside; such a row is refused by name, never computed anyway.

`parsing` makes a tree of `nodes`, `translating` walks it and asks the subjects: `literals`, `comparing`, `calculating`,
`texts`, `moments`. Each subject says what of it is proved, and refuses the rest; what they give are `values`.
"""

from __future__ import annotations

from merging.delta.expressions.defaults import default_value
from merging.delta.expressions.expression import Expression, computed, condition, translate
from merging.delta.expressions.nodes import NotUnderstood

__all__ = ["Expression", "NotUnderstood", "computed", "condition", "default_value", "translate"]
