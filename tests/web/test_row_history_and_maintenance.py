"""The pages that tell who made a row what it is, look after a table, and take the audit trail out."""

import json
from typing import Any

import deltalake
import pyarrow as pa
import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from audit import bells
from changerequests.models import ChangeRequest
from changerequests.services import maintenance, plans, proposals, reverts
from datasets.models import Dataset, MaintenanceRun
from datasets.operators import make_operator
from datasets.services import change_settings
from tests.factories import ChangeRequestFactory, approve, fresh, merge
from tests.web.conftest import SignedIn

pytestmark = pytest.mark.django_db


def text(response: Any) -> str:
    """The answer's words, with single spaces."""
    return " ".join(response.content.decode().split())


def page(name: str, dataset: Dataset) -> str:
    return reverse(name, args=[dataset.project.slug, dataset.slug])


def content(response: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in b"".join(response.streaming_content).splitlines()]


@pytest.fixture(autouse=True)
def _no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bells, "ring", lambda *_: None)


def test_a_row_tells_who_made_its_cells(
    change_request: ChangeRequest, owner: User, author: User, viewer: User, signed_in: SignedIn
) -> None:
    dataset = change_request.dataset
    approve(change_request, owner)
    merge(change_request, owner)
    rows = signed_in(viewer).get(page("dataset", dataset))
    url = f"{page('row_history', dataset)}?key-tailnum=N3"
    assert f'href="{url}"' in rows.content.decode()
    assert 'aria-label="History of row N3"' in rows.content.decode()
    seen = text(signed_in(viewer).get(url))
    assert f'<a href="/change-requests/{change_request.cr_id}/">{change_request.cr_id}</a>' in seen
    assert "Proposed by Carl Castillo, merged by Olivia Okafor, approved by Olivia Okafor" in seen
    assert "no change request changed it" in seen
    assert '<del><span class="null">NULL</span></del><ins><span class="cell">2002</span></ins>' in seen


def test_a_reverted_cell_names_the_revert_and_whose_value_came_back(
    change_request: ChangeRequest, owner: User, viewer: User, signed_in: SignedIn
) -> None:
    dataset = change_request.dataset
    merge(change_request, owner)
    second = ChangeRequestFactory(dataset=dataset, csv="tailnum,year\nN3,2003\n", title="Wrong year")
    merge(second, owner)
    revert = reverts.revert_merge(change_request_id=second.pk, actor=owner)
    proposals.submit(change_request_id=revert.pk, actor=owner)
    plans.check(change_request_id=revert.pk)
    merge(revert, owner)
    seen = text(signed_in(viewer).get(f"{page('row_history', dataset)}?key-tailnum=N3"))
    assert f'brought back by <a href="/change-requests/{revert.cr_id}/">' in seen
    assert f'takes back <a href="/change-requests/{second.cr_id}/">' in seen
    assert "3 changes, newest first" in seen


def test_a_row_is_asked_for_by_its_key(
    dataset: Dataset, viewer: User, stranger: User, signed_in: SignedIn
) -> None:
    url = page("row_history", dataset)
    client = signed_in(viewer)
    assert "Whose row is it?" in text(client.get(url))
    assert "The row is not in the table now." in text(client.get(f"{url}?key-tailnum=N99"))
    assert "No merged change request has changed this row." in text(client.get(f"{url}?key-tailnum=N1"))
    assert signed_in(stranger).get(url).status_code == 404
    assert "Who changed this row?" in text(client.get(page("dataset_history", dataset)))


def test_the_history_of_a_row_costs_the_same_however_often_it_changed(
    change_request: ChangeRequest, owner: User, viewer: User, signed_in: SignedIn
) -> None:
    dataset, client = change_request.dataset, signed_in(viewer)
    client.get(page("dataset_history", dataset))  # the first page of a session notes where it was begun
    costs = []
    for year in (2002, 2003, 2004):
        merge(ChangeRequestFactory(dataset=dataset, csv=f"tailnum,year\nN3,{year}\n"), owner)
        with CaptureQueriesContext(connection) as queries:
            seen = text(client.get(f"{page('row_history', dataset)}?key-tailnum=N3"))
        costs.append(len(queries))
    assert "3 changes, newest first" in seen
    assert len(set(costs)) == 1


def worn(dataset: Dataset) -> None:
    row = pa.table(
        {
            "tailnum": ["M1"],
            "year": pa.array([None], pa.int64()),
            "manufacturer": ["X"],
            "seats": pa.array([1], pa.int64()),
        }
    )
    for _ in range(20):
        deltalake.write_deltalake(dataset.table_uri, row, mode="append")


