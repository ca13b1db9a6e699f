"""Viewer, contributor, owner: object permissions on a dataset, inherited from its project.

Roles are sets of guardian permissions, given to users or groups. A person's role on a dataset is the strongest
that they, or a group of theirs, hold on the dataset or its project.
"""

import hashlib
import json
from collections.abc import Collection
from contextlib import nullcontext
from enum import StrEnum
from typing import Any, TypeVar

from django.contrib.auth.models import AnonymousUser, Group, User
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.db.models import BigIntegerField, Case, CharField, Exists, Min, OuterRef, Q, QuerySet, Value, When
from django.db.models.functions import Cast
from guardian.models import GroupObjectPermission, UserObjectPermission
from guardian.shortcuts import assign_perm, remove_perm

from audit.services import INSTALLATION_STREAM, dataset_stream, record
from datasets.addressing import DatasetAddress, at_address
from datasets.errors import Forbidden, NotFound, SettingsChanged
from datasets.evidence import account_rows, role_called
from datasets.models import Dataset, Project
from datasets.operators import is_operator
from datasets.owners import keeping_owners, places_of

Actor = User | AnonymousUser
Target = TypeVar("Target", bound=Dataset | Project)


class Role(StrEnum):
    """What a member may do; each includes the ones before it."""

    VIEWER = "viewer"
    CONTRIBUTOR = "contributor"
    OWNER = "owner"


#: Who may propose, comment and review.
CONTRIBUTING = (Role.CONTRIBUTOR, Role.OWNER)

_PERMISSIONS = {
    Role.VIEWER: ("view",),
    Role.CONTRIBUTOR: ("view", "contribute"),
    Role.OWNER: ("view", "contribute", "own"),
}
_STRONGEST_FIRST = ((Role.OWNER, "own"), (Role.CONTRIBUTOR, "contribute"), (Role.VIEWER, "view"))


def role_names() -> dict[frozenset[str], str]:
    """The roles by the verbs of their permissions."""
    return {frozenset(verbs): role.value for role, verbs in _PERMISSIONS.items()}


def permissions_of(role: Role, target: Dataset | Project) -> list[str]:
    """The guardian permission names that make up a role on a dataset or a project."""
    return [f"{verb}_{target._meta.model_name}" for verb in _PERMISSIONS[role]]


def members_digest(target: Dataset | Project) -> str:
    """What stands for the roles that the target itself gives: another one after every change of them."""
    held = [(member._meta.model_name, member.pk, role) for member, role in members_of(target)]
    return hashlib.sha256(json.dumps(sorted(held)).encode()).hexdigest()[:16]


def set_role(
    *,
    member: User | Group,
    target: Dataset | Project,
    role: Role | None,
    actor: User | None,
    edited: Collection[str] = (),
) -> None:
    """Give a member exactly this role on a dataset or project, or none; recorded in the audit trail.

    ``actor`` is None for the system (set-up commands). ``edited`` are digests of the members that the actor looked at:
    ``SettingsChanged`` where they are others by now. Raises ``Forbidden`` if the actor neither owns the target nor
    operates the installation, and ``LastOwner`` if nobody would own the target any more.
    """
    with transaction.atomic():
        wanted = set(permissions_of(role, target)) if role else set()
        with keeping_owners([target]) if actor else nullcontext():
            # Under the lock: whoever was removed a moment ago removes nobody.
            if actor is not None and role_on(actor, target) is not Role.OWNER and not is_operator(actor):
                raise Forbidden(f"Only owners of {target.name} change who may do what.")
            if edited and members_digest(target) not in edited:
                raise SettingsChanged(
                    f"Somebody changed the members of {target.name} since you looked. Look again, then change."
                )
            for name in permissions_of(Role.OWNER, target):
                (assign_perm if name in wanted else remove_perm)(name, member, target)
        record(
            stream=dataset_stream(target.pk) if isinstance(target, Dataset) else INSTALLATION_STREAM,
            action="member.role_set",
            subject_type=str(target._meta.model_name),
            subject_id=str(target.pk),
            actor=actor.get_username() if actor else "",
            data={"member": str(member), "kind": str(member._meta.model_name), "role": role or "none"},
            rows={
                role_called(member, str(target._meta.model_name), target.pk): role or "none",
                **(account_rows(member) if isinstance(member, User) else {}),
            },
        )


def take_every_role(target: Dataset | Project) -> None:
    """Take away every role that the target gives: what is deleted leaves none for whatever gets its number."""
    held = {
        "content_type": ContentType.objects.get_for_model(target),
        "object_pk": str(target.pk),
    }
    UserObjectPermission.objects.filter(**held).delete()
    GroupObjectPermission.objects.filter(**held).delete()


