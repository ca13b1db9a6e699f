"""Edits of rows over the API: one step a call, what is wrong at each cell, and the proposal."""

from typing import Any

import pytest
from rest_framework.test import APIClient

from changerequests.models import ChangeRequest, EditedRow
from datasets.models import Dataset
from datasets.roles import Role
from tests.api.clients import client_of, problem
from tests.factories import DatasetFactory, person_with

pytestmark = pytest.mark.django_db


@pytest.fixture
def dataset() -> Dataset:
    made: Dataset = DatasetFactory.create()
    return made


@pytest.fixture
def api(dataset: Dataset) -> APIClient:
    return client_of(person_with(Role.CONTRIBUTOR, dataset))


def edit(api: APIClient, dataset: Dataset, *changes: dict[str, Any], **more: Any) -> Any:
    return api.patch(f"/api/v1/datasets/{dataset.pk}/edits", {"changes": list(changes), **more})


def test_a_step_is_applied_told_undone_and_proposed(api: APIClient, dataset: Dataset) -> None:
    answer = edit(
        api,
        dataset,
        {"key": {"tailnum": "N1"}, "set": {"seats": 150, "year": "x"}, "seen": {"seats": 149}},
        {"key": {"tailnum": "N2"}, "delete": True},
        {"add": {"tailnum": "N9", "seats": 1}},
        version=0,
    )
    assert answer.status_code == 200, answer.content
    told = answer.json()
    assert told["counts"] == {"changes": 4, "rows": 3, "undo": True, "redo": False}
    assert (told["problems"], told["moved"], len(told["added"]), told["overwritten"]) == (1, 0, 1, [])
    [first] = [row for row in told["rows"] if row["key"] == {"tailnum": "N1"}]
    assert first["operation"] == "update"
    assert first["cells"] == [
        {"column": "seats", "value": 150, "seen": 149, "current": 149, "moved": False, "problem": ""},
        {
            "column": "year",
            "value": "x",
            "seen": 1999,
            "current": 1999,
            "moved": False,
            "problem": 'Found "x"; expected a number (long).',
        },
    ]
    restored = edit(api, dataset, {"row": first["name"], "restore": ["year"]}).json()
    assert restored["problems"] == 0
    address = f"/api/v1/datasets/{dataset.pk}/edits"
    assert api.post(f"{address}/undo").json()["problems"] == 1
    assert api.post(f"{address}/redo").json()["counts"]["changes"] == 3
    again = edit(api, dataset, {"row": first["name"], "set": {"seats": 9}, "seen": {"seats": 149}}).json()
    assert again["overwritten"] == [{"row": first["name"], "column": "seats", "before": 150}]
    gone = edit(api, dataset, {"row": told["added"][0], "delete": True}).json()
    assert (gone["restored"], gone["rows"]) == (told["added"], [])

    proposed = api.post(f"{address}/propose", {"title": "Seats", "submit": True})
    assert proposed.status_code == 201
    made = ChangeRequest.objects.get()
    assert proposed.json()["change_request"]["cr_id"] == made.cr_id
    assert (made.status, api.get(address).json()["counts"]["rows"]) == ("pending", 0)


