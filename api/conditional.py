"""Reads that a caller has already: ``ETag`` and ``If-None-Match`` (RFC 9110, 13.1.2), in one place.

A view that knows cheaply what its answer depends on says so before it works (``known``); of other answers that name
their ``ETag``, and of those that a view lists as ``tagged``, only the way is saved.
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


def without_what_is_known(request: Request, response: Response, *, by_content: bool) -> Response:
    """The answer, or 304 where the caller has it; ``by_content`` gives it a tag if it has none."""
    if request.method not in _READS or response.status_code != 200:
        return response
    if by_content and "ETag" not in response:
        response["ETag"] = f'"{tag_of(response.data)}"'
    found = _TAGS.fullmatch(response.get("ETag", ""))
    if found is None or not is_known(request, found[1]):
        return response
    return unmodified(found[1])


def unmodified(tag: str) -> Response:
    """304."""
    return Response(status=304, headers={"ETag": f'"{tag}"'})
