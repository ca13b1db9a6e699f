"""Adding a table, as its short pages show it: the path, the columns, the key, the first expectations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from django.utils.safestring import SafeString

from datasets import suites
from datasets.models import Dataset, SuiteProposal
from datasets.services import TableLook
from web.cells import cell_html

#: How many examples of rows that are in the way of a key are shown.
MOST_EXAMPLES = 5
#: Of a table whose log has the identity of a dataset's.
SHARED_IDENTITY = (
    "A dataset's table has the same identity: this is that table at another address, or a copy of its folder."
)
_SAYS_SO = "Say so when you name it, if it is a copy; if it is the same table, it is a dataset already."
_ASK_ONE = "If it is a copy, an operator adds it; if it is the same table, it is a dataset already."
#: Types whose values cannot identify rows, as the engine says when they are tried.
_NO_KEYS = ("float", "double", "struct", "array", "map", "binary")
#: What columns that identify rows are usually called, or end with.
_USUAL_KEYS = ("id", "key", "code", "number", "uuid")


class PathStep(Enum):
    """The pages of the path, in order."""

    WHERE = "Where it lies"
    LOOK = "Look at it"
    KEY = "Its key"
    NAME = "Name and people"
    EXPECTATIONS = "Expectations"


@dataclass(frozen=True)
class ShownStep:
    """A step of the path: behind, here, or ahead."""

    title: str
    is_done: bool
    is_current: bool


def path_at(current: PathStep) -> list[ShownStep]:
    """The path as it is shown at one of its pages."""
    order = list(PathStep)
    here = order.index(current)
    return [ShownStep(step.value, place < here, place == here) for place, step in enumerate(order)]


@dataclass(frozen=True)
class ShownColumn:
    """A column of a table that may become a dataset."""

    name: str
    type: str
    nullable: bool
    comment: str
    may_be_key: bool
    is_chosen: bool


def shown_columns(look: TableLook, chosen: Sequence[str]) -> list[ShownColumn]:
    """The columns, those ticked that were chosen; where none were, the one that looks like a key."""
    keyable = [one.name for one in look.info.columns if not one.type.startswith(_NO_KEYS)]
    ticked = list(chosen) or _likely_key(keyable, [one.name for one in look.info.columns if not one.nullable])
    return [
        ShownColumn(one.name, one.type, one.nullable, one.comment, one.name in keyable, one.name in ticked)
        for one in look.info.columns
    ]


def _likely_key(keyable: Sequence[str], never_null: Sequence[str]) -> list[str]:
    usual = [name for name in keyable if name.casefold().endswith(_USUAL_KEYS)]
    for choice in ([name for name in usual if name in never_null], usual, keyable):
        if choice:
            return [choice[0]]
    return []


def what_to_know(look: TableLook, *, by_operator: bool) -> list[str]:
    """What of the table is another way than people may expect, in sentences."""
    found = list(look.info.warnings)
    if look.shares_identity:
        found.append(f"{SHARED_IDENTITY} {_SAYS_SO if by_operator else _ASK_ONE}")
    if look.info.strategy == "copy-on-write":
        found.append(
            "The table has no deletion vectors: a merge writes each file anew in which a row changes. That works, and "
            "takes longer the larger the files are. Its owner can turn them on (delta.enableDeletionVectors)."
        )
    nested = [one.name for one in look.info.columns if one.type.startswith(("struct", "array", "map"))]
    if nested:
        found.append(f"Nested columns are shown as JSON and changed as a whole: {', '.join(nested)}.")
    if look.info.constraints:
        found.append(f"Every merge keeps the table's own rules: {', '.join(sorted(look.info.constraints))}.")
    if look.info.row_count == 0:
        found.append("The table has no rows yet; the first come with a change request, as every other.")
    return found


@dataclass(frozen=True)
class ShownExample:
    """The key columns of a row that is in the way, and what is wrong with it."""

    cells: tuple[SafeString, ...]
    has_null: bool


def key_examples(look: TableLook, columns: Sequence[str]) -> list[ShownExample]:
    """The first rows with NULL in a key column, and the first keys that occur more than once."""
    rows: Sequence[Mapping[str, Any]] = look.key.examples if look.key is not None else ()
    with_null = [row for row in rows if any(row[name] is None for name in columns)][:MOST_EXAMPLES]
    doubled = [row for row in rows if all(row[name] is not None for name in columns)][:MOST_EXAMPLES]
    return [
        ShownExample(
            tuple(cell_html(row[name]) for name in columns), any(row[name] is None for name in columns)
        )
        for row in [*with_null, *doubled]
    ]


@dataclass(frozen=True)
class ProposedRule:
    """One proposed expectation: a tick, which is off where it is doubtful."""

    number: int
    sentence: str
    type: str
    is_sure: bool
    columns: tuple[str, ...]


def proposed_rules(dataset: Dataset, proposal: SuiteProposal) -> list[ProposedRule]:
    """The lines of a proposal that can be checked. What is only a range of today's values is left to be ticked."""
    reading = suites.read_suite(dataset, proposal.document)
    return [
        ProposedRule(one.number, one.sentence, one.type, one.severity == "critical", one.columns)
        for one in reading.expectations
        if not one.problems
    ]
