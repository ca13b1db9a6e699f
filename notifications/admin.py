"""Operators look at what was sent, and what was not."""

from django.contrib import admin

from audit.admin import ReadOnlyAdmin
from notifications.models import Delivery


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyAdmin):
    """Messages on their way to people and programs, newest first."""

    list_display = ["pk", "receiver", "event", "status", "attempts", "next_attempt_at", "error_message"]
    list_filter = ["status"]
    search_fields = ["receiver"]
