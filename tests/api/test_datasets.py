"""Projects and datasets through the API."""

import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from pytest_django import DjangoAssertNumQueries

import merging
from audit.selectors import events_of
from datasets.models import Dataset
from datasets.operators import make_operator
from datasets.roles import Role
from tests.api.clients import client_of, problem
from tests.factories import (
    PLANES,
    ChangeRequestFactory,
    DatasetFactory,
    GroupFactory,
    UserFactory,
    fresh,
    merge,
    person_with,
    table_folder,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def dataset() -> Dataset:
    return DatasetFactory.create(slug="planes", name="Planes")


def url(dataset: Dataset, rest: str = "") -> str:
    return f"/api/v1/datasets/{dataset.pk}{rest}"


def test_projects_are_those_with_a_role_or_a_visible_dataset(dataset: Dataset) -> None:
    other: Dataset = DatasetFactory.create(project__slug="other")
    DatasetFactory.create(project__slug="hidden")
    client = client_of(person_with(Role.VIEWER, dataset))
    of_project = client_of(person_with(Role.VIEWER, other.project))

    assert [p["slug"] for p in client.get("/api/v1/projects").json()["results"]] == [dataset.project.slug]
    assert [p["slug"] for p in of_project.get("/api/v1/projects").json()["results"]] == ["other"]
    assert of_project.get("/api/v1/projects/other").json()["name"] == "Other"
    assert problem(of_project.get("/api/v1/projects/hidden")) == (404, "not_found")


def test_the_list_and_the_detail(dataset: Dataset) -> None:
    client = client_of(person_with(Role.CONTRIBUTOR, dataset.project))

    (row,) = client.get("/api/v1/datasets").json()["results"]
    detail = client.get(url(dataset)).json()

    assert (row["slug"], row["project"], row["primary_keys"]) == ("planes", dataset.project.slug, ["tailnum"])
    assert (row["meta"]["delta_version"], row["meta"]["row_count"], row["meta"]["problem"]) == (0, 4, "")
    assert detail["role"] == "contributor"
    assert [field["name"] for field in detail["meta"]["schema_json"]["fields"]] == [
        "tailnum",
        "year",
        "manufacturer",
        "seats",
    ]
    assert (detail["required_approvals"], detail["delete_limit"], detail["conflict_policy"]) == (
        0,
        "0.0500",
        "cell",
    )


def test_lists_cost_the_same_whatever_their_length(
    dataset: Dataset, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    client = client_of(person_with(Role.VIEWER, dataset.project))
    client.get("/api/v1/datasets")  # the content types of roles are looked up once in a process
    with django_assert_num_queries(3):  # the token, the user's other tokens, the datasets
        assert len(client.get("/api/v1/datasets").json()["results"]) == 1
    for _ in range(3):
        DatasetFactory.create(project=dataset.project)
    with django_assert_num_queries(3):
        assert len(client.get("/api/v1/datasets").json()["results"]) == 4


def test_the_schema_at_a_version(dataset: Dataset) -> None:
    change_request = ChangeRequestFactory.create(dataset=dataset, csv="tailnum,engines\nN1,2\n")
    merge(change_request, person_with(Role.OWNER, dataset))
    client = client_of(change_request.author)

    now = client.get(url(dataset, "/schema")).json()
    before = client.get(url(dataset, "/schema?version=0")).json()

    assert (now["version"], [column["name"] for column in now["columns"]][-1]) == (1, "engines")
    assert before["columns"] == [
        {"name": "tailnum", "type": "string", "nullable": True, "comment": ""},
        {"name": "year", "type": "long", "nullable": True, "comment": ""},
        {"name": "manufacturer", "type": "string", "nullable": True, "comment": ""},
        {"name": "seats", "type": "long", "nullable": True, "comment": ""},
    ]


def test_rows_are_paged_sorted_filtered_and_read_at_any_version(dataset: Dataset) -> None:
    merge(ChangeRequestFactory.create(dataset=dataset), person_with(Role.OWNER, dataset))
    client = client_of(person_with(Role.VIEWER, dataset))

    def keys(query: str) -> list[str]:
        return [row["tailnum"] for row in client.get(url(dataset, f"/rows{query}")).json()["results"]]

    first = client.get(url(dataset, "/rows?limit=3")).json()
    assert first["results"][0] == {"tailnum": "N1", "year": 1999, "manufacturer": "BOEING", "seats": 149}
    assert [row["tailnum"] for row in client.get(first["next"]).json()["results"]] == ["N4", "N5"]
    assert (first["version"], first["columns"][1]["type"]) == (1, "long")
    assert keys("?version=0") == ["N1", "N2", "N3", "N4"]
    assert keys("?order_by=seats&descending=true") == ["N4", "N5", "N2", "N1", "N3"]
    assert keys("?filter=seats:>:150&filter=manufacturer:=:AIRBUS") == ["N2", "N5"]
    assert keys("?filter=manufacturer:is null:") == ["N4"]
    assert problem(client.get(url(dataset, "/rows?filter=color:=:red"))) == (422, "invalid_filter")
    assert problem(client.get(url(dataset, "/rows?version=9"))) == (422, "table_not_found")
    assert problem(client.get(url(dataset, "/rows?limit=many"))) == (422, "invalid")


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_a_damaged_table_is_told_by_its_file_and_is_no_fault_of_the_service(
    dataset: Dataset, damage: str
) -> None:
    (file,) = Path(dataset.table_uri).glob("*.parquet")
    whole = file.read_bytes()
    file.unlink()
    if damage == "cut":
        file.write_bytes(whole[:-20])

    refused = client_of(person_with(Role.VIEWER, dataset)).get(url(dataset, "/rows"))

    assert problem(refused) == (409, "table_damaged")
    assert file.name in refused.json()["message"]
    assert "Restore the file" in refused.json()["message"]


def test_history_tells_our_merges_from_foreign_jobs(dataset: Dataset) -> None:
    change_request = ChangeRequestFactory.create(dataset=dataset)
    merge(change_request, person_with(Role.OWNER, dataset))
    client = client_of(change_request.author)

    page = client.get(url(dataset, "/history?limit=1")).json()
    older = client.get(page["next"]).json()

    (merged,) = page["results"]
    assert (merged["version"], merged["change_request"]) == (1, change_request.cr_id)
    assert (merged["rows_added"], merged["rows_updated"], merged["rows_deleted"]) == (1, 1, 0)
    assert [(v["version"], v["change_request"]) for v in older["results"]] == [(0, None)]
    assert older["next"] is None


def test_reconciling_finds_what_others_wrote(dataset: Dataset) -> None:
    from deltalake import write_deltalake

    write_deltalake(
        dataset.table_uri, PLANES.slice(0, 1).set_column(0, "tailnum", pa.array(["N7"])), mode="append"
    )
    viewer = client_of(person_with(Role.VIEWER, dataset))
    contributor = client_of(person_with(Role.CONTRIBUTOR, dataset))

    assert problem(viewer.post(url(dataset, "/reconcile"))) == (403, "forbidden")
    meta = contributor.post(url(dataset, "/reconcile")).json()

    assert (meta["delta_version"], meta["row_count"]) == (1, 5)
    event = events_of("dataset", str(dataset.pk)).filter(action="dataset.reconciled").get()
    assert event.data["before"] == {"delta_version": 0, "row_count": 4, "problem": ""}
    assert event.data["after"] == {"delta_version": 1, "row_count": 5, "problem": ""}


def test_owners_change_the_rules_and_others_do_not(dataset: Dataset) -> None:
    owner = client_of(person_with(Role.OWNER, dataset, username="olivia"))
    contributor = client_of(person_with(Role.CONTRIBUTOR, dataset))

    assert problem(contributor.patch(url(dataset), {"required_approvals": 0})) == (403, "forbidden")
    assert problem(owner.patch(url(dataset), {"primary_keys": ["year"]})) == (422, "invalid")
    assert problem(owner.patch(url(dataset), {"delete_limit": "1.5"})) == (422, "invalid")
    changed = owner.patch(url(dataset), {"required_approvals": 2, "delete_limit": "0.1000"})

    assert (changed.json()["required_approvals"], changed.json()["delete_limit"]) == (2, "0.1000")
    event = events_of("dataset", str(dataset.pk)).get(action="dataset.settings_changed")
    assert (event.actor, event.data) == (
        "olivia",
        {
            "delete_limit": {"before": "0.0500", "after": "0.1000"},
            "required_approvals": {"before": 0, "after": 2},
        },
    )


def test_members(dataset: Dataset) -> None:
    owner = client_of(person_with(Role.OWNER, dataset, username="olivia"))
    person_with(Role.VIEWER, dataset.project, username="vera")
    UserFactory.create(username="carl")
    GroupFactory.create(name="analysts")

    given = owner.put(url(dataset, "/members"), {"name": "carl", "role": "contributor"})
    owner.put(url(dataset, "/members"), {"kind": "group", "name": "analysts", "role": "viewer"})
    unknown = owner.put(url(dataset, "/members"), {"name": "nobody", "role": "viewer"})

    assert given.status_code == 200
    assert problem(unknown) == (422, "invalid")
    assert owner.get(url(dataset, "/members")).json() == [
        {"kind": "user", "name": "olivia", "role": "owner", "inherited": False},
        {"kind": "user", "name": "carl", "role": "contributor", "inherited": False},
        {"kind": "group", "name": "analysts", "role": "viewer", "inherited": False},
        {"kind": "user", "name": "vera", "role": "viewer", "inherited": True},
    ]
    owner.put(url(dataset, "/members"), {"name": "carl", "role": None})
    assert "carl" not in [member["name"] for member in owner.get(url(dataset, "/members")).json()]


def test_only_owners_give_roles(dataset: Dataset) -> None:
    contributor = client_of(person_with(Role.CONTRIBUTOR, dataset, username="carl"))

    response = contributor.put(url(dataset, "/members"), {"name": "carl", "role": "owner"})

    assert problem(response) == (403, "forbidden")


def test_strangers_find_no_dataset(dataset: Dataset) -> None:
    stranger = client_of(person_with(None, dataset))

    assert stranger.get("/api/v1/datasets").json()["results"] == []
    for rest in ("", "/schema", "/rows", "/history", "/members"):
        assert problem(stranger.get(url(dataset, rest))) == (404, "not_found"), rest
    assert problem(stranger.patch(url(dataset), {})) == (404, "not_found")
    assert problem(stranger.put(url(dataset, "/members"), {})) == (404, "not_found")
    assert problem(stranger.post(url(dataset, "/reconcile"))) == (404, "not_found")


# --- Registration -------------------------------------------------------------------------------------------


def registration(dataset: Dataset, table: Path, **members: object) -> dict[str, object]:
    return {
        "project": dataset.project.slug,
        "slug": "new",
        "name": "New",
        "table_uri": str(table),
        "primary_keys": ["tailnum"],
        **members,
    }


def test_owners_of_the_project_register_tables_of_the_data_folder(dataset: Dataset) -> None:
    merging.create_table(str(table_folder("new")), PLANES)
    owner = client_of(person_with(Role.OWNER, dataset.project))

    response = owner.post(
        "/api/v1/datasets", registration(dataset, table_folder("new"), required_approvals=2)
    )

    assert response.status_code == 201, response.content
    body = response.json()
    assert (body["meta"]["row_count"], body["required_approvals"], body["role"]) == (4, 2, "owner")


def test_who_may_register_what(dataset: Dataset, tmp_path: Path) -> None:
    inside, outside = table_folder("new"), tmp_path / "elsewhere"
    merging.create_table(str(inside), PLANES)
    merging.create_table(str(outside), PLANES)
    owner = client_of(person_with(Role.OWNER, dataset.project))
    owner_of_dataset = client_of(person_with(Role.OWNER, dataset))
    stranger = client_of(person_with(None, dataset))
    adam = UserFactory.create()
    make_operator(adam)
    operator = client_of(fresh(adam))

    assert problem(owner.post("/api/v1/datasets", registration(dataset, outside))) == (403, "forbidden")
    assert problem(owner_of_dataset.post("/api/v1/datasets", registration(dataset, inside))) == (
        403,
        "forbidden",
    )
    assert problem(stranger.post("/api/v1/datasets", registration(dataset, inside))) == (404, "not_found")
    assert Dataset.objects.count() == 1
    assert operator.post("/api/v1/datasets", registration(dataset, outside)).status_code == 201


def test_a_copy_of_a_registered_table_is_looked_at_as_one_and_registered_as_one_by_operators(
    dataset: Dataset,
) -> None:
    copy, apart = table_folder("copy"), table_folder("apart")
    shutil.copytree(dataset.table_uri, copy)
    merging.create_table(str(apart), PLANES)
    owner = client_of(person_with(Role.OWNER, dataset.project))
    adam = UserFactory.create()
    make_operator(adam)
    operator = client_of(fresh(adam))

    looks = [owner.post("/api/v1/tables/look", {"table_uri": str(one)}).json() for one in (copy, apart)]
    assert [look["shares_identity"] for look in looks] == [True, False]
    refused = operator.post("/api/v1/datasets", registration(dataset, copy))
    assert problem(refused) == (422, "invalid")
    assert [error["field"] for error in refused.json()["errors"]] == ["table_uri"]
    by_owner = owner.post("/api/v1/datasets", registration(dataset, copy, is_copy=True))
    assert problem(by_owner) == (403, "forbidden")
    assert by_owner.json()["message"] == "Only operators say that a table is a copy of another one."
    assert Dataset.objects.count() == 1

    added = operator.post("/api/v1/datasets", registration(dataset, copy, is_copy=True))

    assert added.status_code == 201, added.content
    made = Dataset.objects.select_related("meta").get(slug="new")
    assert (made.meta.is_copy, made.meta.table_id) == (True, dataset.meta.table_id)
    assert events_of("dataset", str(made.pk))[0].data["is_copy"] is True


def test_a_table_that_is_made_is_no_copy(dataset: Dataset) -> None:
    adam = UserFactory.create()
    make_operator(adam)
    wanted = registration(dataset, table_folder("made"), is_copy=True)
    wanted["schema"] = {"columns": [{"name": "tailnum", "type": "string", "nullable": False}]}

    refused = client_of(fresh(adam)).post("/api/v1/datasets", wanted)

    assert problem(refused) == (422, "invalid")
    assert [error["field"] for error in refused.json()["errors"]] == ["is_copy"]
    assert not table_folder("made").exists()


def test_tables_that_cannot_be_datasets_are_refused_with_the_reason(dataset: Dataset) -> None:
    owner = client_of(person_with(Role.OWNER, dataset.project))
    nothing = table_folder("nothing")
    doubled = table_folder("doubled")
    merging.create_table(str(doubled), pa.table({"tailnum": ["N1", "N1", None], "seats": [1, 2, 3]}))

    missing = owner.post("/api/v1/datasets", registration(dataset, nothing))
    keys = owner.post("/api/v1/datasets", registration(dataset, doubled))
    column = owner.post("/api/v1/datasets", registration(dataset, doubled, primary_keys=["tail"]))
    twice = owner.post("/api/v1/datasets", registration(dataset, Path(dataset.table_uri + "/")))

    assert problem(missing) == (422, "invalid")
    assert problem(keys) == (422, "invalid")
    assert (keys.json()["null_rows"], keys.json()["duplicate_keys"]) == (1, 1)
    assert problem(column) == (422, "invalid")
    assert problem(twice) == (422, "invalid")
    assert [error["field"] for error in twice.json()["errors"]] == ["table_uri"]
    assert Dataset.objects.count() == 1
