"""Reads that a caller has already: ``ETag`` and ``If-None-Match`` (RFC 9110, 13.1.2), in one place.

A view that knows cheaply what its answer depends on says so before it works (``known``); of answers that a view lists
as ``tagged`` only the way is saved.
"""

import hashlib
import json
import re
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from datasets.rows import json_value

_TAGS = re.compile(r'(?:W/)?"([^"]*)"')
_READS = ("GET", "HEAD")


class NotModified(Exception):
    """The caller has what would be answered: 304, with the tag of it."""

    def __init__(self, tag: str) -> None:
        super().__init__(tag)
        self.tag = tag


def tag_of(*facts: Any) -> str:
    """What stands for facts: another text for other facts."""
    text = json.dumps(json_value(list(facts)), sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def address_facts(request: Request) -> list[Any]:
    """What of a request decides, beside the caller, what it is answered: path, parameters, formats."""
    return [request.path, sorted(request.query_params.lists()), request.headers.get("Accept", "")]


def is_known(request: Request, tag: str) -> bool:
    """Whether ``If-None-Match`` names the tag."""
    asked = request.headers.get("If-None-Match", "")
    return request.method in _READS and (asked.strip() == "*" or tag in _TAGS.findall(asked))


def without_what_is_known(request: Request, response: Response) -> Response:
    """An answer tagged by its content, or 304 where the caller has it. A tag that it has already, which stands for what
    is edited and not for all that is told, goes before a dot: ``If-Match`` looks at that part alone.
    """
    if request.method not in _READS or response.status_code != 200:
        return response
    edited = response.get("ETag", "").strip('"')
    tag = f"{edited}.{tag_of(response.data)}" if edited else tag_of(response.data)
    if is_known(request, tag):
        return unmodified(tag)
    response["ETag"] = f'"{tag}"'
    return response


def unmodified(tag: str) -> Response:
    """304."""
    return Response(status=304, headers={"ETag": f'"{tag}"'})
