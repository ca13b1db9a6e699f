"""Projects, their members, and groups through the API."""

import pytest
from django.contrib.auth.models import User
from pytest_django import DjangoAssertNumQueries

from audit.selectors import events_in
from audit.services import INSTALLATION_STREAM
from changerequests.services.vouched import bent_rows
from datasets.models import Dataset, Project
from datasets.operators import make_operator
from datasets.roles import Role, role_on
from tests.api.clients import client_of, problem
from tests.factories import (
    DatasetFactory,
    GroupFactory,
    ProjectFactory,
    UserFactory,
    fresh,
    give_role,
    person_with,
)

pytestmark = pytest.mark.django_db
PROJECTS = "/api/v1/projects"


@pytest.fixture
def operator() -> User:
    made: User = UserFactory.create(username="adam")
    make_operator(made)
    return fresh(made)


@pytest.fixture
def project() -> Project:
    return ProjectFactory.create(slug="sales", name="Sales")


@pytest.fixture
def owner(project: Project) -> User:
    return person_with(Role.OWNER, project, username="olivia")


def actions() -> list[tuple[str, str]]:
    """What the installation's trail tells of projects."""
    told = events_in(INSTALLATION_STREAM).filter(action__startswith="project.")
    return list(told.values_list("action", "actor"))


def test_operators_make_projects_and_say_who_owns_them(operator: User) -> None:
    client, olivia = client_of(operator), UserFactory.create(username="olivia")

    made = client.post(PROJECTS, {"slug": "sales", "name": "Sales", "description": "What we sell."})

    assert made.status_code == 201
    assert made.headers["Location"].endswith("/api/v1/projects/sales")
    assert client.get(made.headers["Location"]).json() == made.json()
    assert (made.json()["slug"], made.json()["role"]) == ("sales", "none")
    given = client.put(f"{PROJECTS}/sales/members", {"name": "olivia", "role": "owner"})
    assert given.json() == [{"kind": "user", "name": "olivia", "role": "owner", "inherited": False}]
    assert client_of(fresh(olivia)).get(f"{PROJECTS}/sales").json()["role"] == "owner"
    assert actions() == [("project.created", "adam")]


@pytest.mark.parametrize("of", ["project", "dataset"])
def test_members_are_changed_by_what_was_seen_of_them(project: Project, owner: User, of: str) -> None:
    dataset = DatasetFactory.create(project=project)
    UserFactory.create(username="carl")
    client = client_of(owner)
    members = f"{PROJECTS}/sales/members" if of == "project" else f"/api/v1/datasets/{dataset.pk}/members"
    seen = client.get(members).headers["ETag"]
    assert client.get(members, headers={"if-none-match": seen}).status_code == 304

    carl = {"name": "carl", "role": "viewer"}
    made = client.put(members, carl, headers={"if-match": seen})
    assert made.status_code == 200
    late = client.put(members, {**carl, "role": "owner"}, headers={"if-match": seen})
    assert problem(late) == (412, "settings_changed")
    late = client.delete(f"{members}/user/carl", headers={"if-match": seen})
    assert problem(late) == (412, "settings_changed")
    assert "carl" in [one["name"] for one in client.get(members).json() if one["role"] == "viewer"]

    told = client.get(members)
    assert told.headers["ETag"].strip('"').startswith(made.headers["ETag"].strip('"'))
    removed = client.delete(f"{members}/user/carl", headers={"if-match": told.headers["ETag"]})
    assert removed.status_code == 204


