"""How often somebody may guess a password.

Three counts, in the database that all processes share; the first that is full refuses:

* an **account at an address**, or in a browser that the account signed in with before: strict;
* an **address**, whatever accounts it tries;
* an **account**, over all comers that are strange to it: past the limit one password is let through in each
  ``STRANGERS_WAIT``, so that guessing from many addresses is slow, and still nobody is locked out from elsewhere.

A browser from which the account signed in lately has its own strict count and no other, so that nothing that anybody
does elsewhere, or at the same address, keeps its person out. An address from which the account signed in lately is not
strange to it. An attempt is counted before its password is looked at: whoever sends many at once gains nothing.
"""

import secrets
import unicodedata
from dataclasses import dataclass
from datetime import timedelta
from math import ceil
from typing import Final

from django.conf import settings
from django.core.signing import BadSignature, TimestampSigner
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.crypto import salted_hmac

from accounts.addresses import address_of, network_of
from accounts.errors import TooManyAttempts
from accounts.models import KnownPlace, SignInCount
from audit.row_locks import locked

WINDOW: Final = timedelta(minutes=15)
#: Failures of an account at one address, or in one known browser.
PAIR_LIMIT: Final = 8
#: Failures of one address over all accounts: colleagues share addresses, so it is wider.
ADDRESS_LIMIT: Final = 40
#: Failures of one account over all comers that are strange to it.
ACCOUNT_LIMIT: Final = 40
#: Past that, strangers may try one password in this time between them.
STRANGERS_WAIT: Final = timedelta(seconds=30)
#: How long a browser or an address is known after a sign-in.
KNOWN_FOR: Final = timedelta(days=90)
BROWSER_COOKIE: Final = "headgate_browser"


@dataclass(frozen=True)
class Limit:
    """How many failures a key may have in a window; ``beyond`` counts what is let through when it is full."""

    key: str
    most: int
    window: timedelta = WINDOW
    beyond: "Limit | None" = None


@dataclass(frozen=True)
class Attempt:
    """An attempt that was let in and counted; it turns out to be right or wrong."""

    account: str
    address: str
    counted: list[Limit]
    full: Limit | None

    def right(self) -> None:
        """The password fits. Only the strict count begins anew: one's own account must not cover for guessing."""
        strict, *others = self.counted
        with transaction.atomic():
            SignInCount.objects.filter(key=strict.key).delete()
            for row in _locked(others):
                row.failures = max(0, row.failures - 1)
                row.save(update_fields=["failures"])
        _remember(_digest("place", self.account, self.address))

    def wrong(self) -> None:
        """Raises ``TooManyAttempts`` where this was the last failure that a limit grants."""
        if self.full is not None:
            raise TooManyAttempts(_seconds_until_free([self.full]))


def begin(request: HttpRequest, username: str) -> Attempt:
    """Count an attempt before its password is looked at. Raises ``TooManyAttempts``."""
    account, address = _account(username), network_of(address_of(request))
    limits = _limits(request, account, address)
    with transaction.atomic():
        counts = {row.key: row for row in _locked(limits)}
        counted = [
            limit.beyond if limit.beyond and counts[limit.key].failures >= limit.most else limit
            for limit in limits
        ]
        counts |= {row.key: row for row in _locked([limit for limit in counted if limit.key not in counts])}
        refusing = [limit for limit in counted if counts[limit.key].failures >= limit.most]
        if not refusing:
            for limit in counted:
                row = counts[limit.key]
                row.failures += 1
                row.save(update_fields=["failures"])
    if refusing:
        raise TooManyAttempts(_seconds_until_free(refusing))
    full = next(
        (limit for limit in counted if limit.beyond is None and counts[limit.key].failures >= limit.most),
        None,
    )
    return Attempt(account, address, counted, full)


def remember_browser(request: HttpRequest, response: HttpResponse, username: str) -> None:
    """After a sign-in on the pages: from now on the account's limits elsewhere do not hold for this browser."""
    browser = _browser(request) or secrets.token_urlsafe(16)
    _remember(_digest("place", _account(username), browser))
    response.set_cookie(
        BROWSER_COOKIE,
        _signer().sign(browser),
        max_age=KNOWN_FOR,
        httponly=True,
        samesite="Lax",
        secure=settings.SESSION_COOKIE_SECURE,
    )


def is_known_browser(request: HttpRequest) -> bool:
    """Whether somebody signed in with the caller's browser lately, whoever it was."""
    return _browser(request) is not None


def _limits(request: HttpRequest, account: str, address: str) -> list[Limit]:
    """What an attempt is held against, the strict one first."""
    browser = _browser(request)
    if browser is not None and _is_known(account, browser):
        return [Limit(_digest("browser", account, browser), PAIR_LIMIT)]
    limits = [
        Limit(_digest("pair", account, address), PAIR_LIMIT),
        Limit(_digest("address", address), ADDRESS_LIMIT),
    ]
    if not _is_known(account, address):
        beyond = Limit(_digest("strangers", account), 1, STRANGERS_WAIT)
        limits.append(Limit(_digest("account", account), ACCOUNT_LIMIT, beyond=beyond))
    return limits


def _locked(limits: list[Limit]) -> list[SignInCount]:
    """The counts of the limits, locked in the order of their keys; those whose window is over begin anew."""
    now = timezone.now()
    rows = []
    for limit in sorted(limits, key=lambda limit: limit.key):
        fresh = {"failures": 0, "ends_at": now + limit.window}
        SignInCount.objects.get_or_create(key=limit.key, defaults=fresh)
        row = locked(SignInCount.objects.all()).get(key=limit.key)
        if row.ends_at <= now:
            row.failures, row.ends_at = 0, now + limit.window
            row.save(update_fields=["failures", "ends_at"])
        rows.append(row)
    return rows


def _seconds_until_free(limits: list[Limit]) -> int:
    ends = SignInCount.objects.filter(key__in=[limit.key for limit in limits]).values_list(
        "ends_at", flat=True
    )
    now = timezone.now()
    return max((ceil((end - now).total_seconds()) for end in ends if end > now), default=1)


def _remember(place: str) -> None:
    """Note that an account signed in from a place, and forget what is over of all that this module keeps."""
    now = timezone.now()
    KnownPlace.objects.update_or_create(key=place, defaults={"ends_at": now + KNOWN_FOR})
    for model in (KnownPlace, SignInCount):
        with transaction.atomic():
            over = locked(model._default_manager.filter(ends_at__lte=now), skip_locked=True)
            model._default_manager.filter(pk__in=list(over.values_list("pk", flat=True)[:1000])).delete()


def _is_known(account: str, place: str) -> bool:
    key = _digest("place", account, place)
    return KnownPlace.objects.filter(key=key, ends_at__gt=timezone.now()).exists()


def _account(username: str) -> str:
    return unicodedata.normalize("NFKC", username)


def _browser(request: HttpRequest) -> str | None:
    """The number of the caller's browser, if Headgate gave it one."""
    try:
        return _signer().unsign(request.COOKIES.get(BROWSER_COOKIE, ""), max_age=KNOWN_FOR)
    except BadSignature:
        return None


def _signer() -> TimestampSigner:
    return TimestampSigner(salt="accounts.browser")


def _digest(kind: str, *parts: str) -> str:
    """A key that tells neither names nor addresses to whoever reads the database."""
    text = "\0".join(str(len(part)) + ":" + part for part in parts)
    return salted_hmac(
        f"accounts.{kind}", text.encode(errors="surrogatepass"), algorithm="sha256"
    ).hexdigest()
