"""What pipelines are here: made by operators and owners of projects, with tokens, no sign-in."""

from datetime import timedelta
from importlib import import_module
from io import StringIO
from typing import Any

import pytest
import time_machine
from django.apps import apps
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts import service_accounts
from accounts.models import ServiceAccount, Token
from accounts.scopes import Scope
from audit.selectors import events_of
from changerequests.facts import facts_of
from changerequests.models import ChangeRequest
from changerequests.services.readiness import approvals_that_count
from changerequests.services.reviews import review
from datasets.errors import Forbidden, InvalidInput
from datasets.models import Dataset
from datasets.operators import make_operator
from datasets.roles import Role, role_on
from datasets.services.settings import change_settings
from tests.api.clients import client_of, problem
from tests.factories import ChangeRequestFactory, UserFactory, fresh, give_role, person_with

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner(dataset: Dataset) -> User:
    made = person_with(Role.OWNER, dataset, username="olga")
    give_role(made, dataset.project, Role.OWNER)
    return made


@pytest.fixture
def nightly(owner: User, dataset: Dataset) -> ServiceAccount:
    return service_accounts.create(
        actor=owner, name="nightly", project=dataset.project, role=Role.CONTRIBUTOR, purpose="loads planes"
    )


def program(key: str) -> Any:
    client = client_of(UserFactory.create())
    client.credentials(HTTP_AUTHORIZATION=f"Token {key}")
    return client


def test_owners_of_a_project_make_one_for_it_and_operators_for_everything(
    owner: User, dataset: Dataset, nightly: ServiceAccount
) -> None:
    assert (nightly.user.username, role_on(nightly.user, dataset)) == ("nightly@service", Role.CONTRIBUTOR)
    assert nightly.user.has_usable_password() is False
    contributor = person_with(Role.CONTRIBUTOR, dataset)
    for actor, project in ((contributor, dataset.project), (owner, None), (nightly.user, dataset.project)):
        with pytest.raises(Forbidden):
            service_accounts.create(actor=actor, name="other", project=project)
    for name in ("nightly", "Nightly", "a b", "", "-x", "x@y", "ö"):
        with pytest.raises(InvalidInput):
            service_accounts.create(actor=owner, name=name, project=dataset.project)
    adam = UserFactory.create()
    make_operator(adam)
    service_accounts.create(actor=fresh(adam), name="everywhere")
    assert [one.user.username for one in service_accounts.managed_by(fresh(adam))] == [
        "everywhere@service",
        "nightly@service",
    ]
    assert [one.pk for one in service_accounts.managed_by(owner)] == [nightly.pk]
    assert not service_accounts.managed_by(nightly.user).exists()


def test_a_token_is_rotated_both_open_for_a_day_and_all_end_with_the_account(
    owner: User, nightly: ServiceAccount
) -> None:
    first, old = service_accounts.make_token(
        actor=owner, account=nightly, name="load", scopes=[Scope.READ], days=7
    )
    second, new = service_accounts.rotate_token(actor=owner, account=nightly, number=first.number)
    assert (second.name, second.scopes) == ("load", ["read"])
    for key in (old, new):
        assert program(key).get("/api/v1/datasets").status_code == 200
        assert problem(program(key).post("/api/v1/auth/password", {})) == (403, "scope_missing")
    with time_machine.travel(timezone.now() + timedelta(hours=25)):
        assert program(old).get("/api/v1/datasets").status_code == 401
        assert program(new).get("/api/v1/datasets").status_code == 200
    actions = [event.action for event in events_of("token", str(first.number))]
    assert (actions, events_of("token", str(first.number))[0].data["of"]) == (
        ["token.made"],
        "nightly@service",
    )

    service_accounts.deactivate(actor=owner, account=nightly, reason="no more")
    assert program(new).get("/api/v1/datasets").status_code == 401
    assert not Token.objects.filter(user=nightly.user).exists()
    with pytest.raises(InvalidInput, match="deactivated"):
        service_accounts.make_token(actor=owner, account=ServiceAccount.objects.get(), name="again")


