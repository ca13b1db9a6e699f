"""What the OpenAPI document says of an operation, for the requests that ask for it: query parameters and media types.

Both are read from what the document is made of, so that what is documented and what is taken cannot differ.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any

from django.http import QueryDict
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.plumbing import ComponentRegistry
from rest_framework.exceptions import NotAcceptable
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.utils.mediatypes import media_type_matches

from datasets.errors import InvalidInput

PROBLEM = "application/problem+json"
_NUMBER = re.compile(r"-?[0-9]{1,18}")


@dataclass(frozen=True)
class Parameter:
    """A query parameter: what its document says of a value."""

    many: bool
    kind: str
    choices: tuple[str, ...]
    minimum: int | None
    maximum: int | None

    @classmethod
    def of(cls, schema: Mapping[str, Any]) -> "Parameter":
        """The parameter that a JSON Schema of the document describes."""
        many = schema.get("type") == "array"
        one = schema["items"] if many else schema
        return cls(
            many=many,
            kind=str(one.get("type", "string")),
            choices=tuple(str(choice) for choice in one.get("enum", ())),
            minimum=one.get("minimum"),
            maximum=one.get("maximum"),
        )

    def problem(self, values: list[str]) -> str:
        """What is wrong with the values that came, and what is possible; empty where nothing is."""
        if len(values) > 1 and not self.many:
            return "It may be given once."
        return next((sentence for value in values if (sentence := self._problem(value))), "")

    def _problem(self, value: str) -> str:
        if not value:
            return "It is empty: give a value, or leave it out."
        if self.choices and value not in self.choices:
            return f"Possible are {', '.join(self.choices)}."
        if self.kind == "boolean" and value.lower() not in ("true", "false"):
            return "Possible are true and false."
        if self.kind == "integer":
            return self._of_number(value)
        return ""

    def _of_number(self, text: str) -> str:
        low, high = self.minimum, self.maximum
        number = int(text) if _NUMBER.fullmatch(text) else None
        fits = number is not None and (low is None or number >= low) and (high is None or number <= high)
        if fits:
            return ""
        if low is not None and high is not None:
            return f"Possible is a whole number from {low} to {high}."
        return "Possible is a whole number." if low is None else f"Possible is a whole number from {low}."


@dataclass(frozen=True)
class Operation:
    """One method of one address, as the document has it."""

    parameters: Mapping[str, Parameter]
    media_types: frozenset[str]

    def require(self, query: QueryDict) -> None:
        """Refuse parameters that are not there or do not fit: ``InvalidInput`` names each, and what is possible."""
        possible = ", ".join(sorted(self.parameters)) or "none"
        errors = {}
        for name, values in query.lists():
            parameter = self.parameters.get(name)
            if parameter is None:
                errors[name] = [f"There is no such parameter here. Possible: {possible}."]
            elif sentence := parameter.problem(values):
                errors[name] = [sentence]
        if errors:
            said = " ".join(f"{name}: {sentence}" for name, [sentence] in errors.items())
            raise InvalidInput(said, errors=errors)


#: Whoever has drf-spectacular describe anything holds it: the library keeps the view that it looks at, and the classes
#: that it has found, where all threads see them. Two at once fail, or get what is said of the other's view.
DESCRIBING = Lock()

_operations: dict[tuple[Callable[..., Any], str, str], Operation | None] = {}


def operation_of(callback: Callable[..., Any], route: str, method: str) -> Operation | None:
    """The operation that answers a method at a route of the URL configuration; None where there is none."""
    view: Any = callback
    actions: Mapping[str, str] | None = getattr(callback, "actions", None)
    name = method.lower()
    answered = name in actions if actions is not None else hasattr(view.cls, name)
    if not answered or name not in view.cls.http_method_names or name == "options":
        return None
    asked = callback, route, method
    if asked not in _operations:  # those who ask for what is known wait for nobody
        with DESCRIBING:
            if asked not in _operations:
                _operations[asked] = _described(*asked)
    return _operations[asked]


def _described(callback: Callable[..., Any], route: str, method: str) -> Operation | None:
    path = "/" + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route)
    generator = SchemaGenerator()  # views refer to what it keeps
    view = generator.create_view(callback, method)
    found = view.schema.get_operation(path, path, "/api/v1", method, ComponentRegistry())
    if found is None:
        return None
    return Operation(
        parameters={
            one["name"]: Parameter.of(one["schema"])
            for one in found.get("parameters", ())
            if one["in"] == "query"
        },
        media_types=frozenset(
            media_type
            for response in found["responses"].values()
            for media_type in response.get("content", ())
        )
        | {PROBLEM},
    )


def asked_of(request: Request) -> Operation | None:
    """The operation that a request asks for; HEAD asks for what GET does."""
    match = request._request.resolver_match
    method = "GET" if request.method == "HEAD" else str(request.method)
    return None if match is None else operation_of(match.func, match.route, method)


class AsDocumented(DefaultContentNegotiation):
    """Every media type is accepted that the document names for the operation, its errors' included."""

    def select_renderer(
        self, request: Request, renderers: Any, format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        operation = asked_of(request)
        named = operation.media_types if operation is not None else {PROBLEM}
        accepted = self.get_accept_list(request)
        if any(
            media_type_matches(media_type, one)
            for one in accepted
            for media_type in ("application/json", *named)
        ):
            return renderers[0], renderers[0].media_type
        raise NotAcceptable(available_renderers=renderers)
