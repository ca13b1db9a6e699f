"""Links in mails that end mails of one kind: signed, so that they need no sign-in and name nobody. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from django.core import signing

from notifications.kinds import Kind

_SALT = "notifications.unsubscribing"


@dataclass(frozen=True)
class Farewell:
    """Who wants no more mail of which kinds."""

    person_id: int
    kinds: tuple[Kind, ...]


def token_of(farewell: Farewell) -> str:
    """What stands for it in an address. It does not expire: a mail is found again after years."""
    return signing.dumps([farewell.person_id, [kind.value for kind in farewell.kinds]], salt=_SALT)


def farewell_of(token: str) -> Farewell | None:
    """What a token stands for; None where it is not one of ours."""
    try:
        person, kinds = signing.loads(token, salt=_SALT)
        return Farewell(int(person), tuple(Kind(kind) for kind in kinds))
    except (signing.BadSignature, ValueError, TypeError):
        return None
