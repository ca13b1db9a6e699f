"""Who has which role on what, for the views of datasets and projects."""

from typing import Any

from django.contrib.auth.models import Group, User
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request
from rest_framework.response import Response

from api.serializers.members import MemberSerializer, SetMemberSerializer
from api.views.shared import actor_of, validated, versions_matched
from datasets.errors import Forbidden, InvalidInput, NotFound
from datasets.models import Dataset, Project
from datasets.operators import is_operator
from datasets.roles import Role, members_digest, members_of, role_on, set_role

#: A member, in an address.
MEMBER = (
    OpenApiParameter("kind", str, OpenApiParameter.PATH, enum=["user", "group"]),
    OpenApiParameter("member", str, OpenApiParameter.PATH, description="User name, or name of the group."),
)


def _member_called(kind: str, name: str) -> User | Group:
    """The user or group of this name; ``InvalidInput`` where there is none."""
    found = _found(kind, name)
    if found is None:
        raise InvalidInput(f"There is no {kind} {name}.", errors={"name": [f"There is no {kind} {name}."]})
    return found


def _found(kind: str, name: str) -> User | Group | None:
    if kind == "group":
        return Group.objects.filter(name=name).first()
    return User.objects.filter(username=name).first() if kind == "user" else None


def _members_told(target: Dataset | Project) -> Any:
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


def _require_manager(actor: User, target: Dataset | Project) -> None:
    if role_on(actor, target) is not Role.OWNER and not is_operator(actor):
        raise Forbidden(f"Only owners of {target.name} change who may do what.")


def members_answer(target: Dataset | Project) -> Response:
    """The members as they are now; the tag stands for the roles that the target itself gives."""
    return Response(_members_told(target), headers={"ETag": f'"{members_digest(target)}"'})


def set_member(request: Request, target: Dataset | Project) -> Response:
    """Give the member that the body names exactly its role on the target."""
    _require_manager(
        actor_of(request), target
    )  # before names are looked up, which strangers shall not try out
    wanted = validated(SetMemberSerializer, request.data)
    set_role(
        member=_member_called(wanted["kind"], wanted["name"]),
        target=target,
        role=Role(wanted["role"]) if wanted["role"] else None,
        actor=actor_of(request),
        edited=versions_matched(request),
    )
    return members_answer(target)


def remove_member(request: Request, target: Dataset | Project, kind: str, name: str) -> Response:
    """Take the member's own role on the target away; ``NotFound`` where they have none of their own."""
    _require_manager(actor_of(request), target)
    found = _found(kind, name)
    if found is None or found not in [member for member, _ in members_of(target)]:
        raise NotFound(f"No {kind} {name} has a role of their own on {target.name}.")
    set_role(
        member=found, target=target, role=None, actor=actor_of(request), edited=versions_matched(request)
    )
    return Response(status=204)
