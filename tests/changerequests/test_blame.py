"""Blame: who made a row what it is, through approvals, choices, reverts and edits past Headgate."""

import shutil
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.contrib.auth.models import User
from pytest_django import DjangoAssertNumQueries

import merging
from changerequests.models import ChangeRequest, MergedKeys
from changerequests.services import conflicts, plans, proposals
from changerequests.services.blame import RowHistory, row_history
from changerequests.services.reverts import revert_merge
from changerequests.states import RunStatus, Status
from datasets.errors import InvalidInput
from datasets.models import Dataset
from datasets.roles import Role
from merging.history.tracing import trace_row
from tests import kept
from tests.factories import ChangeRequestFactory, DatasetFactory, approve, merge, person_with

pytestmark = pytest.mark.django_db


@pytest.fixture
def dataset() -> Dataset:
    return DatasetFactory(delete_limit=1)


def merged(dataset: Dataset, author: User, csv: str, **options: str) -> ChangeRequest:
    change_request = ChangeRequestFactory(dataset=dataset, author=author, csv=csv)
    run = merge(change_request, author, **options)
    assert (run.status, run.error_message) == (RunStatus.SUCCEEDED, "")
    change_request.refresh_from_db()
    return change_request


def reverted(change_request: ChangeRequest, owner: User) -> ChangeRequest:
    revert = revert_merge(change_request_id=change_request.pk, actor=owner)
    proposals.submit(change_request_id=revert.pk, actor=owner)
    assert merge(revert, owner).status == RunStatus.SUCCEEDED
    return revert


def write_past_headgate(dataset: Dataset, seats: int) -> None:
    """Another job changes N1.seats: a merge of somebody else's, as the table sees it."""
    data = pa.table({"tailnum": ["N1"], "seats": pa.array([seats], pa.int64())})
    staged = merging.stage(dataset.table_uri, data, ("tailnum",))
    merging.merge(
        merging.MergeRequest(dataset.table_uri, f"other-{seats}", ("tailnum",), staged, installation="other")
    )


def history(dataset: Dataset, tailnum: str = "N1") -> RowHistory:
    return row_history(dataset=dataset, key={"tailnum": tailnum})


def test_a_row_that_no_request_touched_has_no_history(dataset: Dataset) -> None:
    found = history(dataset)
    assert found.current == {"tailnum": "N1", "year": 1999, "manufacturer": "BOEING", "seats": 149}
    assert found.changes == ()
    assert {column: (cell.change, cell.from_outside) for column, cell in found.cells.items()} == {
        "year": (None, False),
        "manufacturer": (None, False),
        "seats": (None, False),
    }
    assert history(dataset, "N99").current is None


def test_who_changed_which_cell_when_and_on_whose_approval(
    dataset: Dataset, author: User, owner: User
) -> None:
    merged(dataset, author, "tailnum,year\nN2,2005\n")  # another row
    change_request = ChangeRequestFactory(dataset=dataset, author=author, csv="tailnum,seats\nN1,150\n")
    approve(change_request, owner)
    merge(change_request, author, message="Counted again.")
    change_request.refresh_from_db()
    found = history(dataset)
    [change] = found.changes
    assert (change.cr_id, change.title, change.version) == (change_request.cr_id, change_request.title, 2)
    assert (change.author, change.merged_by, change.approved_by) == ("carl", "carl", ("olivia",))
    assert (change.message, change.merged_at) == ("Counted again.", change_request.merged_at)
    assert (change.row.operation, change.row.changed) == ("update", ("seats",))
    assert change.row.before is not None
    assert change.row.after == {**change.row.before, "seats": 150}
    assert found.cells["seats"].change == change
    assert found.cells["year"].change is None


def test_a_choice_for_a_conflict_is_told(dataset: Dataset, author: User, owner: User) -> None:
    change_request = ChangeRequestFactory(dataset=dataset, author=author, csv="tailnum,seats\nN1,150\n")
    merged(dataset, owner, "tailnum,seats\nN1,151\n")
    [conflict] = plans.conflicts_page(change_request=change_request).conflicts
    conflicts.resolve(
        change_request_id=change_request.pk,
        actor=owner,
        choices=[conflicts.Choosing(conflict.key, "seats", "custom", conflict.inputs_digest, 152)],
    )
    merge(change_request, author)
    change = history(dataset).changes[-1]
    assert [(d.column, d.choice, d.chosen_by) for d in change.decisions] == [("seats", "custom", "olivia")]
    assert history(dataset).cells["seats"].value == 152


