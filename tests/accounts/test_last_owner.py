"""FS12: whatever has an owner keeps one, however somebody tries to go."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from datasets.errors import LastOwner
from datasets.models import Dataset
from datasets.operators import make_operator
from datasets.owners import owners_of
from datasets.roles import Role, role_on, set_role
from tests.api.clients import client_of, problem
from tests.factories import DatasetFactory, GroupFactory, UserFactory, fresh, give_role, person_with

pytestmark = pytest.mark.django_db


@pytest.fixture
def dataset() -> Dataset:
    made: Dataset = DatasetFactory.create(slug="planes", name="planes")
    return made


@pytest.fixture
def olivia(dataset: Dataset) -> User:
    return person_with(Role.OWNER, dataset, username="olivia")


@pytest.fixture
def operator() -> Client:
    root = UserFactory.create(username="root", is_staff=True, is_superuser=True)
    client = Client()
    client.force_login(root)
    return client


def page_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.mark.parametrize("role", [Role.CONTRIBUTOR, Role.VIEWER, None])
def test_fs12_the_last_owner_cannot_go(dataset: Dataset, olivia: User, role: Role | None) -> None:
    members = f"/api/v1/datasets/{dataset.pk}/members"
    place = [dataset.project.slug, dataset.slug]
    body = {"kind": "user", "name": "olivia", "role": role.value if role else None}

    with pytest.raises(LastOwner, match="Nobody else owns planes"):
        set_role(member=olivia, target=dataset, role=role, actor=olivia)
    refused = client_of(olivia).put(members, body)
    assert problem(refused) == (409, "last_owner")
    assert refused.json()["targets"] == ["planes"]
    gone = page_of(olivia).post(reverse("remove_member", args=place), {"kind": "user", "id": olivia.pk})
    assert (gone.status_code, "Nobody else owns planes" in gone.content.decode()) == (409, True)
    assert role_on(fresh(olivia), dataset) is Role.OWNER

    oskar = person_with(Role.OWNER, dataset.project, username="oskar")
    set_role(member=olivia, target=dataset, role=role, actor=olivia)
    assert list(owners_of(dataset)) == [oskar]
    with pytest.raises(LastOwner):
        set_role(member=oskar, target=dataset.project, role=role, actor=fresh(oskar))


def test_fs12_an_operator_cannot_take_the_last_owner_away_either(dataset: Dataset, olivia: User) -> None:
    adam = UserFactory.create(username="adam")
    make_operator(adam)
    with pytest.raises(LastOwner):
        set_role(member=olivia, target=dataset, role=None, actor=fresh(adam))
    answer = page_of(fresh(adam)).post(
        reverse("admin:datasets_dataset_members", args=[dataset.pk]),
        {"member": f"user:{olivia.pk}", "role": "none"},
    )
    assert answer.status_code == 409
    assert role_on(fresh(olivia), dataset) is Role.OWNER


def test_an_owner_who_has_left_or_an_empty_group_is_no_other_owner(dataset: Dataset, olivia: User) -> None:
    person_with(Role.OWNER, dataset, is_active=False)
    give_role(GroupFactory.create(), dataset, Role.OWNER)
    person_with(Role.OWNER, DatasetFactory.create())
    with pytest.raises(LastOwner):
        set_role(member=olivia, target=dataset, role=None, actor=olivia)


def account(user: User, **fields: Any) -> dict[str, Any]:
    """The admin's form of an account as it stands."""
    moment = {"date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}
    groups = [str(group.pk) for group in user.groups.all()]
    return {"username": user.username, "email": "", "is_active": "on", "groups": groups, **moment, **fields}


def _deactivate(operator: Client, user: User) -> Any:
    form = account(user)
    del form["is_active"]
    return operator.post(reverse("admin:auth_user_change", args=[user.pk]), form)


def _delete(operator: Client, user: User) -> Any:
    return operator.post(reverse("admin:auth_user_delete", args=[user.pk]), {"post": "yes"})


def _delete_selected(operator: Client, user: User) -> Any:
    chosen = {"action": "delete_selected", "_selected_action": [user.pk], "post": "yes"}
    return operator.post(reverse("admin:auth_user_changelist"), chosen)


@pytest.mark.parametrize("way", [_deactivate, _delete, _delete_selected])
def test_fs12_the_last_owners_account_stays(
    dataset: Dataset, olivia: User, operator: Client, way: Callable[[Client, User], Any]
) -> None:
    refused = way(operator, olivia)
    assert refused.status_code == 409
    assert "Nobody else owns planes. Make somebody else an owner first." in refused.content.decode()
    assert fresh(olivia).is_active
    assert role_on(fresh(olivia), dataset) is Role.OWNER

    person_with(Role.OWNER, dataset)
    assert way(operator, olivia).status_code == 302
    assert not User.objects.filter(pk=olivia.pk, is_active=True).exists()


def test_fs12_the_group_by_which_something_is_owned_keeps_its_last_member(
    dataset: Dataset, operator: Client
) -> None:
    owners, carl = GroupFactory.create(name="owners"), UserFactory.create(username="carl")
    carl.groups.add(owners)
    give_role(owners, dataset, Role.OWNER)

    left = operator.post(reverse("admin:auth_user_change", args=[carl.pk]), account(carl, groups=[]))
    gone = operator.post(reverse("admin:auth_group_delete", args=[owners.pk]), {"post": "yes"})

    assert (left.status_code, gone.status_code) == (409, 409)
    assert list(owners_of(dataset)) == [carl]
    person_with(Role.OWNER, dataset)
    assert (
        operator.post(reverse("admin:auth_group_delete", args=[owners.pk]), {"post": "yes"}).status_code
        == 302
    )


def test_what_nobody_owned_before_stands_in_nobodys_way(dataset: Dataset, operator: Client) -> None:
    carl = person_with(Role.CONTRIBUTOR, dataset)
    assert _delete(operator, carl).status_code == 302
