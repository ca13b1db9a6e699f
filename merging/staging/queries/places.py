"""Where in a statement something stands, and refusals that say so with the way out."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from merging.errors import StagingRejected
from merging.model import StagingProblem
from merging.sql.parsing import shown

_WORD = re.compile(r'"(?:[^"]|"")*"|\w+')


@dataclass(frozen=True)
class Place:
    """A line of a statement and a character in it, both counted from 1."""

    line: int
    character: int

    @classmethod
    def at(cls, text: str, offset: int) -> Place:
        """The place of a character of the text, counted from 0."""
        before = text[: max(0, offset)]
        return cls(before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)


def refused(code: str, message: str, place: Place | None = None) -> StagingRejected:
    """The refusal of a statement for one reason; ``code`` begins with ``sql_``.

    Its one problem names the line of the statement, and as column the character in it.
    """
    line, column = (None, None) if place is None else (place.line, str(place.character))
    return StagingRejected([StagingProblem(code, message, line, column)])


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A sentence that names what is spelled alike, or nothing."""
    by_folded = {one.casefold(): one for one in known}
    near = difflib.get_close_matches(name.casefold(), list(by_folded), n=1, cutoff=0.75)
    return f" Did you mean {shown(by_folded[near[0]])}?" if near else ""


def find_word(text: str, word: str) -> Place | None:
    """Where a name first stands in a statement, quoted or not."""
    wanted = word.casefold()
    for found in _WORD.finditer(text):
        written = found[0]
        if written.startswith('"'):
            written = written[1:-1].replace('""', '"')
        if written.casefold() == wanted:
            return Place.at(text, found.start())
    return None
