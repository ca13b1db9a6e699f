"""The conversation: every event of a change request as a sentence, with comments and verdicts in full."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Any

from django.contrib.auth.models import User
from django.urls import reverse

from accounts.names import is_service_name
from changerequests import selectors
from changerequests.models import ChangeRequest, Comment
from datasets.rows import kept, text_value
from web.markdown import Named, people_named, requests_named
from web.wording import counted, listed, name_of


@dataclass(frozen=True)
class Reply:
    """An answer in a discussion."""

    comment: Comment
    author: str


@dataclass(frozen=True)
class CellQuote:
    """What a remark is about: the row by its key, the column, the values as they were then, the value it suggests."""

    key: str
    column: str = ""
    before: str | None = None
    after: str | None = None
    revision: int | None = None
    suggestion: str | None = None


def cell_quote(comment: Comment) -> CellQuote | None:
    """The quote of a remark on a row or cell; None for other remarks."""
    if not comment.row_key:
        return None
    cell = kept(comment.cell) if comment.cell else {}
    of_cell = bool(comment.column) and bool(cell)
    return CellQuote(
        key=", ".join(f"{name} {_shown(value)}" for name, value in kept(comment.row_key).items()),
        column=comment.column,
        before=_shown(cell["base"]) if of_cell and cell["operation"] != "insert" else None,
        after=_shown(cell["proposed"]) if of_cell and cell["operation"] != "delete" else None,
        revision=comment.revision.number if comment.revision else None,
        suggestion=_shown(kept(comment.suggestion["value"])) if comment.suggestion else None,
    )


def _shown(value: Any) -> str:
    text = "NULL" if value is None else text_value(value)
    return text if len(text) <= LONGEST_QUOTE else text[: LONGEST_QUOTE - 1] + "…"


#: Characters of a value that a quote shows.
LONGEST_QUOTE = 200


@dataclass(frozen=True)
class TimelineEntry:
    """One point of the timeline: who, what as the rest of the sentence, when; ``quote`` is what they wrote.

    ``event`` is the number by which an open page knows it again; ``instead_of`` are those that it stands for as well.
    """

    who: str
    sentence: str
    when: datetime
    icon: str
    tone: str = ""
    quote: str = ""
    link: str = ""
    link_text: str = ""
    comment: Comment | None = None
    cell: CellQuote | None = None
    replies: Sequence[Reply] = field(default=())
    resolved_by: str = ""
    event: int = 0
    instead_of: Sequence[int] = field(default=())
    words: Sequence[WordsBefore] = field(default=())
    files: Sequence[AuditFile] = field(default=())

    @property
    def is_quiet(self) -> bool:
        """Whether it is a line of the system that few look for: it says nothing of anybody's, and nothing is wrong."""
        return self.tone in ("", "info") and not (self.comment or self.quote or self.words)


@dataclass(frozen=True)
class WordsBefore:
    """A title or description as it was before somebody changed it, and after."""

    name: str
    before: str
    after: str


@dataclass(frozen=True)
class AuditFile:
    """A file that the audit keeps of a merge."""

    name: str
    url: str


@dataclass(frozen=True)
class Fold:
    """Quiet lines that follow each other, of which only the last is shown."""

    entries: Sequence[TimelineEntry]

    @property
    def event(self) -> int:
        """The number of the first: by it an open page knows the fold again."""
        return self.entries[0].event


#: So many quiet lines after each other are shown; of more all but the last are folded.
MOST_QUIET = 2


def folded(entries: Iterable[TimelineEntry | Gap]) -> list[TimelineEntry | Gap | Fold]:
    """The same with quiet lines folded."""
    shown: list[TimelineEntry | Gap | Fold] = []
    for is_quiet, group in itertools.groupby(
        entries, lambda entry: isinstance(entry, TimelineEntry) and entry.is_quiet
    ):
        lines = list(group)
        quiet = [entry for entry in lines if isinstance(entry, TimelineEntry)]
        if is_quiet and len(lines) > MOST_QUIET:
            shown += [Fold(quiet[:-1]), quiet[-1]]
        else:
            shown += lines
    return shown


