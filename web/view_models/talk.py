"""What is said about rows and cells, under the rows themselves: threads, suggestions, and the form for one more."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.safestring import SafeString

from changerequests import policies, selectors
from changerequests.facts import Facts
from changerequests.models import Comment
from changerequests.states import ACTIVE_UPLOAD_STATUSES, Action, Status, UploadStatus
from datasets.errors import InvalidInput
from datasets.rows import ChangedRow, kept, key_digest, typed_value
from web.cells import cell_html, difference_html, whole_html
from web.forms import TalkForm
from web.view_models.datasets import types_of
from web.wording import name_of


@dataclass(frozen=True)
class ThreadAnswer:
    """One answer in a thread."""

    pk: int
    who: str
    when: datetime
    body: str


@dataclass(frozen=True)
class Thread:
    """A remark on a row or a cell with its answers. ``quote`` are the values as they were when it was written,
    ``revision`` is the number of that content where another stands by now.
    """

    pk: int
    who: str
    when: datetime
    body: str
    column: str
    quote: SafeString | None
    revision: int | None
    suggestion: SafeString | None
    taken: str
    may_take: bool
    answers: tuple[ThreadAnswer, ...]
    resolved_by: str


@dataclass(frozen=True)
class CellInFull:
    """Both values of a cell, however long they are."""

    column: str
    old: SafeString | None
    new: SafeString | None


@dataclass(frozen=True)
class Talk:
    """What stands under one row. ``form`` is open where somebody wants to say something, about ``cell`` or the row."""

    anchor: str
    key_json: str
    key_words: str
    threads: tuple[Thread, ...]
    cell: CellInFull | None = None
    column: str = ""
    form: TalkForm | None = None
    may_suggest: bool = False


def threads_by_row(facts: Facts) -> dict[str, tuple[Thread, ...]]:
    """The threads on rows and cells, by the digests of the rows' keys."""
    answers: dict[int, list[ThreadAnswer]] = defaultdict(list)
    roots: list[Comment] = []
    for comment in selectors.comments_on(facts.change_request):
        if comment.parent_id is not None:
            who = name_of(comment.author)
            answers[comment.parent_id].append(ThreadAnswer(comment.pk, who, comment.created_at, comment.body))
        elif comment.row_key is not None:
            roots.append(comment)
    may_take = not policies.blockers(facts, Action.STAGE)
    types = types_of(facts.dataset)
    found: dict[str, list[Thread]] = defaultdict(list)
    for comment in roots:
        thread = _thread(facts, comment, tuple(answers[comment.pk]), types, may_take)
        found[key_digest(kept(comment.row_key))].append(thread)
    return {digest: tuple(threads) for digest, threads in found.items()}


def _thread(
    facts: Facts,
    comment: Comment,
    answers: tuple[ThreadAnswer, ...],
    types: Mapping[str, str],
    may_take: bool,
) -> Thread:
    kind = types.get(comment.column, "string")
    standing = facts.revision.pk if facts.revision else None
    taken = _taken(comment)
    value = kept(comment.suggestion["value"]) if comment.suggestion else None
    return Thread(
        comment.pk,
        name_of(comment.author),
        comment.created_at,
        comment.body,
        comment.column,
        _quote(comment, kind),
        comment.revision.number if comment.revision and comment.revision_id != standing else None,
        cell_html(_typed(value, kind)) if comment.suggestion else None,
        taken,
        bool(comment.suggestion) and not taken and may_take,
        answers,
        name_of(comment.resolved_by) if comment.resolved_at else "",
    )


def _quote(comment: Comment, kind: str) -> SafeString | None:
    if not comment.cell or not comment.column:
        return None
    cell = kept(comment.cell)
    if cell["operation"] == "insert":
        return cell_html(_typed(cell["proposed"], kind))
    if cell["operation"] == "delete":
        return cell_html(_typed(cell["base"], kind))
    return difference_html(_typed(cell["base"], kind), _typed(cell["proposed"], kind))


def _typed(value: Any, kind: str) -> Any:
    """A value as the database keeps it as one of its column's type; as it is where that is another by now."""
    try:
        return None if value is None else typed_value(value, kind)
    except InvalidInput:
        return value


def _taken(comment: Comment) -> str:
    if comment.taken is None:
        return ""
    if comment.taken.status in ACTIVE_UPLOAD_STATUSES:
        return "being taken over"
    return "taken over" if comment.taken.status == UploadStatus.STAGED else ""


def may_talk(facts: Facts) -> bool:
    """Whether the person may say something."""
    return facts.contributes


def may_suggest(facts: Facts, row: ChangedRow | None, column: str) -> bool:
    """Whether another value may be suggested for the cell."""
    is_open = facts.status in (Status.DRAFT, Status.PENDING)
    proposed = row is not None and row.after is not None and column not in row.key
    return is_open and proposed and bool(column) and facts.contributes


def cell_in_full(row: ChangedRow | None, column: str) -> CellInFull | None:
    """Both values of a cell of a row; None for a whole row."""
    if row is None or not column:
        return None

    def side(image: Mapping[str, Any] | None) -> SafeString | None:
        return whole_html(image[column]) if image is not None and column in image else None

    return CellInFull(column, side(row.before), side(row.after))
