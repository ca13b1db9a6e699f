"""Which rows of the catalogue the audit trail vouches for, and what it says of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from django.contrib.auth.models import Group, Permission, User
from django.db.models import Manager, Model
from guardian.models import GroupObjectPermission, UserObjectPermission

from audit.rows import RowKind
from datasets.models import Dataset, SuiteVersion

#: What entries vouch for of a dataset: what it was registered with, and the settings of its owners.
DATASET: Final = RowKind(
    "dataset",
    Dataset,
    (
        (
            "project_id", "slug", "name", "description", "table_uri", "primary_keys", "required_approvals",
            "contributors_may_merge", "threads_must_be_resolved", "delete_limit", "conflict_policy",
            "staging_cleanup", "write_checkpoints", "compact_files", "remove_old_files", "keep_files_days",
            "block_pre_existing", "created_at",
        ),
        (
            "project_id", "slug", "name", "description", "table_uri", "primary_keys", "required_approvals",
            "contributors_may_merge", "threads_must_be_resolved", "delete_limit", "conflict_policy",
            "staging_cleanup", "write_checkpoints", "compact_files", "remove_old_files", "keep_files_days",
            "block_pre_existing", "created_at", "files_elsewhere",
        ),
        (
            "project_id", "slug", "name", "description", "table_uri", "primary_keys", "required_approvals",
            "contributors_may_merge", "threads_must_be_resolved", "delete_limit", "conflict_policy",
            "staging_cleanup", "write_checkpoints", "compact_files", "remove_old_files", "keep_files_days",
            "block_pre_existing", "created_at", "files_elsewhere", "connection_id",
        ),
        (
            "project_id", "slug", "name", "description", "table_uri", "primary_keys", "required_approvals",
            "contributors_may_merge", "threads_must_be_resolved", "delete_limit", "conflict_policy",
            "staging_cleanup", "write_checkpoints", "compact_files", "remove_old_files", "keep_files_days",
            "block_pre_existing", "created_at", "files_elsewhere", "connection_id", "service_approvals_count",
        ),
        (
            "project_id", "slug", "name", "description", "table_uri", "primary_keys", "required_approvals",
            "contributors_may_merge", "threads_must_be_resolved", "delete_limit", "conflict_policy",
            "staging_cleanup", "write_checkpoints", "compact_files", "remove_old_files", "keep_files_days",
            "block_pre_existing", "created_at", "files_elsewhere", "connection_id", "service_approvals_count",
            "engine",
        ),
        (
            "project_id", "slug", "name", "description", "table_uri", "primary_keys", "required_approvals",
            "contributors_may_merge", "threads_must_be_resolved", "delete_limit", "conflict_policy",
            "staging_cleanup", "write_checkpoints", "compact_files", "remove_old_files", "keep_files_days",
            "block_pre_existing", "created_at", "files_elsewhere", "connection_id", "service_approvals_count",
            "engine", "catalog_table",
        ),
    ),
)  # fmt: skip
SUITE_VERSION: Final = RowKind(
    "suite version",
    SuiteVersion,
    (
        (
            "dataset_id", "number", "document", "expectation_count", "note", "restored_from", "created_by_id",
            "created_at",
        ),
    ),
)  # fmt: skip
#: Passwords and the time of the last visit change without an entry.
ACCOUNT: Final = RowKind(
    "account",
    User,
    (("username", "email", "first_name", "last_name", "is_active", "is_staff", "is_superuser"),),
)
#: What the entry is called that tells of another name of an account.
RENAMED: Final = "account.renamed"
#: What an entry holds in the place of a row that was removed: by the policy for retention, as an empty draft, or as an
#: account that never did anything.
REMOVED: Final = "removed"


def account_rows(user: User) -> dict[str, str]:
    """What an entry holds of an account, with the groups that it is in and the permissions that it has itself."""
    stored = User.objects.get(pk=user.pk)  # whoever holds the object may have held it for long
    groups = sorted(stored.groups.values_list("pk", flat=True))
    return {
        **ACCOUNT.seal(stored),
        groups_called(user.pk): _groups(groups),
        permissions_called(user): _permissions_of(stored.user_permissions),
    }


def group_rows(group: Group) -> dict[str, str]:
    """What an entry holds of a group: the permissions that it gives whoever is in it."""
    return {permissions_called(group): _permissions_of(group.permissions)}


def rows_of_removed(member: User | Group) -> dict[str, str]:
    """What the entry holds that tells of an account or a group which is removed, with all roles that it has till then.

    Call it before; the accounts that were in a group are told of after it (``account_rows``).
    """
    model: type[Model] = UserObjectPermission if isinstance(member, User) else GroupObjectPermission
    given = model._default_manager.filter(**{str(member._meta.model_name): member})
    rows = {
        role_called(member, name, pk): "none"
        for name, pk in given.values_list("content_type__model", "object_pk")
    }
    rows[permissions_called(member)] = ""
    if isinstance(member, User):
        rows |= {ACCOUNT.called(member.pk): REMOVED, groups_called(member.pk): ""}
    return rows


def groups_called(user_id: int) -> str:
    """The name under which entries hold the groups of an account."""
    return f"groups of account {user_id}"


def permissions_called(holder: User | Group) -> str:
    """The name under which entries hold the permissions of an account or a group, those of roles left out."""
    return f"permissions of {holder._meta.model_name} {holder.pk}"


def role_called(member: User | Group, model: str, pk: object) -> str:
    """The name under which entries hold the role of a member on a dataset or project."""
    return f"role of {member._meta.model_name} {member.pk} on {model} {pk}"


def memberships_now() -> dict[str, str]:
    """The groups of every account that is in one, as entries hold them."""
    found: dict[int, list[int]] = {}
    for user_id, group_id in User.groups.through.objects.values_list("user_id", "group_id"):
        found.setdefault(user_id, []).append(group_id)
    return {groups_called(user_id): _groups(sorted(groups)) for user_id, groups in found.items()}


def permissions_now() -> dict[str, str]:
    """The permissions of every account and every group that has any, as entries hold them."""
    found: dict[str, list[tuple[str, str]]] = {}
    for holder, through in (("user", User.user_permissions.through), ("group", Group.permissions.through)):
        given = through._default_manager.values_list(
            f"{holder}_id", "permission__content_type__app_label", "permission__codename"
        )
        for pk, app, codename in given:
            found.setdefault(f"permissions of {holder} {pk}", []).append((app, codename))
    return {name: _joined(permissions) for name, permissions in found.items()}


def roles_now(names: Mapping[frozenset[str], str]) -> dict[str, str]:
    """Every role that somebody holds, as entries hold it; ``names`` are those of sets of verbs."""
    held: dict[str, set[str]] = {}
    for place, codename in _permissions():
        verb, _, model = codename.rpartition("_")
        if model in ("dataset", "project"):
            held.setdefault(f"{place[0]} on {model} {place[1]}", set()).add(verb)
    return {
        f"role of {place}": names.get(frozenset(verbs), f"none of the roles: {', '.join(sorted(verbs))}")
        for place, verbs in held.items()
    }


def _permissions() -> Iterator[tuple[tuple[str, str], str]]:
    facts = ("object_pk", "permission__codename")
    for pk, target, codename in UserObjectPermission.objects.values_list("user_id", *facts):
        yield (f"user {pk}", target), codename
    for pk, target, codename in GroupObjectPermission.objects.values_list("group_id", *facts):
        yield (f"group {pk}", target), codename


def _permissions_of(given: Manager[Permission]) -> str:
    return _joined(given.values_list("content_type__app_label", "codename"))


def _joined(permissions: Iterable[tuple[str, str]]) -> str:
    return ", ".join(sorted(f"{app}.{codename}" for app, codename in permissions))


def _groups(pks: list[int]) -> str:
    return ",".join(map(str, pks))