@dataclass(frozen=True)
class Gap:
    """Entries that are not shown, those from ``start`` to ``end``, and the discussions among them.

    A link shows the last ``offered`` of them.
    """

    start: int
    end: int
    threads: Sequence[int]

    @property
    def hidden(self) -> int:
        """How many entries are not shown."""
        return self.end - self.start

    @property
    def offered(self) -> int:
        """How many of them the link shows."""
        return min(self.hidden, PART_ENTRIES)


#: How many entries a page shows at the beginning and at the end, and how many a link shows of those between.
FIRST_ENTRIES, NEWEST_ENTRIES, PART_ENTRIES = 5, 25, 40


@dataclass(frozen=True)
class Timeline:
    """What is shown of a conversation, and what its texts name that the reader may see."""

    entries: list[TimelineEntry | Gap]
    named: Named


def timeline(
    change_request: ChangeRequest, reader: User, *, until: int | None = None, comment: int | None = None
) -> Timeline:
    """The first entries, the newest, and a part of those between: the one that ends before the entry ``until``, or in
    which the discussion ``comment`` stands. Oldest first, in a fixed number of queries.
    """
    told = _Told(change_request)
    entries = _window(told, until=until, comment=comment)
    return Timeline(entries, told.named_in(entries, reader))


def _window(told: _Told, *, until: int | None, comment: int | None) -> list[TimelineEntry | Gap]:
    number = len(told.events)
    first, newest = min(FIRST_ENTRIES, number), max(number - NEWEST_ENTRIES, 0)
    if newest - first <= PART_ENTRIES:
        return told.entries(0, number)
    place = told.place_of(comment)
    if place is not None and first <= place < newest:
        until = place + PART_ENTRIES // 2
    part = range(newest, newest)
    if until is not None:
        end = min(max(until, first + 1), newest)
        part = range(max(first, end - PART_ENTRIES), end)
    return [
        *told.entries(0, first),
        *told.gap(first, part.start),
        *told.entries(part.start, part.stop),
        *told.gap(part.stop, newest),
        *told.entries(newest, number),
    ]


def timeline_part(change_request: ChangeRequest, reader: User, *, start: int, until: int) -> Timeline:
    """The last entries of a gap, after the gap that is left of it: what takes its place in the page."""
    told = _Told(change_request)
    end = min(until, len(told.events))
    middle = max(start, end - PART_ENTRIES)
    entries = [*told.gap(start, middle), *told.entries(middle, end)]
    return Timeline(entries, told.named_in(entries, reader))


@dataclass(frozen=True)
class _Tries:
    """How often a run was put off, and the events that the last time stands for: the others, their beginnings."""

    times: int
    others: Sequence[int]


def _tries_in_vain(events: Sequence[Any]) -> dict[int, _Tries]:
    """By the last event of each run that was put off more than once: a store that is away for hours is one line."""
    places: dict[int, list[int]] = {}
    for place, event in enumerate(events):
        if event.action == "merge.put_off":
            places.setdefault(event.data["run"], []).append(place)
    found = {}
    for run, [first, *_, last] in ((run, at) for run, at in places.items() if len(at) > 1):
        others = [
            one.pk
            for one in events[first:last]
            if one.action in ("merge.put_off", "merge.started", "merge.resumed") and one.data["run"] == run
        ]
        found[events[last].pk] = _Tries(len(places[run]), others)
    return found