def test_edits_whose_answer_was_lost_are_proposed_once_and_a_key_elsewhere_is_another_call(
    api: APIClient, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, key = f"/api/v1/datasets/{dataset.pk}", {"Idempotency-Key": "k"}
    edit(api, dataset, {"key": {"tailnum": "N1"}, "set": {"seats": 150}}, version=0)
    api.raise_request_exception = False
    with monkeypatch.context() as patch:
        patch.setattr("api.views.edits.answer", lambda *_: 1 / 0)
        assert api.post(f"{address}/edits/propose", {"title": "Edits"}, headers=key).status_code == 500
    rows = {"title": "Rows", "rows": [{"tailnum": "N2", "seats": 2}]}
    told = [
        api.post(f"{address}/{where}", sent, headers=key)
        for where, sent in (("edits/propose", {"title": "Edits"}), ("proposals", rows))
    ]
    assert [answer.status_code for answer in told] == [201, 201]
    assert [answer.json()["change_request"]["title"] for answer in told] == ["Edits", "Rows"]
    assert ChangeRequest.objects.count() == 2


def test_a_row_whose_answer_was_lost_is_added_and_deleted_once(api: APIClient, dataset: Dataset) -> None:
    name = f"new-{7:032x}"
    adding, going = {"row": name, "add": {"tailnum": "N9"}}, {"row": name, "delete": True}
    first, again = edit(api, dataset, adding).json(), edit(api, dataset, adding).json()
    assert (again["added"], again["rows"], again["counts"]) == ([name], first["rows"], first["counts"])
    assert EditedRow.objects.count() == 1
    gone, again = edit(api, dataset, going).json(), edit(api, dataset, going).json()
    assert (gone["restored"], again["restored"], again["counts"]["rows"]) == ([name], [name], 0)
    assert api.post(f"/api/v1/datasets/{dataset.pk}/edits/undo").json()["counts"]["rows"] == 1


def test_replacing_is_counted_then_done(api: APIClient, dataset: Dataset) -> None:
    address = f"/api/v1/datasets/{dataset.pk}/edits/replace"
    asked = {"columns": ["manufacturer"], "find": "I", "replace": "1", "filter": ["seats:>:100"]}
    looked = api.post(address, {**asked, "look": True}).json()
    assert (looked["cells"], looked["rows"], looked["tray"]) == (2, 2, None)
    assert looked["shown"][0] == {
        "key": {"tailnum": "N1"}, "row": "", "column": "manufacturer", "before": "BOEING", "after": "BOE1NG",
    }  # fmt: skip
    assert EditedRow.objects.count() == 0
    done = api.post(address, {**asked, "counted": 2}).json()
    assert done["tray"]["counts"]["changes"] == 2
    assert problem(api.post(address, {**asked, "counted": 7})) == (412, "edits_moved")


@pytest.mark.parametrize(
    "change",
    [
        {"set": {"seats": 1}},
        {"key": {"tailnum": "N1"}},
        {"key": {"tailnum": "N1"}, "set": {"seats": 1}, "delete": True},
        {"key": {"tailnum": "N1"}, "row": "x", "delete": True},
        {"key": {"tailnum": "N1"}, "add": {"seats": 1}},
        {"key": {"tail": "N1"}, "set": {"seats": 1}},
        {"key": {"tailnum": None}, "set": {"seats": 1}},
        {"key": {"tailnum": "N1"}, "set": {"tailnum": "N2"}},
        {"key": {"tailnum": "N1"}, "set": {"colour": 1}},
        {"row": "nothing", "set": {"seats": 1}},
        {"row": "mine", "add": {"tailnum": "N9"}},
        {"row": "nothing", "keep": True},
    ],
)
def test_what_makes_no_sense_changes_nothing(
    api: APIClient, dataset: Dataset, change: dict[str, Any]
) -> None:
    assert problem(edit(api, dataset, change)) == (422, "invalid")
    assert EditedRow.objects.count() == 0


def test_nobody_sees_anothers_tray(api: APIClient, dataset: Dataset) -> None:
    edit(api, dataset, {"key": {"tailnum": "N1"}, "set": {"seats": 1}})
    other = client_of(person_with(Role.OWNER, dataset))
    assert other.get(f"/api/v1/datasets/{dataset.pk}/edits").json()["rows"] == []
    name = EditedRow.objects.get().name
    assert problem(edit(other, dataset, {"row": name, "set": {"seats": 2}})) == (422, "invalid")


def test_odd_values_are_kept_or_refused_and_never_fail(api: APIClient, dataset: Dataset) -> None:
    gone = edit(api, dataset, {"key": {"tailnum": "N1"}, "set": {"seats": 1}}, version=10**15)
    assert gone.status_code in (410, 422), gone.content
    nested = edit(api, dataset, {"key": {"tailnum": {"a": [1]}}, "set": {"seats": 1}})
    assert problem(nested) == (422, "invalid")
    odd = edit(
        api, dataset, {"key": {"tailnum": "N1"}, "set": {"seats": [1, {"a": None}], "manufacturer": "\x00"}}
    )
    assert odd.status_code == 200, odd.content
    [row] = odd.json()["rows"]
    assert {cell["column"]: bool(cell["problem"]) for cell in row["cells"]} == {
        "seats": True,
        "manufacturer": False,
    }
