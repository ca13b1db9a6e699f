"""Going back to a version of a table: a draft like any other, whose merge makes the rows equal that version's."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import deltalake
import pyarrow as pa
import pytest

import merging
from changerequests.errors import Blocked, NothingToChange
from changerequests.models import ChangeRequest
from changerequests.services import plans, proposals
from changerequests.services.going_back import propose_version
from datasets import services
from datasets.errors import Forbidden
from datasets.models import Dataset
from datasets.roles import Role
from tests.api.clients import client_of, problem
from tests.factories import ChangeRequestFactory, DatasetFactory, merge, person_with, rows_of

pytestmark = pytest.mark.django_db

FIRST = pa.table(
    {
        "id": pa.array([1, 2, 3], pa.int64()),
        "name.of": ["Ä", None, ""],
        "price": pa.array([Decimal("0.10"), None, Decimal("3.00")], pa.decimal128(10, 2)),
        "day": pa.array([date(2024, 2, 29), None, date(1, 1, 1)], pa.date32()),
        "at": pa.array([datetime(2024, 1, 1, tzinfo=UTC), None, None], pa.timestamp("us", "UTC")),
        "raw": pa.array([b"\x00\xff", None, b""], pa.binary()),
        "ratio": pa.array([float("nan"), -0.0, None], pa.float64()),
    }
)


@pytest.fixture
def dataset() -> Dataset:
    """Five versions: rows changed, deleted, added, and written by somebody else."""
    made: Dataset = DatasetFactory.create(data=FIRST, primary_keys=["id"], delete_limit=1)
    owner = person_with(Role.OWNER, made)
    merge(ChangeRequestFactory.create(dataset=made, csv="id,name.of,price\n1,B,7.77\n4,D,1.00\n"), owner)
    merge(ChangeRequestFactory.create(dataset=made, csv="id,_op\n2,delete\n"), owner)
    other = pa.table({name: FIRST[name].slice(2, 1) for name in FIRST.schema.names}).set_column(
        0, "id", pa.array([9], pa.int64())
    )
    deltalake.write_deltalake(made.table_uri, other, mode="append")
    services.reconcile(dataset_id=made.pk)
    made.refresh_from_db()
    return made


def at(dataset: Dataset, version: int) -> list[dict[str, Any]]:
    return sorted(
        services.preview(dataset=dataset, version=version, limit=100).rows, key=lambda row: row["id"]
    )


def same(left: list[dict[str, Any]], right: list[dict[str, Any]]) -> bool:
    return len(left) == len(right) and all(map(merging.same_value, left, right))


@pytest.mark.parametrize("version", [0, 1, 2])
def test_after_the_merge_the_rows_are_those_of_the_version_exactly(dataset: Dataset, version: int) -> None:
    owner = person_with(Role.OWNER, dataset)
    wanted = at(dataset, version)

    made = propose_version(dataset_id=dataset.pk, actor=owner, version=version)

    assert (made.status, made.title, made.author) == ("draft", f"Go back to version {version}", owner)
    assert made.revisions.get().base_version == 3
    before = at(dataset, 3)
    proposals.submit(change_request_id=made.pk, actor=owner)
    run = merge(made, owner)
    assert run.status == "succeeded", run.error_message
    assert not same(before, wanted)
    assert same(at(dataset, run.merged_version or 0), wanted)


def test_what_was_changed_after_the_draft_conflicts_instead_of_being_lost(dataset: Dataset) -> None:
    owner = person_with(Role.OWNER, dataset)
    made = propose_version(dataset_id=dataset.pk, actor=owner, version=0)
    merge(ChangeRequestFactory.create(dataset=dataset, csv="id,price\n1,5.55\n"), owner)
    proposals.submit(change_request_id=made.pk, actor=owner)
    plans.check(change_request_id=made.pk)
    with pytest.raises(Blocked):
        merge(made, owner)
    assert [row["price"] for row in rows_of(dataset) if row["id"] == 1] == [Decimal("5.55")]


def test_nothing_to_go_back_to_leaves_nothing_behind(dataset: Dataset) -> None:
    owner = person_with(Role.OWNER, dataset)
    known = ChangeRequest.objects.count()
    with pytest.raises(NothingToChange, match="the table is as it was in version 3"):
        propose_version(dataset_id=dataset.pk, actor=owner, version=3)
    with pytest.raises(Forbidden):
        propose_version(dataset_id=dataset.pk, actor=person_with(Role.VIEWER, dataset), version=0)
    with pytest.raises(merging.TableNotFound):
        propose_version(dataset_id=dataset.pk, actor=owner, version=99)
    assert ChangeRequest.objects.count() == known


def test_programs_go_back_too(dataset: Dataset) -> None:
    client = client_of(person_with(Role.CONTRIBUTOR, dataset))
    address = f"/api/v1/datasets/{dataset.pk}/go_back"
    made = client.post(address, {"version": 1, "title": "As on Monday"})
    assert (made.status_code, made.json()["title"], made.json()["status"]) == (201, "As on Monday", "draft")
    assert made.headers["Location"].endswith(f"/change_requests/{made.json()['cr_id']}")
    assert problem(client.post(address, {"version": 3})) == (422, "nothing_to_change")


def test_the_table_as_it_is_now_of_a_gone_version_is_said(dataset: Dataset) -> None:
    owner = person_with(Role.OWNER, dataset)
    deltalake.DeltaTable(dataset.table_uri).optimize.compact()
    deltalake.DeltaTable(dataset.table_uri).vacuum(0, enforce_retention_duration=False, dry_run=False)
    services.reconcile(dataset_id=dataset.pk)
    with pytest.raises(merging.VersionGone, match=r"Version 0 of .* cannot be shown any more"):
        propose_version(dataset_id=dataset.pk, actor=owner, version=0)