def test_the_condition_of_a_table_is_told_and_an_owner_asks_for_compaction(
    dataset: Dataset, owner: User, viewer: User, signed_in: SignedIn
) -> None:
    worn(dataset)
    url = page("maintenance", dataset)
    seen = text(signed_in(viewer).get(url))
    assert "21, 21 of them small enough to be written together" in seen
    assert "Compaction would make merges and reads of this table quicker, and its setting is off." in seen
    assert "Look after the table" not in seen
    assert f'href="{url}"' in text(signed_in(viewer).get(page("dataset_settings", dataset)))
    assert signed_in(viewer).post(url, {"jobs": ["compaction"]}).status_code == 403
    assert MaintenanceRun.objects.count() == 0

    client = signed_in(owner)
    refused = client.post(url, {"reason": "slow"})
    assert (refused.status_code, "Choose at least one job." in text(refused)) == (422, True)
    assert 'value="slow"' in text(refused)
    assert client.post(url, {"jobs": ["compaction", "checkpoint"], "reason": "slow"}).status_code == 302
    busy = client.post(url, {"jobs": ["vacuum"]})
    assert (busy.status_code, "is being looked after already" in text(busy)) == (409, True)
    maintenance.maintain(dataset_id=dataset.pk, worker="w")
    seen = text(client.get(url))
    assert "Checkpoint of version 20" in seen
    assert "21 files became 1, 0 deletion vectors folded away, version 21, 24 rows before and after" in seen
    assert "Olivia Okafor" in seen


def test_settings_of_maintenance_are_changed_by_owners(
    dataset: Dataset, owner: User, signed_in: SignedIn
) -> None:
    url = page("dataset_settings", dataset)
    form = signed_in(owner).get(url).context["form"]
    given = {name: value for name, value in form.initial.items() if value is not False}
    saved = signed_in(owner).post(url, {**given, "compact_files": "on", "keep_files_days": "30"})
    assert saved.status_code == 302
    dataset.refresh_from_db()
    assert (dataset.write_checkpoints, dataset.compact_files, dataset.remove_old_files) == (True, True, False)
    assert dataset.keep_files_days == 30
    assert signed_in(owner).post(url, {**given, "keep_files_days": "0"}).status_code == 422


def test_settings_that_another_owner_saved_meanwhile_are_not_overwritten(
    dataset: Dataset, owner: User, signed_in: SignedIn
) -> None:
    url = page("dataset_settings", dataset)
    opened = signed_in(owner).get(url).context
    given = {name: value for name, value in opened["form"].initial.items() if value is not False}
    mine = {**given, "seen": opened["seen"], "keep_files_days": "30"}
    theirs = {"required_approvals": 2, "block_pre_existing": True}
    change_settings(dataset_id=dataset.pk, actor=owner, changes=theirs)
    refused = signed_in(owner).post(url, mine)
    assert refused.status_code == 409
    told = text(refused)
    assert "Somebody else saved other settings since you opened this page; yours are not saved yet." in told
    assert "Approvals needed: 2" in told
    assert "stop a merge, too: on" in told
    assert refused.context["form"]["keep_files_days"].value() == "30"
    dataset.refresh_from_db()
    assert (dataset.required_approvals, dataset.keep_files_days) == (2, Dataset().keep_files_days)
    again = {**mine, "seen": refused.context["seen"]}
    assert signed_in(owner).post(url, again).status_code == 302
    dataset.refresh_from_db()
    assert (dataset.required_approvals, dataset.keep_files_days) == (given["required_approvals"], 30)


def test_owners_take_the_trail_of_their_dataset_out(
    change_request: ChangeRequest, owner: User, author: User, client: Client, signed_in: SignedIn
) -> None:
    dataset = change_request.dataset
    url = page("export_audit", dataset)
    response = signed_in(owner).get(url)
    assert response["Content-Type"] == "application/x-ndjson"
    assert response["Content-Disposition"] == 'attachment; filename="audit-planes.jsonl"'
    lines = content(response)
    assert {line["stream"] for line in lines} == {f"dataset:{dataset.pk}"}
    assert [line["sequence"] for line in lines] == list(range(1, len(lines) + 1))
    assert content(signed_in(owner).get(url, {"until": "2026-01-01"})) == []
    assert "is no time" in text(signed_in(owner).get(url, {"since": "soon"}))
    assert signed_in(author).get(url).status_code == 403
    assert "Export as JSON lines" in text(signed_in(owner).get(page("dataset_history", dataset)))
    assert "Export as JSON lines" not in text(signed_in(author).get(page("dataset_history", dataset)))
    make_operator(author)
    assert signed_in(fresh(author)).get(url).status_code == 200