class _Told:
    """What a request's events and comments tell. Answers stand with what they answer and are no entries."""

    def __init__(self, change_request: ChangeRequest) -> None:
        self.change_request = change_request
        self.comments = {comment.pk: comment for comment in selectors.comments_on(change_request)}
        events = [event for event in selectors.timeline_of(change_request) if self._is_told(event)]
        self._tries = _tries_in_vain(events)
        untold = {pk for tries in self._tries.values() for pk in tries.others}
        self.events = [event for event in events if event.pk not in untold]

    def _is_told(self, event: Any) -> bool:
        said = self._said_in(event)
        return event.action != "comment.added" or (said is not None and said.parent_id is None)

    def _said_in(self, event: Any) -> Comment | None:
        return self.comments.get(event.data["comment"]) if event.action == "comment.added" else None

    def place_of(self, comment: int | None) -> int | None:
        """Where a discussion stands among the entries."""
        said = [self._said_in(event) for event in self.events]
        return next((place for place, one in enumerate(said) if one is not None and one.pk == comment), None)

    def gap(self, start: int, end: int) -> list[TimelineEntry | Gap]:
        """The gap in place of the entries from ``start`` to ``end``; empty where there are none."""
        said = (self._said_in(event) for event in self.events[start:end])
        return [Gap(start, end, [one.pk for one in said if one is not None])] if start < end else []

    def entries(self, start: int, end: int) -> list[TimelineEntry | Gap]:
        """The entries from ``start`` to ``end``."""
        return [self._entry(event) for event in self.events[start:end]]

    def _entry(self, event: Any) -> TimelineEntry:
        who = self._names.get(event.actor, event.actor) or "Headgate"
        if is_service_name(event.actor):
            who = f"{event.actor} (service account)"
        if "agent" in event.data:
            who = f"{who} (by the agent {event.data['agent']})"
        said = self._said_in(event)
        if said is not None:
            return TimelineEntry(
                who,
                _commented(said),
                event.occurred_at,
                "comment",
                comment=said,
                cell=cell_quote(said),
                replies=self._replies.get(said.pk, ()),
                resolved_by=name_of(said.resolved_by) if said.resolved_at else "",
                event=event.pk,
            )
        if event.action not in _SENTENCES:
            return TimelineEntry(
                who,
                event.action.replace(".", ": ").replace("_", " "),
                event.occurred_at,
                "info",
                event=event.pk,
            )
        data: dict[str, Any] = {**event.data}
        data["approved_by"] = [self._names.get(name, name) for name in data.get("approved_by", ())]
        tries = self._tries.get(event.pk, _Tries(1, ()))
        data["times"] = tries.times
        told = _SENTENCES[event.action](who, event.occurred_at, data, self.change_request)
        return replace(told, event=event.pk, instead_of=tries.others)

    @cached_property
    def _names(self) -> dict[str, str]:
        approvers = {name for event in self.events for name in event.data.get("approved_by", ())}
        actors = {event.actor for event in self.events} | approvers
        people = selectors.people_called(actors, self.change_request.dataset, or_seeing_it=self._mentioned)
        return {user.username: name_of(user) for user in people}

    @cached_property
    def _mentioned(self) -> list[str]:
        return people_named([self.change_request.description, *(one.body for one in self.comments.values())])

    def named_in(self, entries: Iterable[TimelineEntry | Gap], reader: User) -> Named:
        """The requests and people that texts name and the reader may see. One query, where they name other requests."""
        shown = [entry for entry in entries if isinstance(entry, TimelineEntry)]
        texts = [self.change_request.description, *(entry.quote for entry in shown)]
        for entry in shown:
            texts += [said.body for said in (entry.comment, *(one.comment for one in entry.replies)) if said]
        here = self.change_request
        others = [name for name in requests_named(texts) if name != here.cr_id]
        titles = selectors.titles_of_visible(reader, others) if others else {}
        people = {name: self._names[name] for name in people_named(texts) if name in self._names}
        return Named({here.cr_id: here.title, **titles}, people)

    @cached_property
    def _replies(self) -> dict[int, list[Reply]]:
        replies: dict[int, list[Reply]] = {}
        for comment in self.comments.values():
            if comment.parent_id is not None:
                replies.setdefault(comment.parent_id, []).append(Reply(comment, name_of(comment.author)))
        return replies


def _commented(said: Comment) -> str:
    if said.suggestion:
        return "suggested another value"
    if said.row_key:
        return "commented on a cell" if said.column else "commented on a row"
    return f"commented on the column {said.column}" if said.column else "commented"


Sentence = Callable[[str, datetime, Mapping[str, Any], ChangeRequest], TimelineEntry]


def _plain(sentence: str, icon: str, tone: str = "", quote: str = "") -> Sentence:
    def entry(who: str, when: datetime, data: Mapping[str, Any], _: ChangeRequest) -> TimelineEntry:
        return TimelineEntry(who, sentence, when, icon, tone, str(data.get(quote, "")) if quote else "")

    return entry


