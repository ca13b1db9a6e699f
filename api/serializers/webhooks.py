"""Webhooks and what was sent to them."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from api.serializers.shared import StrictSerializer
from datasets.durable_work import WorkStatus
from notifications.channels.reach import LONGEST_URL
from notifications.formats import Format
from notifications.models import Delivery, Webhook
from notifications.services.webhooks import LONGEST_OVERLAP_HOURS, USUAL_OVERLAP_HOURS

FORMATS = [(one.value, one.value) for one in Format]
STOPPED = [(one.value, one.value) for one in Webhook.Stopped if one.value]
DELIVERY_STATES = [(one.value, one.value) for one in WorkStatus]


class WebhookSerializer(serializers.ModelSerializer):
    """A webhook, without its address and secret: they open something elsewhere, and are told to nobody again."""

    project = serializers.SerializerMethodField(help_text="Slug of the project; null for one of a dataset.")
    dataset = serializers.SerializerMethodField(
        help_text="As `project/slug`; null for one of a whole project."
    )
    format = serializers.ChoiceField(FORMATS)
    is_active = serializers.SerializerMethodField()
    stopped = serializers.SerializerMethodField(help_text="Why nothing is sent; null where it is.")
    created_by = serializers.SerializerMethodField()
    former_secret_ends_at = serializers.DateTimeField(
        allow_null=True, help_text="Until then the secret before signs, too."
    )

    class Meta:
        model = Webhook
        fields = [
            "id",
            "name",
            "project",
            "dataset",
            "host",
            "format",
            "actions",
            "is_active",
            "stopped",
            "failing_since",
            "former_secret_ends_at",
            "created_by",
            "created_at",
        ]

    actions = serializers.ListField(child=serializers.CharField(), help_text="Empty for all.")

    @extend_schema_field(serializers.CharField(allow_null=True))
    def get_project(self, webhook: Webhook) -> str | None:
        return None if webhook.project is None else webhook.project.slug

    @extend_schema_field(serializers.CharField(allow_null=True))
    def get_dataset(self, webhook: Webhook) -> str | None:
        dataset = webhook.dataset
        return None if dataset is None else f"{dataset.project.slug}/{dataset.slug}"

    def get_is_active(self, webhook: Webhook) -> bool:
        return not webhook.stopped

    @extend_schema_field(serializers.ChoiceField(STOPPED, allow_null=True))
    def get_stopped(self, webhook: Webhook) -> str | None:
        return webhook.stopped or None

    @extend_schema_field(serializers.CharField())
    def get_created_by(self, webhook: Webhook) -> str:
        return "" if webhook.created_by is None else webhook.created_by.get_username()


class NewWebhookSerializer(WebhookSerializer):
    """A webhook with its secret, which is told this once."""

    secret = serializers.SerializerMethodField(
        help_text="What its requests are signed with. Shown this once."
    )

    class Meta(WebhookSerializer.Meta):
        fields = [*WebhookSerializer.Meta.fields, "secret"]

    @extend_schema_field(serializers.CharField())
    def get_secret(self, _: Webhook) -> str:
        return str(self.context["secret"])


class CreateWebhookSerializer(StrictSerializer):
    """A new webhook."""

    name = serializers.CharField(max_length=100)
    url = serializers.CharField(max_length=LONGEST_URL, help_text="Kept encrypted, and not told again.")
    format = serializers.ChoiceField(FORMATS, default=Format.JSON.value)
    actions = serializers.ListField(
        child=serializers.CharField(max_length=81),
        default=list,
        max_length=50,
        help_text="What it is told: actions (`change_request.merged`) or groups (`merge.*`). Empty for all; Slack and "
        "Teams are then told what people want to know.",
    )


class ChangeWebhookSerializer(CreateWebhookSerializer):
    """What may be changed of a webhook."""

    is_active = serializers.BooleanField()


class RotateSecretSerializer(StrictSerializer):
    """How a secret is replaced."""

    overlap_hours = serializers.IntegerField(
        min_value=0,
        max_value=LONGEST_OVERLAP_HOURS,
        default=USUAL_OVERLAP_HOURS,
        help_text="For how long the old secret signs as well, so that a receiver can be given the new one meanwhile.",
    )


class AnswerSerializer(serializers.Serializer):
    """What a receiver answered."""

    status = serializers.IntegerField()
    excerpt = serializers.CharField(allow_blank=True, help_text="How the body begins.")
    milliseconds = serializers.IntegerField()


class DeliverySerializer(serializers.ModelSerializer):
    """One message on its way to a webhook."""

    kind = serializers.SerializerMethodField(help_text="The action that it tells of; `ping` for a trial.")
    event = serializers.SerializerMethodField(help_text="The `id` of the message; null for a trial.")
    status = serializers.ChoiceField(DELIVERY_STATES)
    next_attempt_at = serializers.SerializerMethodField(help_text="Null once it has ended.")
    response = serializers.SerializerMethodField(help_text="The last answer; null where there was none.")
    error = serializers.CharField(source="error_message", allow_blank=True)
    repeats = serializers.SerializerMethodField(help_text="The delivery that was sent again by this one.")

    class Meta:
        model = Delivery
        fields = [
            "id",
            "kind",
            "event",
            "status",
            "attempts",
            "queued_at",
            "next_attempt_at",
            "finished_at",
            "response",
            "error",
            "repeats",
        ]

    def get_kind(self, delivery: Delivery) -> str:
        return "ping" if delivery.event is None else delivery.event.action

    @extend_schema_field(serializers.CharField(allow_null=True))
    def get_event(self, delivery: Delivery) -> str | None:
        return None if delivery.event is None else delivery.event.told_as

    @extend_schema_field(serializers.DateTimeField(allow_null=True))
    def get_next_attempt_at(self, delivery: Delivery) -> Any:
        return delivery.next_attempt_at if delivery.is_active else None

    @extend_schema_field(serializers.IntegerField(allow_null=True))
    def get_repeats(self, delivery: Delivery) -> int | None:
        return delivery.repeats_id

    @extend_schema_field(AnswerSerializer(allow_null=True))
    def get_response(self, delivery: Delivery) -> Any:
        return delivery.response or None
