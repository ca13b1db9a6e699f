"""Inviting people: operators ask somebody in by e-mail, who chooses a user name and a password of their own.

The address that is sent opens one account, once, for a week. It is told to whoever invites, too, for installations
that send no mail and for mail that does not arrive.
"""

from __future__ import annotations

import hashlib
import secrets
import smtplib
from datetime import timedelta
from typing import Final

import structlog
from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.mail import send_mail
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone

from accounts.errors import InvitationOver
from accounts.models import Invitation
from accounts.names import is_service_name
from accounts.passwords import require_passwords
from audit.row_locks import locked
from audit.services import INSTALLATION_STREAM, record
from datasets.errors import Forbidden, InvalidInput, NotFound
from datasets.evidence import account_rows
from datasets.models import Project
from datasets.operators import is_operator
from datasets.roles import Role, set_role

logger = structlog.get_logger(__name__)

#: How long an invitation holds.
LIFETIME: Final = timedelta(days=7)
#: How many may be open at once.
MOST_OPEN: Final = 500


def invite(
    *,
    actor: User,
    email: str,
    first_name: str = "",
    last_name: str = "",
    project: Project | None = None,
    role: Role | None = None,
) -> tuple[Invitation, str]:
    """Ask somebody in, with a role on a project where one is named; the invitation and, this once, its address.

    For operators. Another invitation to the same e-mail address takes the place of the one before, whose address opens
    nothing any more. Raises ``Forbidden`` and ``InvalidInput``.
    """
    _require_operator(actor)
    email = email.strip()
    _require_address(email)
    if (project is None) != (role is None):
        sentence = "A role is given on a project: choose both, or neither."
        raise InvalidInput(sentence, errors={"role": [sentence]})
    key = secrets.token_urlsafe(32)
    with transaction.atomic():
        open_invitations().filter(email__iexact=email).delete()
        if open_invitations().count() >= MOST_OPEN:
            raise InvalidInput(f"{MOST_OPEN} invitations are open. Withdraw some that nobody will take.")
        made = Invitation(
            digest=_digest(key),
            email=email,
            first_name=first_name.strip(),
            last_name=last_name.strip(),
            project=project,
            role=role or "",
            invited_by=actor,
            expires_at=timezone.now() + LIFETIME,
        )
        try:
            with transaction.atomic():
                made.save()
        except IntegrityError as error:
            raise _refused(
                {"email": ["Somebody invited this address a moment ago. Look at the list."]}
            ) from error
        _record("person.invited", made, actor)
    return made, _address(key)


def send(invitation: Invitation, address: str) -> bool:
    """Send the address by mail; whether the mail server took it. Nothing is sent where none is set."""
    if not settings.SENDS_MAIL:
        return False
    context = {"invitation": invitation, "address": address, "days": LIFETIME.days}
    inviter = invitation.invited_by.get_full_name() or invitation.invited_by.get_username()
    try:
        send_mail(
            " ".join(f"{inviter} invites you to Headgate".split())[:200],
            render_to_string("accounts/invitation.txt", context),
            None,
            [invitation.email],
        )
    except (smtplib.SMTPException, OSError) as error:
        logger.warning("invitation_not_sent", invitation_id=invitation.pk, reason=type(error).__name__)
        return False
    return True


def open_invitations() -> QuerySet[Invitation]:
    """Those that nobody took up yet, the newest first; some may be over by time."""
    return Invitation.objects.select_related("invited_by", "project").order_by("-pk")


def invitations_to_manage(actor: User) -> QuerySet[Invitation]:
    """The open ones, for operators. Raises ``Forbidden``."""
    _require_operator(actor)
    return open_invitations()


def withdraw(*, actor: User, invitation_id: int) -> None:
    """Take an open invitation back. For operators. Raises ``Forbidden`` and ``NotFound``."""
    _require_operator(actor)
    with transaction.atomic():
        found = open_invitations().filter(pk=invitation_id).first()
        if found is None or not Invitation.objects.filter(pk=invitation_id).delete()[0]:
            raise NotFound("There is no such invitation, or it was taken up.")
        _record("invitation.withdrawn", found, actor)


