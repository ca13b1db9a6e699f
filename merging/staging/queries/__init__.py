"""Content that a statement of SQL gives: judged twice, run in a locked session, staged like any other.

``statement`` reads what somebody wrote (sqlglot, DuckDB's dialect) against a list of what may stand there, and makes
one SELECT of it. ``judging`` holds DuckDB's own parse tree of that very SELECT against lists of its own (``allowed``).
``session`` runs it where no file, extension, setting or network can be reached, whatever the statement.
"""

from __future__ import annotations

from merging.staging.queries.session import StatementRows, answer

__all__ = ["StatementRows", "answer"]
