"""Partial acceptance: two revisions and one draft, or nothing; everybody is told; approvals are asked for again."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.auth.models import User

import merging
from audit.selectors import events_of
from changerequests.errors import Blocked, InvalidTransition, PlanChanged
from changerequests.facts import facts_of
from changerequests.models import ChangeRequest, Revision
from changerequests.services import plans, proposals, rebasing, reviews, splitting, staged_rows
from changerequests.services.runs import request_merge
from changerequests.services.vouched import bent_rows
from changerequests.states import Status
from datasets.errors import Forbidden, InvalidInput
from datasets.models import Dataset
from datasets.roles import Role
from tests.factories import (
    ChangeRequestFactory,
    DatasetFactory,
    approve,
    fresh,
    give_role,
    merge,
    person_with,
    rows_of,
    stage_csv,
)

pytestmark = pytest.mark.django_db
CSV = "tailnum,seats,year,_op\nN1,150,2001,update\nN2,200,2004,update\nN3,,,delete\nN9,7,1999,insert\n"


@pytest.fixture
def dataset() -> Dataset:
    made: Dataset = DatasetFactory.create(required_approvals=1, delete_limit=Decimal("0.9"))
    return made


@pytest.fixture
def pending(dataset: Dataset) -> ChangeRequest:
    made: ChangeRequest = ChangeRequestFactory.create(dataset=dataset, csv=CSV, title="Four planes")
    return made


@pytest.fixture
def reviewer(dataset: Dataset) -> User:
    return person_with(Role.CONTRIBUTOR, dataset, username="rita")


def leaving(change_request: ChangeRequest, **what: Any) -> merging.LeftOut:
    return splitting.left_out(change_request, **what)


def changed(change_request: ChangeRequest) -> dict[str, tuple[str, ...]]:
    found = ChangeRequest.objects.get(pk=change_request.pk)
    page = plans.changes_page(change_request=found)
    return {row.key["tailnum"]: (row.operation, *row.changed) for row in page.items}


def test_what_is_left_out_becomes_a_draft_of_its_author(
    dataset: Dataset, pending: ChangeRequest, reviewer: User
) -> None:
    approve(pending, reviewer)
    whole, before = changed(pending), pending.revisions.get()
    counts = splitting.preview(
        change_request=pending, leaving=leaving(pending, rows=[{"tailnum": "N2"}, {"tailnum": "N3"}])
    )
    assert (counts.rows_left, counts.rows_parted, counts.rows_kept) == (2, 0, 2)

    done = splitting.leave_out(
        change_request_id=pending.pk,
        actor=reviewer,
        leaving=leaving(pending, rows=[{"tailnum": "N2"}, {"tailnum": "N3"}]),
        reason=" These two are not sure. ",
        revision_digest=before.digest,
    )

    draft, kept, left = done.follow_up, changed(pending), changed(done.follow_up)
    assert (draft.status, draft.author, draft.dataset) == (Status.DRAFT, pending.author, dataset)
    assert draft.title == f"Left out of {pending.cr_id}: Four planes"
    assert "These two are not sure." in draft.description
    assert (sorted(kept), sorted(left)) == (["N1", "N9"], ["N2", "N3"])
    assert kept | left == whole
    pending.refresh_from_db()
    facts = facts_of(pending, reviewer)
    assert (pending.status, facts.approvals) == (Status.PENDING, ())
    assert facts.revision is not None
    assert (facts.revision.number, facts.revision.created_by) == (2, pending.author)
    assert (facts.revision.split_from, draft.revisions.get().split_from) == (before, before)
    assert {before.base_version} == set(Revision.objects.values_list("base_version", flat=True))

    actions = [event.action for event in events_of("change_request", pending.cr_id)]
    assert actions[-2:] == ["revision.split", "change_request.split"]
    told = events_of("change_request", pending.cr_id).get(action="change_request.split").data
    assert (told["follow_up"], told["reason"], told["rows_left_out"], told["rows_kept"]) == (
        draft.cr_id,
        "These two are not sure.",
        2,
        2,
    )
    there = events_of("change_request", draft.cr_id).get(action="change_request.split_off")
    assert (there.actor, there.data["split_from"]) == ("rita", pending.cr_id)
    assert [*bent_rows()] == []

    plans.check(change_request_id=pending.pk)
    approve(pending, reviewer)  # it is not the content of whoever left something out
    assert merge(pending, person_with(Role.OWNER, dataset)).status == "succeeded"
    proposals.submit(change_request_id=draft.pk, actor=fresh(draft.author))
    plans.check(change_request_id=draft.pk)
    approve(draft, reviewer)
    assert merge(draft, person_with(Role.OWNER, dataset)).status == "succeeded"
    assert {row["tailnum"]: row["seats"] for row in rows_of(dataset)}["N2"] == 200


def test_columns_and_groups_are_left_out(pending: ChangeRequest, reviewer: User) -> None:
    group = merging.ChangesFilter(column="seats", old=merging.CellText("149"))
    what = leaving(pending, groups=[group], columns=["year"])
    assert splitting.preview(change_request=pending, leaving=what).rows_whole == 2
    done = splitting.leave_out(change_request_id=pending.pk, actor=reviewer, leaving=what, reason="No.")
    left = changed(done.follow_up)
    assert left["N1"][0] == "update"
    assert sorted(changed(pending)) == ["N2", "N3", "N9"]
    assert "year" not in changed(pending)["N2"]


@pytest.mark.parametrize(
    ("what", "field"),
    [
        ({}, "rows"),
        ({"rows": [{"tailnum": "N7"}]}, "rows"),
        ({"rows": [{"year": 3}]}, "rows"),
        ({"columns": ["nothing"]}, "columns"),
        ({"groups": [merging.ChangesFilter()]}, "groups"),
        ({"groups": [merging.ChangesFilter(key="N")]}, "rows"),
    ],
)
def test_what_gives_no_two_parts_is_refused(
    pending: ChangeRequest, reviewer: User, what: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        splitting.leave_out(
            change_request_id=pending.pk, actor=reviewer, leaving=leaving(pending, **what), reason="No."
        )
    assert field in refused.value.data["errors"]
    assert nothing_happened(pending)


def nothing_happened(pending: ChangeRequest) -> bool:
    parts = Path(settings.DELTA_DATA_ROOT) / "_staging" / "parts"
    return (
        ChangeRequest.objects.count() == 1
        and pending.revisions.count() == 1
        and not [*parts.glob("*")]
        and not events_of("change_request", pending.cr_id).filter(action__contains="split").exists()
    )


def part(pending: ChangeRequest, actor: User, reason: str = "No.", **options: Any) -> None:
    what = leaving(pending, rows=[{"tailnum": "N2"}])
    splitting.leave_out(change_request_id=pending.pk, actor=actor, leaving=what, reason=reason, **options)


def test_only_who_may_review_leaves_out_and_says_why(
    dataset: Dataset, pending: ChangeRequest, reviewer: User
) -> None:
    with pytest.raises(Forbidden):
        part(pending, person_with(Role.VIEWER, dataset))
    with pytest.raises(InvalidInput, match="Say why"):
        part(pending, reviewer, reason="  ")
    with pytest.raises(PlanChanged):
        part(pending, reviewer, revision_digest="of another time")
    proposals.return_to_draft(change_request_id=pending.pk, actor=fresh(pending.author))
    with pytest.raises(InvalidTransition, match="only a pending one can be parted"):
        part(pending, reviewer)
    assert nothing_happened(pending)


def test_nothing_is_left_out_while_a_merge_is_active(
    dataset: Dataset, pending: ChangeRequest, reviewer: User
) -> None:
    approve(pending, reviewer)
    plans.check(change_request_id=pending.pk)
    request_merge(change_request_id=pending.pk, actor=person_with(Role.OWNER, dataset))
    with pytest.raises(Blocked):
        part(pending, reviewer)
    assert nothing_happened(pending)


@pytest.mark.parametrize("meanwhile", ["uploaded", "forbidden", "taken back"])
def test_it_is_judged_again_under_the_lock(
    pending: ChangeRequest, reviewer: User, meanwhile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = merging.split

    def split(*given: Any) -> merging.Split:
        parts = really(*given)
        if meanwhile == "uploaded":
            stage_csv(pending, "tailnum,seats\nN2,3\n")
        elif meanwhile == "forbidden":
            give_role(reviewer, pending.dataset, Role.VIEWER)
        else:
            proposals.return_to_draft(change_request_id=pending.pk, actor=fresh(pending.author))
        return parts

    monkeypatch.setattr(merging, "split", split)
    errors = {"uploaded": PlanChanged, "forbidden": Forbidden, "taken back": InvalidTransition}
    with pytest.raises(errors[meanwhile]):
        part(pending, fresh(reviewer))
    assert ChangeRequest.objects.count() == 1
    assert not Revision.objects.filter(split_from__isnull=False).exists()


def test_a_part_of_rebased_content_is_not_edited_row_by_row(
    dataset: Dataset, pending: ChangeRequest, reviewer: User
) -> None:
    other = ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN1,3\n")
    approve(other, reviewer)
    merge(other, person_with(Role.OWNER, dataset))
    rebasing.rebase(change_request_id=pending.pk, actor=fresh(pending.author))
    part(pending, reviewer)
    with pytest.raises(Blocked, match="rebased"):
        staged_rows.edit_rows(
            change_request_id=pending.pk,
            actor=fresh(pending.author),
            rows=[{"tailnum": "N9", "seats": 8}],
        )


def test_the_author_is_told_even_where_the_role_is_gone(
    dataset: Dataset, pending: ChangeRequest, reviewer: User
) -> None:
    give_role(pending.author, dataset, None)
    part(pending, reviewer)
    assert ChangeRequest.objects.exclude(pk=pending.pk).get().author == pending.author
    with pytest.raises(Forbidden):
        reviews.review(
            change_request_id=pending.pk, actor=fresh(pending.author), verdict="comment", body="But"
        )