def test_a_token_has_one_in_its_place_at_most(owner: User, nightly: ServiceAccount) -> None:
    first, _ = service_accounts.make_token(actor=owner, account=nightly, scopes=[Scope.READ], days=30)
    second, _ = service_accounts.rotate_token(actor=owner, account=nightly, number=first.number)
    path = f"/api/v1/service_accounts/{nightly.pk}/tokens/{first.number}/rotate"
    answer = client_of(owner).post(path)
    assert problem(answer) == (422, "invalid")
    assert f"the token {second.number} is in its place" in answer.json()["message"]
    assert Token.objects.filter(user=nightly.user).count() == 2
    browser = Client()
    browser.force_login(owner)
    page = reverse("service_account", args=[nightly.pk])
    told = browser.post(f"{page}tokens/{first.number}/rotate/", follow=True).content.decode()
    assert "This token was rotated already" in told
    assert told.count("/rotate/") == 1
    third, _ = service_accounts.rotate_token(actor=owner, account=nightly, number=second.number)
    assert third.replaces == second
    service_accounts.revoke_token(actor=owner, account=nightly, number=second.number)
    assert Token.objects.get(pk=third.pk).replaces is None


def test_nobody_signs_in_as_one_and_no_person_is_called_so(nightly: ServiceAccount) -> None:
    nightly.user.set_password("headgate-demo")
    nightly.user.save()
    client = Client()
    answer = client.post(reverse("login"), {"username": "nightly@service", "password": "headgate-demo"})
    assert (answer.status_code, client.get(reverse("account")).status_code) == (200, 302)
    admin = Client()
    admin.force_login(UserFactory.create(is_staff=True, is_superuser=True))
    form = {"username": "eve@service", "password1": "a new passphrase 7", "password2": "a new passphrase 7"}
    assert admin.post("/admin/auth/user/add/", {**form, "usable_password": "true"}).status_code == 422
    assert not User.objects.filter(username="eve@service").exists()


def test_its_approval_counts_where_the_dataset_says_so_alone_and_never_of_its_own_content(
    owner: User, nightly: ServiceAccount, dataset: Dataset
) -> None:
    request: ChangeRequest = ChangeRequestFactory.create(dataset=dataset)
    review(change_request_id=request.pk, actor=nightly.user, verdict="approve")
    mine: ChangeRequest = ChangeRequestFactory.create(dataset=dataset, author=nightly.user)
    with pytest.raises(Forbidden):
        review(change_request_id=mine.pk, actor=nightly.user, verdict="approve")

    def counting() -> tuple[int, int]:
        found = ChangeRequest.objects.annotate(counted=approvals_that_count()).get(pk=request.pk)
        return len(facts_of(found).approvals), found.counted

    assert counting() == (0, 0)
    change_settings(dataset_id=dataset.pk, actor=owner, changes={"service_approvals_count": True})
    assert counting() == (1, 1)

    client = Client()
    client.force_login(owner)
    shown = client.get(reverse("change_request", args=[request.cr_id])).content.decode()
    assert "nightly@service (service account)" in shown


def counts(request: ChangeRequest) -> tuple[int, int]:
    """How many approvals count: as gates look at them, and as lists do."""
    found = ChangeRequest.objects.annotate(counted=approvals_that_count()).get(pk=request.pk)
    return len(facts_of(found).approvals), found.counted


def test_four_eyes_are_those_of_two_people_whatever_keys_one_of_them_holds(
    owner: User, nightly: ServiceAccount, dataset: Dataset
) -> None:
    change_settings(dataset_id=dataset.pk, actor=owner, changes={"service_approvals_count": True})
    other = person_with(Role.CONTRIBUTOR, dataset, username="otto")
    watcher = service_accounts.create(
        actor=owner, name="watcher", project=dataset.project, role=Role.CONTRIBUTOR
    )

    def approved_by(*reviewers: User, author: User) -> ChangeRequest:
        made: ChangeRequest = ChangeRequestFactory.create(dataset=dataset, author=author)
        for reviewer in reviewers:
            review(change_request_id=made.pk, actor=reviewer, verdict="approve")
        return made

    by_pipeline = approved_by(owner, other, author=nightly.user)
    assert counts(by_pipeline) == (2, 2)  # nobody could have acted as the pipeline yet
    token, _ = service_accounts.make_token(actor=owner, account=nightly, name="load")
    assert counts(by_pipeline) == (1, 1)
    service_accounts.revoke_token(actor=owner, account=nightly, number=token.number)
    assert counts(by_pipeline) == (1, 1)  # it may have been used
    client = Client()
    client.force_login(other)
    shown = client.get(reverse("change_request", args=[by_pipeline.cr_id])).content.decode()
    assert "whoever holds a service account’s key is one with it" in shown

    assert counts(approved_by(nightly.user, author=owner)) == (0, 0)
    assert counts(approved_by(nightly.user, owner, author=other)) == (1, 1)
    assert counts(approved_by(owner, nightly.user, author=other)) == (1, 1)
    assert counts(approved_by(watcher.user, author=nightly.user)) == (1, 1)
    service_accounts.make_token(actor=owner, account=watcher, name="watch")
    assert counts(approved_by(watcher.user, author=nightly.user)) == (0, 0)
    assert counts(approved_by(watcher.user, nightly.user, author=other)) == (1, 1)
    assert counts(approved_by(watcher.user, watcher.user, author=other)) == (1, 1)
    assert counts(approved_by(watcher.user, nightly.user, owner, author=other)) == (1, 1)
    stranger = person_with(Role.CONTRIBUTOR, dataset)
    assert counts(approved_by(watcher.user, stranger, author=other)) == (2, 2)


