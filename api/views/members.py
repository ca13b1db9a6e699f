"""Who has which role on what, for the views of datasets and projects."""

from typing import Any

from django.contrib.auth.models import Group, User
from drf_spectacular.utils import OpenApiParameter

from api.serializers.members import MemberSerializer
from datasets.errors import Forbidden, InvalidInput, NotFound
from datasets.models import Dataset, Project
from datasets.operators import is_operator
from datasets.roles import Role, members_of, role_on, set_role

#: A member, in an address.
MEMBER = (
    OpenApiParameter("kind", str, OpenApiParameter.PATH, enum=["user", "group"]),
    OpenApiParameter("member", str, OpenApiParameter.PATH, description="User name, or name of the group."),
)


def member_called(kind: str, name: str) -> User | Group:
    """The user or group of this name; ``InvalidInput`` where there is none."""
    found = _found(kind, name)
    if found is None:
        raise InvalidInput(f"There is no {kind} {name}.", errors={"name": [f"There is no {kind} {name}."]})
    return found


def _found(kind: str, name: str) -> User | Group | None:
    if kind == "group":
        return Group.objects.filter(name=name).first()
    return User.objects.filter(username=name).first() if kind == "user" else None


def members_told(target: Dataset | Project) -> Any:
    """Users and groups with a role on the target, and those that a dataset's project gives, as the API tells them."""
    places: list[Dataset | Project] = [target, target.project] if isinstance(target, Dataset) else [target]
    return MemberSerializer(
        [
            {
                "kind": "group" if isinstance(member, Group) else "user",
                "name": str(member),
                "role": role,
                "inherited": place is not target,
            }
            for place in places
            for member, role in members_of(place)
        ],
        many=True,
    ).data


def remove_member(actor: User, target: Dataset | Project, kind: str, name: str) -> None:
    """Take the member's own role on the target away; ``NotFound`` where they have none of their own."""
    if role_on(actor, target) is not Role.OWNER and not is_operator(actor):
        raise Forbidden(f"Only owners of {target.name} change who may do what.")
    found = _found(kind, name)
    if found is None or found not in [member for member, _ in members_of(target)]:
        raise NotFound(f"No {kind} {name} has a role of their own on {target.name}.")
    set_role(member=found, target=target, role=None, actor=actor)
