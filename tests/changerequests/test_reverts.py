"""Reverts: the reference cases I01 to I12, through the same services that people use."""

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction

import merging
from audit.selectors import events_of
from audit.services import verify
from changerequests import policies
from changerequests.errors import Blocked, InvalidTransition
from changerequests.facts import facts_of
from changerequests.models import ChangeRequest
from changerequests.services import plans, proposals
from changerequests.services.reverts import revert_merge
from changerequests.states import Action, RunStatus, Status
from datasets.errors import Forbidden
from datasets.models import Dataset
from datasets.roles import Role
from tests import kept
from tests.factories import ChangeRequestFactory, DatasetFactory, merge, person_with, rows_of

pytestmark = pytest.mark.django_db

BASE = [(1, 10, "x", 1.5), (2, 20, "y", 2.5), (3, 30, None, None)]
#: Updates 1.a, inserts 4, deletes 3.
CHANGES = "id,_op,a,b,c\n1,update,11,x,1.5\n4,insert,40,n,4.5\n3,delete,NULL,NULL,NULL\n"


@pytest.fixture
def dataset() -> Dataset:
    names = ("id", "a", "b", "c")
    types = (pa.int64(), pa.int64(), pa.string(), pa.float64())
    columns = zip(names, types, zip(*BASE, strict=True), strict=True)
    data = pa.table({name: pa.array(list(values), kind) for name, kind, values in columns})
    return DatasetFactory(data=data, primary_keys=("id",), delete_limit=1)


def rows(dataset: Dataset) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in rows_of(dataset)]


def merged(dataset: Dataset, owner: User, csv: str) -> ChangeRequest:
    change_request = ChangeRequestFactory(dataset=dataset, author=owner, csv=csv)
    run = merge(change_request, owner)
    assert (run.status, run.error_message) == (RunStatus.SUCCEEDED, "")
    change_request.refresh_from_db()
    return change_request


def reverted(change_request: ChangeRequest, owner: User) -> ChangeRequest:
    """Open the revert and make it pending."""
    revert = revert_merge(change_request_id=change_request.pk, actor=owner)
    proposals.submit(change_request_id=revert.pk, actor=owner)
    return ChangeRequest.objects.get(pk=revert.pk)


def conflicts_of(change_request: ChangeRequest) -> list[tuple[str, str | None]]:
    page = plans.conflicts_page(change_request=change_request)
    return [(conflict.kind, conflict.column) for conflict in page.conflicts]


def test_i01_a_revert_brings_the_base_back_and_keeps_the_history(dataset: Dataset, owner: User) -> None:
    change_request = merged(dataset, owner, CHANGES)
    assert rows(dataset) == [(1, 11, "x", 1.5), (2, 20, "y", 2.5), (4, 40, "n", 4.5)]
    revert = reverted(change_request, owner)
    assert (revert.status, revert.author, revert.reverts) == (Status.PENDING, owner, change_request)
    run = merge(revert, owner)
    assert (run.status, run.merged_version) == (RunStatus.SUCCEEDED, 2)
    assert rows(dataset) == BASE
    assert rows_of(dataset, version=1)[0]["a"] == 11
    change_request.refresh_from_db()
    assert (change_request.status, change_request.merged_version) == (Status.MERGED, 1)
    assert list(verify()) == []


def test_both_requests_tell_of_each_other(dataset: Dataset, owner: User) -> None:
    change_request = merged(dataset, owner, CHANGES)
    revert = reverted(change_request, owner)
    merge(revert, owner)
    created = events_of("change_request", revert.cr_id).get(action="change_request.created")
    assert created.data == {
        "title": f"Revert {change_request.cr_id}: {change_request.title}",
        "reverts": change_request.cr_id,
    }
    opened = events_of("change_request", change_request.cr_id).get(action="change_request.revert_opened")
    assert (opened.actor, opened.data) == (owner.username, {"revert": revert.cr_id})
    done = events_of("change_request", change_request.cr_id).get(action="change_request.reverted")
    assert done.data == {"by": revert.cr_id, "version": 2}
    assert list(change_request.reverted_by.all()) == [revert]


def test_i03_a_cell_edited_since_conflicts_and_nothing_changes(dataset: Dataset, owner: User) -> None:
    change_request = merged(dataset, owner, CHANGES)
    merged(dataset, owner, "id,a\n1,99\n")
    before = rows(dataset)
    revert = reverted(change_request, owner)
    assert conflicts_of(revert) == [("modify/modify", "a")]
    with pytest.raises(Blocked, match="1 conflict needs a choice"):
        merge(revert, owner)
    assert rows(dataset) == before


def test_i04_an_inserted_row_edited_since_conflicts(dataset: Dataset, owner: User) -> None:
    change_request = merged(dataset, owner, CHANGES)
    merged(dataset, owner, "id,b\n4,edited\n")
    assert conflicts_of(reverted(change_request, owner)) == [("modify/delete", None)]


def test_i06_a_deleted_row_added_again_identically_leaves_nothing_to_do(
    dataset: Dataset, owner: User
) -> None:
    change_request = merged(dataset, owner, "id,_op\n3,delete\n")
    merged(dataset, owner, "id,a\n3,30\n")
    count = ChangeRequest.objects.count()
    with pytest.raises(Blocked, match="nothing to revert") as raised:
        revert_merge(change_request_id=change_request.pk, actor=owner)
    assert raised.value.data["blockers"][0]["code"] == "nothing_to_revert"
    assert ChangeRequest.objects.count() == count