def test_whoever_leaves_is_told_with_the_keys_that_they_may_know(
    owner: User, nightly: ServiceAccount, dataset: Dataset
) -> None:
    leaver, admin = person_with(Role.CONTRIBUTOR, dataset, username="lea"), Client()
    admin.force_login(UserFactory.create(is_staff=True, is_superuser=True))
    give_role(leaver, dataset.project, Role.OWNER)
    token, _ = service_accounts.make_token(actor=fresh(leaver), account=nightly, name="load")
    said = StringIO()
    call_command("deactivate_person", "lea", "--reason", "left", stdout=said)
    assert "lea has made tokens of nightly@service and may know one: rotate them." in said.getvalue()
    assert list(events_of("user", "lea"))[-1].data["keys_known"] == ["nightly@service"]

    User.objects.filter(pk=leaver.pk).update(is_active=True)
    fields = {"username": "lea", "date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}
    shown = admin.post(f"/admin/auth/user/{leaver.pk}/change/", fields, follow=True)
    assert "has made tokens of nightly@service and may know one" in shown.content.decode()

    User.objects.filter(pk=leaver.pk).update(is_active=True)
    service_accounts.revoke_token(actor=owner, account=nightly, number=token.number)
    said = StringIO()
    call_command("deactivate_person", "lea", "--reason", "left", stdout=said)
    assert "nightly@service" not in said.getvalue()


def test_whoever_made_tokens_before_it_was_kept_is_found_in_the_trail(
    owner: User, nightly: ServiceAccount
) -> None:
    service_accounts.make_token(actor=owner, account=nightly, name="load")
    nightly.key_holders.clear()
    import_module("accounts.migrations.0007_key_holders").take_over(apps, None)
    assert list(nightly.key_holders.all()) == [owner]


def test_operators_make_one_by_command_with_its_first_token(dataset: Dataset) -> None:
    adam = UserFactory.create(username="adam")
    make_operator(adam)
    said = StringIO()
    words = ["nightly", "--as", "adam", "--project", dataset.project.slug, "--role", "viewer"]
    call_command("make_service_account", *words, "--token", "read", stdout=said, stderr=StringIO())
    found = program(said.getvalue().strip()).get("/api/v1/datasets").json()["results"]
    assert [one["id"] for one in found] == [dataset.pk]


def test_pages_make_tokens_for_those_that_one_manages(owner: User, dataset: Dataset) -> None:
    client, stranger = Client(), Client()
    client.force_login(owner)
    stranger.force_login(person_with(Role.CONTRIBUTOR, dataset))
    form = {"name": "nightly", "project": dataset.project.slug, "role": "contributor", "purpose": "loads"}
    assert client.post(reverse("service_accounts"), form).status_code == 302
    assert client.post(reverse("service_accounts"), form).status_code == 422
    made = ServiceAccount.objects.get()
    page = reverse("service_account", args=[made.pk])
    shown = client.post(f"{page}tokens/", {"name": "load", "scopes": ["read"], "days": "7"}).content.decode()
    key = shown.partition('id="new-token">')[2].partition("<")[0]
    assert program(key).get("/api/v1/datasets").status_code == 200
    number = Token.objects.get(user=made.user).number
    assert "goes on for a day" in client.post(f"{page}tokens/{number}/rotate/").content.decode()
    assert stranger.get(page).status_code == 404
    assert stranger.post(f"{page}tokens/{number}/revoke/").status_code == 404
    assert client.post(f"{page}tokens/{number}/revoke/").status_code == 302
    assert Token.objects.filter(user=made.user).count() == 1
    assert client.post(f"{page}deactivate/", {"reason": ""}).status_code == 422
    assert client.post(f"{page}deactivate/", {"reason": "no more"}).status_code == 302
    assert (fresh(made.user).is_active, Token.objects.filter(user=made.user).count()) == (False, 0)
