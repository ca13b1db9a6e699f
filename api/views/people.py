"""People whom the caller may know of, and invitations of those who have no account yet."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts import invitations, people
from accounts.models import Invitation
from accounts.scopes import Scope
from api.pagination import NewestFirst
from api.serializers.adding import (
    InvitationSerializer,
    InviteSerializer,
    NewInvitationSerializer,
    PeopleParameters,
    PersonSerializer,
)
from api.views.shared import Documented, actor_of, validated
from datasets.errors import InvalidInput
from datasets.models import Project
from datasets.roles import Role


@extend_schema(tags=["projects"])
class PeopleView(Documented):
    """People with an account."""

    scopes = {"get": Scope.READ}

    @extend_schema(
        parameters=[PeopleParameters], responses=PersonSerializer(many=True), operation_id="people_list"
    )
    def get(self, request: Request) -> Response:
        """People by parts of their name: those with a role where the caller has one, for operators everybody.

        Whoever gives roles finds them by e-mail, too.
        """
        wanted = validated(PeopleParameters, request.query_params)
        found = people.search(actor_of(request), wanted["search"], wanted["limit"])
        return Response(PersonSerializer(found, many=True).data)


@extend_schema(tags=["projects"])
class InvitationViewSet(Documented, GenericViewSet):
    """People who were asked in. For operators."""

    remembers_answers = False  # the address is kept as its hash alone
    scopes = {"list": Scope.ADMIN, "create": Scope.ADMIN, "destroy": Scope.ADMIN}
    queryset = Invitation.objects.none()
    serializer_class = InvitationSerializer
    pagination_class = NewestFirst

    def get_queryset(self) -> QuerySet[Any]:
        if getattr(self, "swagger_fake_view", False):
            return self.queryset
        return invitations.invitations_to_manage(actor_of(self.request))

    @extend_schema(responses=InvitationSerializer(many=True))
    def list(self, request: Request) -> Response:
        """Invitations that nobody took up yet."""
        page = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response(InvitationSerializer(page, many=True).data)

    @extend_schema(request=InviteSerializer, responses={201: NewInvitationSerializer})
    def create(self, request: Request) -> Response:
        """Ask somebody in by e-mail. `address` opens one account, once, and is told this once.

        Another invitation to the same e-mail address takes the place of the one before.
        """
        wanted = validated(InviteSerializer, request.data)
        slug, role = wanted.pop("project"), wanted.pop("role")
        project = Project.objects.filter(slug=slug).first() if slug else None
        if slug and project is None:
            raise InvalidInput("There is no such project.", errors={"project": ["There is no such project."]})
        made, address = invitations.invite(
            actor=actor_of(request), project=project, role=Role(role) if role else None, **wanted
        )
        told = {
            **InvitationSerializer(made).data,
            "address": address,
            "mailed": invitations.send(made, address),
        }
        return Response(told, status=201)

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, invitation_id: int) -> Response:
        """Take an invitation back; its address opens nothing any more."""
        invitations.withdraw(actor=actor_of(request), invitation_id=invitation_id)
        return Response(status=204)
