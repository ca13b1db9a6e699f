"""What people are told, and how; who was asked for a review."""

from typing import Any

from rest_framework import serializers

from api.serializers.shared import StrictSerializer, UserField
from changerequests.models import ReviewRequest
from notifications.kinds import REASONS, Kind, Reason, Way
from notifications.models import Notification, Subscription
from notifications.recipients import next_step

KINDS = [(kind.value, kind.value) for kind in Kind]
NOTIFICATION_REASONS = [(reason.value, reason.value) for reason in Reason]
WAYS = [(way.value, way.value) for way in Way]


class NotificationSerializer(serializers.ModelSerializer):
    """One piece of news: what happened, why the caller is told, and what to do next."""

    kind = serializers.ChoiceField(KINDS, read_only=True)
    reason = serializers.ChoiceField(NOTIFICATION_REASONS, read_only=True)
    action = serializers.CharField(
        source="event.action", read_only=True, help_text="As in the events of a request."
    )
    actor = serializers.CharField(
        source="event.actor", read_only=True, help_text="User name; empty for the system."
    )
    occurred_at = serializers.DateTimeField(source="event.occurred_at", read_only=True)
    why = serializers.SerializerMethodField()
    what_to_do = serializers.SerializerMethodField(help_text="Empty where nothing is to be done.")
    change_request = serializers.SerializerMethodField(help_text="Public id, where it is about one.")
    dataset = serializers.IntegerField(source="dataset_id", read_only=True, allow_null=True)

    class Meta:
        model = Notification
        fields = [
            "id",
            "kind",
            "reason",
            "headline",
            "why",
            "what_to_do",
            "action",
            "actor",
            "change_request",
            "dataset",
            "occurred_at",
            "read_at",
        ]

    def get_why(self, notification: Notification) -> str:
        return REASONS[Reason(notification.reason)]

    def get_what_to_do(self, notification: Notification) -> str:
        return next_step(notification.event.action, Kind(notification.kind))

    def get_change_request(self, notification: Notification) -> str | None:
        return notification.change_request.cr_id if notification.change_request is not None else None


class ReadNotificationsSerializer(StrictSerializer):
    """Which notifications were read; all of them without."""

    notifications: Any = serializers.ListField(
        child=serializers.IntegerField(min_value=1, max_value=2**63 - 1), required=False, max_length=1000
    )


class MarkedReadSerializer(serializers.Serializer):
    """How many were unread before, and how many still are."""

    marked = serializers.IntegerField()
    unread = serializers.IntegerField()


class NotificationSettingsSerializer(StrictSerializer):
    """How to be told of each kind; in a change those that are left out stay as they are."""

    def get_fields(self) -> dict[str, serializers.Field]:
        return {kind: serializers.ChoiceField(WAYS, required=False) for kind, _ in KINDS}


class SubscriptionSerializer(StrictSerializer):
    """What the caller wants to hear."""

    level = serializers.ChoiceField(Subscription.Level.choices)


class ReviewRequestSerializer(serializers.ModelSerializer):
    """Somebody, or one of a group, was asked for a review."""

    user = serializers.CharField(source="reviewer.username", default=None, read_only=True, allow_null=True)
    group = serializers.CharField(source="group.name", default=None, read_only=True, allow_null=True)
    asked_by = UserField(read_only=True)
    answered = serializers.BooleanField(
        read_only=True, help_text="Whether they, or one of the group, judged the current content."
    )

    class Meta:
        model = ReviewRequest
        fields = ["id", "user", "group", "asked_by", "asked_at", "answered"]


class AskForReviewSerializer(StrictSerializer):
    """Whom to ask, by names."""

    users: Any = serializers.ListField(
        child=serializers.CharField(max_length=150), required=False, max_length=50
    )
    groups: Any = serializers.ListField(
        child=serializers.CharField(max_length=150), required=False, max_length=50
    )
