"""Tokens of people's programs: made once, shown once, listed, revoked."""

from collections.abc import Collection
from datetime import timedelta

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from accounts.identities import is_vouched_for
from accounts.models import Token
from accounts.passwords import password_mark
from accounts.scopes import Scope
from audit.row_locks import locked
from audit.services import INSTALLATION_STREAM, record
from datasets.errors import InvalidInput, NotFound

#: How long a token lives at most, and unless somebody says otherwise.
LONGEST_DAYS, USUAL_DAYS = 366, 90
#: How many living tokens a person may have.
MOST_TOKENS = 50
#: The last use is written down once in this time.
LAST_USE_EVERY = timedelta(minutes=1)


def make_token(
    *,
    owner: User,
    name: str = "",
    scopes: Collection[Scope] = tuple(Scope),
    days: int = USUAL_DAYS,
    agent: str = "",
    actor: User | None = None,
) -> tuple[Token, str]:
    """A new token and, this once, its key; what is done with it is marked as done by ``agent`` where one is named.

    ``actor`` makes it where that is another than its owner. Raises ``InvalidInput``.
    """
    require_makeable(scopes, days)
    with transaction.atomic():
        if not locked(User.objects.all()).get(pk=owner.pk).is_active:
            raise InvalidInput(f"{owner.get_username()} is deactivated: no token would open anything.")
        if tokens_of(owner).count() >= MOST_TOKENS:
            whose = "You have" if actor is None else f"{owner.get_username()} has"
            raise InvalidInput(f"{whose} {MOST_TOKENS} tokens already; revoke some that nobody needs.")
        made, key = Token.objects.create(
            user=owner,
            expiry=timedelta(days=days),
            name=name.strip(),
            scopes=[scope.value for scope in Scope if scope in scopes],
            agent=agent.strip(),
            password_mark=password_mark(owner),
        )
        _record("token.made", made, {"scopes": made.scopes, "days": days, **agent_in_data(made)}, actor)
    return made, key


def require_makeable(scopes: Collection[Scope], days: int) -> None:
    """Raise ``InvalidInput`` for scopes and days that no token can have."""
    if not scopes:
        raise InvalidInput("Choose what it may do.", errors={"scopes": ["Choose at least one scope."]})
    if not 1 <= days <= LONGEST_DAYS:
        sentence = f"A token lives between 1 and {LONGEST_DAYS} days."
        raise InvalidInput(sentence, errors={"days": [sentence]})


def agent_in_data(token: Token) -> dict[str, str]:
    """What events that tell of a token say of its agent."""
    return {"for_agent": token.agent} if token.agent else {}


def tokens_of(owner: User) -> QuerySet[Token]:
    """The person's tokens that open something, newest first."""
    living = Q(expiry__isnull=True) | Q(expiry__gt=timezone.now())
    found: QuerySet[Token] = Token.objects.filter(living, user=owner, password_mark=password_mark(owner))
    return found.order_by("-created")


def opens(token: Token) -> bool:
    """Whether the token still opens what its person may do.

    Not once the password is another, nor where the provider has not seen its person for long.
    """
    return token.password_mark == password_mark(token.user) and is_vouched_for(token.user)


def note_use(token: Token) -> None:
    """Write down that the token was used now, at most once a minute."""
    now = timezone.now()
    if token.last_used_at is None or now - token.last_used_at >= LAST_USE_EVERY:
        Token.objects.filter(pk=token.pk).update(last_used_at=now)


def revoke_token(*, owner: User, number: object, actor: User | None = None) -> None:
    """Make one of the owner's tokens worthless; ``actor`` does it where that is another. Raises ``NotFound``."""
    with transaction.atomic():
        token = locked(Token.objects.filter(user=owner, number=number)).first()
        if token is None:
            raise NotFound("There is no such token.")
        _record("token.revoked", token, {}, actor)
        token.delete()


def _record(action: str, token: Token, data: dict[str, object], actor: User | None) -> None:
    record(
        stream=INSTALLATION_STREAM,
        action=action,
        subject_type="token",
        subject_id=str(token.number),
        actor=(actor or token.user).get_username(),
        data={"name": token.name, **({"of": token.user.get_username()} if actor else {}), **data},
    )
