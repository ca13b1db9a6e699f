"""FS7, FS8: how often passwords may be guessed, from where, and that nobody is locked out by others."""

import base64
from datetime import timedelta
from threading import Thread
from typing import Any

import pytest
import time_machine
from django.contrib.auth import authenticate
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.test import Client, RequestFactory
from django.utils import timezone
from pytest_django import Settings

from accounts import guard
from accounts.addresses import TrustedProxies, address_of
from accounts.errors import TooManyAttempts
from accounts.models import KnownPlace, SignInCount
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db

PAGE, API, ADMIN = "/sign-in/", "/api/v1/auth/token", "/admin/login/"
VICTIM, ATTACKER = "192.0.2.10", "198.51.100.7"


@pytest.fixture
def carl() -> User:
    return UserFactory.create(username="carl", password="headgate-demo", is_staff=True)


def try_once(
    password: str,
    *,
    at: str = PAGE,
    address: str = ATTACKER,
    name: str = "carl",
    client: Client | None = None,
    **headers: str,
) -> int:
    """The status of one attempt: 200 is a wrong password on a page, 302 or 200 over the API a right one."""
    body = {"username": name, "password": password}
    kind = {"content_type": "application/json"} if at == API else {}
    return (client or Client()).post(at, body, REMOTE_ADDR=address, **kind, **headers).status_code  # type: ignore[arg-type]


@pytest.mark.parametrize(("at", "wrong"), [(PAGE, 200), (API, 401), (ADMIN, 200)])
def test_fs7_the_eighth_wrong_password_answers_429_with_the_time_to_wait(
    carl: User, at: str, wrong: int
) -> None:
    assert [try_once(f"guess-{n}", at=at) for n in range(7)] == [wrong] * 7

    client = Client()
    body = {"username": "carl", "password": "guess"}
    kind = {"content_type": "application/json"} if at == API else {}
    eighth = client.post(at, body, REMOTE_ADDR=ATTACKER, **kind)  # type: ignore[arg-type]

    assert eighth.status_code == 429
    assert 880 <= int(eighth.headers["Retry-After"]) <= 900
    assert "Wait 15 minutes" in eighth.content.decode()
    assert try_once("headgate-demo", at=at) == 429
    with time_machine.travel(timezone.now() + timedelta(minutes=16), tick=False):
        assert try_once("headgate-demo", at=at) == (200 if at == API else 302)


def test_fs8_what_is_tried_on_a_page_counts_for_the_api_too(carl: User) -> None:
    assert [try_once("x") for _ in range(4)] == [200] * 4
    assert [try_once("x", at=API) for _ in range(4)] == [401, 401, 401, 429]


def test_fs8_a_victim_is_not_locked_out_by_anybody_elsewhere(carl: User) -> None:
    assert [try_once("x") for _ in range(12)][-5:] == [429] * 5

    assert try_once("headgate-demo", address=VICTIM) == 302
    assert try_once("headgate-demo", at=API, address=VICTIM) == 200


def test_fs8_a_browser_that_is_known_is_kept_out_by_nobody_at_its_own_address(carl: User) -> None:
    browser = Client()
    assert try_once("headgate-demo", address=VICTIM, client=browser) == 302
    browser.post("/sign-out/")

    locked = [try_once("x", address=VICTIM) for _ in range(9)]
    others = [try_once("x", address=VICTIM, name=f"name-{n}") for n in range(guard.ADDRESS_LIMIT)]

    assert (locked[-1], others[-1]) == (429, 429)
    assert try_once("headgate-demo", address=VICTIM, client=browser) == 302
    assert try_once("headgate-demo", address=VICTIM) == 429


def test_fs8_a_known_browser_has_a_strict_limit_of_its_own_and_for_its_own_account(carl: User) -> None:
    UserFactory.create(username="dora", password="headgate-demo")
    browser = Client()
    assert try_once("headgate-demo", client=browser) == 302
    browser.post("/sign-out/")

    assert [try_once("x", client=browser) for _ in range(9)][-2:] == [429, 429]
    assert [try_once("x", name="dora", client=browser) for _ in range(9)][-2:] == [429, 429]


