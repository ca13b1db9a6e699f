"""Signing in by device (RFC 8628): a program shows a code, its person lets it in from a browser, it gets a token.

The program has no password and sees none. It polls with a code of its own; the token is made when it comes to take it,
so that its key is nowhere kept.
"""

import hashlib
import secrets
from collections.abc import Collection
from datetime import timedelta
from typing import Final

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from accounts.addresses import address_of, network_of
from accounts.errors import SignInDenied, SignInExpired, TooManyDevices
from accounts.models import DeviceSignIn, Token
from accounts.scopes import Scope
from accounts.tokens import USUAL_DAYS, make_token, require_makeable
from audit.row_locks import locked
from datasets.errors import InvalidInput

#: How long a person has to let a program in.
LIFETIME: Final = timedelta(minutes=10)
#: How many seconds a program waits between two looks.
INTERVAL: Final = 2
#: How many programs may wait that were asked for at one address.
WAITING_LIMIT: Final = 20
#: Letters that nobody takes for another, and that form no words.
_LETTERS: Final = "BCDFGHJKLMNPQRSTVWXZ"


def begin(
    request: HttpRequest,
    *,
    name: str = "",
    scopes: Collection[Scope] = tuple(Scope),
    days: int = USUAL_DAYS,
    agent: str = "",
) -> tuple[DeviceSignIn, str]:
    """A program asks to be let in: what its person will see, and the code that it polls with.

    Raises ``InvalidInput``, and ``TooManyDevices`` where too many wait that were asked for in the same network.
    """
    require_makeable(scopes, days)
    address, now = network_of(address_of(request)), timezone.now()
    code = secrets.token_urlsafe(32)
    with transaction.atomic():
        DeviceSignIn.objects.filter(expires_at__lte=now).delete()
        if DeviceSignIn.objects.filter(address=address).count() >= WAITING_LIMIT:
            raise TooManyDevices(int(LIFETIME.total_seconds()))
        begun = DeviceSignIn.objects.create(
            digest=_digest(code),
            user_code=_user_code(),
            name=name.strip(),
            scopes=[scope.value for scope in Scope if scope in scopes],
            days=days,
            agent=agent.strip(),
            address=address,
            expires_at=now + LIFETIME,
        )
    return begun, code


def waiting(user_code: str) -> DeviceSignIn:
    """The program that shows this code and was not decided on yet. Raises ``InvalidInput``."""
    found = _undecided().filter(user_code=_canonical(user_code)).first()
    if found is None:
        raise _unknown_code()
    return found


def decide(*, user_code: str, person: User, let_in: bool) -> DeviceSignIn:
    """The person lets the program in as themselves, or not. Raises ``InvalidInput`` for a code that nobody shows."""
    with transaction.atomic():
        decided = {"user": person} if let_in else {"denied": True}
        rows = _undecided().filter(user_code=_canonical(user_code))
        if not rows.update(**decided):
            raise _unknown_code()
        return DeviceSignIn.objects.get(user_code=_canonical(user_code))


def take(code: str) -> tuple[Token, str] | None:
    """The program's token and key, once its person has let it in; None while nobody has decided.

    Raises ``SignInDenied``, and ``SignInExpired`` for a code that is unknown, too old, or was taken already.
    """
    with transaction.atomic():
        rows = DeviceSignIn.objects.filter(digest=_digest(code))
        seen = rows.first()
        if seen is None or seen.expires_at <= timezone.now():
            raise SignInExpired
        if not seen.denied and seen.user_id is None:
            return None
        # The account first, as whoever ends its access locks it: a program that was let in before gets nothing then.
        person = None if seen.user_id is None else locked(User.objects.filter(pk=seen.user_id)).first()
        begun = locked(rows).first()
        if begun is None:
            raise SignInExpired
        begun.delete()
        made = _token_for(begun, person)
    if made is None:
        raise SignInDenied
    return made


def _token_for(begun: DeviceSignIn, person: User | None) -> tuple[Token, str] | None:
    if person is None or not person.is_active:
        return None
    return make_token(
        owner=person,
        name=begun.name,
        scopes=[Scope(name) for name in begun.scopes],
        days=begun.days,
        agent=begun.agent,
    )


def _undecided() -> QuerySet[DeviceSignIn]:
    return DeviceSignIn.objects.filter(user=None, denied=False, expires_at__gt=timezone.now())


def _unknown_code() -> InvalidInput:
    sentence = (
        "No program waits under this code. Compare it with what the program shows; it holds for ten minutes."
    )
    return InvalidInput(sentence, errors={"code": [sentence]})


def _canonical(user_code: str) -> str:
    """The code as it is kept, however it was typed."""
    letters = "".join(letter for letter in user_code.upper() if letter.isalnum())
    return f"{letters[:4]}-{letters[4:]}"


def _user_code() -> str:
    letters = "".join(secrets.choice(_LETTERS) for _ in range(8))
    return f"{letters[:4]}-{letters[4:]}"


def _digest(code: str) -> str:
    return hashlib.sha256(code.encode(errors="surrogatepass")).hexdigest()
