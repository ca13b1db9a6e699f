"""Shutting a session off before it works on what users wrote.

What users write is judged first: suites are never run as SQL, statements are held against lists of what they may hold.
The lock is the second fence. A merge's own session cannot have it, since it writes files afterwards; sessions that only
check, profile or answer a statement can.
"""

from __future__ import annotations

from collections.abc import Sequence

from merging.sql.quoting import literal
from merging.sql.session import Session


def lock(opened: Session, directories: Sequence[str] = (), files: Sequence[str] = ()) -> None:
    """Allow the session no files but these and those below the directories, no extension, no object of Python that it
    was not handed, and no change of its settings.

    It cannot be undone. What it spills to disk stays possible.
    """
    [spill] = opened.row("SELECT current_setting('temp_directory')")
    allowed = ", ".join(literal(one) for one in (*directories, str(spill)))
    opened.execute(f"SET allowed_directories = [{allowed}]")
    opened.execute(f"SET allowed_paths = [{', '.join(literal(one) for one in files)}]")
    opened.execute("SET python_enable_replacements = false")
    opened.execute("SET allow_community_extensions = false")
    opened.execute("SET enable_external_access = false")
    opened.execute("SET lock_configuration = true")