def test_fs8_a_forged_browser_is_no_known_browser(carl: User) -> None:
    assert [try_once("x") for _ in range(8)][-1] == 429
    forged = Client()
    forged.cookies[guard.BROWSER_COOKIE] = "forged:1uXyZ:abc"
    assert try_once("headgate-demo", client=forged) == 429


def test_fs8_one_address_may_not_try_many_accounts(carl: User) -> None:
    answers = [try_once("x", name=f"name-{n}", at=API) for n in range(guard.ADDRESS_LIMIT + 1)]

    assert answers[:-2] == [401] * (guard.ADDRESS_LIMIT - 1)
    assert answers[-2:] == [429, 429]
    assert try_once("headgate-demo", at=API) == 429
    assert try_once("headgate-demo", at=API, address=VICTIM) == 200


def test_fs8_a_sign_in_with_ones_own_account_does_not_cover_for_guessing(carl: User) -> None:
    UserFactory.create(username="mallory", password="headgate-demo")
    for _ in range(7):
        assert try_once("x") == 200
    assert try_once("headgate-demo", name="mallory") == 302

    assert try_once("x") == 429


def test_fs8_guessing_one_account_from_many_addresses_is_slow_and_locks_nobody_out(carl: User) -> None:
    at_home = Client()
    assert try_once("headgate-demo", address=VICTIM, client=at_home) == 302
    with time_machine.travel(timezone.now(), tick=False) as clock:
        answers = [try_once("x", at=API, address=f"203.0.113.{n}") for n in range(guard.ACCOUNT_LIMIT + 5)]
        assert answers == [401] * guard.ACCOUNT_LIMIT + [429] * 5, "one wrong password, then none for 30 s"

        assert try_once("headgate-demo", at=API, address=VICTIM) == 200, "the address is known"
        assert try_once("headgate-demo", address="203.0.113.99", client=at_home) == 302, (
            "the browser is known"
        )
        stranger: dict[str, Any] = {"at": API, "address": "203.0.113.100"}
        assert try_once("headgate-demo", **stranger) == 429
        clock.shift(guard.STRANGERS_WAIT)
        assert try_once("headgate-demo", **stranger) == 200, "slower, but not locked out"


def test_fs8_x_forwarded_for_is_nobody_s_word_unless_a_trusted_proxy_says_it(
    carl: User, settings: Settings
) -> None:
    answers = [try_once("x", HTTP_X_FORWARDED_FOR=f"10.9.8.{n}") for n in range(9)]
    assert answers[-2:] == [429, 429]

    settings.TRUSTED_PROXIES = TrustedProxies.read(["10.0.0.0/8"])
    proxy = "10.0.0.1"
    spoofed = [try_once("x", address=proxy, HTTP_X_FORWARDED_FOR=f"10.9.8.{n}, {ATTACKER}") for n in range(9)]
    assert spoofed == [429] * 9, "the same caller as before, and the proxy says so"
    assert try_once("headgate-demo", address=proxy, HTTP_X_FORWARDED_FOR=f"{ATTACKER}, {VICTIM}") == 302


