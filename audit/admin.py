"""Operators read and verify the trail; nobody writes it here."""

from collections.abc import Iterator
from typing import Any

import structlog
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db import connection, models
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path, reverse
from django.utils.functional import cached_property

from audit.errors import InvalidMoment
from audit.export import ExportFilter, export_lines, moment_of
from audit.models import AnchorTarget, Chain, Event, OutboxEntry
from audit.services import verify_chains
from audit.streaming import StreamedLines

logger = structlog.get_logger(__name__)


class AtLeast(int):
    """A count that was not taken to its end. It is used as the number it is, and reads "more than" that."""

    def __str__(self) -> str:
        return f"more than {int(self):,}"


class BoundedPaginator(Paginator):  # type: ignore[type-arg]  # generic only in the stubs
    """Pages of a list that may be very long: counted, and turned over, to ``FURTHEST`` rows. Filters reach the rest."""

    FURTHEST = 10_000

    @cached_property
    def count(self) -> int:
        """How many rows there are, as far as that is counted."""
        rows: QuerySet[Any] = self.object_list  # type: ignore[assignment]  # an admin pages nothing else
        found = rows.order_by()[: self.FURTHEST + 1].count()
        return found if found <= self.FURTHEST else AtLeast(self.FURTHEST)


class NamedValuesFilter(admin.AllValuesFieldListFilter):
    """The values of a text as a filter, the empty one with a name: a link without one is nothing to a screen reader."""

    def choices(self, changelist: Any) -> Iterator[Any]:
        """As Django has them."""
        for choice in super().choices(changelist):
            yield {**choice, "display": choice["display"] if str(choice["display"]).strip() else "none"}


class IndexedValuesFilter(NamedValuesFilter):
    """A filter by the values of a text column that an index begins with.

    Each value is found from the one before it by one step in the index (a "loose index scan", which neither SQLite nor
    PostgreSQL does for ``DISTINCT``), so that half a million rows with thirty values cost thirty steps.
    """

    def __init__(self, field: Any, request: Any, params: Any, model: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(field, request, params, model, *args, **kwargs)
        self.lookup_choices: Any = _values_of(model, field.column)


def _values_of(model: type[Model], column: str) -> list[str]:
    quote = connection.ops.quote_name
    table, value = quote(model._meta.db_table), quote(column)
    with connection.cursor() as cursor:
        cursor.execute(
            f"WITH RECURSIVE found (value) AS (SELECT min({value}) FROM {table} UNION ALL "  # noqa: S608  (quoted names)
            f"SELECT (SELECT min({value}) FROM {table} WHERE {value} > found.value) FROM found "
            f"WHERE found.value IS NOT NULL) SELECT value FROM found WHERE value IS NOT NULL"
        )
        return [value for (value,) in cursor.fetchall()]


admin.FieldListFilter.register(
    lambda field: isinstance(field, models.CharField | models.TextField) and not field.choices,
    NamedValuesFilter,
    take_priority=True,
)


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # generic only in the stubs
    """An admin that shows and never changes; what operators do are actions that call services.

    No list counts all its rows: a trail has millions.
    """

    paginator = BoundedPaginator
    show_full_result_count = False
    # A cell takes 0.1 ms: the hundred rows that are Django's default take a tenth of a second in the widest list.
    list_per_page = 50

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
    list_filter = [("action", IndexedValuesFilter), ("subject_type", IndexedValuesFilter), "occurred_at"]
    search_fields = ["subject_id", "actor", "stream", "request_id"]
    ordering = ["-occurred_at", "-pk"]
    change_list_template = "admin/audit/event/change_list.html"

    def get_urls(self) -> list[URLPattern]:
        export = path("export/", self.admin_site.admin_view(self.export), name="audit_event_export")
        return [export, *super().get_urls()]

    def export(self, request: HttpRequest) -> HttpResponseBase:
        """A range of the trail as JSON lines, for whoever may see the trail."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        given = {
            name: request.GET.get(name, "")
            for name in ("stream", "actor", "action", "subject_type", "subject_id")
        }
        try:
            since, until = (moment_of(request.GET.get(name, "")) for name in ("since", "until"))
        except InvalidMoment as error:
            messages.error(request, error.message)
            return HttpResponseRedirect(reverse("admin:audit_event_changelist"))
        logger.info("audit_exported", actor=request.user.get_username(), stream=given["stream"])
        return StreamedLines(
            export_lines(ExportFilter(since=since, until=until, **given)),
            headers={"Content-Disposition": 'attachment; filename="audit.jsonl"'},
        )


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


@admin.register(AnchorTarget)
class AnchorTargetAdmin(ReadOnlyAdmin):
    """The places elsewhere that are told the anchors, and since when one fails."""

    list_display = ["name", "delivered", "delivered_at", "failing_since", "error"]


@admin.register(OutboxEntry)
class OutboxEntryAdmin(ReadOnlyAdmin):
    """Which events people and programs were told of, and which could not be told."""

    list_display = ["event", "dispatched_at", "attempts", "error"]
    list_filter = [("dispatched_at", admin.EmptyFieldListFilter)]
    list_select_related = ["event"]
    ordering = ["-event"]
