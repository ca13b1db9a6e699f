"""Service accounts of pipelines, and their tokens."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts import service_accounts
from accounts.models import ServiceAccount
from accounts.scopes import Scope
from accounts.tokens import tokens_of
from api.pagination import NewestFirst
from api.serializers.service_accounts import (
    CreateServiceAccountSerializer,
    DeactivateSerializer,
    ServiceAccountSerializer,
)
from api.serializers.sign_in import NewTokenSerializer, TokenSerializer, WantedTokenSerializer
from api.views.shared import Documented, actor_of, validated
from api.views.sign_in import shown_once
from datasets.errors import InvalidInput
from datasets.models import Project
from datasets.roles import Role, projects_to_list

NUMBER = OpenApiParameter("token_number", OpenApiTypes.UUID, OpenApiParameter.PATH)


@extend_schema(tags=["service accounts"])
class ServiceAccountViewSet(Documented, GenericViewSet):
    """Service accounts that the caller manages: operators all of them, owners those of their projects."""

    scopes = {"list": Scope.ADMIN, "create": Scope.ADMIN, "retrieve": Scope.ADMIN, "deactivate": Scope.ADMIN}
    queryset = ServiceAccount.objects.none()
    serializer_class = ServiceAccountSerializer
    pagination_class = NewestFirst

    def get_queryset(self) -> QuerySet[Any]:
        if getattr(self, "swagger_fake_view", False):
            return self.queryset
        return service_accounts.managed_by(actor_of(self.request))

    @extend_schema(responses=ServiceAccountSerializer(many=True))
    def list(self, request: Request) -> Response:
        """Those that the caller makes tokens for."""
        page = self.paginate_queryset(self.get_queryset().order_by("-pk"))
        return self.get_paginated_response(ServiceAccountSerializer(page, many=True).data)

    @extend_schema(request=CreateServiceAccountSerializer, responses={201: ServiceAccountSerializer})
    def create(self, request: Request) -> Response:
        """Another one, with a role on its project where one is named."""
        wanted = validated(CreateServiceAccountSerializer, request.data)
        slug, role = wanted.pop("project"), wanted.pop("role")
        actor = actor_of(request)
        project: Project | None = projects_to_list(actor).filter(slug=slug).first() if slug else None
        if slug and project is None:
            sentence = "There is no such project, or you may not see it."
            raise InvalidInput(sentence, errors={"project": [sentence]})
        made = service_accounts.create(
            actor=actor, project=project, role=Role(role) if role else None, **wanted
        )
        return Response(ServiceAccountSerializer(made).data, status=201)

    @extend_schema(responses=ServiceAccountSerializer)
    def retrieve(self, request: Request, service_account_id: int) -> Response:
        """One of them."""
        found = service_accounts.account_to_manage(actor_of(request), service_account_id)
        return Response(ServiceAccountSerializer(found).data)

    @extend_schema(request=DeactivateSerializer, responses={204: None})
    def deactivate(self, request: Request, service_account_id: int) -> Response:
        """End it with all its tokens; what it did stays."""
        account = service_accounts.account_to_manage(actor_of(request), service_account_id)
        reason = validated(DeactivateSerializer, request.data)["reason"]
        service_accounts.deactivate(actor=actor_of(request), account=account, reason=reason)
        return Response(status=204)


@extend_schema(tags=["service accounts"])
class ServiceTokenViewSet(Documented, GenericViewSet):
    """Tokens of a service account."""

    remembers_answers = False  # a token is kept as its hash alone
    scopes = {"list": Scope.ADMIN, "create": Scope.ADMIN, "rotate": Scope.ADMIN, "destroy": Scope.ADMIN}
    queryset = ServiceAccount.objects.none()
    pagination_class = None

    @extend_schema(responses=TokenSerializer(many=True))
    def list(self, request: Request, service_account_id: int) -> Response:
        """Those that open something, newest first; never the keys themselves."""
        account = service_accounts.account_to_manage(actor_of(request), service_account_id)
        return Response(TokenSerializer(tokens_of(account.user), many=True).data)

    @extend_schema(request=WantedTokenSerializer, responses={201: NewTokenSerializer})
    def create(self, request: Request, service_account_id: int) -> Response:
        """Another token; `token` is told this once."""
        account = service_accounts.account_to_manage(actor_of(request), service_account_id)
        wanted = validated(WantedTokenSerializer, request.data)
        made = service_accounts.make_token(actor=actor_of(request), account=account, **wanted)
        return Response(shown_once(*made), status=201)

    @extend_schema(parameters=[NUMBER], request=None, responses={201: NewTokenSerializer})
    def rotate(self, request: Request, service_account_id: int, token_number: UUID) -> Response:
        """Another token like this one, which goes on for a day: both open meanwhile."""
        account = service_accounts.account_to_manage(actor_of(request), service_account_id)
        made = service_accounts.rotate_token(actor=actor_of(request), account=account, number=token_number)
        return Response(shown_once(*made), status=201)

    @extend_schema(parameters=[NUMBER], responses={204: None})
    def destroy(self, request: Request, service_account_id: int, token_number: UUID) -> Response:
        """Make one of its tokens worthless."""
        account = service_accounts.account_to_manage(actor_of(request), service_account_id)
        service_accounts.revoke_token(actor=actor_of(request), account=account, number=token_number)
        return Response(status=204)
