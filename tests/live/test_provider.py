"""Signing in through an OpenID Connect provider, as a web process does it that was set up by its environment."""

import os
import time
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
import requests
from django.contrib.auth.models import Group, User
from django.test import Client

from accounts.invitations import invite
from accounts.models import BrowserSession, Identity
from datasets.models import Dataset
from datasets.operators import is_operator
from datasets.roles import Role, role_on
from tests import services
from tests.conftest import connected_database_url
from tests.factories import UserFactory, fresh, give_role
from tests.provider import LyingProvider, lying_provider

Claims = dict[str, Any]
STAFF = {"given_name": "Ada", "family_name": "Byron", "email": "ada@example.org", "email_verified": True}


@pytest.fixture(scope="module")
def started() -> Iterator[LyingProvider]:
    with lying_provider() as running:
        yield running


@pytest.fixture
def provider(started: LyingProvider) -> LyingProvider:
    started.be_honest()
    return started


@pytest.fixture(scope="module")
def headgate(
    live_root: Path, started: LyingProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of a web process that knows the provider."""
    folder = tmp_path_factory.mktemp("provider")
    (folder / "secret").write_text("only for the tests\n")
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "config.settings.dev",
        "DATABASE_URL": connected_database_url(),
        "CELERY_BROKER_URL": "memory://",
        "DELTA_DATA_ROOT": str(live_root),
        "OIDC_ISSUER": started.address,
        "OIDC_CLIENT_ID": "headgate",
        "OIDC_CLIENT_SECRET_FILE": str(folder / "secret"),
        "OIDC_NAME": "Example ID",
        "OIDC_GROUPS_CLAIM": "realm.groups",
        "OIDC_OPERATORS": "platform",
    }
    with services.web_process(environment, folder / "web.log") as address:
        yield address.replace("127.0.0.1", "localhost")


class Browser:
    """Somebody's browser, which goes to the provider and back as it is told to."""

    def __init__(self, headgate: str) -> None:
        self.address = headgate
        self.session = requests.Session()

    def begin(self, path: str = "/sign-in/provider/") -> str:
        """Where Headgate leads at the beginning: an address of the provider."""
        answer = self.session.get(self.address + path, allow_redirects=False, timeout=20)
        assert answer.status_code == 302, answer.text
        return str(answer.headers["Location"])

    def as_subject(self, subject: str, at: str) -> str:
        """Be this person at the provider; the address of the answer."""
        answer = self.session.post(at, data={"sub": subject}, allow_redirects=False, timeout=20)
        assert answer.status_code == 302
        return str(answer.headers["Location"])

    def get(self, address: str, *, on: bool = False) -> requests.Response:
        return self.session.get(address, allow_redirects=on, timeout=20)

    def sign_in(self, subject: str, path: str = "/sign-in/provider/") -> requests.Response:
        """The whole way; what Headgate answers at its end."""
        return self.get(self.as_subject(subject, self.begin(path)))

    def post(self, path: str, **fields: str) -> requests.Response:
        """Send a form of Headgate's, and follow where it leads."""
        self.get(f"{self.address}/sign-in/", on=True)
        fields["csrfmiddlewaretoken"] = str(self.session.cookies["csrftoken"])
        return self.session.post(
            self.address + path, data=fields, headers={"Referer": self.address}, timeout=20
        )

    def be(self, user: User) -> None:
        """Have a session of this person's."""
        client = Client()
        client.force_login(user)
        self.session.cookies.set("sessionid", str(client.cookies["sessionid"].value))

    def is_in(self) -> bool:
        return self.get(f"{self.address}/account/").status_code == 200


@pytest.fixture
def visitor(headgate: str) -> Browser:
    return Browser(headgate)


def refused(answer: requests.Response) -> tuple[int, str]:
    """The status and the sentence of a page that says why nobody was signed in."""
    _, _, rest = answer.text.partition("You are not signed in\n")
    return answer.status_code, " ".join(rest.partition("<p>")[2].partition("</p>")[0].split())


def test_somebody_comes_back_as_the_same_account_with_the_groups_of_the_claim(
    provider: LyingProvider, visitor: Browser, dataset: Dataset
) -> None:
    give_role(Group.objects.create(name="stewards"), dataset, Role.OWNER)
    mine = Group.objects.create(name="by-hand")
    provider.knows("s-1", **STAFF, preferred_username="ada", realm={"groups": ["stewards", "platform"]})

    answer = visitor.sign_in("s-1", "/sign-in/provider/?next=/datasets/")
    ada = User.objects.get(identity__subject="s-1")
    assert (answer.status_code, answer.headers["Location"], visitor.is_in()) == (302, "/datasets/", True)
    assert (ada.username, ada.get_full_name(), ada.email) == ("ada", "Ada Byron", "ada@example.org")
    assert (ada.has_usable_password(), is_operator(ada), role_on(ada, dataset)) == (False, True, Role.OWNER)
    assert BrowserSession.objects.filter(user=ada).count() == 1

    ada.groups.add(mine)
    provider.knows("s-1", **STAFF, preferred_username="renamed", realm={"groups": ["platform"]})
    Browser(visitor.address).sign_in("s-1")
    ada = fresh(ada)
    assert (ada.username, role_on(ada, dataset), is_operator(ada)) == ("ada", None, True)

    provider.knows("s-1", **STAFF)
    page = Browser(visitor.address)
    assert (
        "did not say which groups you are in" in page.get(page.as_subject("s-1", page.begin()), on=True).text
    )
    ada = fresh(ada)
    assert (is_operator(ada), ada.is_staff, list(ada.groups.all())) == (False, False, [mine])


def test_the_way_to_the_provider_has_state_nonce_and_pkce_and_takes_nothing_from_the_address(
    provider: LyingProvider, visitor: Browser
) -> None:
    place = urlsplit(
        visitor.begin("/sign-in/provider/?scope=admin&auth_params=prompt%3Dnone&process=connect")
    )
    asked = {name: value for name, [value] in parse_qs(place.query).items()}
    assert set(asked) == {
        *("client_id", "redirect_uri", "scope", "response_type", "state", "nonce"),
        *("code_challenge", "code_challenge_method"),
    }
    assert set(asked["scope"].split()) == {"openid", "profile", "email"}
    assert asked["redirect_uri"] == f"{visitor.address}/sign-in/provider/answer/"
    assert asked["code_challenge_method"] == "S256"


@pytest.mark.parametrize(
    "path", ["https://evil.example/", "//evil.example", "javascript:alert(1)", "/\\evil"]
)
def test_next_leads_to_this_site_alone(provider: LyingProvider, visitor: Browser, path: str) -> None:
    provider.knows("s-next", preferred_username="nadia")
    answer = visitor.sign_in("s-next", f"/sign-in/provider/?next={path}")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/")


def _unsigned(claims: Claims) -> str:
    return jwt.encode(claims, "", algorithm="none")


def _with_the_secret(claims: Claims) -> str:
    return jwt.encode(claims, "only for the tests" * 3, algorithm="HS256", headers={"kid": "first"})


LIES: dict[str, Callable[[Claims], Claims | str]] = {
    "wrong issuer": lambda claims: {**claims, "iss": "https://evil.example"},
    "wrong audience": lambda claims: {**claims, "aud": "another"},
    "another client's": lambda claims: {**claims, "aud": ["headgate", "another"], "azp": "another"},
    "no nonce": lambda claims: {name: value for name, value in claims.items() if name != "nonce"},
    "wrong nonce": lambda claims: {**claims, "nonce": "of yesterday"},
    "over": lambda claims: {**claims, "exp": int(time.time()) - 90},
    "from the future": lambda claims: {**claims, "iat": int(time.time()) + 90},
    "no subject": lambda claims: {**claims, "sub": None},
    "unsigned": _unsigned,
    "signed with a shared secret": _with_the_secret,
    "no token": lambda claims: "this is none",
}


@pytest.mark.parametrize("lie", LIES)
def test_an_id_token_that_does_not_hold_signs_nobody_in(
    provider: LyingProvider, visitor: Browser, lie: str
) -> None:
    people = User.objects.count()
    provider.knows("s-lie", preferred_username="lars")
    provider.id_token = LIES[lie]
    status, sentence = refused(visitor.sign_in("s-lie"))
    assert (status, sentence.startswith("Example ID "), visitor.is_in()) == (502, True, False)
    assert User.objects.count() == people


def test_clocks_may_differ_by_the_skew(provider: LyingProvider, visitor: Browser) -> None:
    provider.knows("s-skew", preferred_username="sky")
    now = int(time.time())
    provider.id_token = lambda claims: {**claims, "exp": now - 20, "iat": now + 20}
    assert (visitor.sign_in("s-skew").status_code, visitor.is_in()) == (302, True)


def test_what_the_provider_says_of_itself_and_of_others_is_not_believed_either(
    provider: LyingProvider, visitor: Browser
) -> None:
    provider.knows("s-lie", preferred_username="lars")
    provider.user_info = {"sub": "somebody else"}
    assert refused(visitor.sign_in("s-lie"))[1].startswith("Example ID told of another person")
    provider.be_honest()
    provider.sign_with = LyingProvider().published
    assert "does not hold" in refused(visitor.sign_in("s-lie"))[1]
    provider.be_honest()
    for change, words in (
        ({"issuer": "https://evil.example"}, "calls itself"),
        ({"token_endpoint": "http://evil.example/token"}, "names no https address"),
        ({"jwks_uri": None}, "names no https address"),
    ):
        provider.discovery = change
        status, sentence = refused(visitor.get(f"{visitor.address}/sign-in/provider/"))
        assert (status, words in sentence) == (502, True)


#: Answers that are none: each stands where the provider would say something about itself or somebody.
NO_ANSWERS: dict[str, tuple[dict[str, str], bytes]] = {
    "cut off": ({"Content-Type": "application/json", "Content-Length": "4000"}, b'{"issuer": "'),
    "no gzip": ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, b"{}"),
    "a page": ({"Content-Type": "text/html"}, b"<html>Please sign in to this network</html>"),
    "too deep": ({"Content-Type": "application/json"}, b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "a list": ({"Content-Type": "application/json"}, b"[]"),
    "endless digits": ({"Content-Type": "application/json"}, b'{"issuer": ' + b"1" * 5_000 + b"}"),
    "of another kind": (
        {"Content-Type": "application/json"},
        b'{"issuer": 1, "keys": [1, null, {"kty": 3}], "access_token": {}, "id_token": [], "sub": []}',
    ),
}


@pytest.mark.parametrize("answer", NO_ANSWERS)
def test_an_answer_that_cannot_be_read_signs_nobody_in_and_breaks_nothing(
    provider: LyingProvider, visitor: Browser, answer: str
) -> None:
    subject = f"s-11-{answer}"
    provider.knows(subject, preferred_username="kim")
    for path in ("/.well-known/openid-configuration", "/oauth2/token", "/jwks", "/userinfo"):
        provider.instead = {}
        back = visitor.as_subject(subject, visitor.begin())
        provider.instead = {path: NO_ANSWERS[answer]}
        status, sentence = refused(visitor.get(back))
        assert (status, sentence.startswith("Example ID "), visitor.is_in()) == (502, True, False), path
    assert not Identity.objects.filter(subject=subject).exists()

    provider.be_honest()
    visitor.sign_in(subject)
    provider.instead = {"/.well-known/openid-configuration": NO_ANSWERS[answer]}
    left = visitor.post("/sign-out/")
    assert (left.status_code, visitor.is_in()) == (200, False)


def test_a_provider_that_drips_bytes_holds_nobody_for_long(provider: LyingProvider, visitor: Browser) -> None:
    provider.knows("s-14", preferred_username="nell")
    back = visitor.as_subject("s-14", visitor.begin())
    provider.drips_at = "/userinfo"
    started = time.monotonic()
    status, sentence = refused(visitor.get(back))
    assert 14 < time.monotonic() - started < 19
    assert status == 502
    assert sentence == "Example ID takes longer than 15 seconds to answer. Try again in a moment."
    assert not visitor.is_in()


def test_whoever_signs_out_does_so_whatever_place_the_provider_names(
    provider: LyingProvider, visitor: Browser
) -> None:
    provider.knows("s-12", preferred_username="lou")
    for place in ("https://[", "javascript:alert(1)", 7, None):
        visitor.sign_in("s-12")
        provider.discovery = {"end_session_endpoint": place}
        left = visitor.post("/sign-out/")
        assert (left.status_code, "javascript" in left.text, visitor.is_in()) == (200, False, False)
        provider.be_honest()


#: Half of a pair of UTF-16: JSON can say it, and no database keep it.
HALF = "\ud800"


def test_texts_that_are_none_are_not_kept(provider: LyingProvider, visitor: Browser, headgate: str) -> None:
    claims = {
        "preferred_username": f"mo{HALF}",
        "given_name": f"Mo{HALF}",
        "family_name": "\0",
        "email": f"mo{HALF}@example.org",
        "email_verified": True,
        "realm": {"groups": [HALF, "\0", "crew"]},
    }
    provider.user_info = claims
    provider.knows("s-13")
    assert visitor.sign_in("s-13").status_code == 302
    mo = User.objects.get(identity__subject="s-13")
    assert (mo.username, mo.first_name, mo.last_name, mo.email) == ("mo", "Mo?", "", "")
    assert [group.name for group in mo.groups.all()] == ["crew"]

    provider.id_token = lambda told: {**told, "sub": HALF}
    provider.user_info = {"sub": HALF}
    assert refused(Browser(headgate).sign_in("s-13")) == (
        403,
        "The provider did not say who you are: its answer has no usable subject.",
    )


def test_a_provider_that_is_down_or_says_no_is_a_clear_page(
    provider: LyingProvider, visitor: Browser
) -> None:
    provider.knows("s-2", preferred_username="bo")
    at = visitor.begin()
    provider.is_down = True
    down = (502, "Example ID does not answer. Try again in a moment.")
    assert refused(visitor.get(f"{visitor.address}/sign-in/provider/")) == down
    provider.is_down = False
    answer = visitor.as_subject("s-2", at)
    provider.is_down = True
    status, sentence = refused(visitor.get(answer))
    assert (status, "Begin again" in sentence or "Try again" in sentence) == (502, True)
    provider.is_down = False

    cancelled = visitor.session.post(
        visitor.begin(), data={"action": "deny"}, allow_redirects=False, timeout=20
    )
    back = cancelled.headers["Location"]
    state = parse_qs(urlsplit(visitor.begin()).query)["state"][0]
    assert refused(visitor.get(f"{back}&state={state}"))[1] == "Signing in was cancelled at Example ID."
    state = parse_qs(urlsplit(visitor.begin()).query)["state"][0]
    place = f"{visitor.address}/sign-in/provider/answer/"
    assert refused(visitor.get(f"{place}?state={state}&error=server_error%3Cb%3E"))[1] == (
        "Example ID did not sign you in (server_errorb)."
    )
    assert not visitor.is_in()


def test_a_code_counts_once_and_in_the_browser_that_began_alone(
    provider: LyingProvider, visitor: Browser, headgate: str
) -> None:
    provider.knows("s-3", preferred_username="cleo")
    other = Browser(headgate)
    answer = visitor.as_subject("s-3", visitor.begin())
    assert refused(other.get(answer))[0] == 502  # another browser has no such state
    assert (other.is_in(), visitor.get(answer).status_code) == (False, 302)
    assert visitor.get(answer).status_code == 502  # again
    code = parse_qs(urlsplit(answer).query)["code"][0]
    state = parse_qs(urlsplit(other.begin()).query)["state"][0]
    place = f"{headgate}/sign-in/provider/answer/"
    replayed = other.get(f"{place}?code={code}&state={state}")
    assert (refused(replayed)[0], "Begin again" in refused(replayed)[1], other.is_in()) == (502, True, False)
    for query in ("", "?code=1", "?state=1&code=1", f"?state={state}", "?iss=https://evil.example"):
        assert refused(other.get(f"{place}{query}"))[0] == 502


def test_names_that_are_taken_and_addresses_of_others_end_in_no_other_account(
    provider: LyingProvider, visitor: Browser, headgate: str
) -> None:
    had = UserFactory.create(username="Dora", email="dora@example.org")
    provider.knows("s-4", preferred_username="dora@corp.example", email="dora@example.org")
    assert visitor.sign_in("s-4").status_code == 302  # the address is not verified: it is not taken
    new = User.objects.get(identity__subject="s-4")
    assert (new.username, new.email) == ("dora-2", "")

    provider.knows("s-5", preferred_username="dora", email="DORA@example.org", email_verified=True)
    status, sentence = refused(Browser(headgate).sign_in("s-5"))
    assert (status, "has your e-mail address already" in sentence) == (409, True)
    assert not Identity.objects.filter(user=had).exists()
    assert not Identity.objects.filter(subject="s-5").exists()

    provider.knows("s-6", preferred_username="\u0000 ../<b>", name="Łukasz Ż")
    assert Browser(headgate).sign_in("s-6").status_code == 302
    assert User.objects.get(identity__subject="s-6").username in ("b", "Łukasz.Ż")


def test_groups_that_cannot_be_read_and_operators_by_name_give_nothing(
    provider: LyingProvider, visitor: Browser, headgate: str
) -> None:
    provider.knows("s-7", preferred_username="eve", realm={"groups": {"platform": True}})
    assert refused(visitor.sign_in("s-7"))[0] == 403
    provider.knows("s-7", preferred_username="eve", realm={"groups": ["Operators", "a" * 151, "\n"]})
    assert Browser(headgate).sign_in("s-7").status_code == 302
    eve = User.objects.get(identity__subject="s-7")
    assert (is_operator(eve), eve.is_staff, list(eve.groups.all())) == (False, False, [])


def test_whoever_is_deactivated_is_refused_and_signing_out_ends_the_provider_s_session_too(
    provider: LyingProvider, visitor: Browser, headgate: str
) -> None:
    provider.knows("s-8", preferred_username="finn")
    visitor.sign_in("s-8")
    left = visitor.post("/sign-out/")
    assert (left.status_code, visitor.is_in()) == (200, False)
    assert f"{provider.address}/oauth2/end_session?id_token_hint=" in left.text

    User.objects.filter(username="finn").update(is_active=False)
    status, sentence = refused(Browser(headgate).sign_in("s-8"))
    assert (status, "deactivated" in sentence) == (403, True)


def test_a_password_account_is_linked_by_its_own_person_and_an_invitation_taken_up(
    provider: LyingProvider, headgate: str, dataset: Dataset
) -> None:
    gina = UserFactory.create(username="gina", email="gina@example.org")
    provider.knows("s-9", preferred_username="g", email="gina@example.org", email_verified=True)
    visitor = Browser(headgate)
    assert "Sign in with Example ID" in visitor.get(f"{headgate}/sign-in/").text
    visitor.be(gina)
    leaving = visitor.post("/account/provider/").text
    at = unescape(leaving.partition('content="0;url=')[2].partition('"')[0])
    stolen = visitor.as_subject("s-9", at)
    stranger = Browser(headgate)
    assert (stranger.get(stolen).status_code, Identity.objects.filter(user=gina).exists()) == (502, False)
    assert visitor.get(visitor.as_subject("s-9", at)).headers["Location"] == "/account/"
    assert Identity.objects.get(user=gina).subject == "s-9"
    assert (stranger.sign_in("s-9").status_code, stranger.is_in()) == (302, True)
    taken = UserFactory.create(username="hana")
    other = Browser(headgate)
    other.be(taken)
    at = unescape(other.post("/account/provider/").text.partition('content="0;url=')[2].partition('"')[0])
    assert other.get(other.as_subject("s-9", at)).status_code == 409
    assert not Identity.objects.filter(user=taken).exists()

    operator = UserFactory.create(is_superuser=True, is_staff=True)
    _, address = invite(
        actor=operator, email="ivo@example.org", project=dataset.project, role=Role.CONTRIBUTOR
    )
    key = address.rstrip("/").rpartition("/")[2]
    provider.knows("s-10", preferred_username="ivo")
    assert Browser(headgate).sign_in("s-10", f"/invitation/{key}/provider/").status_code == 302
    ivo = User.objects.get(identity__subject="s-10")
    assert (ivo.email, role_on(ivo, dataset)) == ("ivo@example.org", Role.CONTRIBUTOR)
    assert Browser(headgate).get(f"{headgate}/invitation/{key}/provider/").status_code == 410
