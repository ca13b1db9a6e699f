"""Inviting people: by operators, to one account, once."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core import mail
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from accounts import invitations
from accounts.errors import InvitationOver
from accounts.models import Invitation
from audit.selectors import events_of
from datasets.errors import Forbidden, InvalidInput
from datasets.operators import make_operator
from datasets.roles import Role, role_on
from tests.factories import ProjectFactory, UserFactory, fresh

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator() -> User:
    adam = UserFactory.create(username="adam", first_name="Adam", last_name="Adeyemi")
    make_operator(adam)
    return fresh(adam)


def key_of(address: str) -> str:
    return address.rstrip("/").rpartition("/")[2]


def taken_up(key: str, **other: Any) -> User:
    given = {
        "username": "ida",
        "first_name": "Ida",
        "last_name": "Idris",
        "password": "a passphrase of her own",
    }
    return invitations.accept(key=key, **{**given, **other})


def test_whoever_is_invited_gets_an_account_with_the_role_once(operator: User) -> None:
    project = ProjectFactory.create()
    made, address = invitations.invite(
        actor=operator, email=" ida@example.org ", project=project, role=Role.CONTRIBUTOR
    )
    key = key_of(address)
    assert key not in str(vars(made))
    ida = taken_up(key)
    assert (ida.email, ida.is_staff, ida.is_superuser) == ("ida@example.org", False, False)
    assert ida.check_password("a passphrase of her own")
    assert role_on(fresh(ida), project) is Role.CONTRIBUTOR
    with pytest.raises(InvitationOver):
        taken_up(key, username="another")
    assert not Invitation.objects.exists()
    told = [event.action for event in events_of("user", "ida")]
    assert told == ["account.made"]


def test_another_invitation_takes_the_place_of_the_one_before(operator: User) -> None:
    _, first = invitations.invite(actor=operator, email="ida@example.org")
    _, second = invitations.invite(actor=operator, email="IDA@example.org")
    assert invitations.open_invitations().count() == 1
    with pytest.raises(InvitationOver):
        taken_up(key_of(first))
    assert taken_up(key_of(second)).username == "ida"


@pytest.mark.parametrize("typed", ["ｉｄａ", "ﬁona", "ida²", "\u212bsa"], ids=ascii)
def test_whoever_is_invited_signs_in_with_the_name_that_they_typed(operator: User, typed: str) -> None:
    """Full-width letters of a Japanese keyboard, ligatures and their like are read as plain ones, then as now."""
    _, address = invitations.invite(actor=operator, email="ida@example.org")
    taken_up(key_of(address), username=typed)
    credentials = {"username": typed, "password": "a passphrase of her own"}
    assert Client().post("/sign-in/", credentials).status_code == 302


@pytest.mark.parametrize("over", ["withdrawn", "a week later", "no operator any more"])
def test_an_invitation_ends(operator: User, over: str) -> None:
    made, address = invitations.invite(actor=operator, email="ida@example.org")
    if over == "withdrawn":
        invitations.withdraw(actor=operator, invitation_id=made.pk)
    elif over == "a week later":
        Invitation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    else:
        operator.groups.clear()
    with pytest.raises(InvitationOver):
        taken_up(key_of(address))
    assert not User.objects.filter(username="ida").exists()


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"username": "ADAM"}, "username"),
        ({"username": "ＡＤＡＭ"}, "username"),
        ({"username": "ida@ｓervice"}, "username"),
        ({"username": "i da"}, "username"),
        ({"username": ""}, "username"),
        ({"password": "12345"}, "password"),
        ({"password": "ida@example.org"}, "password"),
        ({"first_name": "x" * 151}, "first_name"),
    ],
)
def test_what_does_not_fit_is_said_at_its_field_and_the_invitation_stays(
    operator: User, given: dict[str, str], field: str
) -> None:
    _, address = invitations.invite(actor=operator, email="ida@example.org")
    with pytest.raises(InvalidInput) as refused:
        taken_up(key_of(address), **given)
    assert list(refused.value.by_field) == [field]
    assert User.objects.count() == 1
    assert taken_up(key_of(address)).username == "ida"


def test_only_operators_invite_and_nobody_twice(operator: User) -> None:
    carl = UserFactory.create(username="carl", email="carl@example.org")
    with pytest.raises(Forbidden):
        invitations.invite(actor=carl, email="ida@example.org")
    for email in ("no address", "CARL@example.org", ""):
        with pytest.raises(InvalidInput) as refused:
            invitations.invite(actor=operator, email=email)
        assert list(refused.value.by_field) == ["email"]
    assert not Invitation.objects.exists()


def test_it_is_sent_where_mail_is_set(operator: User, settings: Settings) -> None:
    made, address = invitations.invite(
        actor=operator,
        email="ida@example.org",
        project=ProjectFactory.create(name="<Sales> & more"),
        role=Role.VIEWER,
    )
    assert not invitations.send(made, address)
    settings.SENDS_MAIL = True
    assert invitations.send(made, address)
    [sent] = mail.outbox
    assert (sent.to, sent.subject) == (["ida@example.org"], "Adam Adeyemi invites you to Headgate")
    assert address in sent.body
    assert 'the role "viewer" in the project <Sales> & more' in sent.body
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_TIMEOUT = "127.0.0.1", 1, 1
    assert not invitations.send(made, address)
