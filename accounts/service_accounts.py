"""Service accounts: what pipelines are here. No password, no sign-in; roles like people, and tokens made by others.

Operators make them, and owners of a project for it. Their user names end with ``@service``, which no person's does: so
timelines, the trail and tables' logs tell what they are. Who manages one may do with it whatever its roles let it do;
whoever has held one of its keys is no second person beside it (``changerequests.selectors.verdicts_on``).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import timedelta
from typing import Final

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from accounts import access, tokens
from accounts.models import ServiceAccount, Token
from accounts.names import SERVICE_SUFFIX, is_service_name
from accounts.scopes import Scope
from audit.row_locks import locked
from audit.services import INSTALLATION_STREAM, record
from datasets.errors import Forbidden, InvalidInput, NotFound
from datasets.evidence import account_rows
from datasets.models import Project
from datasets.operators import is_operator
from datasets.roles import Role, projects_owned_by, role_on, set_role

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,59}")
#: How long a token goes on after another was made in its place.
OVERLAP: Final = timedelta(days=1)


def create(
    *, actor: User, name: str, purpose: str = "", project: Project | None = None, role: Role | None = None
) -> ServiceAccount:
    """A service account called ``name@service``, of a project or of the installation, with a role on its project.

    For operators, and for owners of the project. Raises ``Forbidden`` and ``InvalidInput``.
    """
    _require_manager(actor, project)
    name = name.strip().removesuffix(SERVICE_SUFFIX)
    if not _NAME.fullmatch(name):
        raise _refused(
            "name",
            "Small letters, digits and . _ - make a name, 60 at most; it begins with one of the first.",
        )
    if role is not None and project is None:
        raise _refused("role", "A role is given on a project: name one.")
    user = User(username=f"{name}{SERVICE_SUFFIX}")  # and no other name: it is called so everywhere
    user.set_unusable_password()
    with transaction.atomic():
        if project is not None:  # before the trail, as whoever changes its members does
            locked(Project.objects.filter(pk=project.pk)).first()
        try:
            with transaction.atomic():
                user.save()
        except IntegrityError as error:
            raise _refused("name", "There is a service account of this name already.") from error
        made = ServiceAccount.objects.create(
            user=user, project=project, purpose=purpose.strip(), made_by=actor
        )
        record(
            stream=INSTALLATION_STREAM,
            action="service_account.made",
            subject_type="user",
            subject_id=user.get_username(),
            actor=actor.get_username(),
            data={"purpose": made.purpose, "project": project.slug if project else ""},
            rows=account_rows(user),
        )
        if project is not None and role is not None:
            set_role(member=user, target=project, role=role, actor=actor)
    return made


def managed_by(actor: User) -> QuerySet[ServiceAccount]:
    """Those that the person may make tokens for: all of them for operators, those of their projects for owners."""
    found = ServiceAccount.objects.select_related("user", "project", "made_by").order_by("user__username")
    if is_service_name(actor.get_username()):
        return found.none()
    if is_operator(actor):
        return found
    return found.filter(project__in=projects_owned_by(actor))


def account_to_manage(actor: User, number: int) -> ServiceAccount:
    """The service account, if the person manages it; else ``NotFound``, as if it were not there."""
    found = managed_by(actor).filter(pk=number).first()
    if found is None:
        raise NotFound("There is no such service account, or you do not manage it.")
    return found


def may_make(actor: User) -> bool:
    """Whether the person makes service accounts anywhere."""
    return not is_service_name(actor.get_username()) and (
        is_operator(actor) or projects_owned_by(actor).exists()
    )


def make_token(
    *,
    actor: User,
    account: ServiceAccount,
    name: str = "",
    scopes: Collection[Scope] = tuple(Scope),
    days: int = tokens.USUAL_DAYS,
    agent: str = "",
) -> tuple[Token, str]:
    """A token of the service account and, this once, its key. Raises ``InvalidInput``."""
    _require_manager(actor, account.project)
    if not account.user.is_active:
        raise InvalidInput("The service account is deactivated.")
    with transaction.atomic():
        account.key_holders.add(actor)
        return tokens.make_token(
            owner=account.user, actor=actor, name=name, scopes=scopes, days=days, agent=agent
        )


def rotate_token(*, actor: User, account: ServiceAccount, number: object) -> tuple[Token, str]:
    """Another token in the place of one, like it; the one before goes on for a day.

    Raises ``NotFound``, and ``InvalidInput`` where one has another in its place already: of two who rotate it at once
    one makes a token, and nobody's stays behind.
    """
    _require_manager(actor, account.project)
    with transaction.atomic():
        # The account first, as whoever ends its access locks it.
        locked(User.objects.all()).get(pk=account.user_id)
        before = locked(Token.objects.filter(user=account.user, number=number)).first()
        if before is None:
            raise NotFound("The service account has no such token.")
        after = Token.objects.filter(replaces=before).first()
        if after is not None:
            raise InvalidInput(
                f"This token was rotated already: the token {after.number} is in its place. Rotate that one if nobody "
                "has kept its key."
            )
        end = timezone.now() + OVERLAP
        days = tokens.USUAL_DAYS if before.expiry is None else (before.expiry - before.created).days
        made, key = make_token(
            actor=actor,
            account=account,
            name=before.name,
            scopes=[Scope(name) for name in before.scopes],
            days=min(max(days, 1), tokens.LONGEST_DAYS),
            agent=before.agent,
        )
        Token.objects.filter(pk=before.pk).filter(Q(expiry=None) | Q(expiry__gt=end)).update(expiry=end)
        made.replaces = before
        made.save(update_fields=["replaces"])
    return made, key


def revoke_token(*, actor: User, account: ServiceAccount, number: object) -> None:
    """Make one of its tokens worthless. Raises ``NotFound``."""
    _require_manager(actor, account.project)
    tokens.revoke_token(owner=account.user, number=number, actor=actor)


def deactivate(*, actor: User, account: ServiceAccount, reason: str) -> None:
    """End a service account with all its tokens; what it did stays. Raises ``LastOwner`` and ``InvalidInput``."""
    _require_manager(actor, account.project)
    access.deactivate(user=account.user, actor=actor, reason=reason)


def _require_manager(actor: User, project: Project | None) -> None:
    if is_service_name(actor.get_username()):
        raise Forbidden("Service accounts are made and managed by people.")
    if not is_operator(actor) and (project is None or role_on(actor, project) is not Role.OWNER):
        raise Forbidden("Operators make service accounts, and owners of a project for that project.")


def _refused(field: str, sentence: str) -> InvalidInput:
    return InvalidInput(sentence, errors={field: [sentence]})
