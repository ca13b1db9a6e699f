"""What commands print: tables and sentences for people, JSON for programs; nothing else on standard output."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from headgate.errors import HeadgateError, StagingRejected

#: Problems of an upload that are printed; the rest is counted.
PROBLEMS_SHOWN = 20


@dataclass(frozen=True)
class Output:
    """Where answers go, and in which shape."""

    as_json: bool = False

    def tell(self, sentence: str, document: Any) -> None:
        """An answer: the sentence for people, the document for programs."""
        if self.as_json:
            self._write(document)
        else:
            _console().print(Text(sentence), soft_wrap=True)

    def rows(self, columns: Sequence[str], rows: Sequence[Mapping[str, Any]], *, nothing: str) -> None:
        """Rows as a table; ``nothing`` says it where there are none."""
        if self.as_json:
            self._write(list(rows))
        elif not rows:
            _console().print(Text(nothing))
        else:
            table = Table(box=None, header_style="bold", pad_edge=False)
            for column in columns:
                table.add_column(Text(column), overflow="fold")
            for row in rows:
                table.add_row(*(shown(row.get(column)) for column in columns))
            _console().print(table)

    def failed(self, error: HeadgateError) -> None:
        """What went wrong and what to do, on standard error; for programs the problem as the server told it."""
        if self.as_json:
            problem = {"code": error.code, "message": error.message, "what_to_do": error.what_to_do}
            sys.stderr.write(json.dumps({**problem, **error.problem}, ensure_ascii=False) + "\n")
            return
        console = Console(stderr=True)
        console.print(Text(error.message, style="bold red"), soft_wrap=True)
        if isinstance(error, StagingRejected):
            for problem in error.errors[:PROBLEMS_SHOWN]:
                console.print(Text(f"  {_place(problem)}{problem.get('message', '')}"), soft_wrap=True)
        if error.what_to_do and error.what_to_do not in error.message:
            console.print(Text(error.what_to_do), soft_wrap=True)
        if error.request_id:
            console.print(Text(f"Request {error.request_id}", style="dim"))

    def _write(self, document: Any) -> None:
        sys.stdout.write(json.dumps(document, ensure_ascii=False, default=str) + "\n")


def shown(value: Any) -> Text:
    """A value in a table: NULL apart from the empty text, and no text that a terminal would obey."""
    if value is None:
        return Text("NULL", style="dim")
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    if text == "":
        return Text('""', style="dim")
    return Text("".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text))


def _place(problem: Mapping[str, Any]) -> str:
    column = str(problem.get("column") or "")
    if column and str(problem.get("code", "")).startswith("sql_"):
        column = f"character {column}"
    parts = [f"line {problem['line']}" if problem.get("line") else "", column]
    place = ", ".join(part for part in parts if part)
    return f"{place}: " if place else ""


def _console() -> Console:
    # Not kept: standard output may be another one by the next time.
    return Console(highlight=False, emoji=False, markup=False)