def test_only_who_gives_roles_learns_who_is_there(project: Project) -> None:
    dataset = DatasetFactory.create(project=project)
    client = client_of(person_with(Role.CONTRIBUTOR, dataset))
    UserFactory.create(username="carl")
    for name in ("carl", "nobody"):
        asked = client.put(f"/api/v1/datasets/{dataset.pk}/members", {"name": name, "role": "viewer"})
        assert problem(asked) == (403, "forbidden")


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"slug": "Sales!", "name": "Sales"}, "slug"),
        ({"slug": "sales", "name": ""}, "name"),
        ({"slug": "sales", "name": "x" * 201}, "name"),
        ({"slug": "sales", "name": "Sales", "owner": "me"}, "owner"),
        ({"slug": "taken", "name": "Sales"}, "slug"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_made(
    operator: User, sent: dict[str, str], field: str
) -> None:
    ProjectFactory.create(slug="taken")
    answer = client_of(operator).post(PROJECTS, sent)
    assert problem(answer) == (422, "invalid")
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert [one.slug for one in Project.objects.all()] == ["taken"]


def test_owners_change_their_project_as_they_saw_it(owner: User, project: Project) -> None:
    client = client_of(owner)
    seen = client.get(f"{PROJECTS}/sales").headers["ETag"]

    changed = client.patch(f"{PROJECTS}/sales", {"name": "Sales 2"}, headers={"if-match": seen})
    late = client.patch(f"{PROJECTS}/sales", {"name": "Sales 3"}, headers={"if-match": seen})
    nothing = client.patch(f"{PROJECTS}/sales", {"name": "Sales 2"})
    of_slug = client.patch(f"{PROJECTS}/sales", {"slug": "other"})

    assert (changed.status_code, changed.json()["name"], changed.headers["ETag"] == seen) == (
        200,
        "Sales 2",
        False,
    )
    assert problem(late) == (412, "settings_changed")
    assert nothing.headers["ETag"] == changed.headers["ETag"]
    assert problem(of_slug) == (422, "invalid")
    assert actions() == [("project.changed", "olivia")]
    [event] = events_in(INSTALLATION_STREAM).filter(action="project.changed")
    assert event.data == {"name": {"before": "Sales", "after": "Sales 2"}}


def test_a_project_with_datasets_stays(owner: User, project: Project) -> None:
    dataset: Dataset = DatasetFactory.create(project=project)
    refused = client_of(owner).delete(f"{PROJECTS}/sales")
    assert problem(refused) == (409, "project_not_empty")
    assert role_on(fresh(owner), dataset) is Role.OWNER
    assert actions() == []


def test_an_empty_project_goes_with_its_roles(owner: User, project: Project) -> None:
    group = GroupFactory.create(name="Sellers")
    give_role(group, project, Role.CONTRIBUTOR)
    client, number = client_of(owner), project.pk

    assert client.delete(f"{PROJECTS}/sales").status_code == 204

    assert problem(client.get(f"{PROJECTS}/sales")) == (404, "not_found")
    assert actions() == [("project.deleted", "olivia")]
    again: Project = ProjectFactory.create(pk=number, slug="again")
    assert role_on(fresh(owner), again) is None
    assert [bent for bent in bent_rows() if bent.place.startswith("role of")] == []


def test_members_by_user_and_group_come_and_go(owner: User, project: Project) -> None:
    client, dataset = client_of(owner), DatasetFactory.create(project=project)
    UserFactory.create(username="vera")
    group = GroupFactory.create(name="North/South, née Ost")
    vera_in_group = UserFactory.create()
    vera_in_group.groups.add(group)
    for place, role in ((f"{PROJECTS}/sales", "viewer"), (f"/api/v1/datasets/{dataset.pk}", "contributor")):
        for kind, name in (("user", "vera"), ("group", group.name)):
            given = client.put(f"{place}/members", {"kind": kind, "name": name, "role": role})
            assert given.status_code == 200
            own = [one for one in given.json() if not one["inherited"] and one["name"] == name]
            assert own == [{"kind": kind, "name": name, "role": role, "inherited": False}]
    assert role_on(fresh(vera_in_group), dataset) is Role.CONTRIBUTOR

    of_group = f"members/group/{group.name}"
    assert client.delete(f"/api/v1/datasets/{dataset.pk}/{of_group}").status_code == 204
    assert role_on(fresh(vera_in_group), dataset) is Role.VIEWER  # the project's
    again = client.delete(f"/api/v1/datasets/{dataset.pk}/{of_group}")
    assert problem(again) == (404, "not_found")
    assert client.delete(f"{PROJECTS}/sales/{of_group}").status_code == 204
    assert role_on(fresh(vera_in_group), dataset) is None
    assert client.delete(f"{PROJECTS}/sales/members/user/vera").status_code == 204
    assert [one["name"] for one in client.get(f"{PROJECTS}/sales/members").json()] == ["olivia"]
    assert [bent for bent in bent_rows() if bent.place.startswith("role of")] == []


def test_the_last_owner_of_a_project_stays_one(owner: User, project: Project) -> None:
    client = client_of(owner)
    gone = client.delete(f"{PROJECTS}/sales/members/user/olivia")
    less = client.put(f"{PROJECTS}/sales/members", {"name": "olivia", "role": "viewer"})
    assert [problem(gone), problem(less)] == [(409, "last_owner")] * 2
    assert role_on(fresh(owner), project) is Role.OWNER


@pytest.mark.parametrize("kind", ["users", "nothing"])
def test_other_kinds_of_members_are_not_there(owner: User, project: Project, kind: str) -> None:
    assert problem(client_of(owner).delete(f"{PROJECTS}/sales/members/{kind}/olivia")) == (404, "not_found")
    assert role_on(fresh(owner), project) is Role.OWNER


def test_groups_are_listed_for_those_who_give_roles(
    owner: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    client, reader = client_of(owner), person_with(Role.VIEWER, DatasetFactory.create())
    for number in range(3):
        UserFactory.create().groups.add(GroupFactory.create(name=f"Team {number}"))
    with django_assert_num_queries(4):  # the token, the user's other tokens, what they own, the groups
        found = client.get("/api/v1/groups?search=team").json()["results"]
    assert [(one["name"], one["members"]) for one in found] == [("Team 2", 1), ("Team 1", 1), ("Team 0", 1)]
    assert problem(client_of(reader).get("/api/v1/groups")) == (403, "forbidden")
