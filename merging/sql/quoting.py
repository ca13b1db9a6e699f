"""How names, labels and texts are spelled in SQL; nothing else in the engine quotes."""

from __future__ import annotations

import re
from collections.abc import Sequence

_UNSAFE_IN_LABELS = re.compile(r"[^a-z0-9_]+")


def quote(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def column_label(name: str) -> str:
    """What a column of the user's is called in every relation of the engine: ``u_`` and the name, all but small
    letters, digits and underscores spelled as ``~`` and hexadecimal bytes.

    No two names share a label, whatever their case, and no label is a name that the engine or DuckDB uses itself: a
    user's column can neither shadow one of theirs nor be shadowed. Only the SELECT right above a data file and the
    one that writes a file know stored names.
    """
    return "u_" + _UNSAFE_IN_LABELS.sub(
        lambda found: "".join(f"~{byte:02x}" for byte in found[0].encode("utf-8", "surrogatepass")), name
    )


def column_named(label: str) -> str:
    """The name that a label stands for."""
    spelled = re.sub(r"~([0-9a-f]{2})", lambda found: chr(int(found[1], 16)), label.removeprefix("u_"))
    return spelled.encode("latin-1").decode("utf-8", "surrogatepass")


def column_sql(name: str) -> str:
    """SQL of a column of the user's, in every relation of the engine."""
    return quote(column_label(name))


def literal(text: str) -> str:
    """An SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def any_of(conditions: Sequence[str]) -> str:
    """SQL predicate: one of the conditions holds."""
    return f"({' OR '.join(conditions)})" if conditions else "false"