def test_i07_what_was_undone_by_hand_is_nothing_to_revert(
    dataset: Dataset, owner: User, delta_data_root: Path
) -> None:
    change_request = merged(dataset, owner, "id,a\n1,11\n")
    merged(dataset, owner, "id,a\n1,10\n")
    with pytest.raises(Blocked, match="nothing to revert"):
        revert_merge(change_request_id=change_request.pk, actor=owner)
    assert list((delta_data_root / "_staging" / "reverts").iterdir()) == []


def test_i09_a_revert_of_the_revert_brings_the_effect_back(dataset: Dataset, owner: User) -> None:
    change_request = merged(dataset, owner, CHANGES)
    after = rows(dataset)
    first = reverted(change_request, owner)
    merge(first, owner)
    second = reverted(first, owner)
    assert second.reverts == first
    merge(second, owner)
    assert rows(dataset) == after
    third = reverted(change_request, owner)  # what is in the table again can be reverted again
    merge(third, owner)
    assert rows(dataset) == BASE


def test_i10_an_updated_row_deleted_since_conflicts(dataset: Dataset, owner: User) -> None:
    change_request = merged(dataset, owner, "id,a\n1,11\n")
    merged(dataset, owner, "id,_op\n1,delete\n")
    assert conflicts_of(reverted(change_request, owner)) == [("delete/modify", None)]


def test_i11_columns_gained_since_keep_their_values(dataset: Dataset, owner: User) -> None:
    change_request = merged(dataset, owner, "id,a\n1,11\n")
    merged(dataset, owner, "id,d\n1,7\n2,8\n")
    merge(reverted(change_request, owner), owner)
    assert rows(dataset) == [(1, 10, "x", 1.5, 7), (2, 20, "y", 2.5, 8), (3, 30, None, None, None)]


def test_i11_a_column_that_the_merge_added_stays_and_its_values_go_with_their_rows(
    dataset: Dataset, owner: User
) -> None:
    change_request = merged(dataset, owner, "id,a,d\n1,11,7\n5,50,9\n")
    merge(reverted(change_request, owner), owner)
    assert rows(dataset) == [(1, 10, "x", 1.5, 7), (2, 20, "y", 2.5, None), (3, 30, None, None, None)]


def test_i12_no_old_version_of_the_table_is_needed(dataset: Dataset, owner: User) -> None:
    folder = Path(dataset.table_uri)
    old = set(folder.glob("*.parquet"))
    change_request = merged(dataset, owner, "id,a\n1,11\n2,22\n3,33\n")  # every row moves to a new file
    assert old
    for path in old:
        path.unlink()  # as VACUUM without retention does
    merge(reverted(change_request, owner), owner)
    assert rows(dataset) == BASE


def test_asking_twice_answers_the_open_revert(dataset: Dataset, owner: User) -> None:
    change_request = merged(dataset, owner, CHANGES)
    first = revert_merge(change_request_id=change_request.pk, actor=owner)
    assert revert_merge(change_request_id=change_request.pk, actor=owner) == first
    with pytest.raises(IntegrityError, match=r"one_open_revert|reverts"), transaction.atomic():
        ChangeRequest.objects.create(dataset=dataset, author=owner, title="x", reverts=change_request)
    proposals.close(change_request_id=first.pk, actor=owner)
    second = revert_merge(change_request_id=change_request.pk, actor=owner)
    assert second != first
    first.refresh_from_db()
    assert [found.code for found in policies.blockers(facts_of(first, owner), Action.REOPEN)] == [
        "revert_open"
    ]
    with pytest.raises(Blocked, match=f"{second.cr_id} is a revert of the same request"):
        proposals.reopen(change_request_id=first.pk, actor=owner)


def test_only_owners_revert_and_only_what_is_merged(dataset: Dataset, owner: User) -> None:
    change_request = merged(dataset, owner, CHANGES)
    for role in (Role.CONTRIBUTOR, Role.VIEWER, None):
        with pytest.raises(Forbidden, match="You may not revert this change request"):
            revert_merge(change_request_id=change_request.pk, actor=person_with(role, dataset))
    pending = ChangeRequestFactory(dataset=dataset, author=owner, csv="id,a\n2,22\n")
    with pytest.raises(InvalidTransition, match="only a merged one can be reverted"):
        revert_merge(change_request_id=pending.pk, actor=owner)
    assert ChangeRequest.objects.filter(reverts__isnull=False).count() == 0


def test_a_revert_passes_the_same_gates(dataset: Dataset, owner: User) -> None:
    change_request = merged(dataset, owner, CHANGES)
    Dataset.objects.filter(pk=dataset.pk).update(required_approvals=1)
    revert = reverted(change_request, owner)
    with pytest.raises(Blocked, match="1 more approval"):
        merge(revert, owner)


def test_damaged_images_are_refused_and_nothing_is_left(
    dataset: Dataset, owner: User, delta_data_root: Path
) -> None:
    change_request = merged(dataset, owner, CHANGES)
    shutil.copy(
        kept.audit_folder(change_request) / "diff.parquet",
        kept.audit_folder(change_request) / "images.parquet",
    )
    with pytest.raises(merging.StagedCorrupt, match="truncated or was changed"):
        revert_merge(change_request_id=change_request.pk, actor=owner)
    assert ChangeRequest.objects.count() == 1
    assert not (delta_data_root / "_staging" / "reverts").exists() or not list(
        (delta_data_root / "_staging" / "reverts").iterdir()
    )
