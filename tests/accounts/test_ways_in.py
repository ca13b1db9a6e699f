"""Ways in beside passwords, in one process: passwords switched off, links that let in once, people who left, keys."""

from dataclasses import replace
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import Group, User
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts import identities
from accounts.errors import IdentityTaken, SignInRefused
from accounts.invitations import invite
from accounts.models import BrowserSession, Identity, Token
from accounts.provider import SignInProvider
from audit.selectors import events_of
from config.env import Environment, sign_in_provider
from datasets.encryption import SecretUnreadable, decrypted, encrypted
from datasets.models import Dataset
from datasets.operators import is_operator, make_operator
from datasets.roles import Role
from notifications.kinds import Kind
from notifications.unsubscribing import Farewell, farewell_of, token_of
from tests.api.clients import client_of, problem
from tests.factories import UserFactory, fresh, give_role, person_with

pytestmark = pytest.mark.django_db

PROVIDER = SignInProvider.read(
    issuer="https://id.example.org/",
    client_id="headgate",
    secret="hidden",
    name="Example ID",
    scopes=["openid"],
    groups_claim="groups",
    groups=["/team/a=Team A"],
    operators=["platform"],
    makes_accounts=True,
    trusts_email=False,
    clock_skew_seconds=60,
    token_days=30,
)


@pytest.fixture
def passwords_off(settings: Any) -> None:
    settings.SIGN_IN_PROVIDER, settings.PASSWORD_SIGN_IN = PROVIDER, False


@pytest.fixture
def adam() -> User:
    made: User = UserFactory.create(username="adam", password="headgate-demo")
    make_operator(made)
    return fresh(made)


def run(*words: str) -> str:
    said = StringIO()
    call_command(*words, stdout=said)
    return said.getvalue()


def is_in(client: Client) -> bool:
    return client.get(reverse("account")).status_code == 200


def test_where_passwords_are_off_none_opens_anything(adam: User, passwords_off: None) -> None:
    client, form = Client(), {"username": "adam", "password": "headgate-demo"}
    page = client.get(reverse("login")).content.decode()
    assert ("Sign in with Example ID" in page, "Password" in page) == (True, False)
    refused = client.post(reverse("login"), form)
    assert (refused.status_code, "Passwords are switched off" in refused.content.decode()) == (403, True)
    assert client.post("/admin/login/", form).headers["Location"] == "/sign-in/?next=/admin/"
    over_api = client.post("/api/v1/auth/token", form, content_type="application/json")
    assert (over_api.status_code, over_api.json()["code"]) == (403, "passwords_off")
    assert (is_in(client), Token.objects.count()) == (False, 0)

    _, address = invite(actor=adam, email="ida@example.org")
    page = client.get(address.removeprefix("http://localhost:8000")).content.decode()
    assert ("Go on with Example ID" in page, "Make my account" in page) == (True, False)
    fields = {"username": "ida", "password": "a new passphrase 7", "password_again": "a new passphrase 7"}
    assert client.post(address.removeprefix("http://localhost:8000"), fields).status_code == 403
    assert not User.objects.filter(username="ida").exists()

    client.force_login(adam)
    account = client.get(reverse("account")).content.decode()
    assert ("Change your password" in account, "Link to Example ID" in account) == (False, True)


def test_an_operator_is_let_in_once_by_a_link_made_on_the_machine(adam: User, passwords_off: None) -> None:
    address = run("sign_in_link", "adam", "--reason", "provider is down").strip()
    path = address.removeprefix("http://localhost:8000")
    client, other = Client(), Client()
    assert "Sign in as adam" in client.get(path).content.decode()
    assert not is_in(client)
    assert (client.post(path).status_code, is_in(client)) == (302, True)
    assert (other.post(path).status_code, other.get(path).status_code, is_in(other)) == (410, 410, False)
    late = run("sign_in_link", "adam", "--reason", "again").strip().removeprefix("http://localhost:8000")
    with time_machine.travel(timezone.now() + timedelta(minutes=11), tick=False):
        assert other.post(late).status_code == 410
    assert [event.action for event in events_of("user", "adam")][-3:] == [
        "account.sign_in_link_made",
        "account.sign_in_link_used",
        "account.sign_in_link_made",
    ]
    UserFactory.create(username="nobody")
    with pytest.raises(CommandError, match="no active operator"):
        run("sign_in_link", "nobody", "--reason", "x")


def test_whoever_leaves_loses_sessions_and_tokens_at_once(dataset: Dataset) -> None:
    owner = person_with(Role.OWNER, dataset, username="olga")
    program, browser = client_of(owner), Client()
    browser.force_login(owner)
    assert (is_in(browser), program.get("/api/v1/datasets").status_code) == (True, 200)
    with pytest.raises(CommandError, match="Nobody else owns"):
        run("deactivate_person", "olga", "--reason", "left")
    assert (is_in(browser), fresh(owner).is_active) == (True, True)

    said = run("deactivate_person", "olga", "--reason", "left", "--although-last-owner")
    assert "has no owner now" in said
    assert is_in(browser) is False
    assert problem(program.get("/api/v1/datasets")) == (401, "not_authenticated")
    assert not BrowserSession.objects.filter(user=owner).exists()
    assert not Token.objects.filter(user=owner).exists()
    event = list(events_of("user", "olga"))[-1]
    assert (event.action, event.data["reason"], event.data["tokens"]) == ("account.deactivated", "left", 1)


