"""Cells as spreadsheets put them on the clipboard: between tabs, in quotes only where a cell has a tab or a line break
in it; any other quote is part of its cell. Written strictly they are read like a file. Pure.
"""

import re

_CELL = re.compile(r'"((?:[^"]|"")*)"(?=\t|\r\n|\r|\n|\Z)|([^\t\r\n]*)')
_BORDER = re.compile(r"\t|\r\n|\r|\n|\Z")
_NEEDS_QUOTES = re.compile(r'["\t\r\n]')


def as_strict(text: str) -> str:
    """The pasted text with each quote in its place; what has no tabs in its first line, or no quotes, as it is."""
    if '"' not in text or "\t" not in text.lstrip("\r\n").partition("\n")[0]:
        return text
    written, at = [], 0
    while at < len(text):
        cell = _CELL.match(text, at)
        if cell is None:  # an empty match is always possible
            break
        value = cell[2] if cell[1] is None else cell[1].replace('""', '"')
        if cell[1] == "":
            written.append('""')
        elif _NEEDS_QUOTES.search(value):
            quoted = value.replace('"', '""')
            written.append(f'"{quoted}"')
        else:
            written.append(value)
        border = _BORDER.match(text, cell.end())
        written.append(border[0] if border else "")
        at = border.end() if border else cell.end()
    return "".join(written)
