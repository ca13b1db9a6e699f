"""What the caller is told, and how; asking for reviews."""

from typing import Any

import django_filters
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.scopes import Scope
from api.pagination import NewestFirst
from api.schema import CR_ID, DATASET_ID
from api.serializers.notifications import (
    AskForReviewSerializer,
    MarkedReadSerializer,
    NotificationSerializer,
    NotificationSettingsSerializer,
    ReadNotificationsSerializer,
    ReviewRequestSerializer,
    SubscriptionSerializer,
)
from api.views.shared import Documented, actor_of, validated
from changerequests import selectors
from changerequests.models import ChangeRequest, ReviewRequest
from changerequests.services import asking
from datasets.models import Dataset
from datasets.roles import visible_dataset
from notifications.models import Notification
from notifications.selectors import inbox_of, unread_of, ways_of
from notifications.services import inbox, preferences


class NotificationFilter(django_filters.FilterSet):
    """Which notifications."""

    unread = django_filters.BooleanFilter(
        field_name="read_at", lookup_expr="isnull", help_text="Whether they are unread."
    )

    class Meta:
        model = Notification
        fields: list[str] = []


@extend_schema(tags=["notifications"])
class NotificationViewSet(Documented, GenericViewSet):
    """The caller's inbox."""

    scopes = {"list": Scope.READ, "read": Scope.REVIEW}
    queryset = Notification.objects.none()
    serializer_class = NotificationSerializer
    pagination_class = NewestFirst
    filterset_class = NotificationFilter

    def get_queryset(self) -> QuerySet[Notification]:
        if getattr(self, "swagger_fake_view", False):
            return self.queryset
        return inbox_of(actor_of(self.request))

    @extend_schema(responses=NotificationSerializer(many=True))
    def list(self, request: Request) -> Response:
        """What the caller was told and may still see, newest first."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(NotificationSerializer(page, many=True).data)

    @extend_schema(request=ReadNotificationsSerializer, responses=MarkedReadSerializer)
    def read(self, request: Request) -> Response:
        """Mark notifications as read: those named, else all."""
        wanted = validated(ReadNotificationsSerializer, request.data)
        marked = inbox.mark_read(person=actor_of(request), notifications=wanted.get("notifications"))
        return Response({"marked": marked, "unread": unread_of(actor_of(request)).count()})


@extend_schema(tags=["notifications"])
class NotificationSettingsViewSet(Documented, GenericViewSet):
    """How the caller is told."""

    scopes = {"retrieve": Scope.READ, "update": Scope.ADMIN}
    serializer_class = NotificationSettingsSerializer

    @extend_schema(responses=NotificationSettingsSerializer)
    def retrieve(self, request: Request) -> Response:
        """How the caller is told of each kind. What comes by e-mail, at once or once a day, is in the inbox, too."""
        return self._told(request)

    @extend_schema(request=NotificationSettingsSerializer, responses=NotificationSettingsSerializer)
    def update(self, request: Request) -> Response:
        """Choose how to be told of some kinds; the others stay as they are."""
        wanted = validated(NotificationSettingsSerializer, request.data)
        preferences.choose_ways(person=actor_of(request), ways=wanted)
        return self._told(request)

    def _told(self, request: Request) -> Response:
        ways = ways_of([actor_of(request).pk])[actor_of(request).pk]
        return Response({kind.value: way.value for kind, way in ways.items()})


class _Subscriptions(Documented, GenericViewSet):
    """What the caller wants to hear of one thing."""

    scopes = {"retrieve": Scope.READ, "update": Scope.REVIEW, "destroy": Scope.REVIEW}
    serializer_class = SubscriptionSerializer

    def thing(self, request: Request, **place: Any) -> ChangeRequest | Dataset:
        raise NotImplementedError

    @extend_schema(responses=SubscriptionSerializer)
    def retrieve(self, request: Request, **place: Any) -> Response:
        """Whether the caller watches it, hears of what they take part in (the default), or muted it."""
        thing = self.thing(request, **place)
        return Response({"level": preferences.subscription_to(person=actor_of(request), to=thing)})

    @extend_schema(request=SubscriptionSerializer, responses=SubscriptionSerializer)
    def update(self, request: Request, **place: Any) -> Response:
        """Watch it, hear of what one takes part in, or mute it: then one is told of what one is asked oneself alone."""
        thing = self.thing(request, **place)
        wanted = validated(SubscriptionSerializer, request.data)
        preferences.subscribe(person=actor_of(request), to=thing, **wanted)
        return Response(wanted)

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, **place: Any) -> Response:
        """Go back to the default."""
        preferences.unsubscribe(person=actor_of(request), to=self.thing(request, **place))
        return Response(status=204)


@extend_schema(tags=["notifications"], parameters=[CR_ID])
class RequestSubscriptionViewSet(_Subscriptions):
    """What the caller wants to hear of one request."""

    def thing(self, request: Request, **place: Any) -> ChangeRequest:
        return selectors.visible_change_request(actor_of(request), place["cr_id"])


@extend_schema(tags=["notifications"], parameters=[DATASET_ID])
class DatasetSubscriptionViewSet(_Subscriptions):
    """What the caller wants to hear of all requests to a dataset."""

    def thing(self, request: Request, **place: Any) -> Dataset:
        return visible_dataset(actor_of(request), place["dataset_id"])


@extend_schema(tags=["change requests"], parameters=[CR_ID])
class ReviewRequestViewSet(Documented, GenericViewSet):
    """Who was asked for a review of a request."""

    scopes = {"list": Scope.READ, "create": Scope.PROPOSE, "destroy": Scope.PROPOSE}
    serializer_class = ReviewRequestSerializer
    queryset = ReviewRequest.objects.none()
    filterset_class: Any = None

    @extend_schema(responses=ReviewRequestSerializer(many=True))
    def list(self, request: Request, cr_id: str) -> Response:
        """Who was asked, and whether they judged the current content, in the order in which they were asked."""
        return self._all(selectors.visible_change_request(actor_of(request), cr_id))

    @extend_schema(request=AskForReviewSerializer, responses={200: ReviewRequestSerializer(many=True)})
    def create(self, request: Request, cr_id: str) -> Response:
        """Ask people and groups for a review; who was asked before stays asked. Answers everybody who is asked now."""
        change_request = selectors.visible_change_request(actor_of(request), cr_id)
        wanted = validated(AskForReviewSerializer, request.data)
        asking.ask_for_review(change_request_id=change_request.pk, actor=actor_of(request), **wanted)
        return self._all(change_request)

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, cr_id: str, review_request_id: int) -> Response:
        """Take back that somebody was asked."""
        change_request = selectors.visible_change_request(actor_of(request), cr_id)
        asking.withdraw_review_request(
            change_request_id=change_request.pk, review_request_id=review_request_id, actor=actor_of(request)
        )
        return Response(status=204)

    def _all(self, change_request: ChangeRequest) -> Response:
        asked = selectors.review_requests_of([change_request.pk]).select_related("asked_by")
        return Response(ReviewRequestSerializer(asked, many=True).data)
