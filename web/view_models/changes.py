"""The diff as a table: action marker and key first, then cells with the old value before the new one."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from changerequests.models import ChangeRequest
from changerequests.services.viewing import ChangeGroup
from datasets.rows import CellText, ChangedRow, ChangesFilter, json_value, key_digest, text_value, write_json
from web.cells import cell_html, cell_text, difference_html
from web.view_models.datasets import ColumnHead, is_numeric, types_of
from web.view_models.talk import Talk

#: operation -> the sign and the word of its marker
MARKERS = {"insert": ("+", "new"), "update": ("~", "changed"), "delete": ("−", "deleted")}
#: Up to so many changed columns old and new values stand on one line.
MOST_INLINE = 3
#: Longer values are not put into addresses.
LONGEST_IN_ADDRESS = 500
#: Longer values are cut in sentences and labels.
LONGEST_IN_WORDS = 80
_NOTHING = mark_safe("")
#: What stands in a cell of which the content says nothing, where the table fills it.
FILLED = mark_safe('<span class="muted">filled by the table</span>')


@dataclass(frozen=True)
class DiffCell:
    """A cell of the diff, ready to show. ``place`` is what an address says to talk about it; empty for none."""

    html: SafeString
    is_numeric: bool
    state: str = ""
    column: str = ""
    place: str = ""


@dataclass(frozen=True)
class DiffRow:
    """A row of the diff. ``anchor`` names it within the page, ``key_json`` in forms, ``key_words`` for people."""

    operation: str
    sign: str
    word: str
    key: tuple[DiffCell, ...]
    cells: tuple[DiffCell, ...]
    anchor: str = ""
    key_json: str = ""
    key_words: str = ""
    place: str = ""
    talk: Talk | None = None


@dataclass(frozen=True)
class DiffTable:
    """The diff of one page of rows. ``inline``: old and new values stand on one line."""

    keys: tuple[ColumnHead, ...]
    columns: tuple[ColumnHead, ...]
    rows: tuple[DiffRow, ...]
    hidden: int
    inline: bool
    context: frozenset[str] = frozenset()

    @property
    def width(self) -> int:
        """How many columns the table has, those for markers, choosing and filling included."""
        return len(self.keys) + len(self.columns) + 3


def diff_table(
    change_request: ChangeRequest,
    rows: Sequence[ChangedRow],
    *,
    all_columns: bool,
    talks: Mapping[str, Talk] | None = None,
) -> DiffTable:
    """The table for a page of changes; without ``all_columns`` only columns in which a shown row differs. ``talks`` are
    what is said about its rows, by the digests of their keys.
    """
    dataset = change_request.dataset
    types, keys = types_of(dataset), list(dataset.primary_keys)
    present = _columns(rows, list(types), keys)
    differing = {name for row in rows for name in (*row.changed, *row.filled)}
    shown = [name for name in present if all_columns or name in differing]
    heads = {
        name: ColumnHead(name, types.get(name, "new column"), name in keys, is_numeric(types.get(name, "")))
        for name in [*keys, *shown]
    }
    found = []
    for row in rows:
        sign, word = MARKERS[row.operation]
        digest = key_digest(row.key)
        found.append(
            DiffRow(
                row.operation,
                sign,
                word,
                tuple(
                    DiffCell(cell_html(row.key[name]), heads[name].is_numeric, column=name) for name in keys
                ),
                tuple(_cell(row, name, heads[name].is_numeric) for name in shown),
                anchor=digest[:16],
                key_json=key_json(row.key),
                key_words=key_in_words(row.key),
                place=place_of(row.key),
                talk=(talks or {}).get(digest),
            )
        )
    return DiffTable(
        tuple(heads[name] for name in keys),
        tuple(heads[name] for name in shown),
        tuple(found),
        len(present) - len(shown),
        inline=len(differing) <= MOST_INLINE,
        context=frozenset(shown) - differing,
    )


def key_json(key: Mapping[str, Any]) -> str:
    """A key as forms and addresses hold it."""
    return write_json(json_value(dict(key)))


def key_in_words(key: Mapping[str, Any]) -> str:
    """A key as sentences and labels name it."""
    return ", ".join(f"{name} {_shortened(cell_text(value))}" for name, value in key.items())


def _shortened(text: str) -> str:
    """A value within a sentence or a label, which stands on the page once for each cell."""
    return text if len(text) <= LONGEST_IN_WORDS else f"{text[:LONGEST_IN_WORDS]}…"


def place_of(key: Mapping[str, Any], column: str = "") -> str:
    """What an address says to talk about a row, or one of its cells."""
    return urlencode({"at": key_json(key), **({"on": column} if column else {})})


def _columns(rows: Sequence[ChangedRow], known: list[str], keys: list[str]) -> list[str]:
    """Value columns of the shown rows in the table's order, new columns last."""
    named = {name for row in rows for image in (row.before, row.after) if image for name in image}
    ordered = [name for name in known if name in named]
    return [name for name in [*ordered, *sorted(named - set(known))] if name not in keys]