def _edited(who: str, when: datetime, data: Mapping[str, Any], _: ChangeRequest) -> TimelineEntry:
    before, after = data.get("before") or {}, data.get("after") or {}
    names = [name for name in ("title", "description") if name in before]
    words = [WordsBefore(name.capitalize(), str(before[name]), str(after.get(name, ""))) for name in names]
    return TimelineEntry(who, f"changed its {listed(names) or 'words'}", when, "pencil", words=words)


def _asking(sentence: str, icon: str) -> Sentence:
    def entry(who: str, when: datetime, data: Mapping[str, Any], _: ChangeRequest) -> TimelineEntry:
        asked = listed([*data.get("users", ()), *data.get("groups", ())])
        return TimelineEntry(who, sentence.format(asked), when, icon)

    return entry


def _staged(
    who: str, when: datetime, data: Mapping[str, Any], change_request: ChangeRequest
) -> TimelineEntry:
    counts = [
        counted(data["rows_inserted"], "new row") if data["rows_inserted"] else "",
        counted(data["rows_updated"], "changed row") if data["rows_updated"] else "",
        counted(data["rows_deleted"], "deleted row") if data["rows_deleted"] else "",
    ]
    content = listed(part for part in counts if part) or "no change: every row equals the table"
    file = f" from {data['file_name']}" if data.get("file_name") else ""
    again = "" if data["revision"] == 1 else ", which replaces the one before"
    base = f"(base: version {data['base_version']})"
    sentence = f"uploaded revision {data['revision']}{file} with {content}{again} {base}"
    return TimelineEntry(
        who,
        sentence,
        when,
        "upload",
        "info",
        link=reverse("changes", args=[change_request.cr_id]),
        link_text="See the changes",
    )


def _rebased(
    who: str, when: datetime, data: Mapping[str, Any], change_request: ChangeRequest
) -> TimelineEntry:
    sentence = f"refreshed the base to version {data['base_version']}, as revision {data['revision']}"
    return TimelineEntry(
        who,
        sentence,
        when,
        "refresh",
        "info",
        link=reverse("changes", args=[change_request.cr_id]),
        link_text="See the changes",
    )


def _other_request(sentence: str, field: str, icon: str) -> Sentence:
    """A sentence that ends with a link to another change request."""

    def entry(who: str, when: datetime, data: Mapping[str, Any], _: ChangeRequest) -> TimelineEntry:
        url = reverse("change_request", args=[data[field]])
        return TimelineEntry(who, sentence, when, icon, "warn", link=url, link_text=data[field])

    return entry


def _split(who: str, when: datetime, data: Mapping[str, Any], _: ChangeRequest) -> TimelineEntry:
    sentence = (
        f"left out {counted(data['rows_left_out'], 'row change')}; {data['rows_kept']:,} stay as revision "
        f"{data['revision']}, the rest is in"
    )
    url = reverse("change_request", args=[data["follow_up"]])
    return TimelineEntry(
        who, sentence, when, "minus", "warn", data["reason"], link=url, link_text=data["follow_up"]
    )


def _split_off(who: str, when: datetime, data: Mapping[str, Any], _: ChangeRequest) -> TimelineEntry:
    sentence = (
        f"left {counted(data['rows_left_out'], 'row change')} out of another request, which are here now"
    )
    url = reverse("change_request", args=[data["split_from"]])
    return TimelineEntry(
        who, sentence, when, "minus", "warn", data["reason"], link=url, link_text=data["split_from"]
    )


def _part(who: str, when: datetime, data: Mapping[str, Any], _: ChangeRequest) -> TimelineEntry:
    sentence = f"made revision {data['revision']} with {counted(data['rows'], 'row change')}, what was {data['part']}"
    return TimelineEntry(who, sentence, when, "upload", "info")


def _review(verb: str, icon: str, tone: str) -> Sentence:
    def entry(who: str, when: datetime, data: Mapping[str, Any], _: ChangeRequest) -> TimelineEntry:
        return TimelineEntry(
            who, f"{verb} revision {data['revision']}", when, icon, tone, data.get("body", "")
        )

    return entry


