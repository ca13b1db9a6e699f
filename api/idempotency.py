"""POSTs that are sent again with the same ``Idempotency-Key``: the first answer, marked by ``Idempotent-Replayed``."""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, cast

from django.contrib.auth.models import User
from django.core.files.uploadedfile import UploadedFile
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from datasets.idempotency import Answer, KeyedCall, answer_once

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
#: Longer addresses lead to nothing.
_LONGEST_OPERATION = 300


def once(handler: Callable[..., Response], *, waits: bool) -> Callable[..., Response]:
    """The handler of a POST, performed once for each key of a caller; without a key as it is."""

    def answered(request: Request, *args: Any, **kwargs: Any) -> Response:
        key = key_of(request)
        operation = _operation(request)
        if not key or len(operation) > _LONGEST_OPERATION:
            return handler(request, *args, **kwargs)
        call = KeyedCall(cast(User, request.user), operation, key, _fingerprint(request))
        answer = answer_once(call, lambda: _answer_of(handler(request, *args, **kwargs)), waits=waits)
        replayed = {} if answer.is_first else {REPLAYED: "true"}
        data = json.loads(answer.body) if answer.body else None
        return Response(data, status=answer.status, headers={**answer.headers, **replayed})

    return answered


def key_of(request: Request) -> str:
    """The key that was sent; empty for none."""
    return request.headers.get(HEADER, "").strip()


def call_of(request: Request) -> str:
    """The name of a call with a key, for what it brings: its retries have the same, calls elsewhere with the same key
    have others. Empty without a key.
    """
    key = key_of(request)
    return _digest(f"{_operation(request)} {key}") if key else ""


def _operation(request: Request) -> str:
    return f"{request.method} {request.path}"


def _answer_of(response: Response) -> Answer:
    body = "" if response.data is None else JSONRenderer().render(response.data).decode()
    headers = {name: value for name, value in response.headers.items() if name != "Content-Type"}
    return Answer(response.status_code, headers, body)


def _fingerprint(request: Request) -> str:
    """The digest of a body as it is understood: borders of forms and blanks in JSON make no difference."""
    sent: Any = request.data
    if hasattr(sent, "lists"):
        sent = dict(sent.lists())
    text = json.dumps([_content(sent), sorted(request.query_params.lists())], sort_keys=True)
    return _digest(text)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _content(value: Any) -> Any:
    """The value, or a list that says what it is: a number is no text of its digits, and a file none of its digest."""
    if isinstance(value, Mapping):
        return {name: _content(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return ["list", *(_content(inner) for inner in value)]
    if isinstance(value, float):
        return ["number", getattr(value, "text", value)]  # a double would lose digits
    if not isinstance(value, UploadedFile):
        return value
    digest = hashlib.sha256()
    for chunk in value.chunks():
        digest.update(chunk)
    value.seek(0)
    return ["file", value.name, digest.hexdigest()]
