"""Do rows say what the entries that were written with them vouch for?

Both ways: a row that no entry vouches for was put there past Headgate, one that is other than its entry says was
changed past it, and one that is gone was removed past it. Each dataset is compared with its own chain, so that what is
held in memory is one dataset's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.contrib.auth.models import User
from django.db.models import Model, Q

from audit.rows import BATCH, RowKind
from audit.selectors import Seal, events_called, events_in, seals_in
from audit.services import INSTALLATION_STREAM, dataset_stream
from changerequests.models import (
    ChangeRequest,
    Comment,
    ConflictResolution,
    ExpectationOverride,
    MergeRun,
    Review,
    Revision,
)
from changerequests.services.choices import digest_of
from changerequests.services.evidence import (
    CHOICE,
    COMMENT,
    MERGE,
    OUTCOME,
    OVERRIDE,
    REQUEST,
    REVIEW,
    REVISION,
    RUN,
    THREAD,
    WAIT,
)
from changerequests.states import ACTIVE_RUN_STATUSES, Status
from datasets.evidence import (
    ACCOUNT,
    DATASET,
    REMOVED,
    RENAMED,
    SUITE_VERSION,
    memberships_now,
    permissions_now,
    roles_now,
)
from datasets.models import Dataset, SuiteVersion
from datasets.roles import role_names

#: What the entry is called that seals rows from before entries vouched for any.
ROWS_SEALED: Final = "audit.rows_sealed"
#: Where each of these entries leaves a request.
LEADS_TO: Final[Mapping[str, Status]] = {
    "change_request.created": Status.DRAFT,
    "change_request.submitted": Status.PENDING,
    "change_request.returned_to_draft": Status.DRAFT,
    "change_request.rejected": Status.CLOSED,
    "change_request.withdrawn": Status.CLOSED,
    "change_request.reopened": Status.DRAFT,
    "change_request.merged": Status.MERGED,
    "merge.started": Status.MERGING,
    "merge.adopted": Status.MERGING,
    "merge.conflicted": Status.PENDING,
    "merge.invalid": Status.PENDING,
    "merge.failed": Status.PENDING,
    "merge.cancelled": Status.PENDING,
    "merge.put_off": Status.PENDING,
    "merge.unsettled": Status.PENDING,
}
#: After each of these entries a request waits no more to be merged when ready, unless somebody asks for it again.
ENDS_WAIT: Final = (
    *LEADS_TO,
    "merge.requested",
    "merge.when_ready_withdrawn",
    "merge.when_ready_dropped",
)
#: Who stands in a row of the kind: it is whoever the entry names.
PERSON_IN: Final = {
    REQUEST.name: "author_id",
    REVIEW.name: "reviewer_id",
    COMMENT.name: "author_id",
    CHOICE.name: "chosen_by_id",
    OVERRIDE.name: "given_by_id",
    RUN.name: "requested_by_id",
    SUITE_VERSION.name: "created_by_id",
}


@dataclass(frozen=True)
class Disagreement:
    """Where two tellers differ, and what they say."""

    place: str
    reason: str


def bent_rows() -> Iterator[Disagreement]:
    """Every row that is not as the trail vouches for it. Takes no lock: what differs once may be on its way, and is
    told where it differs a second time.
    """
    people = _People()
    yield from _twice(lambda: _installation(people))
    datasets = {one.pk: one for one in Dataset.objects.order_by("pk")}
    for dataset in datasets.values():
        yield from _twice(lambda dataset=dataset: _Compared(dataset, people).differences())
    known = {dataset_stream(pk) for pk in datasets}
    for event in events_called("dataset.registered"):
        if event.stream not in known and not Dataset.objects.filter(pk=event.subject_id).exists():
            yield Disagreement(f"dataset {event.subject_id}", f"the row is gone; {event.stream} tells of it")


def _twice(look: Any) -> Iterator[Disagreement]:
    first = list(look())
    if first:
        again = set(look())
        yield from (one for one in first if one in again)


class _People:
    """Accounts by their numbers, and what they were called before."""

    def __init__(self) -> None:
        self.names = dict(User.objects.values_list("pk", "username"))
        renamed = events_in(INSTALLATION_STREAM).filter(action=RENAMED)
        self._later = {event.data["before"]: event.subject_id for event in renamed}

    def is_called(self, user_id: int, name: str) -> bool:
        """Whether the account has the name, or had it once."""
        now, seen = self.names.get(user_id), set()
        while name != now and name in self._later and name not in seen:
            seen.add(name)
            name = self._later[name]
        return name == now


def _installation(people: _People) -> Iterator[Disagreement]:
    """Roles on projects, groups and accounts: what is told in the installation's chain or in any dataset's."""
    seals = {INSTALLATION_STREAM: seals_in(INSTALLATION_STREAM)}
    for pk in Dataset.objects.order_by("pk").values_list("pk", flat=True):
        seals[dataset_stream(pk)] = {
            name: seal
            for name, seal in seals_in(dataset_stream(pk)).items()
            if name.startswith(("role of", "account", "groups of", "permissions of"))
        }
    yield from _values(seals, "role of", roles_now(role_names()), "none")
    yield from _values(seals, "groups of", memberships_now(), "")
    yield from _values(seals, "permissions of", permissions_now(), "")
    newest = _newest(seals, ACCOUNT.name + " ")
    for account in User.objects.order_by("pk"):
        places = newest.get(ACCOUNT.called(account.pk), [])
        changed = [ACCOUNT.changed(account, seal.text) for _, seal in places]
        if changed and None not in changed:
            yield Disagreement(
                f"account {account.pk} ({account.username})", _changed(changed[0] or [], *places[0])
            )
    for name, places in newest.items():
        removed = any(seal.text == REMOVED for _, seal in places)
        if int(name.rpartition(" ")[2]) not in people.names and not removed:
            yield Disagreement(name, f"the row is gone; {_entry(*places[0])} vouches for it")


Sealed = Mapping[str, Mapping[str, Seal]]


def _newest(seals: Sealed, beginning: str) -> dict[str, list[tuple[str, Seal]]]:
    """Of each name the entries of which one is the newest: the latest of all chains, and before it that of the
    installation's chain, which tells of every change, where a clock was set back since.
    """
    found: dict[str, list[tuple[str, Seal]]] = {}
    for stream, told in seals.items():
        for name, seal in told.items():
            if name.startswith(beginning):
                found.setdefault(name, []).append((stream, seal))
    return {name: _standing(places) for name, places in found.items()}


def _standing(places: list[tuple[str, Seal]]) -> list[tuple[str, Seal]]:
    latest = max(places, key=lambda place: place[1].occurred_at)
    return [*(one for one in places if one[0] == INSTALLATION_STREAM and one is not latest), latest]


def _values(seals: Sealed, beginning: str, now: Mapping[str, str], nothing: str) -> Iterator[Disagreement]:
    """Facts that entries hold as they are, against those of the database."""
    told = _newest(seals, beginning)
    for name in sorted(told.keys() | now.keys()):
        held = now.get(name, nothing)
        places = told.get(name, [])
        if not places and held != nothing:
            yield Disagreement(name, f"it is {held!r}, and no entry tells of it")
        elif places and held not in {seal.text for _, seal in places}:
            stream, seal = places[-1]
            yield Disagreement(name, f"it is {held!r}, and {_entry(stream, seal)} says {seal.text!r}")


def _entry(stream: str, seal: Seal) -> str:
    return f"{stream} entry {seal.sequence}"


def _changed(columns: Iterable[str], stream: str, seal: Seal) -> str:
    named = ", ".join(columns) or "content"
    return f"its {named} is not as {_entry(stream, seal)} vouches for"


class _Compared:
    """One dataset, its requests and what belongs to them, against its chain."""

    def __init__(self, dataset: Dataset, people: _People) -> None:
        self.dataset, self.people = dataset, people
        self.stream = dataset_stream(dataset.pk)
        self.seals = seals_in(self.stream)
        self.seen: set[str] = set()
        self.batches = self._batches()
        installation = seals_in(INSTALLATION_STREAM)
        self.removed = {name for name, seal in installation.items() if seal.text == REMOVED}

    def differences(self) -> Iterator[Disagreement]:
        """Everything that differs."""
        if not events_in(self.stream).filter(action="dataset.registered").exists():
            yield Disagreement(str(self.dataset), f"no entry in {self.stream} tells of its registration")
        yield from self._row(DATASET, self.dataset, f"dataset {self.dataset.pk} ({self.dataset})")
        versions = list(SuiteVersion.objects.filter(dataset=self.dataset).order_by("pk"))
        for version in versions:
            yield from self._row(SUITE_VERSION, version, f"{version} of the expectations of {self.dataset}")
        if self.dataset.suite_number != max((one.number for one in versions), default=0):
            yield Disagreement(str(self.dataset), "the expectations that hold are not those saved last")
        yield from self._requests()
        mine = Q(change_request__dataset=self.dataset)
        for kind, rows in (
            (REVISION, Revision.objects.filter(mine)),
            (REVIEW, Review.objects.filter(mine)),
            (COMMENT, Comment.objects.filter(mine)),
            (OVERRIDE, ExpectationOverride.objects.filter(mine)),
        ):
            for row in rows.order_by("pk").iterator():
                place = f"{kind.name} {row.pk} of CR-{row.change_request_id}"
                yield from self._row(kind, row, place)
                if isinstance(row, Comment):
                    yield from self._thread(row, place)
        yield from self._choices()
        yield from self._runs()
        yield from self._gone()

    def _row(self, kind: RowKind, row: Model, place: str, *, required: bool = True) -> Iterator[Disagreement]:
        name = kind.called(row.pk)
        seal = self.seals.get(name)
        self.seen.add(name)
        if seal is None:
            if required:
                yield Disagreement(place, "no entry vouches for it")
            return
        changed = kind.changed(row, seal.text)
        if changed is not None:
            yield Disagreement(place, _changed(changed, self.stream, seal))
            return
        column = PERSON_IN.get(kind.name)
        if column is None or not seal.actor:
            return
        user_id = getattr(row, column)
        if not self.people.is_called(user_id, seal.actor):
            now = self.people.names.get(user_id, "nobody")
            yield Disagreement(
                place,
                f"{_entry(self.stream, seal)} says that {seal.actor} wrote it, and its account is {now} now",
            )

    def _thread(self, comment: Comment, place: str) -> Iterator[Disagreement]:
        if THREAD.called(comment.pk) in self.seals:
            yield from self._row(THREAD, comment, f"the discussion of {place}")
        elif comment.resolved_at is not None or comment.resolved_by_id is not None:
            yield Disagreement(f"the discussion of {place}", "it is settled, and no entry tells of it")

    def _requests(self) -> Iterator[Disagreement]:
        told = self._told_states()
        ended = dict(
            events_in(self.stream).filter(action__in=ENDS_WAIT).values_list("subject_id", "sequence")
        )
        removed = events_in(self.stream).filter(action__in=("staging.archived", "staging.removed"))
        emptied = set(removed.values_list("subject_id", flat=True))
        numbers: dict[int, list[tuple[int, bool]]] = {}
        revisions = Revision.objects.filter(change_request__dataset=self.dataset)
        for request_id, number, current in revisions.values_list("change_request_id", "number", "is_current"):
            numbers.setdefault(request_id, []).append((number, current))
        for request in ChangeRequest.objects.filter(dataset=self.dataset).order_by("pk").iterator():
            yield from self._row(REQUEST, request, request.cr_id)
            if request.status == Status.MERGED:
                yield from self._row(MERGE, request, f"the merge of {request.cr_id}")
            if request.merge_when_ready_by_id is not None:
                yield from self._wait(request, ended.get(request.cr_id, 0))
            self.seen |= {MERGE.called(request.pk), WAIT.called(request.pk)}
            yield from self._state(request, *told.get(request.cr_id, (None, 0, "")))
            last = max(numbers.get(request.pk, []), default=(0, False))
            if any(current and number != last[0] for number, current in numbers.get(request.pk, [])):
                yield Disagreement(request.cr_id, "its current revision is not its newest")
            elif (
                last[0]
                and not last[1]
                and not (request.cr_id in emptied and request.status in (Status.CLOSED, Status.DRAFT))
            ):
                yield Disagreement(request.cr_id, "its newest revision is not its current one")

    def _wait(self, request: ChangeRequest, ended: int) -> Iterator[Disagreement]:
        """``ended`` is the newest entry after which nobody waited."""
        place = f"merge when ready of {request.cr_id}"
        seal = self.seals.get(WAIT.called(request.pk))
        if seal is not None and seal.sequence < ended:
            yield Disagreement(place, f"it waits, and {self.stream} entry {ended} ended that")
        else:
            yield from self._row(WAIT, request, place)

    def _told_states(self) -> dict[str, tuple[Status | None, int, str]]:
        """Of each request the status that the newest entry left it in, which one, and its reason for closing."""
        moved = events_in(self.stream).filter(action__in=LEADS_TO)
        facts = moved.values_list("subject_id", "action", "sequence", "data__reason")
        return {
            subject: (LEADS_TO[action], sequence, reason or "") for subject, action, sequence, reason in facts
        }

    def _state(
        self, request: ChangeRequest, status: Status | None, sequence: int, reason: str
    ) -> Iterator[Disagreement]:
        if status is None or request.status != status:
            said = (
                "no entry tells of it"
                if status is None
                else f"{self.stream} entry {sequence} left it {status}"
            )
            yield Disagreement(request.cr_id, f"it is {request.status}, and {said}")
        elif request.close_reason != (reason if status == Status.CLOSED else ""):
            yield Disagreement(
                request.cr_id, f"its close_reason is not as {self.stream} entry {sequence} tells of it"
            )

    def _batches(self) -> list[tuple[int, int, str]]:
        found = []
        for name in self.seals:
            kind, _, pks = name.rpartition(" ")
            if kind == CHOICE.name and BATCH in pks:
                first, _, last = pks.partition(BATCH)
                found.append((int(first), int(last), name))
        return found

    def _choices(self) -> Iterator[Disagreement]:
        rows = ConflictResolution.objects.filter(change_request__dataset=self.dataset).order_by("pk")
        standing: dict[int, list[ConflictResolution]] = {}
        batched: dict[str, list[ConflictResolution]] = {}
        for row in rows.iterator():
            if row.is_current:
                standing.setdefault(row.change_request_id, []).append(row)
            batch = next((name for first, last, name in self.batches if first <= row.pk <= last), None)
            if batch is None or CHOICE.called(row.pk) in self.seals:
                yield from self._row(CHOICE, row, f"choice {row.pk} of CR-{row.change_request_id}")
            else:
                batched.setdefault(batch, []).append(row)
        for _, _, name in self.batches:
            self.seen.add(name)
            if CHOICE.is_batch_changed(batched.get(name, []), self.seals[name].text):
                yield Disagreement(name, _changed((), self.stream, self.seals[name]))
        kept = ChangeRequest.objects.filter(dataset=self.dataset).order_by("pk")
        for pk, digest in kept.values_list("pk", "resolutions_digest"):
            if digest != digest_of(standing.get(pk, ())):
                yield Disagreement(
                    f"CR-{pk}", "the choices that stand are not those of its resolutions_digest"
                )

    def _runs(self) -> Iterator[Disagreement]:
        for run in MergeRun.objects.filter(dataset=self.dataset).order_by("pk").iterator():
            place = f"run {run.pk} of CR-{run.change_request_id}"
            yield from self._row(RUN, run, place)
            if run.status not in ACTIVE_RUN_STATUSES:
                yield from self._row(OUTCOME, run, f"the outcome of {place}")
            elif OUTCOME.called(run.pk) in self.seals:
                yield Disagreement(place, f"it is {run.status}, and an entry tells how it ended")
            self.seen.add(OUTCOME.called(run.pk))

    def _gone(self) -> Iterator[Disagreement]:
        kinds = (REQUEST, REVISION, REVIEW, COMMENT, CHOICE, OVERRIDE, RUN, SUITE_VERSION)
        for name, seal in self.seals.items():
            kind = name.rpartition(" ")[0]
            if seal.text == REMOVED:
                continue
            if kind in {one.name for one in kinds} and name not in self.seen | self.removed:
                yield Disagreement(name, f"the row is gone; {_entry(self.stream, seal)} vouches for it")
