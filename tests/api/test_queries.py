"""Trying a statement over the API, and proposing what it gives."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from django.contrib.auth.models import User
from django.utils import timezone

import merging
from accounts.scopes import Scope
from changerequests.models import ChangeRequest, Preview
from changerequests.services import previews, uploads
from changerequests.services.other_tables import other_table
from changerequests.states import UploadKind
from datasets import work
from datasets.errors import InvalidInput
from datasets.models import Dataset
from datasets.roles import Role
from tests.api.clients import client_of
from tests.factories import DatasetFactory, give_role, person_with
from tests.kept import previews_folder

pytestmark = pytest.mark.django_db

UPDATE = "UPDATE dataset SET seats = seats * 2 WHERE tailnum IN ('N1', 'N2')"


def tried(person: User, dataset: Dataset, sql: str, **body: Any) -> Any:
    address = f"/api/v1/datasets/{dataset.project.slug}/{dataset.slug}/queries"
    return client_of(person).post(address, {"sql": sql, **body}, format="json")


def nothing_is_left() -> bool:
    return not ChangeRequest.objects.exists() and not list(previews_folder().glob("*"))


def test_a_statement_is_tried_and_then_proposed(dataset: Dataset, author: User) -> None:
    answer = tried(author, dataset, UPDATE)
    assert answer.status_code == 200
    query = answer.json()
    found = query["found"]
    assert {name: found[name] for name in ("version", "rows_inserted", "rows_updated", "rows_deleted")} == {
        "version": 0, "rows_inserted": 0, "rows_updated": 2, "rows_deleted": 0,
    }  # fmt: skip
    assert found["cells_updated"] == {"seats": 2}
    assert (found["columns"], found["new_columns"], found["noop_rows"]) == (["tailnum", "seats"], {}, 0)
    assert found["rows"][0] == {
        "key": {"tailnum": "N1"},
        "operation": "update",
        "cells": [{"column": "seats", "base": 149, "proposed": 298}],
        "filled": [],
    }
    assert nothing_is_left()
    assert answer.headers["Location"] == query["url"]
    assert client_of(author).get(query["url"]).json() == query

    made = client_of(author).post(
        f"/api/v1/datasets/{dataset.pk}/proposals", {"title": "Twice", "sql": UPDATE}, format="json"
    )
    assert (made.status_code, made.json()["outcome"]) == (201, "staged")
    assert ChangeRequest.objects.get().revisions.get().rows_updated == 2


def test_a_refused_statement_says_where_and_leaves_nothing(dataset: Dataset, author: User) -> None:
    answer = tried(author, dataset, "\n  SELECT tailnum,\n  seets AS seats FROM dataset")
    assert answer.status_code == 422
    problem = answer.json()
    assert problem["code"] == "staging_rejected"
    [error] = problem["errors"]
    assert (error["code"], error["line"], error["column"]) == ("sql_unknown_column", 3, "3")
    assert 'Did you mean "seats"?' in error["message"]
    stored = client_of(author).get(f"/api/v1/queries/{Preview.objects.get().pk}").json()
    assert (stored["status"], stored["found"], stored["problem"]["code"]) == (
        "failed",
        None,
        "staging_rejected",
    )
    assert nothing_is_left()


def test_rows_that_it_gives_are_judged_like_those_of_a_file(dataset: Dataset, author: User) -> None:
    answer = tried(author, dataset, "SELECT tailnum, 'many' AS seats FROM dataset ORDER BY tailnum")
    assert answer.status_code == 422
    assert {(one["code"], one["column"]) for one in answer.json()["errors"]} == {("not_number", "seats")}
    assert (
        tried(author, dataset, "SELECT tailnum, 1 AS extra FROM dataset", merge_schema=False).status_code
        == 422
    )
    found = tried(author, dataset, "SELECT tailnum, 1 AS extra FROM dataset").json()["found"]
    assert found["new_columns"] == {"extra": "integer"}
    assert tried(author, dataset, "DELETE FROM dataset WHERE false").json()["found"]["rows"] == []


def test_values_that_json_cannot_hold_come_back_exactly(author: User) -> None:
    rows = pa.table({"id": ["a"], "text": ["x"], "real": [1.0]})
    dataset = DatasetFactory.create(data=rows, primary_keys=["id"])
    give_role(author, dataset, Role.CONTRIBUTOR)
    sql = "SELECT id, 'a' || chr(0) || 'b' AS text, 1e300 AS real FROM dataset"
    [row] = tried(author, dataset, sql).json()["found"]["rows"]
    assert [cell["proposed"] for cell in row["cells"]] == ["a\x00b", 1e300]


def test_it_is_told_later_where_nobody_waits(deaf_staging: None, dataset: Dataset, author: User) -> None:
    answer = client_of(author).post(
        f"/api/v1/datasets/{dataset.pk}/queries", {"sql": UPDATE}, format="json", HTTP_PREFER="respond-async"
    )
    assert (answer.status_code, answer.json()["status"], answer.json()["found"]) == (202, "queued", None)
    query = Preview.objects.get()
    assert previews.sweep_previews() == 1
    previews.look_at(preview_id=query.pk, worker="worker")
    assert client_of(author).get(answer.json()["url"]).json()["found"]["rows_updated"] == 2
    assert previews.look_at(preview_id=query.pk, worker="another") is None
    assert previews.sweep_previews() == 0


def test_only_who_asked_finds_it_and_only_who_may_propose_asks(dataset: Dataset, author: User) -> None:
    url = tried(author, dataset, UPDATE).json()["url"]
    viewer, owner = person_with(Role.VIEWER, dataset), person_with(Role.OWNER, dataset)
    stranger = person_with(Role.OWNER, DatasetFactory.create())
    assert [client_of(one).get(url).status_code for one in (viewer, owner, stranger)] == [404, 404, 404]
    assert [tried(one, dataset, UPDATE).status_code for one in (viewer, owner, stranger)] == [403, 200, 404]
    assert client_of(author, Scope.READ).post(
        f"/api/v1/datasets/{dataset.pk}/queries", {"sql": UPDATE}, format="json"
    ).status_code == 403  # fmt: skip
    give_role(author, dataset, None)
    assert client_of(author).get(url).status_code == 404


@pytest.mark.parametrize("body", [{}, {"sql": ""}, {"sql": 7}, {"sql": UPDATE, "more": 1}, {"sql": None}])
def test_a_body_of_another_shape_is_refused(body: dict[str, Any], dataset: Dataset, author: User) -> None:
    answer = client_of(author).post(f"/api/v1/datasets/{dataset.pk}/queries", body, format="json")
    assert answer.status_code == 422
    assert not Preview.objects.exists()


def test_a_worker_that_died_is_replaced_and_what_kills_them_given_up(
    deaf_staging: None, dataset: Dataset, author: User
) -> None:
    query = previews.look(dataset=dataset, actor=author, content=uploads.NamedSource(UploadKind.SQL, UPDATE))
    long_ago = timezone.now() - timedelta(hours=1)
    Preview.objects.filter(pk=query.pk).update(
        status=Preview.Status.RUNNING, heartbeat_at=long_ago, attempts=work.MOST_ATTEMPTS, fence=4
    )
    assert previews.sweep_previews() == 1
    previews.look_at(preview_id=query.pk, worker="worker")
    query.refresh_from_db()
    assert (query.status, query.error_code) == (Preview.Status.FAILED, "reader_died")
    assert nothing_is_left()


def test_what_was_found_is_forgotten_after_a_day(dataset: Dataset, author: User) -> None:
    tried(author, dataset, UPDATE)
    previews.sweep_previews()
    assert Preview.objects.count() == 1
    Preview.objects.update(finished_at=timezone.now() - timedelta(hours=25))
    previews.sweep_previews()
    assert not Preview.objects.exists()


def test_a_failure_is_told_without_what_it_quotes(
    dataset: Dataset, author: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    for raised, code in (
        (merging.ConfinedTooLong(1), "upload_took_too_long"),
        (ValueError("secret"), "upload_failed"),
    ):

        def fails(*_: Any, error: Exception = raised, **__: Any) -> Any:
            raise error

        monkeypatch.setattr(merging, "stage_query_apart", fails)
        answer = tried(author, dataset, UPDATE)
        assert (answer.status_code >= 400, "secret" in json.dumps(answer.json())) == (True, False)
        assert Preview.objects.latest("pk").error_code == code
    assert nothing_is_left()


def test_what_lies_in_a_folder_of_a_dataset_that_one_does_not_see_is_not_there(
    dataset: Dataset, author: User
) -> None:
    hidden = DatasetFactory.create()
    inside = Path(hidden.table_uri) / "inside"
    merging.create_table(str(inside), pa.table({"tailnum": ["N1"], "seats": pa.array([150], pa.int64())}))
    owner = person_with(Role.OWNER, dataset)
    address = f"/api/v1/datasets/{dataset.pk}/proposals"
    body = {"title": "Theirs", "from_table": str(inside), "base_version": 0}
    refused = client_of(owner).post(address, body, format="json")
    assert refused.status_code == 422
    assert "There is no Delta table" in refused.json()["message"]
    assert not ChangeRequest.objects.exists()


@pytest.mark.parametrize(
    "address",
    [
        "s3://lake/secrets/x",
        "s3://lake/clones",
        "s3://lake/clones/../secrets",
        "s3://lake/clones/%2e%2e/secrets",
        "s3://lake/clones//x",
        "s3://lake/clones-of-others/x",
        "s3://lake/clones/x?versionId=1",
        "gs://lake/clones/x",
        "http://lake/clones/x",
    ],
)
def test_clones_lie_where_operators_let_them(dataset: Dataset, settings: Any, address: str) -> None:
    settings.CLONE_PREFIXES = ["s3://lake/clones/"]
    owner = person_with(Role.OWNER, dataset)
    with pytest.raises(InvalidInput, match="other places cannot be read here"):
        other_table(dataset, owner, address)
    with pytest.raises(InvalidInput, match="An address with a secret in it is not taken"):
        other_table(dataset, owner, "s3://user@lake/clones/x")
    assert other_table(dataset, owner, "s3://lake/clones/x/") == "s3://lake/clones/x"
    DatasetFactory.create()
    Dataset.objects.exclude(pk=dataset.pk).update(table_uri="s3://lake/clones/hidden")
    for hidden in ("s3://lake/clones/hidden", "s3://lake/clones/hidden/inner"):
        with pytest.raises(InvalidInput, match="There is no Delta table"):
            other_table(dataset, owner, hidden)


def test_a_copy_of_the_table_is_proposed_over_the_api(dataset: Dataset, author: User, settings: Any) -> None:
    copy = Path(settings.DELTA_DATA_ROOT) / "clones" / f"copy-{dataset.pk}"
    merging.create_table(str(copy), pa.table({"tailnum": ["N1"], "seats": pa.array([150], pa.int64())}))
    address = f"/api/v1/datasets/{dataset.pk}/proposals"
    body = {"title": "From Spark", "from_table": f"clones/{copy.name}", "base_version": 0}
    refused = client_of(author).post(address, body, format="json")
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (422, "not_a_clone")
    owner = person_with(Role.OWNER, dataset)
    made = client_of(owner).post(address, body, format="json")
    assert (made.status_code, made.json()["outcome"]) == (201, "staged")
    revision = ChangeRequest.objects.get().revisions.get()
    assert (revision.rows_updated, revision.rows_inserted) == (1, 0)
    wrong = client_of(owner).post(
        address, {"title": "x", "sql": "SELECT 1", "base_version": 0}, format="json"
    )
    assert wrong.status_code == 422
