"""Tables that are no datasets yet: where they lie, and what they are."""

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.scopes import Scope
from api.serializers.adding import (
    LookAtTableSerializer,
    PlacesParameters,
    PlacesSerializer,
    TableLookSerializer,
)
from api.views.shared import Documented, actor_of, validated
from datasets import services


@extend_schema(tags=["datasets"])
class PlacesView(Documented):
    """The folders of the installation."""

    scopes = {"get": Scope.ADMIN}

    @extend_schema(parameters=[PlacesParameters], responses=PlacesSerializer, operation_id="places_retrieve")
    def get(self, request: Request) -> Response:
        """Where tables lie that may become datasets, folder by folder. For owners of a project and operators.

        Tables that are datasets which the caller may not see are left out.
        """
        wanted = validated(PlacesParameters, request.query_params)
        actor = actor_of(request)
        roots = [one.address for one in services.roots(actor)]
        folder = services.look_into(actor, wanted.get("place", roots[0]))
        return Response(PlacesSerializer({"roots": roots, "folder": folder}).data)


@extend_schema(tags=["datasets"])
class TableLookView(Documented):
    """A table before it becomes a dataset."""

    scopes = {"post": Scope.ADMIN}

    @extend_schema(request=LookAtTableSerializer, responses=TableLookSerializer, operation_id="tables_look")
    def post(self, request: Request) -> Response:
        """Look at a table, and try columns as its key; nothing is written. For whoever may register it.

        422 says what is in the way: no table, a feature that cannot be written, columns that can be no key.
        """
        wanted = validated(LookAtTableSerializer, request.data)
        return Response(TableLookSerializer(services.look_at_table(actor=actor_of(request), **wanted)).data)
