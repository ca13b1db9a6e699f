"""Rebase: fresh base images, the same proposal; approvals and choices stay where nothing that they judged moved."""

from typing import Any

import pyarrow as pa
import pytest
from django.contrib.auth.models import User

import merging
from audit.selectors import events_of
from changerequests import selectors
from changerequests.errors import Blocked, InvalidTransition
from changerequests.facts import facts_of
from changerequests.models import ChangeRequest, Revision
from changerequests.services import conflicts, plans, proposals
from changerequests.services.rebasing import rebase, what_moved
from changerequests.states import RunStatus, Status
from datasets.errors import Forbidden, NotFound
from datasets.models import Dataset
from datasets.roles import Role
from tests import kept
from tests.factories import ChangeRequestFactory, DatasetFactory, approve, merge, person_with, rows_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def dataset() -> Dataset:
    data = pa.table(
        {
            "id": pa.array([1, 2, 3], pa.int64()),
            "a": pa.array([10, 20, 30], pa.int64()),
            "b": pa.array(["x", "y", None]),
        }
    )
    return DatasetFactory(data=data, primary_keys=("id",), delete_limit=1)


def proposed(dataset: Dataset, csv: str) -> ChangeRequest:
    return ChangeRequestFactory(dataset=dataset, csv=csv)


def move_table(dataset: Dataset, owner: User, csv: str) -> None:
    run = merge(ChangeRequestFactory(dataset=dataset, author=owner, csv=csv), owner)
    assert run.status == RunStatus.SUCCEEDED


def rebased(change_request: ChangeRequest) -> Revision:
    return rebase(change_request_id=change_request.pk, actor=change_request.author)


def current(change_request: ChangeRequest) -> Revision:
    revision = selectors.current_revision(ChangeRequest.objects.get(pk=change_request.pk))
    assert revision is not None
    return revision


def diff(change_request: ChangeRequest) -> list[tuple[str, Any, Any]]:
    page = plans.changes_page(change_request=ChangeRequest.objects.get(pk=change_request.pk))
    return [
        (row.operation, tuple((row.base or {}).values()), tuple((row.proposed or {}).values()))
        for row in page.items
    ]


def test_a_table_that_did_not_move_leaves_everything_as_it_is(dataset: Dataset) -> None:
    change_request = proposed(dataset, "id,a\n1,11\n")
    before = current(change_request)
    assert rebased(change_request) == before
    assert change_request.revisions.count() == 1
    assert len(list(kept.content_folder(before).parent.parent.iterdir())) == 1  # nothing is left behind


def test_other_rows_moved_the_digest_and_the_approvals_stay(dataset: Dataset, owner: User) -> None:
    change_request = proposed(dataset, "id,a\n1,11\n4,40\n3,NULL\n")
    approve(change_request, owner)
    before = current(change_request)
    move_table(dataset, owner, "id,a\n2,22\n")
    after = rebased(change_request)
    assert (after.number, after.digest, after.base_version) == (2, before.digest, 1)
    assert (after.rebased_from, after.created_by) == (before, change_request.author)
    change_request = ChangeRequest.objects.get(pk=change_request.pk)
    assert [review.reviewer for review in facts_of(change_request).approvals] == [owner]
    assert change_request not in selectors.change_requests_awaiting_review(owner)
    event = events_of("change_request", change_request.cr_id).get(action="revision.rebased")
    assert (event.data["rows_moved"], event.data["previous_digest"]) == (0, before.digest)
    assert merge(change_request, owner).status == RunStatus.SUCCEEDED
    assert [row["a"] for row in rows_of(dataset)] == [11, 22, None, 40]


def test_an_owner_who_approved_may_rebase_and_the_approval_counts(dataset: Dataset, owner: User) -> None:
    change_request = proposed(dataset, "id,a\n1,11\n")
    approve(change_request, owner)
    move_table(dataset, owner, "id,a\n2,22\n")
    rebase(change_request_id=change_request.pk, actor=owner)
    change_request = ChangeRequest.objects.get(pk=change_request.pk)
    assert len(facts_of(change_request).approvals) == 1


