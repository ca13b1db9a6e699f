"""Change requests as lists show them."""

from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import prefetch_related_objects
from django.urls import reverse

from changerequests import policies
from changerequests.blockers import Blocker
from changerequests.facts import Facts
from changerequests.models import ChangeRequest, MergeRun
from changerequests.states import Status
from web.wording import name_of

#: status -> the word on its chip, the chip's colour, its icon
STATUSES = {
    Status.DRAFT: ("Draft", "draft", "draft"),
    Status.PENDING: ("Pending", "pending", "pending"),
    Status.MERGING: ("Merging", "merging", "merging"),
    Status.MERGED: ("Merged", "merged", "merged"),
    Status.CLOSED: ("Closed", "closed", "closed"),
}


@dataclass(frozen=True)
class StatusChip:
    """A status as text, colour and icon."""

    word: str
    colour: str
    icon: str


def status_chip(change_request: ChangeRequest) -> StatusChip:
    """The chip of a change request; a merged one names its version."""
    word, colour, icon = STATUSES[Status(change_request.status)]
    if change_request.status == Status.MERGED:
        word = f"Merged as v{change_request.merged_version}"
    return StatusChip(word, colour, icon)


@dataclass(frozen=True)
class Tally:
    """How many rows are added, changed and removed."""

    added: int
    altered: int
    removed: int

    @property
    def rows(self) -> int:
        """All of them together."""
        return self.added + self.altered + self.removed


@dataclass(frozen=True)
class RequestRow:
    """One change request in a list."""

    cr_id: str
    title: str
    url: str
    dataset: str
    dataset_url: str
    author: str
    status: StatusChip
    change_request: ChangeRequest
    tally: Tally | None
    run: MergeRun | None
    gates: tuple[Blocker, ...]


def gates_in_the_way(facts: Facts) -> tuple[Blocker, ...]:
    """What keeps a pending request from its merge, what somebody can mend first; empty for others.

    The delete guard is not in anybody's way: whoever merges types the dataset's name in the dialog.
    """
    found = policies.merge_gates(facts) if facts.status == Status.PENDING else []
    gates = [gate for gate in found if gate.code not in ("delete_guard", "run_active")]
    return tuple(sorted(gates, key=lambda gate: gate.kind != "fix"))


def request_row(facts: Facts) -> RequestRow:
    """A row of a list."""
    change_request, revision, dataset = facts.change_request, facts.revision, facts.dataset
    return RequestRow(
        cr_id=change_request.cr_id,
        title=change_request.title,
        url=reverse("change_request", args=[change_request.cr_id]),
        dataset=dataset.name,
        dataset_url=reverse("dataset", args=[dataset.project.slug, dataset.slug]),
        author=name_of(change_request.author),
        status=status_chip(change_request),
        change_request=change_request,
        tally=Tally(revision.rows_inserted, revision.rows_updated, revision.rows_deleted)
        if revision
        else None,
        run=facts.run,
        gates=gates_in_the_way(facts),
    )


def request_rows(found: Iterable[Facts]) -> list[RequestRow]:
    """Rows of a list, in its order, in one statement for the names of their authors."""
    listed = list(found)
    prefetch_related_objects([facts.change_request for facts in listed], "author")
    return [request_row(facts) for facts in listed]