@pytest.mark.parametrize(
    ("setting", "peer", "header", "caller"),
    [
        ([], "10.0.0.1", "192.0.2.1", "10.0.0.1"),
        (["1"], "10.0.0.1", "", "10.0.0.1"),
        (["1"], "10.0.0.1", "6.6.6.6, 192.0.2.1", "192.0.2.1"),
        (["2"], "10.0.0.1", "6.6.6.6, 192.0.2.1, 10.0.0.2", "192.0.2.1"),
        (["2"], "10.0.0.1", "192.0.2.1", "192.0.2.1"),
        (["10.0.0.0/8"], "10.0.0.1", "6.6.6.6, 192.0.2.1, 10.3.4.5", "192.0.2.1"),
        (["10.0.0.0/8"], "192.0.2.9", "192.0.2.1", "192.0.2.9"),
        (["10.0.0.1", "::1"], "::1", "192.0.2.1:5060", "192.0.2.1"),
        (["10.0.0.1"], "::ffff:10.0.0.1", "[2001:db8::1]:443", "2001:db8::1"),
        (["10.0.0.1"], "10.0.0.1", "192.0.2.1, garbage", "10.0.0.1"),
        (["10.0.0.1"], "10.0.0.1", "192.0.2.1,", "10.0.0.1"),
        (["10.0.0.1"], "10.0.0.1", "10.0.0.1", "10.0.0.1"),
        (["unix"], "", "192.0.2.1", "192.0.2.1"),
        ([], "", "192.0.2.1", "unix"),
    ],
)
def test_fs8_the_caller_behind_proxies(
    settings: Settings, setting: list[str], peer: str, header: str, caller: str
) -> None:
    settings.TRUSTED_PROXIES = TrustedProxies.read(setting)
    meta: dict[str, Any] = {"HTTP_X_FORWARDED_FOR": header} if header else {}

    assert address_of(RequestFactory().get("/", REMOTE_ADDR=peer, **meta)) == caller


def test_fs8_a_server_that_believed_the_header_itself_is_not_believed(settings: Settings) -> None:
    """uvicorn believes ``X-Forwarded-For`` from loopback unless told otherwise, and then has no port to name."""
    request = RequestFactory().get("/", REMOTE_ADDR="6.6.6.6", REMOTE_PORT=0, HTTP_X_FORWARDED_FOR="6.6.6.6")
    assert address_of(request) == "127.0.0.1"
    settings.TRUSTED_PROXIES = TrustedProxies.read(["127.0.0.1"])
    assert address_of(request) == "6.6.6.6"


def test_fs8_one_household_is_one_caller_in_ipv6(carl: User) -> None:
    answers = [try_once("x", address=f"2001:db8:1:2::{n}") for n in range(1, 9)]
    assert answers[-1] == 429
    assert try_once("headgate-demo", address="2001:db8:1:3::1") == 302


@pytest.mark.parametrize("entry", ["everybody", "10.0.0.1/8", "1, 10.0.0.1"])
def test_fs8_a_setting_that_cannot_be_read_is_refused(entry: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="TRUSTED_PROXIES is a number"):
        TrustedProxies.read(entry.split(","))


def test_fs8_what_is_counted_tells_neither_names_nor_addresses(carl: User) -> None:
    try_once("x")
    try_once("headgate-demo", address=VICTIM)

    kept = str([*SignInCount.objects.values_list(), *KnownPlace.objects.values_list()])
    assert SignInCount.objects.exists()
    assert KnownPlace.objects.exists()
    for secret in ("carl", ATTACKER, VICTIM):
        assert secret not in kept


def test_counts_that_are_over_go_with_the_next_sign_in(carl: User) -> None:
    try_once("x")
    with time_machine.travel(timezone.now() + timedelta(days=91), tick=False):
        try_once("headgate-demo")
        assert not SignInCount.objects.filter(ends_at__lte=timezone.now()).exists()


@pytest.mark.parametrize("name", ["\0", "carl\0", "\ud800", "x" * 100_000, ""])
def test_fs7_names_that_nobody_can_have_are_wrong_names(carl: User, name: str) -> None:
    request = RequestFactory().post(PAGE)
    assert authenticate(request, username=name, password="headgate-demo") is None
    basic = base64.b64encode(f"{name}:x".encode(errors="replace")).decode()
    assert Client().post(API, HTTP_AUTHORIZATION=f"Basic {basic}").status_code in (401, 422)


@pytest.mark.django_db(transaction=True)
def test_fs8_many_attempts_at_once_are_all_counted() -> None:
    """The second look is under the lock of the count: nobody gains by asking at the same time."""
    let_in: list[guard.Attempt] = []

    def attempt() -> None:
        try:
            let_in.append(guard.begin(RequestFactory().post(PAGE, REMOTE_ADDR=ATTACKER), "carl"))
        except TooManyAttempts:
            pass
        finally:
            connection.close()

    threads = [Thread(target=attempt) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(let_in) == guard.PAIR_LIMIT