def test_tokens_open_nothing_once_the_provider_has_not_vouched_for_long(settings: Any) -> None:
    settings.SIGN_IN_PROVIDER = PROVIDER
    user = identities.sign_in(provider=PROVIDER, claims={"sub": "1", "preferred_username": "pia"}).user
    program = client_of(user)
    assert program.get("/api/v1/datasets").status_code == 200
    Identity.objects.update(seen_at=timezone.now() - timedelta(days=31))
    assert program.get("/api/v1/datasets").status_code == 401
    identities.sign_in(provider=PROVIDER, claims={"sub": "1"})
    assert program.get("/api/v1/datasets").status_code == 200


def test_groups_are_mapped_and_what_a_person_signs_in_with_is_linked_by_command(settings: Any) -> None:
    settings.SIGN_IN_PROVIDER = PROVIDER
    rita = UserFactory.create(username="rita")
    run("link_person", "rita", "42")
    told = identities.sign_in(
        provider=PROVIDER, claims={"sub": "42", "groups": ["/team/a", "/team/b", "platform"]}
    )
    assert (told.user, told.is_new, told.lacks_groups) == (rita, False, False)
    assert sorted(told.user.groups.values_list("name", flat=True)) == ["Operators", "Team A"]
    assert is_operator(told.user)
    with pytest.raises(IdentityTaken):
        identities.link(provider=PROVIDER, claims={"sub": "42"}, user=UserFactory.create())
    with pytest.raises(CommandError, match="another person"):
        run("link_person", "rita", "43")
    run("link_person", "rita", "--unlink")
    with pytest.raises(SignInRefused):
        identities.sign_in(provider=replace(PROVIDER, makes_accounts=False), claims={"sub": "42"})
    assert User.objects.count() == 2


def test_whoever_unlinks_keeps_nothing_that_the_provider_gave_and_needs_another_way_in(
    settings: Any, dataset: Dataset
) -> None:
    settings.SIGN_IN_PROVIDER = PROVIDER
    mine = Group.objects.create(name="by hand")
    rita = UserFactory.create(username="rita", password="headgate-demo")
    rita.groups.add(mine)
    claims = {"sub": "42", "groups": ["/team/a", "platform"]}
    identities.link(provider=PROVIDER, claims=claims, user=rita)
    browser, other, program = Client(), Client(), client_of(rita)
    for one in (browser, other):
        one.force_login(rita)
    assert "Unlink from Example ID" in browser.get(reverse("account")).content.decode()
    assert is_operator(fresh(rita)) is True

    give_role(Group.objects.get(name="Team A"), dataset, Role.OWNER)
    assert browser.post(reverse("unlink_account")).status_code == 409
    assert (Identity.objects.count(), is_operator(fresh(rita)), is_in(other)) == (1, True, True)

    person_with(Role.OWNER, dataset)
    assert browser.post(reverse("unlink_account")).headers["Location"] == "/account/"
    assert list(fresh(rita).groups.all()) == [mine]
    assert (Identity.objects.count(), is_operator(fresh(rita)), fresh(rita).is_staff) == (0, False, False)
    assert (is_in(browser), is_in(other), program.get("/api/v1/datasets").status_code) == (True, False, 401)
    assert browser.post(reverse("unlink_account")).status_code == 422
    event = list(events_of("user", "rita"))[-1]
    assert (event.action, event.actor, event.data) == (
        "account.unlinked",
        "rita",
        {"issuer": "https://id.example.org", "sessions": 1, "tokens": 1},
    )

    only = identities.sign_in(provider=PROVIDER, claims={"sub": "43", "preferred_username": "sam"}).user
    browser.force_login(only)
    assert "Unlink from" not in browser.get(reverse("account")).content.decode()
    assert browser.post(reverse("unlink_account")).status_code == 422
    settings.PASSWORD_SIGN_IN = False
    identities.link(provider=PROVIDER, claims=claims, user=rita)
    browser.force_login(fresh(rita))
    assert browser.post(reverse("unlink_account")).status_code == 422
    assert Identity.objects.count() == 2
    run("link_person", "rita", "--unlink")
    assert (Identity.objects.count(), is_operator(fresh(rita))) == (1, False)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"oidc_issuer": "http://id.example.org"}, "OIDC_ISSUER"),
        ({"oidc_issuer": "https://id.example.org"}, "OIDC_CLIENT_ID"),
        ({"oidc_issuer": "https://a.example", "oidc_client_id": "x", "oidc_scopes": ["email"]}, "openid"),
        ({"oidc_issuer": "https://a.example", "oidc_client_id": "x", "oidc_groups": ["a"]}, "VALUE=GROUP"),
        ({"password_sign_in": False}, "nobody could sign in"),
    ],
)
def test_a_provider_that_cannot_work_is_refused_at_the_start(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=words):
        sign_in_provider(Environment(**given))


def test_the_client_s_secret_is_shown_nowhere() -> None:
    assert "hidden" not in repr(PROVIDER)


def test_another_secret_key_ends_nothing_while_the_one_before_is_known(settings: Any, adam: User) -> None:
    client, before = Client(), settings.SECRET_KEY
    client.force_login(adam)
    kept, farewell = encrypted("a webhook's"), token_of(Farewell(adam.pk, (Kind.ACCESS,)))
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "another key " * 5, [before]
    assert (is_in(client), decrypted(kept), farewell_of(farewell) is None) == (True, "a webhook's", False)
    anew = encrypted("a webhook's")
    settings.SECRET_KEY_FALLBACKS = []
    assert (is_in(client), decrypted(anew)) == (True, "a webhook's")  # the session was signed anew meanwhile
    with pytest.raises(SecretUnreadable):
        decrypted(kept)
    assert farewell_of(farewell) is None
