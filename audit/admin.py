"""Operators read and verify the trail; nobody writes it here."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from audit.models import Chain, Event
from audit.services import verify_chains


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # generic only in the stubs
    """An admin that shows and never changes; what operators do are actions that call services."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object | None = None) -> bool:
        return False


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    """The trail, newest first."""

    list_display = ["occurred_at", "stream", "sequence", "action", "subject_id", "actor", "request_id"]
    list_filter = ["action", "subject_type", "occurred_at"]
    search_fields = ["subject_id", "actor", "stream", "request_id"]
    ordering = ["-occurred_at", "-pk"]
    show_full_result_count = False


@admin.register(Chain)
class ChainAdmin(ReadOnlyAdmin):
    """The heads of the chains, and their verification."""

    list_display = ["stream", "last_sequence", "last_hash"]
    search_fields = ["stream"]
    actions = ["verify"]

    @admin.action(description="Verify the chosen chains", permissions=["view"])
    def verify(self, request: HttpRequest, chains: QuerySet[Any]) -> None:
        """Walk the chains and name each entry that was changed, is missing or out of order."""
        chosen = set(chains.values_list("stream", flat=True))
        breaks = [found for found in verify_chains() if found.stream in chosen]
        for found in breaks[:20]:
            messages.error(request, f"{found.stream} entry {found.sequence}: {found.reason}")
        if breaks:
            messages.error(request, f"The audit trail is broken in {len(breaks)} places.")
        else:
            messages.success(request, f"{len(chosen)} chains are whole: every entry is as it was written.")
