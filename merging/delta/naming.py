"""Which names a new column may have, and when two names are one to those who read the table.

Readers of Delta disagree on what a name may hold and on which names are equal: Spark compares without regard to case,
DuckDB by simple lower case, databases by normal forms. A new name is therefore held to a whitelist, and is taken where
no reader can confuse it with another. Columns that a table already has are nobody's business here.
"""

from __future__ import annotations

import re
import unicodedata

import pyarrow as pa

LONGEST_NAME = 255
"""Bytes of UTF-8 that a new name may take: what the common catalogues hold."""

_SHOWN = 80
_RESERVED = frozenset({"_op", "_change_type", "_commit_version", "_commit_timestamp", "_metadata"})
"""Ours; columns of Delta's change data feed (PROTOCOL.md, "Add CDC File"); Spark's column of file metadata."""
_RESERVED_BEGINNINGS = (
    "__index_level_",  # pandas: an index, no column
    "__null_dask_index__",
    "__delta_rs_",  # columns that delta-rs adds while it reads and merges
    "__delta_internal",
    "_databricks_internal",
    "_row-id-col-",  # materialised row ids (PROTOCOL.md, "Row Tracking")
    "_row-commit-version-col-",
)
# Letters and marks that are not seen (Default_Ignorable_Code_Point): two names with and without look the same.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)


def folded(name: str) -> str:
    """What is the same for all names that some reader takes for one: case, full case folding and compatibility forms.

    Unicode, "Caseless Matching" (D146), with the Turkish i and its dot taken for i, as simple case mappings do.
    """
    text = unicodedata.normalize("NFKC", name)
    text = unicodedata.normalize("NFKD", text.upper().casefold())
    return unicodedata.normalize("NFKC", text.replace("i\u0307", "i").casefold())


def bare(name: str) -> str:
    """The folded name without blanks around it and characters that are not seen: what somebody meant to write."""
    seen = (letter for letter in name if unicodedata.category(letter) not in ("Cc", "Cf"))
    return folded("".join(seen)).strip()


def spelled(name: str) -> str:
    """A name as it may stand in a message, whatever it holds: what is not printable as ``\\uXXXX``, long ones cut."""
    cut = name if len(name) <= _SHOWN else name[: _SHOWN - 1] + "…"
    return "".join(letter if letter.isprintable() else f"\\u{ord(letter):04x}" for letter in cut)


def name_problem(name: str, *, blanks: bool) -> str | None:
    """Why a new column cannot have a name, as the end of a sentence; None where it can.

    ``blanks``: whether the table can have them inside names (with column mapping; Parquet's own rules forbid them).
    """
    if not name or name != name.strip(" "):
        return "begins or ends with a blank" if name else "is empty"
    for letter in name:
        if letter == " " and not blanks:
            return "holds a blank, which this table cannot have in a name"
        if letter not in "_- " and unicodedata.category(letter)[0] not in "LM" and not _is_digit(letter):
            return f'holds the character "{spelled(letter)}"; letters, digits, _ and - are possible'
    hidden = _INVISIBLE.search(name)
    if hidden:
        return f"holds the character \\u{ord(hidden[0]):04x}, which nobody sees"
    if unicodedata.category(name[0])[0] == "M":
        return "begins with a mark that belongs on a letter"
    size = len(name.encode())
    if size > LONGEST_NAME:
        return f"takes {size:,} bytes; {LONGEST_NAME} are possible"
    key = folded(name)
    if key in _RESERVED or key.startswith(_RESERVED_BEGINNINGS):
        return "is reserved: readers of Delta tables give it a meaning of their own"
    return None


def _is_digit(letter: str) -> bool:
    return unicodedata.category(letter) == "Nd"


def nested_name_problem(data_type: pa.DataType, *, blanks: bool) -> str | None:
    """Why the fields inside a new column's type cannot have their names, as a sentence; None where they can."""
    if pa.types.is_struct(data_type):
        seen: dict[str, str] = {}
        for name in data_type.names:
            problem = name_problem(name, blanks=blanks)
            if problem is not None:
                return f"its field {spelled(name)} cannot be named so: the name {problem}."
            key = folded(name)
            if key in seen:
                return f"its fields {spelled(seen[key])} and {spelled(name)} differ only in case or form."
            seen[key] = name
    for index in range(data_type.num_fields):
        problem = nested_name_problem(data_type.field(index).type, blanks=blanks)
        if problem is not None:
            return problem
    return None
