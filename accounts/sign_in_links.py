"""Links that let an operator in once, made on the machine: for when the provider fails and passwords are off.

A link holds for ten minutes and for one sign-in: it names when its person signed in last.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from django.conf import settings
from django.contrib.auth.models import User
from django.core import signing
from django.db import transaction
from django.db.models import QuerySet
from django.urls import reverse
from django.utils import timezone

from accounts.errors import LinkOver
from audit.row_locks import locked
from audit.services import INSTALLATION_STREAM, record
from datasets.errors import InvalidInput
from datasets.operators import is_operator

#: How long a link holds.
LIFETIME: Final = timedelta(minutes=10)
_SALT: Final = "accounts.sign-in-link"


def make_link(*, user: User, reason: str) -> str:
    """The address of a link for an operator. Raises ``InvalidInput`` for anybody else, and without a reason."""
    if not reason.strip():
        raise InvalidInput("Give a reason: it is kept in the audit trail.")
    if not is_operator(user):
        raise InvalidInput(
            f"{user.get_username()} is no active operator. Links are for operators alone; manage.py make_operator "
            "makes one."
        )
    with transaction.atomic():
        record(
            stream=INSTALLATION_STREAM,
            action="account.sign_in_link_made",
            subject_type="user",
            subject_id=user.get_username(),
            data={"reason": reason.strip()},
        )
        token = signing.dumps([user.pk, _last_seen(user)], salt=_SALT)
    return f"{settings.PUBLIC_URL}{reverse('sign_in_once', args=[token])}"


def whose(token: str) -> User:
    """Whom a link lets in. Raises ``LinkOver``."""
    return _of(token, User.objects.all())


def take(token: str) -> User:
    """Whom a link lets in, this once. Raises ``LinkOver``."""
    with transaction.atomic():
        user = _of(token, locked(User.objects.all()))
        user.last_login = timezone.now()
        user.save(update_fields=["last_login"])
        record(
            stream=INSTALLATION_STREAM,
            action="account.sign_in_link_used",
            subject_type="user",
            subject_id=user.get_username(),
            actor=user.get_username(),
            data={},
        )
    return user


def _of(token: str, people: QuerySet[User]) -> User:
    try:
        pk, last_seen = signing.loads(token, salt=_SALT, max_age=LIFETIME)
    except signing.BadSignature as error:
        raise LinkOver from error
    user = people.filter(pk=pk).first()
    if user is None or not is_operator(user) or _last_seen(user) != last_seen:
        raise LinkOver
    return user


def _last_seen(user: User) -> str:
    return user.last_login.isoformat() if user.last_login else ""