def _cell(row: ChangedRow, name: str, numeric: bool) -> DiffCell:
    before, after = row.before or {}, row.after or {}
    place = place_of(row.key, name) if name in row.changed else ""
    if row.operation == "update" and name in row.changed:
        html = difference_html(before.get(name), after.get(name))
        return DiffCell(html, numeric, "changed", name, place)
    image = before if row.operation == "delete" else after
    if name not in image:
        return DiffCell(_NOTHING, numeric, column=name)
    if name in row.filled:
        return DiffCell(FILLED, numeric, "filled", name)
    html = cell_html(image[name])
    if row.operation == "insert":
        shown = format_html("<ins>{}</ins>", html) if image[name] is not None else html
        return DiffCell(shown, numeric, "", name, place)
    if row.operation == "delete":
        shown = format_html("<del>{}</del>", html) if image[name] is not None else html
        return DiffCell(shown, numeric, "", name, place)
    return DiffCell(html, numeric, "unchanged", name)


# --- Filters --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FilterChip:
    """One thing that the filter asks, in words, and the address's parameters without it."""

    words: str
    query: str


_SIDES = {"old": "old value", "new": "new value"}
_KINDS = {"insert": "new rows", "update": "changed rows", "delete": "deleted rows"}


def filter_parameters(wanted: ChangesFilter, *, operation: str = "kind", yes: str = "yes") -> dict[str, str]:
    """The parameters of an address that name a filter; those of the API with its own words for two of them."""
    found = {operation: wanted.operation, "column": wanted.column, "key": wanted.key}
    for name in _SIDES:
        side: CellText | None = getattr(wanted, name)
        if side is not None and side.text:
            found[name] = side.text
        elif side is not None:
            found[f"{name}_is"] = "null" if side.text is None else "empty"
    found["became_null"] = yes if wanted.became_null else None
    found["unusual"] = yes if wanted.unusual else None
    return {name: value for name, value in found.items() if value}


def filter_chips(wanted: ChangesFilter) -> list[FilterChip]:
    """What the filter asks apart from the kind, which has a place of its own."""
    asked: list[tuple[str, ChangesFilter]] = []
    if wanted.column is not None:
        asked.append((f"column {wanted.column}", replace(wanted, column=None)))
    if wanted.key is not None:
        asked.append((f"key contains {wanted.key}", replace(wanted, key=None)))
    if wanted.old is not None:
        asked.append((f"old value {_in_words(wanted.old)}", replace(wanted, old=None)))
    if wanted.new is not None:
        asked.append((f"new value {_in_words(wanted.new)}", replace(wanted, new=None)))
    if wanted.became_null:
        asked.append(("became NULL", replace(wanted, became_null=False)))
    if wanted.unusual:
        asked.append(("outside the usual range", replace(wanted, unusual=False)))
    return [FilterChip(words, urlencode(filter_parameters(without))) for words, without in asked]


def filter_in_words(wanted: ChangesFilter) -> str:
    """A filter as part of a sentence: ``changed rows, column seats, old value 149``."""
    words = [_KINDS.get(wanted.operation or "", "rows"), *(chip.words for chip in filter_chips(wanted))]
    return ", ".join(words)


def _in_words(side: CellText) -> str:
    if side.text is None:
        return "NULL"
    return side.text[:80] or "empty text"


@dataclass(frozen=True)
class UsualRange:
    """The range that a column had at the base."""

    column: str
    low: str
    high: str


def usual_ranges(ranges: Mapping[str, tuple[Any, Any]], columns: Iterable[str]) -> list[UsualRange]:
    """Those of the changed columns, in words."""
    return [
        UsualRange(name, cell_text(ranges[name][0]), cell_text(ranges[name][1]))
        for name in sorted(columns)
        if name in ranges
    ]


# --- Groups ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Group:
    """Changed rows taken together, ready to show; ``query`` is the filter that shows them, empty where it is too long
    for an address.
    """

    name: str
    column: str
    html: SafeString
    rows: int
    query: str
    viewed: bool
    words: str


_WHOLE = {"insert": "New rows", "delete": "Deleted rows", "column": "Other values"}


def groups(found: Sequence[ChangeGroup]) -> list[Group]:
    """The grouped view: column, old value to new value, and in how many rows."""
    shown = []
    for group in found:
        parameters = filter_parameters(group.wanted)
        fits = all(len(value) <= LONGEST_IN_ADDRESS for value in parameters.values())
        html = (
            difference_html(group.edit.old, group.edit.new)
            if group.edit is not None
            else format_html("{}", _WHOLE[group.kind])
        )
        words = (
            f"{_WHOLE.get(group.kind, 'equal values')} of {group.column}"
            if group.column
            else _WHOLE[group.kind]
        )
        if group.edit is not None:
            words = f"{group.column}: {text_value(group.edit.old)[:40]} to {text_value(group.edit.new)[:40]}"
        shown.append(
            Group(
                group.name,
                group.column,
                html,
                group.rows,
                urlencode(parameters) if fits else "",
                group.viewed,
                words,
            )
        )
    return shown