def test_a_revert_gives_the_cell_back_to_who_made_its_value(
    dataset: Dataset, author: User, owner: User
) -> None:
    first = merged(dataset, author, "tailnum,seats\nN1,150\n")
    second = merged(dataset, author, "tailnum,seats\nN1,160\n")
    undo = reverted(second, owner)
    found = history(dataset)
    assert [(change.cr_id, change.reverts) for change in found.changes] == [
        (first.cr_id, None),
        (second.cr_id, None),
        (undo.cr_id, second.cr_id),
    ]
    cell = found.cells["seats"]
    assert (cell.value, cell.change and cell.change.cr_id) == (150, first.cr_id)
    assert [change.cr_id for change in cell.through] == [undo.cr_id]
    redo = reverted(undo, owner)
    cell = history(dataset).cells["seats"]
    assert (cell.value, cell.change and cell.change.cr_id) == (160, second.cr_id)
    assert [change.cr_id for change in cell.through] == [redo.cr_id]


def test_a_revert_of_the_first_change_leads_to_the_time_before(
    dataset: Dataset, author: User, owner: User
) -> None:
    undo = reverted(merged(dataset, author, "tailnum,seats\nN1,150\n"), owner)
    cell = history(dataset).cells["seats"]
    assert (cell.value, cell.change, cell.from_outside) == (149, None, False)
    assert [change.cr_id for change in cell.through] == [undo.cr_id]


def test_inserted_and_deleted_rows_have_their_history(dataset: Dataset, author: User, owner: User) -> None:
    made = merged(dataset, author, "tailnum,year,seats\nN9,2020,10\n")
    gone = merged(dataset, author, "tailnum,_op\nN9,delete\n")
    found = history(dataset, "N9")
    assert [(c.row.operation, c.row.before is None, c.row.after is None) for c in found.changes] == [
        ("insert", True, False),
        ("delete", False, True),
    ]
    assert (found.current, found.cells) == (None, {})
    back = reverted(gone, owner)
    cell = history(dataset, "N9").cells["year"]
    assert cell.change is not None
    assert (cell.change.cr_id, [change.cr_id for change in cell.through]) == (made.cr_id, [back.cr_id])


def test_edits_past_headgate_are_no_requests(dataset: Dataset, author: User) -> None:
    merged(dataset, author, "tailnum,seats\nN1,150\n")
    write_past_headgate(dataset, 155)
    cell = history(dataset).cells["seats"]
    assert (cell.value, cell.change, cell.from_outside) == (155, None, True)
    last = merged(dataset, author, "tailnum,year\nN1,2000\n")
    found = history(dataset)
    assert found.changes[-1].changed_outside == ("seats",)
    assert found.cells["seats"].from_outside
    assert found.cells["year"].change == found.changes[-1]
    assert found.changes[-1].cr_id == last.cr_id


def test_damaged_images_are_named_and_hide_nothing_else(dataset: Dataset, author: User) -> None:
    first = merged(dataset, author, "tailnum,seats\nN1,150\n")
    second = merged(dataset, author, "tailnum,year\nN1,2000\n")
    (kept.audit_folder(first) / "images.parquet").unlink()
    found = history(dataset)
    assert list(found.unreadable) == [first.cr_id]
    assert [change.cr_id for change in found.changes] == [second.cr_id]


def test_keys_of_several_typed_columns(owner: User) -> None:
    data = pa.table(
        {
            "day": pa.array([1_600_000_000_000_000], pa.timestamp("us", tz="UTC")),
            "price": pa.array([Decimal("1.50")], pa.decimal128(5, 2)),
            "n": pa.array([1], pa.int64()),
        }
    )
    dataset = DatasetFactory(data=data, primary_keys=("day", "price"))
    owner = person_with(Role.OWNER, dataset)
    merged(dataset, owner, "day,price,n\n2020-09-13T12:26:40Z,1.50,2\n")
    found = row_history(dataset=dataset, key={"day": "2020-09-13T12:26:40+00:00", "price": "1.5"})
    assert [(change.row.changed, (change.row.after or {})["n"]) for change in found.changes] == [(("n",), 2)]
    assert found.current == {
        "day": datetime(2020, 9, 13, 12, 26, 40, tzinfo=UTC),
        "price": Decimal("1.50"),
        "n": 2,
    }