def _resolved(
    who: str, when: datetime, data: Mapping[str, Any], change_request: ChangeRequest
) -> TimelineEntry:
    chosen = sum(data["choices"].values())
    columns = f" in {listed(data['columns'])}" if data.get("columns") else ""
    left = data.get("unresolved", 0)
    rest = "none is left" if left == 0 else f"{counted(left, 'conflict')} {'is' if left == 1 else 'are'} left"
    return TimelineEntry(
        who,
        f"chose values for {counted(chosen, 'conflict')}{columns}; {rest}",
        when,
        "conflict",
        link=reverse("conflicts", args=[change_request.cr_id]),
        link_text="See the conflicts",
    )


def _undone(
    who: str, when: datetime, data: Mapping[str, Any], change_request: ChangeRequest
) -> TimelineEntry:
    return TimelineEntry(
        who,
        f"took back the choice for {counted(data['restored'], 'conflict')}",
        when,
        "undo",
        link=reverse("conflicts", args=[change_request.cr_id]),
        link_text="See the conflicts",
    )


def _requested(
    who: str, when: datetime, data: Mapping[str, Any], change_request: ChangeRequest
) -> TimelineEntry:
    sentence = "asked for the merge"
    if data.get("requested_for"):
        sentence += f" in the name of {data['requested_for']}"
    loud = []
    if data.get("skip_conflict_check"):
        loud.append("without looking for conflicts: the proposed values win")
    if data.get("force_merge"):
        loud.append("by force: where values conflict, the proposed ones win")
    overridden = [gate["sentence"] for gate in data.get("overridden", [])]
    if overridden:
        loud.append(f"over {counted(len(overridden), 'gate')} that did not hold: {' '.join(overridden)}")
    if loud:
        sentence += " " + "; ".join(loud)
    quote = data.get("override_reason") or data.get("message") or ""
    return TimelineEntry(
        who,
        sentence,
        when,
        "alert" if loud else "merging",
        "bad" if loud else "info",
        quote,
        link=reverse("merge_run", args=[data["run"]]),
        link_text=f"Merge run {data['run']}",
    )


def _answered(
    who: str, when: datetime, data: Mapping[str, Any], change_request: ChangeRequest
) -> TimelineEntry:
    broken = counted(len(data["expectations"]), "broken expectation")
    sentences = " ".join(one["message"] for one in data["expectations"])
    return TimelineEntry(
        who,
        f"answered for {broken} of version {data['suite_version']}: {sentences}",
        when,
        "alert",
        "bad",
        data["reason"],
        link=reverse("checks", args=[change_request.cr_id]),
        link_text="See the checks",
    )


def _ended(sentence: str, tone: str) -> Sentence:
    def entry(who: str, when: datetime, data: Mapping[str, Any], _: ChangeRequest) -> TimelineEntry:
        return TimelineEntry(
            who,
            sentence,
            when,
            "x-circle",
            tone,
            data.get("reason", ""),
            link=reverse("merge_run", args=[data["run"]]),
            link_text=f"Merge run {data['run']}",
        )

    return entry


def _put_off(
    who: str, when: datetime, data: Mapping[str, Any], change_request: ChangeRequest
) -> TimelineEntry:
    times = f" {data['times']} times" if data["times"] > 1 else ""
    why = "the store of the table does not answer, and it is tried again"
    if "until" not in data:
        why = "the connection of the table was changed, and it begins anew"
    return _ended(f"put the merge off{times}: {why}", "warn")(who, when, data, change_request)


def _merged(
    who: str, when: datetime, data: Mapping[str, Any], change_request: ChangeRequest
) -> TimelineEntry:
    counts = listed(
        part
        for part in (
            f"{counted(data['rows_added'], 'row')} added" if data["rows_added"] else "",
            f"{counted(data['rows_updated'], 'row')} updated" if data["rows_updated"] else "",
            f"{counted(data['rows_deleted'], 'row')} deleted" if data["rows_deleted"] else "",
        )
        if part
    )
    approved = f"; approved by {listed(data['approved_by'])}" if data.get("approved_by") else ""
    sentence = (
        f"merged this as version {data['version']}: {counts or 'the table already had every value'}{approved}"
    )
    return TimelineEntry(
        who,
        sentence,
        when,
        "merged",
        "merged",
        link=reverse("dataset_at_version", args=[*_address(change_request), data["version"]]),
        link_text="See the table",
        files=[
            AuditFile(name, reverse("api:audit-file", args=[change_request.cr_id, name]))
            for name in sorted((change_request.merge_record or {}).get("audit_files", ()))
        ],
    )


