"""Pages: cursors for rows of the database, keyset cursors of the engine for rows of tables and diffs."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from django.utils.dateparse import parse_datetime
from django.utils.encoding import iri_to_uri
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.utils.urls import replace_query_param

from datasets.errors import InvalidInput

#: Where a page of a list begins that is ordered by its ids.
_ID = re.compile(r"[0-9]{1,18}")


class NewestFirst(CursorPagination):
    """Fifty at a time, newest first."""

    ordering = "-pk"
    page_size = 50
    page_size_query_param = "limit"
    max_page_size = 200

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        """For the document: which lengths of a page are possible."""
        found: list[dict[str, Any]] = super().get_schema_operation_parameters(view)
        for parameter in found:
            if parameter["name"] == self.page_size_query_param:
                parameter["schema"] |= {
                    "minimum": 1,
                    "maximum": self.max_page_size,
                    "default": self.page_size,
                }
        return found

    def decode_cursor(self, request: Request) -> Any:
        try:
            cursor = super().decode_cursor(request)
            position = None if cursor is None else cursor.position
            if position is not None and not self.is_position(str(position)):
                raise NotFound
            # Characters that are none of its alphabet are dropped when it is read: what is left may be the first page.
            sent = request.query_params.get(self.cursor_query_param, "")
            if cursor is not None and self.encode_cursor(cursor) != self._address_with(sent):
                raise NotFound
        except NotFound:  # DRF's word for it; the list is there, only the cursor is damaged
            sentence = "The page cursor is damaged; start from the first page."
            raise InvalidInput(sentence, errors={"cursor": [sentence]}) from None
        return cursor

    def _address_with(self, cursor: str) -> str:
        address: str = replace_query_param(str(self.base_url), self.cursor_query_param, cursor)
        return address

    def is_position(self, text: str) -> bool:
        """Whether a page may begin there."""
        return _ID.fullmatch(text) is not None


class InOrder(NewestFirst):
    """Fifty at a time, oldest first."""

    ordering = "pk"


class InChosenOrder(NewestFirst):
    """Fifty at a time, in the order that the caller chooses from the view's ``orders``: parameter value to fields.

    The first is what comes without ``order_by``.
    """

    def get_ordering(self, request: Request, queryset: Any, view: Any) -> tuple[str, ...]:
        orders: Mapping[str, tuple[str, ...]] = view.orders
        return orders[request.query_params.get("order_by", next(iter(orders)))]

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        """The document's, with the orders that there are."""
        orders = list(view.orders)
        return [
            *super().get_schema_operation_parameters(view),
            {
                "name": "order_by",
                "required": False,
                "in": "query",
                "description": "`-` is for the newest or last first.",
                "schema": {"type": "string", "enum": orders, "default": orders[0]},
            },
        ]

    def is_position(self, text: str) -> bool:
        first = self.ordering[0].lstrip("-")
        if first.endswith("_at"):
            try:
                return parse_datetime(text) is not None
            except ValueError:
                return False
        return super().is_position(text) if first == "pk" else "\x00" not in text


class EngineCursor(serializers.Serializer):
    """Where an engine's page begins, and how long it is."""

    cursor = serializers.CharField(required=False, help_text="From the address in `next`.")
    limit = serializers.IntegerField(
        min_value=1,
        max_value=1000,
        default=100,
        help_text="At most so many; a page whose rows are large has fewer, and `next` leads on from its last one.",
    )


def page_of(
    request: Request, items: Iterable[Any], cursor: str | None, *, parameter: str = "cursor", **facts: Any
) -> Mapping[str, Any]:
    """A page of the engine with the address of the next one."""
    address = request.build_absolute_uri()
    return {
        "next": None if cursor is None else replace_query_param(address, parameter, cursor),
        **facts,
        "results": list(items),
    }


def page_both_ways(request: Request, items: Iterable[Any], page: Any, **facts: Any) -> Mapping[str, Any]:
    """A page of the engine with the addresses of those beside it."""
    following = page_of(request, items, page.next, **facts)
    return {**following, "previous": page_of(request, (), page.previous)["next"]}


def links_of(data: Any) -> str:
    """The pages beside this one, as the header ``Link`` tells them (RFC 8288); empty where an answer is no page."""
    if not isinstance(data, Mapping) or "results" not in data:
        return ""
    found = [(data.get(name), relation) for name, relation in (("next", "next"), ("previous", "prev"))]
    return ", ".join(f'<{iri_to_uri(address)}>; rel="{relation}"' for address, relation in found if address)
