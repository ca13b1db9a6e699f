"""Every dataset and project that has an owner keeps one: the policy that all ways of losing an owner ask.

An owner is an active person who holds that role on the dataset or its project, alone or by a group. Superusers do
everything everywhere and are no owners.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from django.contrib.auth.models import Group, User
from django.db import transaction
from django.db.models import Q, QuerySet
from guardian.models import GroupObjectPermission, UserObjectPermission

from audit.row_locks import locked
from datasets.errors import LastOwner
from datasets.models import Dataset, Project

Target = Dataset | Project


def places_of(target: Target) -> list[tuple[str, str]]:
    """Where a role on the target may be held: the model and primary key of the target, and of a dataset's project."""
    if isinstance(target, Dataset):
        return [("dataset", str(target.pk)), ("project", str(target.project_id))]
    return [("project", str(target.pk))]


def owners_of(target: Target) -> QuerySet[User]:
    """The active people who own the target, the project's owners of a dataset included."""
    held = Q()
    for model, pk in places_of(target):
        held |= Q(permission__codename=f"own_{model}", object_pk=pk)
    people = UserObjectPermission.objects.filter(held).values("user")
    groups = GroupObjectPermission.objects.filter(held).values("group")
    return User.objects.filter(Q(pk__in=people) | Q(groups__in=groups), is_active=True).distinct()


def owned_by(people: Iterable[User], groups: Iterable[Group] = ()) -> list[Target]:
    """The datasets and projects that these people, or these groups, hold as owners themselves."""
    people = list(people)
    of_people = Q(user__in=people)
    of_groups = Q(group__in=list(groups)) | Q(group__user__in=people)
    found: list[Target] = []
    for model in (Project, Dataset):
        own = Q(permission__codename=f"own_{model._meta.model_name}")
        held = set(UserObjectPermission.objects.filter(own, of_people).values_list("object_pk", flat=True))
        held |= set(GroupObjectPermission.objects.filter(own, of_groups).values_list("object_pk", flat=True))
        found += model._default_manager.filter(pk__in=[int(pk) for pk in held])
    return found


@contextmanager
def keeping_owners(targets: Iterable[Target]) -> Iterator[None]:
    """Let the block change who owns the targets, in one transaction.

    Raises ``LastOwner``, and undoes the block, where one of them would have no owner any more. The targets are locked,
    so that two owners cannot remove each other at once.
    """
    with transaction.atomic():
        owned = [target for target in _locked(targets) if owners_of(target).exists()]
        yield
        left = [target for target in owned if not owners_of(target).exists()]
        if left:
            raise LastOwner([target.name for target in left])


def _locked(targets: Iterable[Target]) -> list[Target]:
    """The targets, with their rows and those of the datasets' projects locked: projects first, by number."""
    targets = list(targets)
    projects = {one.project_id if isinstance(one, Dataset) else one.pk for one in targets}
    datasets = {one.pk for one in targets if isinstance(one, Dataset)}
    list(locked(Project.objects.filter(pk__in=projects).order_by("pk")))
    list(locked(Dataset.objects.filter(pk__in=datasets).order_by("pk")))
    return targets