def invitation_with(key: str) -> Invitation:
    """The open invitation of an address. Raises ``InvitationOver``."""
    found = open_invitations().filter(digest=_digest(key), expires_at__gt=timezone.now()).first()
    if found is None or not is_operator(found.invited_by):
        raise InvitationOver
    return found


def accept(*, key: str, username: str, first_name: str, last_name: str, password: str) -> User:
    """Make the account of whoever was invited, with the role that goes along.

    Raises ``InvitationOver``, ``PasswordsOff``, and ``InvalidInput`` by field for what is wrong with the user name or
    the password.
    """
    require_passwords()
    with transaction.atomic():
        invitation = take_invitation(key)
        account = User(
            username=User.normalize_username(username.strip()),  # as signing in will read it
            first_name=first_name.strip(),
            last_name=last_name.strip(),
            email=invitation.email,
        )
        _require_account(account, password)
        account.set_password(password)
        try:
            with transaction.atomic():
                account.save()
        except IntegrityError as error:
            raise _refused({"username": [_TAKEN]}) from error
        record(
            stream=INSTALLATION_STREAM,
            action="account.made",
            subject_type="user",
            subject_id=account.get_username(),
            actor=account.get_username(),
            data={"invitation": invitation.pk, "invited_by": invitation.invited_by.get_username()},
            rows=account_rows(account),
        )
        give_invited_role(invitation, account)
    return account


def take_invitation(key: str) -> Invitation:
    """The open invitation of an address, which is used up with this transaction. Raises ``InvitationOver``."""
    invitation = invitation_with(key)
    if invitation.project_id is not None:  # before the trail, as whoever changes its members does
        locked(Project.objects.filter(pk=invitation.project_id)).first()
    taken, _ = Invitation.objects.filter(pk=invitation.pk, digest=_digest(key)).delete()
    if not taken:  # somebody was faster
        raise InvitationOver
    return invitation


def give_invited_role(invitation: Invitation, account: User) -> None:
    """Give the role that an invitation goes along with, if it does."""
    if invitation.project is not None and invitation.role:
        role = Role(invitation.role)
        set_role(member=account, target=invitation.project, role=role, actor=invitation.invited_by)


_TAKEN: Final = "Somebody has this user name already. Choose another."


def _require_account(account: User, password: str) -> None:
    errors: dict[str, list[str]] = {}
    try:
        account.clean_fields(exclude=["password"])
    except ValidationError as error:
        errors |= error.message_dict
    if is_service_name(account.username) or User.objects.filter(username__iexact=account.username).exists():
        errors["username"] = [_TAKEN]
    try:
        validate_password(password, account)
    except ValidationError as error:
        errors["password"] = list(error.messages)
    if errors:
        raise _refused(errors)


def _refused(errors: dict[str, list[str]]) -> InvalidInput:
    return InvalidInput(" ".join(one for found in errors.values() for one in found), errors=errors)


def _require_address(email: str) -> None:
    try:
        validate_email(email)
    except ValidationError as error:
        raise _refused({"email": ["This is no e-mail address."]}) from error
    if User.objects.filter(email__iexact=email, is_active=True).exists():
        raise _refused(
            {"email": ["Somebody with this e-mail address has an account already: give them a role."]}
        )


def _require_operator(actor: User) -> None:
    if not is_operator(actor):
        raise Forbidden("Only operators invite people.")


def _record(action: str, invitation: Invitation, actor: User) -> None:
    data = {"project": invitation.project.slug if invitation.project else "", "role": invitation.role}
    record(
        stream=INSTALLATION_STREAM,
        action=action,
        subject_type="invitation",
        subject_id=str(invitation.pk),
        actor=actor.get_username(),
        data=data,
    )


def _address(key: str) -> str:
    return f"{settings.PUBLIC_URL}{reverse('accept_invitation', args=[key])}"


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
