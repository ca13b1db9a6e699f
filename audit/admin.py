"""Operators read the trail; nobody writes it here."""

from django.contrib import admin
from django.http import HttpRequest

from audit.models import Chain, Event


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # generic only in the stubs
    """An admin that shows and never changes."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object | None = None) -> bool:
        return False


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    list_display = ["occurred_at", "stream", "sequence", "action", "subject_id", "actor"]
    list_filter = ["action", "subject_type"]
    search_fields = ["subject_id", "actor", "stream", "request_id"]
    date_hierarchy = "occurred_at"


@admin.register(Chain)
class ChainAdmin(ReadOnlyAdmin):
    list_display = ["stream", "last_sequence", "last_hash"]
