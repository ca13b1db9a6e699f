"""Accounts of people whom a provider vouches for: found by issuer and subject, made, and given groups.

An account is never found by an e-mail address: who has one at the provider need not be who has it here. A password
account is linked by its own person after signing in, or by an operator.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import structlog
from django.conf import settings
from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts.access import end_access
from accounts.errors import EmailTaken, IdentityTaken, SignInRefused
from accounts.invitations import give_invited_role, take_invitation
from accounts.models import Identity
from accounts.names import is_service_name
from accounts.provider import GroupsUnreadable, SignInProvider
from audit.row_locks import locked
from audit.services import INSTALLATION_STREAM, record
from datasets.errors import InvalidInput
from datasets.evidence import account_rows
from datasets.operators import OPERATORS_GROUP, make_operator
from datasets.owners import keeping_owners, owned_by, owners_of

logger = structlog.get_logger(__name__)

#: How often somebody else may be faster with a user name or a subject.
_TRIES: Final = 5
#: Letters of a user name beside those and digits of any script.
_PUNCTUATION: Final = ".+-_"


@dataclass(frozen=True)
class VouchedFor:
    """Who came from the provider. ``lacks_groups``: their claims said nothing of groups."""

    user: User
    is_new: bool
    lacks_groups: bool


def sign_in(*, provider: SignInProvider, claims: Mapping[str, Any], invitation_key: str = "") -> VouchedFor:
    """The account of the subject that the provider's claims are of, with the groups and names that they tell.

    It is made where there is none: for everybody, or for those who were invited alone (``makes_accounts``). Raises
    ``SignInRefused``, ``EmailTaken`` and ``InvitationOver``; nothing is changed then.
    """
    for _ in range(_TRIES):
        try:
            with transaction.atomic():
                return _sign_in(provider, claims, invitation_key)
        except IntegrityError:  # somebody else took the name, or it is this subject at the same moment
            continue
    raise SignInRefused("Too many people signed in for the first time at once. Try again.")


def link(*, provider: SignInProvider, claims: Mapping[str, Any], user: User) -> None:
    """Let somebody who is signed in, and came from the provider just now, sign in that way from now on.

    Raises ``IdentityTaken`` and ``SignInRefused``.
    """
    _require_person(user)
    with transaction.atomic():
        locked(User.objects.all()).get(pk=user.pk)
        identity = _linked(user, provider, subject_in(claims), actor=user)
        _follow(identity, provider, claims)


def link_subject(*, provider: SignInProvider, user: User, subject: str) -> None:
    """The same by an operator's command, who vouches for it; groups follow with the first sign-in.

    Raises ``IdentityTaken`` and ``SignInRefused``.
    """
    _require_person(user)
    with transaction.atomic():
        locked(User.objects.all()).get(pk=user.pk)
        _linked(user, provider, subject_in({"sub": subject}), actor=None)


def unlink(*, user: User, actor: User | None = None, spare: str | None = None) -> None:
    """Let the account not be signed in to through the provider any more, and take back the groups that it gave.

    Tokens and sessions end, but the session of the key ``spare``: the provider vouches for nobody who has them now. By
    an operator's command, or by the person (``actor``), who must have another way in. Raises ``InvalidInput`` where the
    account is not linked or has none, and ``LastOwner``.
    """
    with transaction.atomic():
        identity = _identities().filter(user=user).first()
        if identity is None:
            raise InvalidInput(f"{user.get_username()} is not linked to a provider.")
        if actor is not None and not (settings.PASSWORD_SIGN_IN and user.has_usable_password()):
            raise InvalidInput(
                "This account has no other way in: it could not be signed in to any more. Ask an operator."
            )
        with keeping_owners(owned_by([], identity.groups.all()) if actor is not None else ()):
            _follow_groups(identity, frozenset())
        _follow_operators(identity, operates=False)
        identity.delete()
        end_access(
            user=user, actor=actor, action="account.unlinked", spare=spare, data={"issuer": identity.issuer}
        )


def is_vouched_for(user: User) -> bool:
    """Whether the provider said lately enough that the person is still there, so that their tokens open anything.

    True for whoever does not come from a provider.
    """
    provider: SignInProvider | None = settings.SIGN_IN_PROVIDER
    if provider is None or not provider.token_days:
        return True
    oldest = timezone.now() - timedelta(days=provider.token_days)
    return not Identity.objects.filter(user=user, issuer=provider.issuer, seen_at__lt=oldest).exists()


def subject_in(claims: Mapping[str, Any]) -> str:
    """The subject of claims. Raises ``SignInRefused`` where there is none that could be kept."""
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= 255 or _kept(subject) != subject:
        raise SignInRefused("The provider did not say who you are: its answer has no usable subject.")
    return subject


def _sign_in(provider: SignInProvider, claims: Mapping[str, Any], invitation_key: str) -> VouchedFor:
    subject = subject_in(claims)
    identity = _identities().filter(issuer=provider.issuer, subject=subject).first()
    is_new = identity is None
    if identity is None:
        identity = _made(provider, subject, claims, invitation_key)
    elif not identity.user.is_active:
        raise SignInRefused("Your account here is deactivated. Ask an operator of this installation.")
    elif invitation_key:
        invitation = take_invitation(invitation_key)
        give_invited_role(invitation, identity.user)
    lacks_groups = _follow(identity, provider, claims)
    return VouchedFor(User.objects.get(pk=identity.user_id), is_new, lacks_groups)


def _identities() -> QuerySet[Identity]:
    """Identities with their users, which are locked where they are looked at."""
    return locked(Identity.objects.select_related("user"))


def _made(provider: SignInProvider, subject: str, claims: Mapping[str, Any], invitation_key: str) -> Identity:
    """A new account for a subject that nobody has yet."""
    invitation = take_invitation(invitation_key) if invitation_key else None
    if invitation is None and not provider.makes_accounts:
        raise SignInRefused(
            f"{provider.name} knows you, but nobody has made an account for you here. Ask an operator to invite you."
        )
    email = _email_in(claims, provider) or (invitation.email if invitation else "")
    if email and User.objects.filter(email__iexact=email).exists():
        raise EmailTaken(provider.name, passwords=settings.PASSWORD_SIGN_IN)
    user = User(username=_free_name(claims), email=email)
    user.set_unusable_password()
    user.save()
    data: dict[str, Any] = {"issuer": provider.issuer}
    if invitation is not None:
        data |= {"invitation": invitation.pk, "invited_by": invitation.invited_by.get_username()}
    _record("account.made", user, data)
    if invitation is not None:
        give_invited_role(invitation, user)
    return Identity.objects.create(user=user, issuer=provider.issuer, subject=subject, seen_at=timezone.now())


def _linked(user: User, provider: SignInProvider, subject: str, actor: User | None) -> Identity:
    """The identity of a user who is locked."""
    mine = Identity.objects.filter(user=user).first()
    theirs = Identity.objects.filter(issuer=provider.issuer, subject=subject).first()
    if theirs is not None and theirs != mine:
        raise IdentityTaken("Another account here is linked to this person of the provider already.")
    if mine is not None and theirs is None:
        raise IdentityTaken("This account is linked to another person of the provider. Ask an operator.")
    if mine is not None:
        return mine
    try:
        with transaction.atomic():
            made = Identity.objects.create(
                user=user, issuer=provider.issuer, subject=subject, seen_at=timezone.now()
            )
    except IntegrityError as error:
        raise IdentityTaken(
            "Another account here was linked to this person of the provider a moment ago."
        ) from error
    _record("account.linked", user, {"issuer": provider.issuer}, actor=actor)
    return made


def _follow(identity: Identity, provider: SignInProvider, claims: Mapping[str, Any]) -> bool:
    """Bring names and groups of an account to what the claims tell; whether they said nothing of groups."""
    identity.seen_at = timezone.now()
    identity.save(update_fields=["seen_at"])
    _follow_names(identity.user, provider, claims)
    if not provider.groups_claim:
        return False
    try:
        values = provider.groups_in(claims)
    except GroupsUnreadable as error:
        raise SignInRefused(f"{error} Ask an operator to look at OIDC_GROUPS_CLAIM.") from error
    _follow_groups(identity, provider.group_names(values or frozenset()))
    _follow_operators(identity, operates=bool(provider.operators & (values or frozenset())))
    return values is None


def _follow_names(user: User, provider: SignInProvider, claims: Mapping[str, Any]) -> None:
    told = {
        "first_name": _text(claims, "given_name")[:150],
        "last_name": _text(claims, "family_name")[:150],
        "email": _email_in(claims, provider),
    }
    if not told["first_name"] and not told["last_name"]:
        told["first_name"], _, told["last_name"] = (
            part[:150] for part in _text(claims, "name").partition(" ")
        )
    if told["email"] and User.objects.exclude(pk=user.pk).filter(email__iexact=told["email"]).exists():
        logger.warning("email_of_another_account", user_id=user.pk)
        told["email"] = ""
    moved = sorted(name for name, text in told.items() if text and getattr(user, name) != text)
    if not moved:
        return
    for name in moved:
        setattr(user, name, told[name])
    user.save(update_fields=moved)
    _record("account.changed", user, {"changed": moved})


def _follow_groups(identity: Identity, told: frozenset[str]) -> None:
    """The groups that the provider gave and does not name any more go; those that others gave stay."""
    user = identity.user
    names = told - {OPERATORS_GROUP}  # which OIDC_OPERATORS alone gives
    wanted = {Group.objects.get_or_create(name=name)[0] for name in sorted(names)}
    member_of, given = set(user.groups.all()), set(identity.groups.all())
    added, removed = wanted - member_of, (given - wanted) & member_of
    identity.groups.set((given & wanted) | added)
    if not added and not removed:
        return
    owned = [target for target in owned_by([], removed) if owners_of(target).exists()] if removed else []
    user.groups.add(*added)
    user.groups.remove(*removed)
    left = sorted(target.name for target in owned if not owners_of(target).exists())
    if left:
        logger.warning("left_without_owner", user_id=user.pk, names=left)
    data = {
        "added": sorted(group.name for group in added),
        "removed": sorted(group.name for group in removed),
        **({"left_without_owner": left} if left else {}),
    }
    _record("account.groups_followed", user, data)


def _follow_operators(identity: Identity, *, operates: bool) -> None:
    user = identity.user
    if operates and not (user.is_staff and user.groups.filter(name=OPERATORS_GROUP).exists()):
        make_operator(user)
        identity.made_operator = True
    elif not operates and identity.made_operator:
        user.groups.remove(*user.groups.filter(name=OPERATORS_GROUP))
        user.is_staff = user.is_superuser
        user.save(update_fields=["is_staff"])
        identity.made_operator = False
        _record("operator.ended", user, {})
    else:
        return
    identity.save(update_fields=["made_operator"])


def _free_name(claims: Mapping[str, Any]) -> str:
    """A user name that can be read, and that nobody has in any spelling."""
    sources = (
        _text(claims, "preferred_username").partition("@")[0],
        _text(claims, "email").partition("@")[0],
        _text(claims, "name"),
    )
    wanted = next((name for text in sources if (name := _as_user_name(text))), "person")
    name, number = wanted, 1
    while User.objects.filter(username__iexact=name).exists():
        number += 1
        name = f"{wanted}-{number}"
    return name


def _as_user_name(text: str) -> str:
    joined = ".".join(unicodedata.normalize("NFKC", text).split())
    return "".join(one for one in joined if one.isalnum() or one in _PUNCTUATION).strip(_PUNCTUATION)[:140]


def _email_in(claims: Mapping[str, Any], provider: SignInProvider) -> str:
    """The e-mail address that the provider says is the person's; empty where it does not say so."""
    told, email = claims.get("email"), _text(claims, "email")
    if not isinstance(told, str) or _kept(told) != told:  # what would be kept of it is another address
        return ""
    if len(email) > 254 or not (claims.get("email_verified") is True or provider.trusts_email):
        return ""
    try:
        validate_email(email)
    except ValidationError:
        return ""
    return email


def _text(claims: Mapping[str, Any], name: str) -> str:
    found = claims.get(name)
    return " ".join(_kept(found).split()) if isinstance(found, str) else ""


def _kept(text: str) -> str:
    """A text as databases keep it: without NUL, and without halves of UTF-16 pairs, which JSON can say."""
    return text.replace("\0", " ").encode(errors="replace").decode()


def _require_person(user: User) -> None:
    if not user.is_active:
        raise SignInRefused("This account is deactivated.")
    if is_service_name(user.get_username()):
        raise SignInRefused("Service accounts sign in nowhere: they have tokens.")


def _record(action: str, user: User, data: dict[str, Any], actor: User | None = None) -> None:
    record(
        stream=INSTALLATION_STREAM,
        action=action,
        subject_type="user",
        subject_id=user.get_username(),
        actor=actor.get_username() if actor else "",
        data=data,
        rows=account_rows(user),
    )