def role_on(user: Actor, target: Dataset | Project) -> Role | None:
    """The strongest role that the person has on the dataset (its project's included), or None."""
    return roles_on(user, [target])[target]


def roles_on(user: Actor, targets: Collection[Target]) -> dict[Target, Role | None]:
    """The strongest role that the person has on each of the targets, as ``role_on`` says it, in one statement."""
    return roles_of([user], targets)[user]


def roles_of(
    people: Collection[Actor], targets: Collection[Target]
) -> dict[Actor, dict[Target, Role | None]]:
    """The strongest role that each of some people has on each of the targets, in one statement at most.

    PostgreSQL plans this in a tenth of the time that it takes to plan the same as a condition of another query.
    """
    places = {target: places_of(target) for target in targets}
    wanted = Q()
    for model in ("dataset", "project"):
        pks = {pk for found in places.values() for name, pk in found if name == model}
        names = [f"{verb}_{model}" for _, verb in _STRONGEST_FIRST]
        wanted |= Q(permission__codename__in=names, object_pk__in=pks)
    asked = {one.pk for one in people if one.is_authenticated and one.is_active and not one.is_superuser}
    facts = ("permission__codename", "object_pk")
    own = UserObjectPermission.objects.filter(wanted, user__in=asked).values_list("user", *facts)
    of_groups = GroupObjectPermission.objects.filter(wanted, group__user__in=asked)
    held = set(own.union(of_groups.values_list("group__user", *facts))) if asked else set()

    def strongest(person: Actor, target: Target) -> Role | None:
        if person.is_superuser and person.is_active:
            return Role.OWNER
        holds = (
            role
            for role, verb in _STRONGEST_FIRST
            if any((person.pk, f"{verb}_{model}", pk) in held for model, pk in places[target])
        )
        return next(holds, None)

    return {person: {target: strongest(person, target) for target in places} for person in people}


def may_contribute(user: Actor, dataset: Dataset) -> bool:
    """Whether the person may propose, comment and review."""
    return role_on(user, dataset) in CONTRIBUTING


def is_owner(user: Actor, dataset: Dataset) -> bool:
    """Whether the person may manage the dataset and override its gates."""
    return role_on(user, dataset) is Role.OWNER


def require_owner(user: Actor, dataset: Dataset, doing: str) -> None:
    """Raises Forbidden, "Only owners of planes <doing>.", for everybody else."""
    if not is_owner(user, dataset):
        raise Forbidden(f"Only owners of {dataset.name} {doing}.")


def datasets_with_role(user: User, role: Role = Role.VIEWER) -> QuerySet[Dataset]:
    """The datasets on which the person has at least this role, in one query."""
    if user.is_superuser:
        return Dataset.objects.all()
    verb = _PERMISSIONS[role][-1]
    return Dataset.objects.filter(
        _held_by(user, f"{verb}_dataset", "pk") | _held_by(user, f"{verb}_project", "project")
    )


def _held_by(user: User, permission: str, path: str) -> Q:
    """The condition that the person, or a group of theirs, holds the permission on what ``path`` names."""
    held = {"permission__codename": permission}
    own = UserObjectPermission.objects.filter(user=user, **held)
    of_groups = GroupObjectPermission.objects.filter(group__user=user, **held)
    return Q(**{f"{path}__in": _targets(own)}) | Q(**{f"{path}__in": _targets(of_groups)})


def _targets(permissions: QuerySet[Any]) -> QuerySet[Any]:
    return permissions.values_list(Cast("object_pk", BigIntegerField()))


def holds_role(role: Role, *, user: str, dataset: str, project: str) -> Q:
    """The condition that an active user holds at least this role on a dataset, to annotate a query with.

    ``user``, ``dataset`` and ``project`` are the query's paths to their primary keys. The same as ``role_on``, for many
    rows in one query.
    """
    verb = _PERMISSIONS[role][-1]
    person = "" if user == "pk" else f"{user}__"
    # Asked for as a query within the query: PostgreSQL would hash a plain comparison with the person, for which it
    # reads what everybody holds on everything, once for each statement.
    themselves = User.objects.filter(pk=OuterRef(OuterRef(user))).values("pk")
    groups = User.groups.through.objects.filter(user=OuterRef(OuterRef(user))).values("group")
    given = Q(**{f"{person}is_superuser": True})
    for model, path in (("dataset", dataset), ("project", project)):
        of = {"permission__codename": f"{verb}_{model}", "object_pk": Cast(OuterRef(path), CharField())}
        given |= Q(Exists(UserObjectPermission.objects.filter(user__in=themselves, **of)))
        given |= Q(Exists(GroupObjectPermission.objects.filter(group__in=groups, **of)))
    return Q(**{f"{person}is_active": True}) & given


