"""Operators look at what was sent, and what was not."""

from django.contrib import admin

from audit.admin import ReadOnlyAdmin
from notifications.models import Delivery, Notification, NotificationSetting, Subscription, Webhook


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyAdmin):
    """Messages on their way to people and programs, newest first."""

    list_display = ["pk", "receiver", "event", "status", "attempts", "next_attempt_at", "error_message"]
    list_filter = ["status"]
    search_fields = ["receiver"]


@admin.register(Webhook)
class WebhookAdmin(ReadOnlyAdmin):
    """Whom datasets and projects tell what happens; never their addresses and secrets."""

    list_display = ["pk", "name", "host", "project", "dataset", "format", "stopped", "failing_since"]
    list_filter = ["format", "stopped"]
    list_select_related = ["project", "dataset"]
    exclude = ["url", "secret", "former_secret"]


@admin.register(Notification)
class NotificationAdmin(ReadOnlyAdmin):
    """News in inboxes, newest first."""

    list_display = ["pk", "person", "kind", "reason", "headline", "created_at", "read_at", "for_digest"]
    list_filter = ["kind", "reason"]
    list_select_related = ["person"]
    search_fields = ["person__username"]


@admin.register(NotificationSetting)
class NotificationSettingAdmin(ReadOnlyAdmin):
    """How people want to be told, where that is not the default."""

    list_display = ["person", "kind", "way"]
    list_filter = ["kind", "way"]
    list_select_related = ["person"]
    search_fields = ["person__username"]


@admin.register(Subscription)
class SubscriptionAdmin(ReadOnlyAdmin):
    """What people watch and mute."""

    list_display = ["person", "change_request", "dataset", "level"]
    list_filter = ["level"]
    list_select_related = ["person", "change_request", "dataset__project"]
    search_fields = ["person__username"]
