"""A commit whose files are written, before it is in the log; and who is told while it is made."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from merging.delta.snapshot import Snapshot

Step = Callable[[str], None]


def no_step(_: str) -> None:
    """For callers who need not be told of the steps."""


@dataclass(frozen=True)
class PreparedCommit:
    """Files written and the actions that will name them; `commit` puts them in the log, `discard` deletes them.

    `rows_removed` and `rows_added` are physical counts (an update counts in both). `rows_miscounted` is what the
    log's counts of touched files lacked: their footers decide, and what is written states the true count.
    """

    snapshot: Snapshot
    attempt_id: str
    actions: tuple[dict[str, Any], ...]
    paths: tuple[str, ...]
    bytes_written: int
    rows_removed: int
    rows_added: int
    metrics: Mapping[str, int]
    rows_miscounted: int = 0
    commit_token: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def row_count_after(self) -> int:
        """The table's row count once this is committed."""
        return self.snapshot.row_count + self.rows_miscounted - self.rows_removed + self.rows_added

    @property
    def schema_json(self) -> str:
        """The table's schema once this is committed, as Delta states it."""
        stated = [action["metaData"]["schemaString"] for action in self.actions if "metaData" in action]
        return str(stated[-1]) if stated else self.snapshot.schema_json
