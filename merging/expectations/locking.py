"""Shutting a session off before it checks what users wrote.

Nothing that a suite says is run as SQL: names are matched with the table's columns and quoted, values are typed and
spelled as literals, patterns are written anew from their parse tree, SQL expectations and textual conditions are
refused. The lock is the second fence. A merge's own session cannot have it, since it writes files afterwards; sessions
that only check or profile can.
"""

from __future__ import annotations

from collections.abc import Sequence

from merging.sql.quoting import literal
from merging.sql.session import Session


def lock(opened: Session, directories: Sequence[str] = ()) -> None:
    """Allow the session no files but those below the directories, no extension, and no change of its settings.

    It cannot be undone. What it spills to disk stays possible.
    """
    [spill] = opened.row("SELECT current_setting('temp_directory')")
    allowed = ", ".join(literal(one) for one in (*directories, str(spill)))
    opened.execute(f"SET allowed_directories = [{allowed}]")
    opened.execute("SET enable_external_access = false")
    opened.execute("SET lock_configuration = true")