def test_h16_rebased_twice_without_a_change_gives_the_same_content(dataset: Dataset, owner: User) -> None:
    change_request = proposed(dataset, "id,_op,a,b\n1,update,11,x\n2,delete,NULL,NULL\n4,insert,40,n\n")
    move_table(dataset, owner, "id,b\n1,moved\n")
    first = rebased(change_request)
    second = rebased(change_request)
    assert (second.digest, second.number) == (first.digest, first.number)
    move_table(dataset, owner, "id,a\n3,33\n")
    third = rebased(change_request)
    assert (third.digest, third.number, third.base_version) == (first.digest, 3, 2)


def test_cells_that_are_not_edited_follow_the_table_and_approvals_go(dataset: Dataset, owner: User) -> None:
    change_request = proposed(dataset, "id,a,b\n1,11,x\n")  # b is uploaded, but not edited
    approve(change_request, owner)
    move_table(dataset, owner, "id,b\n1,moved\n")
    before = current(change_request)
    after = rebased(change_request)
    assert after.digest != before.digest
    assert diff(change_request) == [("update", (1, 10, "moved"), (1, 11, "moved"))]
    assert facts_of(ChangeRequest.objects.get(pk=change_request.pk)).approvals == ()
    # The same content staged anew has the same digest.
    again = proposed(dataset, "id,a,b\n1,11,moved\n")
    assert current(again).digest == after.digest


def test_what_the_table_has_already_is_left_out(dataset: Dataset, owner: User) -> None:
    change_request = proposed(dataset, "id,_op,a\n1,update,11\n2,delete,NULL\n4,insert,40\n3,update,33\n")
    move_table(dataset, owner, "id,_op,a\n1,update,11\n2,delete,NULL\n4,insert,40\n")
    after = rebased(change_request)
    assert (after.rows, after.rows_updated, after.noop_rows) == (1, 1, 3)
    assert diff(change_request) == [("update", (3, 30, None), (3, 33, None))]


def test_a_request_that_is_in_the_table_whole_has_nothing_left(dataset: Dataset, owner: User) -> None:
    change_request = proposed(dataset, "id,a\n1,11\n")
    move_table(dataset, owner, "id,a\n1,11\n")
    assert rebased(change_request).rows == 0
    with pytest.raises(Blocked, match="nothing to merge"):
        merge(ChangeRequest.objects.get(pk=change_request.pk), owner)


def test_rows_in_conflict_keep_their_base_and_the_choices_made(dataset: Dataset, owner: User) -> None:
    change_request = proposed(dataset, "id,a\n1,11\n2,22\n3,33\n")
    move_table(dataset, owner, "id,a,b\n1,99,x\n2,98,y\n3,30,moved\n")
    [first, second] = plans.conflicts_page(change_request=change_request).conflicts
    conflicts.resolve(
        change_request_id=change_request.pk,
        actor=change_request.author,
        choices=[conflicts.Choosing(first.key, "a", "proposed", first.inputs_digest)],
    )
    after = rebased(change_request)
    assert (after.rows, after.base_version) == (3, 1)
    page = plans.conflicts_page(change_request=ChangeRequest.objects.get(pk=change_request.pk))
    assert [(c.key, c.base, c.current, c.proposed, c.choice) for c in page.conflicts] == [
        ({"id": 1}, 10, 99, 11, "proposed"),
        ({"id": 2}, 20, 98, 22, None),
    ]
    assert [c.inputs_digest for c in page.conflicts] == [first.inputs_digest, second.inputs_digest]
    assert (page.total, page.unresolved) == (2, 1)
    conflicts.resolve(
        change_request_id=change_request.pk,
        actor=change_request.author,
        choices=[conflicts.Choosing(second.key, "a", "current", second.inputs_digest)],
    )
    run = merge(ChangeRequest.objects.get(pk=change_request.pk), owner)
    assert (run.status, run.error_message) == (RunStatus.SUCCEEDED, "")
    assert [tuple(row.values()) for row in rows_of(dataset)] == [(1, 11, "x"), (2, 98, "y"), (3, 33, "moved")]