def test_a_key_that_is_none_is_refused(dataset: Dataset, author: User) -> None:
    merged(dataset, author, "tailnum,seats\nN1,150\n")
    with pytest.raises(InvalidInput, match="Name exactly the key columns: tailnum"):
        row_history(dataset=dataset, key={})
    with pytest.raises(InvalidInput, match="Name exactly the key columns: tailnum"):
        row_history(dataset=dataset, key={"wing": 1})


def merges_of_others(like: ChangeRequest, tailnums: list[str]) -> None:
    """Merged requests that each changed one row, as if ``like`` had: their rows in the database and audit files."""
    made = ChangeRequest.objects.bulk_create(
        ChangeRequest(
            dataset=like.dataset,
            author=like.author,
            title=f"Seats of {tailnum}",
            status=Status.MERGED,
            merged_version=(like.merged_version or 0) + place,
            merged_at=like.merged_at,
            merged_by=like.author,
            merge_record={},
        )
        for place, tailnum in enumerate(tailnums, 1)
    )
    source = kept.audit_folder(like)
    [image] = pq.read_table(source / "images.parquet").to_pylist()
    schema = pq.read_schema(source / "images.parquet")
    for change_request, tailnum in zip(made, tailnums, strict=True):
        folder = kept.audit_folder(change_request)
        folder.mkdir()
        shutil.copy(source / "summary.json", folder)
        pq.write_table(pa.Table.from_pylist([{**image, "k0": tailnum}], schema), folder / "images.parquet")


def test_fc4_of_200_merges_those_that_touched_the_key_are_opened(
    dataset: Dataset,
    author: User,
    monkeypatch: pytest.MonkeyPatch,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    first = merged(dataset, author, "tailnum,seats\nN1,150\n")
    merges_of_others(first, [f"X{place}" if place not in (50, 198) else "N1" for place in range(199)])
    opened: list[int] = []

    def counted(folders: Iterable[str], key: Mapping[str, Any]) -> Iterator[merging.TracedRow]:
        opened.append(len(list(folders)))
        return trace_row(folders, key)

    monkeypatch.setattr(merging, "trace_row", counted)
    assert MergedKeys.objects.count() == 1  # of the merge that was really made; the others get theirs now
    found = history(dataset)
    assert MergedKeys.objects.count() == 200

    with django_assert_num_queries(
        7
    ):  # merges without a filter, filters, requests; runs, approvals, choices; engine
        again = history(dataset)

    assert again == found
    assert [change.version for change in found.changes] == [1, 52, 200]
    assert opened == [3, 3]
    assert history(dataset, "N2").changes == ()
    assert [change.version for change in history(dataset, "X7").changes] == [9]
    assert opened == [3, 3, 0, 1]


def test_merges_whose_images_are_gone_are_named_each_time(dataset: Dataset, author: User) -> None:
    change_request = merged(dataset, author, "tailnum,seats\nN1,150\n")
    MergedKeys.objects.all().delete()
    (kept.audit_folder(change_request) / "images.parquet").unlink()
    for _ in range(2):
        found = history(dataset, "N2")
        assert list(found.unreadable) == [change_request.cr_id]
    assert MergedKeys.objects.count() == 0


def test_a_merge_whose_keys_could_not_be_noted_gets_them_when_somebody_asks(
    dataset: Dataset, author: User
) -> None:
    change_request = merged(dataset, author, "tailnum,seats\nN1,150\n")
    kept = bytes(MergedKeys.objects.get(change_request=change_request).filter)
    MergedKeys.objects.all().delete()
    assert len(history(dataset).changes) == 1
    assert bytes(MergedKeys.objects.get(change_request=change_request).filter) == kept
