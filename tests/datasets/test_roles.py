"""Viewer, contributor, owner: for users and groups, on datasets and through their projects."""

import pytest
from django.contrib.auth.models import AnonymousUser, Permission, User
from django.db import connection
from django.db.models import BooleanField, ExpressionWrapper
from pytest_django import DjangoAssertNumQueries

from audit.selectors import events_in, events_of
from audit.services import INSTALLATION_STREAM
from changerequests.models import ChangeRequest
from datasets.errors import Forbidden, NotFound
from datasets.models import Dataset, Project
from datasets.roles import (
    Role,
    datasets_with_role,
    holds_role,
    is_owner,
    may_contribute,
    members_of,
    role_on,
    set_role,
    visible_dataset,
    visible_projects,
)
from tests.factories import (
    ChangeRequestFactory,
    DatasetFactory,
    GroupFactory,
    ProjectFactory,
    UserFactory,
    fresh,
    give_role,
    person_with,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def other(dataset: Dataset) -> Dataset:
    """Another dataset of the same project."""
    return DatasetFactory.create(project=dataset.project)


@pytest.mark.parametrize("through", ["dataset", "project", "group on the dataset", "group on the project"])
@pytest.mark.parametrize("role", list(Role))
def test_a_role_holds_however_it_was_given(
    dataset: Dataset, other: Dataset, role: Role, through: str
) -> None:
    person = UserFactory.create()
    target = dataset.project if "project" in through else dataset
    if through.startswith("group"):
        group = GroupFactory.create()
        person.groups.add(group)
        give_role(group, target, role)
    else:
        give_role(person, target, role)
    person = fresh(person)

    assert role_on(person, dataset) is role
    assert may_contribute(person, dataset) == (role is not Role.VIEWER)
    assert is_owner(person, dataset) == (role is Role.OWNER)
    assert visible_dataset(person, dataset.pk) == dataset
    seen = {dataset, other} if "project" in through else {dataset}
    assert set(datasets_with_role(person)) == seen
    assert set(datasets_with_role(person, Role.OWNER)) == (seen if role is Role.OWNER else set())
    assert set(visible_projects(person)) == {dataset.project}


@pytest.mark.both_databases
def test_whether_some_hold_a_role_costs_the_same_however_many_others_do(dataset: Dataset) -> None:
    group = GroupFactory.create()
    give_role(group, dataset.project, Role.CONTRIBUTOR)
    people = [User(username=f"member-{number}") for number in range(500)]
    group.user_set.set(User.objects.bulk_create(people))
    member = fresh(User.objects.get(username="member-7"))
    requests = [ChangeRequestFactory.create(dataset=dataset, author=member), ChangeRequestFactory.create()]
    held = holds_role(Role.CONTRIBUTOR, user="author", dataset="dataset_id", project="dataset__project_id")
    asked = ChangeRequest.objects.annotate(entitled=ExpressionWrapper(held, BooleanField())).order_by("pk")
    assert [one.entitled for one in asked] == [
        role_on(one.author, one.dataset) in (Role.CONTRIBUTOR, Role.OWNER) for one in requests
    ]
    assert asked[0].entitled
    if connection.vendor == "postgresql":  # a hashed one is read for everybody
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
        assert "hashed SubPlan" not in asked.explain(verbose=True)


def test_the_strongest_role_counts(dataset: Dataset) -> None:
    person = person_with(Role.CONTRIBUTOR, dataset)
    give_role(person, dataset.project, Role.OWNER)
    assert role_on(fresh(person), dataset) is Role.OWNER
    give_role(person, dataset.project, Role.VIEWER)
    assert role_on(fresh(person), dataset) is Role.CONTRIBUTOR


def test_a_role_replaces_the_one_before_and_none_takes_it(dataset: Dataset) -> None:
    person = person_with(Role.OWNER, dataset)
    give_role(person, dataset, Role.VIEWER)
    assert role_on(fresh(person), dataset) is Role.VIEWER
    give_role(person, dataset, None)
    assert role_on(fresh(person), dataset) is None


def test_what_one_may_not_see_is_not_there(dataset: Dataset) -> None:
    stranger = UserFactory.create()

    for user, pk in ((stranger, dataset.pk), (stranger, 999), (person_with(Role.VIEWER, dataset), 999)):
        with pytest.raises(NotFound, match="There is no such dataset, or you may not see it"):
            visible_dataset(user, pk)
    assert list(datasets_with_role(stranger)) == []


def test_nobody_and_people_who_left_have_no_role(dataset: Dataset) -> None:
    person = person_with(Role.OWNER, dataset)
    person.is_active = False
    person.save()

    assert role_on(fresh(person), dataset) is None
    assert role_on(AnonymousUser(), dataset) is None


def test_model_permissions_are_no_roles(dataset: Dataset) -> None:
    person = UserFactory.create()
    person.user_permissions.set(Permission.objects.filter(content_type__app_label="datasets"))

    assert role_on(fresh(person), dataset) is None
    assert list(datasets_with_role(fresh(person))) == []


@pytest.mark.parametrize("role", [None, Role.VIEWER, Role.CONTRIBUTOR])
def test_only_owners_give_roles(dataset: Dataset, role: Role | None) -> None:
    person = person_with(role, dataset)

    with pytest.raises(Forbidden):
        set_role(member=person, target=dataset, role=Role.OWNER, actor=person)

    assert role_on(fresh(person), dataset) is role


def test_owners_of_a_dataset_do_not_rule_its_project(dataset: Dataset, other: Dataset) -> None:
    owner = person_with(Role.OWNER, dataset)

    with pytest.raises(Forbidden):
        set_role(member=owner, target=dataset.project, role=Role.OWNER, actor=owner)
    with pytest.raises(Forbidden):
        set_role(member=owner, target=other, role=Role.OWNER, actor=owner)


def test_roles_are_in_the_trail(dataset: Dataset) -> None:
    owner = person_with(Role.OWNER, dataset.project, username="olivia")
    group = GroupFactory.create(name="analysts")

    set_role(member=group, target=dataset, role=Role.VIEWER, actor=owner)

    event = events_of("dataset", str(dataset.pk)).get(action="member.role_set")
    assert (event.actor, event.data) == ("olivia", {"member": "analysts", "kind": "group", "role": "viewer"})
    of_project = events_in(INSTALLATION_STREAM).get(action="member.role_set")
    assert (of_project.subject_type, of_project.data["member"]) == ("project", "olivia")


def test_members_are_listed_strongest_first(dataset: Dataset) -> None:
    vera: User = UserFactory.create(username="vera")
    olivia: User = UserFactory.create(username="olivia")
    analysts = GroupFactory.create(name="analysts")
    vera.groups.add(analysts)
    give_role(vera, dataset, Role.VIEWER)
    give_role(olivia, dataset, Role.OWNER)
    give_role(analysts, dataset, Role.CONTRIBUTOR)

    assert members_of(dataset) == [(olivia, Role.OWNER), (analysts, Role.CONTRIBUTOR), (vera, Role.VIEWER)]
    assert members_of(dataset.project) == []


def test_many_members_are_found_in_two_queries(
    dataset: Dataset, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    people = [person_with(role, dataset, username=f"{role}-{n}") for role in Role for n in range(3)]
    members_of(dataset)  # the content type is known from then on

    with django_assert_num_queries(2):
        found = members_of(dataset)

    assert found == [
        (person, role) for role in reversed(Role) for person in people if person.username.startswith(role)
    ]


def test_roles_on_others_of_the_same_number_make_no_members(dataset: Dataset, other: Dataset) -> None:
    owner = person_with(Role.OWNER, other)
    # Permissions name their object by its number alone.
    project = Project.objects.filter(pk=dataset.pk).first() or ProjectFactory.create(pk=dataset.pk)
    person_with(Role.OWNER, project)

    assert members_of(dataset) == []
    assert members_of(other) == [(owner, Role.OWNER)]
