"""Operators: staff who keep the installation running without being superusers.

What they may do is one group's set of permissions: see every row of Headgate, call the services behind the
admin's actions, register tables, give roles, and manage the accounts of people who are not staff. Row content and
merges stay with the roles on datasets: an operator who needs those gets a role, which the audit trail tells.
"""

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, Group, Permission, User
from django.db import transaction
from django.db.models import Q

from audit.services import INSTALLATION_STREAM, record
from datasets.errors import Forbidden, InvalidInput
from datasets.evidence import account_rows, group_rows

OPERATORS_GROUP = "Operators"
#: The permission that makes an operator; only this group carries it.
OPERATE = "datasets.change_installation"


def is_operator(user: AbstractBaseUser | AnonymousUser) -> bool:
    """Whether the person operates the installation: superusers, and staff in the group of operators."""
    return isinstance(user, User) and user.is_active and user.is_staff and user.has_perm(OPERATE)


def require_operator(actor: User, reason: str) -> None:
    """Raises ``Forbidden`` for who is no operator, and ``InvalidInput`` for what operators do without a reason."""
    if not is_operator(actor):
        raise Forbidden("Only operators do this.")
    if not reason.strip():
        sentence = "Give a reason: it is kept in the audit trail."
        raise InvalidInput(sentence, errors={"reason": [sentence]})


def operators_group() -> Group:
    """The group of operators with exactly the permissions that operators have in this version."""
    group, _ = Group.objects.get_or_create(name=OPERATORS_GROUP)
    group.permissions.set(
        Permission.objects.filter(
            Q(
                content_type__app_label__in=("audit", "datasets", "changerequests", "notifications"),
                codename__startswith="view_",
            )
            | Q(content_type__app_label="datasets", codename="change_installation")
            | Q(content_type__app_label="auth", codename__in=("view_user", "add_user", "change_user"))
            | Q(content_type__app_label="auth", codename="view_group")
        )
    )
    return group


def make_operator(user: User) -> None:
    """Let the person operate the installation; recorded in the audit trail."""
    with transaction.atomic():
        group = operators_group()
        user.groups.add(group)
        user.is_staff = True
        user.save(update_fields=["is_staff"])
        record(
            stream=INSTALLATION_STREAM,
            action="operator.made",
            subject_type="user",
            subject_id=user.get_username(),
            data={},
            rows={**account_rows(user), **group_rows(group)},
        )
