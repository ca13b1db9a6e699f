"""The ways in that a person has, as a whole: a new password or the end of the account closes them."""

from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from accounts.models import BrowserSession, DeviceSignIn, ServiceAccount, Token
from audit.row_locks import locked
from audit.services import INSTALLATION_STREAM, record
from datasets.errors import InvalidInput
from datasets.evidence import account_rows
from datasets.owners import keeping_owners, owned_by, owners_of


def change_password(*, user: User, password: str, session_key: str | None) -> None:
    """The person's own new password: every token ends, and every session but the one of the key.

    The password is validated by the caller's form.
    """
    with transaction.atomic():
        account = locked(User.objects.all()).get(pk=user.pk)
        account.set_password(password)
        account.save(update_fields=["password"])
        user.password = account.password
        end_access(user=user, actor=user, action="account.password_changed", spare=session_key)


def sign_out_everywhere(*, user: User, session_key: str | None) -> int:
    """End the person's sessions but the one of the key; how many ended. Tokens stay: they are revoked by name."""
    with transaction.atomic():
        DeviceSignIn.objects.filter(user=user).delete()  # let in by a session that ends, perhaps
        ended = _end_sessions(user, session_key)
        _record("account.signed_out_everywhere", user, user, {"sessions": ended})
    return ended


def deactivate(
    *, user: User, actor: User | None, reason: str, although_last_owner: bool = False
) -> list[str]:
    """Close an account at once: no sign-in, no session and no token is left. The names of what has no owner now.

    Raises ``LastOwner`` where something would have none, unless ``although_last_owner``, and ``InvalidInput`` without a
    reason or where the account is deactivated already.
    """
    if not reason.strip():
        sentence = "Give a reason: it is kept in the audit trail."
        raise InvalidInput(sentence, errors={"reason": [sentence]})
    with transaction.atomic():
        owned = [target for target in owned_by([user]) if owners_of(target).exists()]
        with keeping_owners(() if although_last_owner else owned):
            closed = User.objects.filter(pk=user.pk, is_active=True).update(is_active=False)
        if not closed:
            raise InvalidInput(f"{user.get_username()} is deactivated already.")
        left = sorted(target.name for target in owned if not owners_of(target).exists())
        data: dict[str, Any] = {"reason": reason.strip()}
        if left:
            data["left_without_owner"] = left
        if known := keys_known_to(user):
            data["keys_known"] = known
        end_access(user=user, actor=actor, action="account.deactivated", data=data)
    user.is_active = False
    return left


def keys_known_to(user: User) -> list[str]:
    """The service accounts with a token that opens something, of whose tokens the person has made some.

    Whoever leaves may know it still: those who manage them make another (``service_accounts.rotate_token``).
    """
    living = Q(user__auth_token_set__expiry=None) | Q(user__auth_token_set__expiry__gt=timezone.now())
    found = ServiceAccount.objects.filter(
        living, key_holders=user, user__is_active=True, user__auth_token_set__isnull=False
    )
    return sorted(set(found.values_list("user__username", flat=True)))


def end_access(
    *,
    user: User,
    actor: User | None,
    action: str,
    spare: str | None = None,
    data: dict[str, Any] | None = None,
) -> None:
    """End every token and session of a person (but the session of the key ``spare``), and say so in the trail.

    Call it inside the transaction of the change that closes the access.
    """
    tokens, _ = Token.objects.filter(user=user).delete()
    DeviceSignIn.objects.filter(
        user=user
    ).delete()  # let in, and not taken yet: that token would be a new one
    ended = {"sessions": _end_sessions(user, spare), "tokens": tokens}
    _record(action, user, actor, {**(data or {}), **ended})


def _end_sessions(user: User, spare: str | None) -> int:
    ended, _ = BrowserSession.objects.filter(user=user).exclude(session_key=spare or "").delete()
    return ended


def _record(action: str, user: User, actor: User | None, data: dict[str, Any]) -> None:
    record(
        stream=INSTALLATION_STREAM,
        action=action,
        subject_type="user",
        subject_id=user.get_username(),
        actor=actor.get_username() if actor else "",
        data=data,
        rows=account_rows(user),
    )