def people_with_role(people: Collection[int], dataset: Dataset, role: Role) -> frozenset[int]:
    """Those of some people, by their primary keys, who are active and hold at least this role on the dataset."""
    if not people:
        return frozenset()
    return frozenset(holders_of(dataset, role).filter(pk__in=people).values_list("pk", flat=True))


def holders_of(dataset: Dataset, role: Role) -> QuerySet[User]:
    """Everybody who is active and holds at least this role on the dataset."""
    places = {
        "asked_dataset": Value(dataset.pk, output_field=BigIntegerField()),
        "asked_project": Value(dataset.project_id, output_field=BigIntegerField()),
    }
    holds = holds_role(role, user="pk", dataset="asked_dataset", project="asked_project")
    return User.objects.annotate(**places).filter(holds)


def visible_projects(user: User) -> QuerySet[Project]:
    """Projects on which the person has a role, or that hold a dataset they may see."""
    if user.is_superuser:
        return Project.objects.all()
    holding = Q(pk__in=datasets_with_role(user).values("project"))
    return Project.objects.filter(_held_by(user, "view_project", "pk") | holding)


def visible_project(user: User, slug: str) -> Project:
    """The project, if the person may see it; else ``NotFound``, as if it were not there."""
    project = visible_projects(user).filter(slug=slug).first()
    if project is None:
        raise NotFound("There is no such project, or you may not see it.")
    return project


def project_to_manage(user: User, slug: str) -> Project:
    """The project, if the person may see it or operates the installation; else ``NotFound``."""
    found = Project.objects.filter(slug=slug).first() if is_operator(user) else None
    return found or visible_project(user, slug)


def projects_to_list(user: User) -> QuerySet[Project]:
    """The projects that the person may see or manage: all of them for operators, who make them and give their roles."""
    return Project.objects.all() if is_operator(user) else visible_projects(user)


def projects_to_register_in(user: User) -> QuerySet[Project]:
    """The projects in which the person makes datasets: those that they own, and all of them for operators."""
    return Project.objects.all() if is_operator(user) else projects_owned_by(user)


def projects_owned_by(user: User) -> QuerySet[Project]:
    """The projects that the person owns, alone or by a group."""
    if user.is_superuser:
        return Project.objects.all()
    return Project.objects.filter(_held_by(user, "own_project", "pk"))


def manages_members(user: User) -> bool:
    """Whether the person gives roles anywhere: owners of a dataset or project, and operators."""
    owning = Q(permission__codename__in=("own_dataset", "own_project"))
    return (
        is_operator(user)
        or UserObjectPermission.objects.filter(owning, user=user).exists()
        or GroupObjectPermission.objects.filter(owning, group__user=user).exists()
    )


def somebody_else_has_role(user: User) -> bool:
    """Whether anybody but the person has a role anywhere, or a group has."""
    return UserObjectPermission.objects.exclude(user=user).exists() or GroupObjectPermission.objects.exists()


def visible_dataset(user: User, address: DatasetAddress) -> Dataset:
    """The dataset, if the person may see it; else ``NotFound``, as if it were not there."""
    dataset = Dataset.objects.select_related("project", "meta").filter(at_address(address)).first()
    if dataset is None or role_on(user, dataset) is None:
        raise NotFound("There is no such dataset, or you may not see it.")
    return dataset


def members_of(target: Dataset | Project) -> list[tuple[User | Group, Role]]:
    """Users and groups with a role of their own on the target (not inherited), strongest first.

    Two queries, however many they are.
    """
    holders: tuple[tuple[QuerySet[Any], str], ...] = (
        (User.objects.all(), "userobjectpermission"),
        (Group.objects.all(), "groupobjectpermission"),
    )
    found = [
        (member, _STRONGEST_FIRST[member.place_of_role][0])
        for members, given in holders
        for member in _with_place_of_role(members, given, target)
    ]
    order = [role for role, _ in _STRONGEST_FIRST]
    return sorted(found, key=lambda pair: (order.index(pair[1]), str(pair[0])))


def _with_place_of_role(members: QuerySet[Any], given: str, target: Dataset | Project) -> QuerySet[Any]:
    """Those who hold a role on the target, with the place of the strongest in ``_STRONGEST_FIRST``."""
    model = target._meta.model_name
    places = [
        When(**{f"{given}__permission__codename": f"{verb}_{model}"}, then=Value(place))
        for place, (_, verb) in enumerate(_STRONGEST_FIRST)
    ]
    on_target = {
        f"{given}__content_type": ContentType.objects.get_for_model(target),
        f"{given}__object_pk": str(target.pk),
        f"{given}__permission__codename__in": permissions_of(Role.OWNER, target),
    }
    return members.filter(**on_target).annotate(place_of_role=Min(Case(*places)))
