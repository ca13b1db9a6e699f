"""Operators look at what was sent, and what was not."""

from django.contrib import admin

from audit.admin import ReadOnlyAdmin
from notifications.models import Delivery, Webhook


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