@pytest.mark.parametrize(
    ("proposal", "movement", "kind"),
    [
        ("id,_op\n1,delete\n", "id,a\n1,99\n", "modify/delete"),
        ("id,a\n1,11\n", "id,_op\n1,delete\n", "delete/modify"),
        ("id,a\n4,40\n", "id,a\n4,41\n", "add/add"),
    ],
)
def test_conflicts_of_every_kind_stand_after_a_rebase(
    dataset: Dataset, owner: User, proposal: str, movement: str, kind: str
) -> None:
    change_request = proposed(dataset, proposal)
    move_table(dataset, owner, movement)
    before = plans.conflicts_page(change_request=change_request).conflicts
    assert [conflict.kind for conflict in before] == [kind]
    rebased(change_request)
    after = plans.conflicts_page(change_request=ChangeRequest.objects.get(pk=change_request.pk)).conflicts
    assert after == before


def test_h17_the_base_advances_so_that_an_edit_on_purpose_is_no_conflict(
    dataset: Dataset, owner: User
) -> None:
    change_request = proposed(dataset, "id,a\n1,11\n")
    move_table(dataset, owner, "id,b\n1,moved\n")
    rebased(change_request)
    move_table(dataset, owner, "id,a\n2,22\n")
    assert plans.conflicts_page(change_request=change_request).total == 0
    assert what_moved(change_request=ChangeRequest.objects.get(pk=change_request.pk)).rows_moved == 0


def test_columns_of_both_sides_survive(dataset: Dataset, owner: User) -> None:
    change_request = proposed(dataset, "id,a,mine,shared\n1,11,m,NULL\n4,40,n,s\n")
    move_table(dataset, owner, "id,theirs,shared\n1,their,u\n")
    after = rebased(change_request)
    assert merging.open_staged(str(kept.content_folder(after))).new_columns == ("mine",)
    run = merge(ChangeRequest.objects.get(pk=change_request.pk), owner)
    assert (run.status, run.error_message) == (RunStatus.SUCCEEDED, "")
    found = {row["id"]: (row["a"], row["theirs"], row["shared"], row["mine"]) for row in rows_of(dataset)}
    assert found[1] == (11, "their", "u", "m")
    assert found[4] == (40, None, "s", "n")


def test_what_moved_is_shown_before_anything_is_done(dataset: Dataset, owner: User) -> None:
    change_request = proposed(dataset, "id,a\n1,11\n2,22\n4,40\n")
    move_table(dataset, owner, "id,a,b\n1,99,moved\n2,22,y\n3,33,NULL\n")
    moved = what_moved(change_request=change_request)
    assert (moved.base_version, moved.version) == (0, 1)
    assert (moved.rows_moved, moved.rows_settled, moved.conflicts) == (2, 1, 1)
    assert moved.cells_moved == {"a": 2, "b": 1}
    assert moved.cells_edited == {"a": 2}
    assert [version.version for version in moved.versions] == [1]
    first = moved.rows[0]
    assert (first.key, first.changed) == ({"id": 1}, ("a", "b"))
    assert first.base == {"id": 1, "a": 10, "b": "x"}
    assert first.current == {"id": 1, "a": 99, "b": "moved"}
    assert first.proposed == {"id": 1, "a": 11}
    assert change_request.revisions.count() == 1


def test_who_may_rebase_and_when(dataset: Dataset, owner: User) -> None:
    change_request = proposed(dataset, "id,a\n1,11\n")
    for role in (Role.CONTRIBUTOR, Role.VIEWER, None):
        with pytest.raises(Forbidden, match="You may not rebase"):
            rebase(change_request_id=change_request.pk, actor=person_with(role, dataset))
    empty = ChangeRequestFactory(dataset=dataset, csv=None, status=Status.DRAFT)
    with pytest.raises(Blocked, match="No changes were uploaded yet"):
        rebased(empty)
    with pytest.raises(NotFound):
        what_moved(change_request=empty)
    proposals.close(change_request_id=change_request.pk, actor=change_request.author)
    with pytest.raises(InvalidTransition, match="can be rebased"):
        rebased(change_request)
