"""Connections to the stores that tables lie in: for operators; owners see those that their projects may use."""

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.scopes import Scope
from api.schema import IF_MATCH
from api.serializers.connections import (
    AdoptedSerializer,
    AllowPrefixSerializer,
    ChangeConnectionSerializer,
    ConnectionSerializer,
    CreateConnectionSerializer,
    PrefixSerializer,
    TrialSerializer,
)
from api.views.shared import Documented, actor_of, created, validated, versions_matched
from datasets.models import Connection
from datasets.operators import is_operator
from datasets.services import connections

CONNECTION = OpenApiParameter("connection", str, OpenApiParameter.PATH, description="Name of the connection.")
PREFIX_ID = OpenApiParameter("prefix_id", int, OpenApiParameter.PATH)


@extend_schema(tags=["connections"])
class ConnectionsView(Documented):
    """Every connection. Not paged: there are few."""

    scopes = {"get": Scope.ADMIN, "post": Scope.ADMIN}

    @extend_schema(responses=ConnectionSerializer(many=True), operation_id="connections")
    def get(self, request: Request) -> Response:
        """The connections that the caller may use: of operators all, else those of projects that they own."""
        context = {"by_operator": is_operator(actor_of(request))}
        found = connections.connections_seen_by(actor_of(request))
        return Response(ConnectionSerializer(found, many=True, context=context).data)

    @extend_schema(
        request=CreateConnectionSerializer,
        responses={201: ConnectionSerializer},
        operation_id="create_connection",
    )
    def post(self, request: Request) -> Response:
        """A new connection. For operators. Its secrets are sealed and told to nobody again."""
        wanted = validated(CreateConnectionSerializer, request.data)
        made = connections.create_connection(actor=actor_of(request), **wanted)
        detail = _detail(request, made.name)
        return created(detail.data, "connection", made.name, request=request, **dict(detail.headers))


@extend_schema(tags=["connections"], parameters=[CONNECTION])
class ConnectionView(Documented):
    """One connection."""

    scopes = {"get": Scope.ADMIN, "patch": Scope.ADMIN, "delete": Scope.ADMIN}

    @extend_schema(responses=ConnectionSerializer, operation_id="connection")
    def get(self, request: Request, connection: str) -> Response:
        """A connection that the caller may use."""
        return _detail(request, connection)

    @extend_schema(
        parameters=[IF_MATCH],
        request=ChangeConnectionSerializer,
        responses=ConnectionSerializer,
        operation_id="change_connection",
    )
    def patch(self, request: Request, connection: str) -> Response:
        """Change a connection. For operators. Who changes where secrets are sent gives them anew.

        With `If-Match`, only if it is still as `ETag` told; else 412 `settings_changed`.
        """
        changes = validated(ChangeConnectionSerializer, request.data, partial=True)
        changed = connections.change_connection(
            actor=actor_of(request), name=connection, changes=changes, edited=versions_matched(request)
        )
        return _detail(request, changed.name)

    @extend_schema(responses={204: None}, operation_id="remove_connection")
    def delete(self, request: Request, connection: str) -> Response:
        """Remove a connection. For operators. 409 `connection_in_use` while tables are opened with it."""
        connections.remove_connection(actor=actor_of(request), name=connection)
        return Response(status=204)


@extend_schema(tags=["connections"], parameters=[CONNECTION])
class TryConnectionView(Documented):
    """Whether a connection does what tables need."""

    scopes = {"post": Scope.ADMIN}

    @extend_schema(request=None, responses=TrialSerializer, operation_id="try_connection")
    def post(self, request: Request, connection: str) -> Response:
        """Try a connection: list, put, read, refuse a second, remove; each in words. For operators; 10 s at most."""
        trial = connections.try_connection(actor=actor_of(request), name=connection)
        return Response(TrialSerializer(trial).data)


@extend_schema(tags=["connections"], parameters=[CONNECTION])
class AdoptTablesView(Documented):
    """Tables from before there was the connection."""

    scopes = {"post": Scope.ADMIN}

    @extend_schema(request=None, responses=AdoptedSerializer, operation_id="adopt_tables")
    def post(self, request: Request, connection: str) -> Response:
        """Open the tables below the root that have no connection with this one from now on. For operators."""
        found = connections.adopt_tables(actor=actor_of(request), name=connection)
        return Response(
            AdoptedSerializer({"datasets": [f"{one.project.slug}/{one.slug}" for one in found]}).data
        )


@extend_schema(tags=["connections"], parameters=[CONNECTION])
class PrefixesView(Documented):
    """Which projects may use which folders of a connection."""

    scopes = {"post": Scope.ADMIN}

    @extend_schema(
        request=AllowPrefixSerializer, responses={201: PrefixSerializer}, operation_id="allow_prefix"
    )
    def post(self, request: Request, connection: str) -> Response:
        """Let the owners of a project add tables below a folder of the connection. For operators."""
        wanted = validated(AllowPrefixSerializer, request.data)
        made = connections.allow_prefix(actor=actor_of(request), name=connection, **wanted)
        return created(PrefixSerializer(made).data, "connection-prefix", connection, made.pk, request=request)


@extend_schema(tags=["connections"], parameters=[CONNECTION, PREFIX_ID])
class PrefixView(Documented):
    """One of them."""

    scopes = {"delete": Scope.ADMIN}

    @extend_schema(responses={204: None}, operation_id="withdraw_prefix")
    def delete(self, request: Request, connection: str, prefix_id: int) -> Response:
        """Let them no more; what is a dataset already stays one. For operators."""
        connections.withdraw_prefix(actor=actor_of(request), name=connection, prefix_id=prefix_id)
        return Response(status=204)


def _detail(request: Request, name: str) -> Response:
    actor = actor_of(request)
    found: Connection = connections.connection_seen(actor=actor, name=name)
    data = ConnectionSerializer(found, context={"by_operator": is_operator(actor)}).data
    return Response(data, headers={"ETag": f'"{found.version}"'})
