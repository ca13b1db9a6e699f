"""Versions of a table beside each other: what differs between two, row by row."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.utils.html import format_html_join
from django.utils.safestring import SafeString

from datasets.rows import ChangedRow, VersionSize
from web.cells import cell_html, difference_html
from web.template_tags import size
from web.view_models.changes import MARKERS


@dataclass(frozen=True)
class Sparkline:
    """A line over versions, from 0 to 100 across and 0 to 24 down, and what it shows in words."""

    title: str
    points: str
    words: str
    last: str


def sparklines(sizes: Sequence[VersionSize]) -> list[Sparkline]:
    """The rows and the size of the table over the versions of a page, where there are several."""
    if len(sizes) < 2:
        return []
    first, last = sizes[0], sizes[-1]
    lines = []
    if all(one.rows is not None for one in sizes):
        words = f"{first.rows or 0:,} rows in version {first.version:,}, {last.rows or 0:,} in version {last.version:,}"
        lines.append(
            Sparkline("Rows", _points([one.rows or 0 for one in sizes]), words, f"{last.rows or 0:,}")
        )
    from_size, to_size = size(first.size_bytes), size(last.size_bytes)
    words = f"{from_size} in version {first.version:,}, {to_size} in version {last.version:,}"
    lines.append(Sparkline("Size", _points([one.size_bytes for one in sizes]), words, to_size))
    return lines


def _points(values: Sequence[int]) -> str:
    lowest, span = min(values), (max(values) - min(values)) or 1
    step = 100 / (len(values) - 1)
    return " ".join(
        f"{place * step:.1f},{22 - 20 * (value - lowest) / span:.1f}" for place, value in enumerate(values)
    )


@dataclass(frozen=True)
class ComparedCell:
    """A cell of a row that differs: its two values, or the one of a row that only one version has."""

    column: str
    html: SafeString


@dataclass(frozen=True)
class ComparedRow:
    """A row that differs between two versions."""

    operation: str
    sign: str
    word: str
    key: SafeString
    cells: tuple[ComparedCell, ...]


def compared_rows(rows: Iterable[ChangedRow]) -> list[ComparedRow]:
    """The differing rows of a page; of rows that only one version has all values that are not NULL."""
    return [_compared(row) for row in rows]


def _compared(row: ChangedRow) -> ComparedRow:
    sign, word = MARKERS[row.operation]
    before, after = row.before or {}, row.after or {}
    if row.operation == "update":
        cells = [
            ComparedCell(name, difference_html(before.get(name), after.get(name))) for name in row.changed
        ]
    else:
        image = after if row.operation == "insert" else before
        cells = [
            ComparedCell(name, cell_html(value))
            for name, value in image.items()
            if name not in row.key and value is not None
        ]
    key = format_html_join(
        " ",
        '<span class="key-part"><span class="muted">{}</span> {}</span>',
        ((name, cell_html(value)) for name, value in row.key.items()),
    )
    return ComparedRow(row.operation, sign, word, key, tuple(cells))
