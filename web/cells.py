"""How one cell value reads on a page: exactly, with what is invisible made visible. Pure; returns safe HTML."""

import json
import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from datasets.rows import FarMoment, json_value, text_value

#: Longer text is cut on the page; downloads and the API give it whole.
LONGEST_TEXT = 400
#: The most of one value that a page shows where it has room.
LONGEST_WHOLE = 200_000
#: More bytes are cut on the page.
LONGEST_BYTES = 24
#: Longer text may wrap in its cell.
LONGEST_LINE = 48

_NULL = mark_safe('<span class="null">NULL</span>')
_EMPTY = mark_safe('<span class="null">empty text</span>')
_ABSENT = mark_safe('<span class="absent">no such row</span>')

#: Characters that a reader cannot see, and what stands for each.
_VISIBLE = {
    " ": "·",
    "\t": "⇥",
    "\n": "↵",
    "\r": "␍",
    "\u00a0": "⍽",
    "\u200b": "[zero-width space]",
    "\u200c": "[zero-width non-joiner]",
    "\u200d": "[zero-width joiner]",
    "\u2060": "[word joiner]",
    "\ufeff": "[byte order mark]",
    "\u00ad": "[soft hyphen]",
    "\u200e": "[left-to-right mark]",
    "\u200f": "[right-to-left mark]",
}
_ALWAYS_MARKED = re.compile(
    "^[ ]+|[ ]+$|[\t\n\r\u00a0\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\u00ad\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"
)


def cell_html(value: Any) -> SafeString:
    """One value as it is read on a page; NULL and empty text are told apart."""
    if value is None:
        return _NULL
    if value == "" and isinstance(value, str):
        return _EMPTY
    text = cell_text(value)
    if len(text) > LONGEST_TEXT:
        cut = _marked(text[:LONGEST_TEXT])
        return format_html(
            '<span class="cell cell--long">{}…</span> <span class="more">{} characters</span>',
            cut,
            f"{len(text):,}",
        )
    names = "cell cell--long" if len(text) > LONGEST_LINE else "cell"
    return format_html('<span class="{}">{}</span>', names, _marked(text))


def whole_html(value: Any) -> SafeString:
    """One value with all that it holds, where a page has room for it."""
    if value is None or value == "":
        return cell_html(value)
    text = text_value(value) if isinstance(value, bytes) else cell_text(value)
    cut = f" … {len(text):,} characters; downloads have them all." if len(text) > LONGEST_WHOLE else ""
    return format_html('<span class="cell cell--whole">{}</span>{}', _marked(text[:LONGEST_WHOLE]), cut)


def absent_html() -> SafeString:
    """What stands for a row that is not there, where a value would stand."""
    return _ABSENT


def cell_text(value: Any) -> str:
    """One value as plain text, with nothing rounded; NULL as ``NULL``."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, datetime | FarMoment):
        return _moment(value)
    if isinstance(value, bytes) and len(value) > LONGEST_BYTES:
        return f"{text_value(value[:LONGEST_BYTES])}… ({len(value):,} bytes)"
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(json_value(value), ensure_ascii=False, separators=(", ", ": "))
    return text_value(value)


def difference_html(old: Any, new: Any) -> SafeString:
    """An old value above a new one, with a note where the eye could not tell them apart."""
    note = invisible_difference(old, new)
    return format_html(
        '<span class="diff"><del>{}</del><ins>{}</ins>{}</span>',
        cell_html(old),
        cell_html(new),
        format_html('<span class="diff__note">{}</span>', note) if note else "",
    )


def invisible_difference(old: Any, new: Any) -> str:
    """Why two values differ although they look alike; empty where the eye can tell."""
    if {type(old), type(new)} == {type(None), str} and "" in (old, new):
        return "NULL and empty text differ"
    if not isinstance(old, str) or not isinstance(new, str) or old == new:
        return ""
    if unicodedata.normalize("NFC", old) == unicodedata.normalize("NFC", new):
        return "same letters, accents encoded differently"
    if old.strip() == new.strip():
        return "only spaces at an end differ"
    if _without_invisible(old) == _without_invisible(new):
        return "only invisible characters differ"
    if unicodedata.normalize("NFKC", old) == unicodedata.normalize("NFKC", new):
        return "look-alike characters differ"
    return ""


def _without_invisible(text: str) -> str:
    kept = "".join(" " if character.isspace() else character for character in text)
    return "".join(character for character in kept if unicodedata.category(character) not in ("Cc", "Cf"))


def _moment(value: datetime | FarMoment) -> str:
    if isinstance(value, FarMoment):
        return str(value).replace("+00:00", " UTC")
    aware = value.tzinfo is not None
    value = value.astimezone(UTC) if aware else value
    pattern = "%Y-%m-%d %H:%M" if not (value.second or value.microsecond) else "%Y-%m-%d %H:%M:%S"
    fraction = f".{value.microsecond:06d}" if value.microsecond else ""
    return f"{value:{pattern}}{fraction}{' UTC' if aware else ''}"


def _marked(text: str) -> SafeString:
    """The text, escaped, with every invisible character replaced by a mark."""
    pieces: list[tuple[str, str]] = []
    position = 0
    for found in _ALWAYS_MARKED.finditer(text):
        pieces.append((text[position : found.start()], _marks(found[0])))
        position = found.end()
    if not pieces:
        return format_html("{}", text)
    html = format_html_join("", '{}<span class="unseen">{}</span>', pieces)
    return format_html("{}{}", html, text[position:])


def _marks(characters: str) -> str:
    return "".join(_VISIBLE.get(character, f"[U+{ord(character):04X}]") for character in characters)
