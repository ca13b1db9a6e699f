"""Webhooks of datasets and projects, for their owners."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.scopes import Scope
from api.pagination import NewestFirst
from api.schema import DATASET_ID, IF_MATCH
from api.serializers.webhooks import (
    ChangeWebhookSerializer,
    CreateWebhookSerializer,
    DeliverySerializer,
    NewWebhookSerializer,
    RotateSecretSerializer,
    WebhookSerializer,
)
from api.views.shared import Documented, actor_of, created, validated, versions_matched
from datasets.addressing import DatasetAddress
from datasets.models import Dataset, Project
from datasets.roles import visible_dataset, visible_project
from notifications.models import Delivery, Webhook
from notifications.services import webhooks

WEBHOOK_ID = OpenApiParameter("webhook_id", int, OpenApiParameter.PATH)
DELIVERY_ID = OpenApiParameter("delivery_id", int, OpenApiParameter.PATH)


class OfPlace(Documented):
    """The webhooks of one place. Not paged: there are few."""

    remembers_answers = False  # a secret is kept encrypted, and told once
    scopes = {"get": Scope.ADMIN, "post": Scope.ADMIN}

    def told(self, request: Request, place: Dataset | Project) -> Response:
        """The webhooks of the place."""
        found = webhooks.webhooks_of(actor=actor_of(request), place=place)
        return Response(WebhookSerializer(found, many=True).data)

    def make(self, request: Request, place: Dataset | Project) -> Response:
        """A new one, with its secret."""
        wanted = validated(CreateWebhookSerializer, request.data)
        made, secret = webhooks.create_webhook(actor=actor_of(request), place=place, **wanted)
        data = NewWebhookSerializer(made, context={"secret": secret}).data
        return created(data, "webhook", made.pk, request=request, ETag=_etag(made))


@extend_schema(tags=["events"], parameters=[DATASET_ID])
class DatasetWebhooksView(OfPlace):
    """Webhooks of one dataset."""

    @extend_schema(responses=WebhookSerializer(many=True), operation_id="dataset_webhooks")
    def get(self, request: Request, dataset_id: DatasetAddress) -> Response:
        """Whom the dataset tells what happens in it, oldest first. For owners."""
        return self.told(request, visible_dataset(actor_of(request), dataset_id))

    @extend_schema(
        request=CreateWebhookSerializer,
        responses={201: NewWebhookSerializer},
        operation_id="create_dataset_webhook",
    )
    def post(self, request: Request, dataset_id: DatasetAddress) -> Response:
        """Tell an address what happens in the dataset. For owners. The answer has the secret, this once."""
        return self.make(request, visible_dataset(actor_of(request), dataset_id))


@extend_schema(tags=["events"])
class ProjectWebhooksView(OfPlace):
    """Webhooks of one project."""

    @extend_schema(responses=WebhookSerializer(many=True), operation_id="project_webhooks")
    def get(self, request: Request, slug: str) -> Response:
        """Whom the project tells what happens in all of its datasets, oldest first. For owners."""
        return self.told(request, visible_project(actor_of(request), slug))

    @extend_schema(
        request=CreateWebhookSerializer,
        responses={201: NewWebhookSerializer},
        operation_id="create_project_webhook",
    )
    def post(self, request: Request, slug: str) -> Response:
        """Tell an address what happens in all datasets of the project. For owners; the secret is told this once."""
        return self.make(request, visible_project(actor_of(request), slug))


@extend_schema(tags=["events"], parameters=[WEBHOOK_ID])
class WebhookViewSet(Documented, GenericViewSet):
    """One webhook."""

    scopes = {
        "retrieve": Scope.ADMIN,
        "partial_update": Scope.ADMIN,
        "destroy": Scope.ADMIN,
        "ping": Scope.ADMIN,
        "deliveries": Scope.ADMIN,
    }
    queryset = Delivery.objects.none()
    serializer_class = DeliverySerializer
    pagination_class = NewestFirst
    filterset_class = None

    @extend_schema(responses=WebhookSerializer)
    def retrieve(self, request: Request, webhook_id: int) -> Response:
        """A webhook. For owners of what it is told of."""
        return _detail(webhooks.webhook_to_manage(actor=actor_of(request), webhook_id=webhook_id))

    @extend_schema(parameters=[IF_MATCH], request=ChangeWebhookSerializer, responses=WebhookSerializer)
    def partial_update(self, request: Request, webhook_id: int) -> Response:
        """Change a webhook, or switch it off and on. For owners.

        With `If-Match`, only if it is still as `ETag` told; else 412 `settings_changed`.
        """
        changes = validated(ChangeWebhookSerializer, request.data, partial=True)
        changed = webhooks.change_webhook(
            webhook_id=webhook_id, actor=actor_of(request), changes=changes, edited=versions_matched(request)
        )
        return _detail(changed)

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, webhook_id: int) -> Response:
        """Remove a webhook; what waits for it is given up. For owners."""
        webhooks.remove_webhook(webhook_id=webhook_id, actor=actor_of(request))
        return Response(status=204)

    @extend_schema(request=None, responses={202: DeliverySerializer})
    def ping(self, request: Request, webhook_id: int) -> Response:
        """Try a webhook out: a message of the kind `ping` is sent once, at once. For owners.

        What became of it is among the deliveries. Where it works again, what waited is sent at once.
        """
        sent = webhooks.try_out(webhook_id=webhook_id, actor=actor_of(request))
        return Response(DeliverySerializer(sent).data, status=202)

    @extend_schema(responses=DeliverySerializer(many=True))
    def deliveries(self, request: Request, webhook_id: int) -> Response:
        """What was sent to a webhook, and what waits, newest first. For owners."""
        webhook = webhooks.webhook_to_manage(actor=actor_of(request), webhook_id=webhook_id)
        found: QuerySet[Any] = webhooks.deliveries_of(webhook)
        return self.get_paginated_response(DeliverySerializer(self.paginate_queryset(found), many=True).data)


@extend_schema(tags=["events"], parameters=[WEBHOOK_ID])
class SecretView(Documented):
    """The secret of a webhook."""

    remembers_answers = False
    scopes = {"post": Scope.ADMIN}

    @extend_schema(
        request=RotateSecretSerializer, responses=NewWebhookSerializer, operation_id="rotate_webhook_secret"
    )
    def post(self, request: Request, webhook_id: int) -> Response:
        """Replace the secret, which is told this once. For owners. The old one signs as well for a while."""
        wanted = validated(RotateSecretSerializer, request.data)
        webhook, secret = webhooks.rotate_secret(webhook_id=webhook_id, actor=actor_of(request), **wanted)
        data = NewWebhookSerializer(webhook, context={"secret": secret}).data
        return Response(data, headers={"ETag": _etag(webhook)})


@extend_schema(tags=["events"], parameters=[DELIVERY_ID])
class RepeatView(Documented):
    """One delivery."""

    scopes = {"post": Scope.ADMIN}

    @extend_schema(request=None, responses={202: DeliverySerializer}, operation_id="repeat_delivery")
    def post(self, request: Request, delivery_id: int) -> Response:
        """Send what was sent or given up once more, behind what waits. For owners of the webhook.

        409 `dataset_busy` while it is still tried by itself.
        """
        again = webhooks.repeat(delivery_id=delivery_id, actor=actor_of(request))
        return Response(DeliverySerializer(again).data, status=202)


def _detail(webhook: Webhook) -> Response:
    return Response(WebhookSerializer(webhook).data, headers={"ETag": _etag(webhook)})


def _etag(webhook: Webhook) -> str:
    return f'"{webhook.version}"'
