"""What was decided about the columns of content: which one of the table they are, whether they are new or left out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import pyarrow as pa

from merging.delta.naming import bare, folded, spelled
from merging.errors import StagingRejected
from merging.model import ColumnAction, StagingProblem
from merging.staging.sources import OPERATION_COLUMN

_MOST_SUGGESTIONS = 50
_LONGEST_NAME = 100
_LIKENESS = 0.6


@dataclass(frozen=True)
class Decisions:
    """The decisions by the columns' names in the content.

    ``asks``: whether a column that the table lacks and nobody has decided about is told and left alone, instead of
    being added to the table.
    """

    actions: Mapping[str, ColumnAction] = field(default_factory=dict)
    asks: bool = False

    def name_of(self, name: str) -> str | None:
        """What the column is called in the table; None where it is left out."""
        decided = self.actions.get(name)
        if decided is None or decided.action == "add":
            return name
        return decided.to if decided.action == "rename" else None

    def asks_about(self, name: str) -> bool:
        """Whether a column that the table lacks is one to ask about."""
        return self.asks and name not in self.actions

    @property
    def types(self) -> dict[str, str]:
        """The types that were chosen for new columns."""
        return {
            name: decided.type
            for name, decided in self.actions.items()
            if decided.action == "add" and decided.type
        }

    def targets(self, targets: Mapping[str, pa.DataType]) -> dict[str, pa.DataType]:
        """The types that the content's columns are to have, by their names in it."""
        found = {name: kind for name, kind in targets.items() if self.name_of(name) == name}
        for name, decided in self.actions.items():
            if decided.action == "rename" and decided.to in targets:
                found[name] = targets[decided.to]
        return found

    def check(self, columns: Iterable[str], known: Iterable[str], line: int | None) -> None:
        """Raise StagingRejected for decisions that cannot be followed."""
        problems = [*self._impossible(set(columns), set(known), line)]
        if problems:
            raise StagingRejected(problems)

    def _impossible(self, columns: set[str], known: set[str], line: int | None) -> Iterator[StagingProblem]:
        for name, decided in self.actions.items():
            shown = spelled(name)
            if name not in columns:
                told = "something was decided about this column, which the content does not have."
                yield StagingProblem("no_such_column", told, None, shown)
            elif decided.action == "rename" and decided.to not in known | {OPERATION_COLUMN}:
                told = f'it cannot be taken for "{spelled(decided.to)}": the table has no such column.'
                yield StagingProblem("unknown_column", told, line, shown)
            elif decided.action == "add" and name in known:
                told = "it cannot be added: the table has this column."
                yield StagingProblem("known_column", told, line, shown)
            elif decided.action == "add" and name == OPERATION_COLUMN:
                told = "it cannot be added: it says what happens to a row. Leave it out, or rename it in the file."
                yield StagingProblem("reserved_name", told, line, shown)
        taken: dict[str, str] = {}
        for name in sorted(columns):
            named = self.name_of(name)
            if named is not None and taken.setdefault(named, name) != name:
                told = f'"{spelled(taken[named])}" is the column {spelled(named)} already; leave one of them out.'
                yield StagingProblem("repeated_column", told, line, spelled(name))


def suggestions(unknown: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    """For names that the table lacks, the column of it that is most likely meant, where one is."""
    by_form = {folded(name): name for name in known if len(name) <= _LONGEST_NAME}
    found = {}
    for name in [*unknown][:_MOST_SUGGESTIONS]:
        if len(name) > _LONGEST_NAME:
            continue
        meant = bare(name)
        near = difflib.get_close_matches(meant, by_form, n=5, cutoff=_LIKENESS)
        if meant in by_form or near:
            found[name] = by_form[meant if meant in by_form else max(near, key=partial(_likeness, meant))]
    return found


def _likeness(meant: str, name: str) -> tuple[float, bool]:
    """Of names that are equally alike the one is meant that begins as what was written."""
    return difflib.SequenceMatcher(None, name, meant).ratio(), name[:1] == meant[:1]
