"""Pages: cursors for rows of the database, keyset cursors of the engine for rows of tables and diffs."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from django.utils.encoding import iri_to_uri
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.utils.urls import replace_query_param

from datasets.errors import InvalidInput

#: Every list is ordered by its ids.
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
            if cursor is not None and cursor.position is not None and not _ID.fullmatch(str(cursor.position)):
                raise NotFound
        except NotFound:  # DRF's word for it; the list is there, only the cursor is damaged
            sentence = "The page cursor is damaged; start from the first page."
            raise InvalidInput(sentence, errors={"cursor": [sentence]}) from None
        return cursor


class InOrder(NewestFirst):
    """Fifty at a time, oldest first."""

    ordering = "pk"


class EngineCursor(serializers.Serializer):
    """Where an engine's page begins, and how long it is."""

    cursor = serializers.CharField(required=False, help_text="From the address in `next`.")
    limit = serializers.IntegerField(min_value=1, max_value=1000, default=100)


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


def links_of(data: Any) -> str:
    """The pages beside this one, as the header ``Link`` tells them (RFC 8288); empty where an answer is no page."""
    if not isinstance(data, Mapping) or "results" not in data:
        return ""
    found = [(data.get(name), relation) for name, relation in (("next", "next"), ("previous", "prev"))]
    return ", ".join(f'<{iri_to_uri(address)}>; rel="{relation}"' for address, relation in found if address)
