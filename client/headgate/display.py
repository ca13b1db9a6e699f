"""What notebooks show: plain HTML with its own few styles, every value escaped."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import islice
from typing import Any

from headgate import models

#: Rows that are shown; the rest is counted.
SHOWN = 50
#: Characters of a value that are shown.
LONGEST = 200

_TABLE = "border-collapse:collapse;font-size:90%"
_COLOURS = {"insert": "#1a7f37", "update": "#9a6700", "delete": "#cf222e"}


def value_html(value: Any) -> str:
    """A value as it is read: texts as they are, NULL told apart from an empty text."""
    if value is None:
        return "<i style='opacity:.6'>NULL</i>"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    if text == "":
        return "<i style='opacity:.6'>empty</i>"
    return escape(text if len(text) <= LONGEST else text[:LONGEST] + "…")


def _table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]], total: int) -> str:
    """A table of cells that are HTML already."""
    titles = "".join(f"<th style='text-align:left;padding:2px 8px'>{title}</th>" for title in head)
    body = "".join(
        "<tr>" + "".join(f"<td style='padding:2px 8px'>{cell}</td>" for cell in row) + "</tr>"
        for row in islice(rows, SHOWN)
    )
    more = f"<p>{total - SHOWN:,} more.</p>" if total > SHOWN else ""
    return (
        f"<div class='headgate'><p>{caption}</p><table style='{_TABLE}'><thead><tr>{titles}</tr></thead>"
        f"<tbody>{body}</tbody></table>{more}</div>"
    )


def _key_html(key: Mapping[str, Any]) -> str:
    return ", ".join(f"{escape(name)}&nbsp;{value_html(value)}" for name, value in key.items())


def diff_html(title: str, changes: Iterable[models.RowChange], total: int) -> str:
    """Changed rows, cell by cell."""
    rows = (
        (
            f"<b style='color:{_COLOURS.get(change['operation'], 'inherit')}'>{escape(change['operation'])}</b>",
            _key_html(change["key"]),
            "<br>".join(_cell_html(cell, change["operation"]) for cell in change["cells"]),
        )
        for change in changes
    )
    caption = f"<b>{escape(title)}</b>: {total:,} changed row{'s' * (total != 1)}"
    return _table(caption, ("", "Row", "Cells"), rows, total)


def _cell_html(cell: models.Cell, operation: str) -> str:
    column = escape(cell["column"])
    if operation == "insert":
        return f"{column}: {value_html(cell['proposed'])}"
    if operation == "delete":
        return f"{column}: <s>{value_html(cell['base'])}</s>"
    return f"{column}: <s>{value_html(cell['base'])}</s> → {value_html(cell['proposed'])}"


def conflicts_html(title: str, conflicts: Sequence[models.Conflict]) -> str:
    """Conflicts with their three values and what was chosen."""
    rows = (
        (
            _key_html(one["key"]),
            escape(one["column"] or "(the row)"),
            *(value_html(one[name]) for name in ("base", "current", "proposed")),
            escape(one["choice"] or "")
            + (f": {value_html(one['value'])}" if one["choice"] == "custom" else ""),
        )
        for one in conflicts
    )
    caption = f"<b>{escape(title)}</b>: {len(conflicts):,} conflict{'s' * (len(conflicts) != 1)}"
    return _table(caption, ("Row", "Column", "Base", "Current", "Proposed", "Choice"), rows, len(conflicts))


def change_request_html(data: Mapping[str, Any], address: str) -> str:
    """A change request in a few lines."""
    dataset, revision = data["dataset"], data.get("revision")
    counts = (
        f"{revision['rows_inserted']:,} inserted, {revision['rows_updated']:,} updated, "
        f"{revision['rows_deleted']:,} deleted"
        if revision
        else "no content yet"
    )
    return (
        f"<div class='headgate'><b><a href='{escape(address, quote=True)}'>{escape(data['cr_id'])}</a></b> "
        f"{escape(data['title'])}<br>{escape(data['status'])} · "
        f"{escape(dataset['project'])}/{escape(dataset['slug'])} · by {escape(data['author'])}<br>{counts}</div>"
    )
