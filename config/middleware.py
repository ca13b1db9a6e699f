"""What surrounds every request: its id in the answer, our errors as pages, activity, and no caches."""

from collections.abc import Callable, Mapping
from typing import Any

import structlog
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views import defaults
from django_structlog.middlewares import RequestMiddleware

from accounts.addresses import address_of
from accounts.sessions import note_activity
from config.bodies import REFUSED
from config.problems import TooLarge, current_request_id, document, headers_of, problem_of, status_of

logger = structlog.get_logger(__name__)

GetResponse = Callable[[HttpRequest], HttpResponse]


class RequestLogMiddleware(RequestMiddleware):
    """A line as each request begins and ends: its path alone, since row keys and filters stand in the query."""

    @staticmethod
    def format_request(request: HttpRequest) -> str:
        return f"{request.method} {request.path}"

    @classmethod
    def bind_ip(cls, request: HttpRequest) -> None:
        structlog.contextvars.bind_contextvars(ip=address_of(request))


class RequestIdHeaderMiddleware:
    """Send the request's id back, so that a person can name it to an operator."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        response["X-Request-ID"] = current_request_id()
        return response


#: What load balancers and orchestrators ask, by whatever address they know.
PROBES = frozenset({"/livez", "/readyz"})


class ProbeMiddleware:
    """Answer probes whatever host they name, as if it were ours. Stands before all that looks at the host."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path_info in PROBES:
            request.META["HTTP_HOST"] = settings.ALLOWED_HOSTS[0].removeprefix(".")
        return self.get_response(request)


class RefusedBodyMiddleware:
    """Say 413 where ``BoundedBodies`` did not read the body."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        limit = getattr(request, "scope", {}).get(REFUSED)
        return self.get_response(request) if limit is None else answer(request, TooLarge.beyond(limit))


class ProblemPageMiddleware:
    """Show our errors as pages: a sentence, the way out, the request's id; as a notice where htmx asked for a part."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        problem = problem_of(error)
        return None if problem is None else _page(request, error, problem)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """What Django found wrong with a request before any of our code saw it: too many fields, a host nobody knows."""
    if problem_of(exception) is not None:
        return answer(request, exception)
    return defaults.bad_request(request, exception)


def answer(request: HttpRequest, error: Exception) -> HttpResponse:
    """One of our errors as the caller reads it: problem+json for programs, else a page."""
    problem = problem_of(error) or {}
    if not request.path_info.startswith(("/api/", "/delta/")):
        return _page(request, error, problem)
    status = status_of(problem["code"])
    return JsonResponse(
        document(problem, status, current_request_id()),
        status=status,
        content_type="application/problem+json",
    )


def _page(request: HttpRequest, error: Exception, problem: Mapping[str, Any]) -> HttpResponse:
    status = status_of(problem["code"])
    if status >= 500:
        logger.error("request_failed", exc_info=error)
    context = {
        "status": status,
        "message": problem["message"],
        "blockers": problem.get("blockers", []),
        "request_id": current_request_id(),
        "back": request.headers.get("Referer", "") if request.method == "POST" else "",
    }
    is_fragment = request.headers.get("HX-Request") == "true"
    templates = ["_problem.html"] if is_fragment else [f"{status}.html", "error.html"]
    page = render(request, templates, context, status=status)
    for name, value in headers_of(problem).items():
        page[name] = value
    return page


class SessionActivityMiddleware:
    """Note that a person did something, so that their session does not end as idle."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        note_activity(request)
        return response


class NoStoreMiddleware:
    """Keep every answer out of the caches of browsers and proxies: almost all of them hold rows of some table.

    Files that hold nobody's data are answered before this is asked.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        response["Cache-Control"] = "no-store"
        return response