def _address(change_request: ChangeRequest) -> tuple[str, str]:
    dataset = change_request.dataset
    return dataset.project.slug, dataset.slug


_SENTENCES: dict[str, Sentence] = {
    "change_request.created": _plain("opened this change request as a draft", "draft"),
    "change_request.submitted": _plain("asked for review", "eye", "info"),
    "change_request.returned_to_draft": _plain("took it back to draft to work on it", "draft"),
    "change_request.rejected": _plain("rejected it", "closed", "bad", quote="reason"),
    "change_request.withdrawn": _plain("withdrew it", "closed", quote="reason"),
    "change_request.reopened": _plain("opened it again as a draft", "draft"),
    "change_request.edited": _edited,
    "change_request.removed": _plain("removed it, for it never had content", "closed"),
    "change_request.merged": _merged,
    "change_request.revert_opened": _other_request(
        "opened a request that reverts this one", "revert", "undo"
    ),
    "change_request.reverted": _other_request("reverted this by merging another request", "by", "undo"),
    "change_request.split": _split,
    "change_request.split_off": _split_off,
    "revision.staged": _staged,
    "revision.split": _part,
    "revision.rebased": _rebased,
    "review.approved": _review("approved", "check", "good"),
    "review.changes_requested": _review("asked for changes to", "alert", "bad"),
    "review.commented": _review("reviewed", "comment", ""),
    "thread.resolved": _plain("marked a discussion as resolved", "check"),
    "thread.reopened": _plain("opened a discussion again", "comment"),
    "suggestion.taken": _plain("took a suggested value over", "check", "good"),
    "conflicts.resolved": _resolved,
    "conflicts.undone": _undone,
    "expectations.overridden": _answered,
    "merge.requested": _requested,
    "merge.started": _plain("began the merge", "merging"),
    "merge.resumed": _plain("took up the merge again after a worker was lost", "merging", "warn"),
    "merge.conflicted": _ended("stopped the merge: it conflicts with newer changes of the table", "bad"),
    "merge.invalid": _ended("stopped the merge: the merged result broke a rule", "bad"),
    "merge.failed": _ended("could not finish the merge; the table is as it was", "bad"),
    "merge.put_off": _put_off,
    "merge.unsettled": _ended("gave up on the merge; whether it was committed is not known yet", "warn"),
    "merge.settled": _plain("found that the merge was not committed, and locked it out", "check"),
    "merge.adopted": _plain(
        "recorded a merge that stands in the table already", "merging", "warn", quote="proof"
    ),
    "merge.brought_forward": _plain("brought it up to the table's log after a restore", "merging"),
    "merge.differs": _ended("found that the table is not what was planned; an operator has to look", "bad"),
    "merge.cancelled": _ended("cancelled the merge; the table is as it was", "warn"),
    "merge.cancel_requested": _plain("asked to cancel the merge", "x-circle", "warn"),
    "merge.when_ready_asked": _plain(
        "asked to merge it as soon as it is ready", "clock", "info", quote="message"
    ),
    "merge.when_ready_withdrawn": _plain("took back the wish to merge it as soon as it is ready", "clock"),
    "merge.when_ready_dropped": _plain("gave up the waiting merge", "clock", "warn", quote="reason"),
    "review.requested": _asking("asked {} for a review", "people"),
    "review.request_withdrawn": _asking("asks {} no more for a review", "people"),
    "staging.removed": _plain("removed the uploaded content; the audit files keep what was merged", "file"),
    "staging.archived": _plain("archived the uploaded content", "file"),
}

#: Every event that the timeline tells in a sentence of its own.
KNOWN_ACTIONS = frozenset({*_SENTENCES, "comment.added"})
