"""What surrounds every request: its id in the answer, our errors as pages, activity, and no caches."""

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from copy import copy
from typing import Any
from urllib.parse import urlsplit

import structlog
from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import DisallowedHost
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views import defaults
from django_structlog.middlewares import RequestMiddleware

from accounts.addresses import address_of
from accounts.sessions import SessionStore, note_activity
from config.bodies import REFUSED
from config.problems import FAULT, current_request_id, document, headers_of, problem_of, status_of
from config.uploads import NamesOfFiles
from datasets.errors import InvalidInput
from web.typed import TypedForm, page_above, page_of, typed_form
from web.views.shared import SEND_AS_PAGE

logger = structlog.get_logger(__name__)

GetResponse = Callable[[HttpRequest], HttpResponse]


class RequestLogMiddleware(RequestMiddleware):
    """A line as each request begins and ends: its path alone, since row keys and filters stand in the query."""

    @staticmethod
    def format_request(request: HttpRequest) -> str:
        return f"{request.method} {request.path}"

    @staticmethod
    def bind_user_id(request: HttpRequest) -> None:
        with suppress(OperationalError, InterfaceError):  # a database that is away is told of by the view
            RequestMiddleware.bind_user_id(request)

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
    """Answer probes whatever host they name, as if it were ours, and whoever asks: nobody's session is looked for.

    Stands before all that looks at the host.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path_info in PROBES:
            request.META["HTTP_HOST"] = settings.ALLOWED_HOSTS[0].removeprefix(".")
            request.META.pop("HTTP_COOKIE", None)
        return self.get_response(request)


class StrangersFilesMiddleware:
    """Keep nothing of files in forms that are sent without a session: what was typed beside them comes back."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if (
            request.content_type == "multipart/form-data"
            and not _is_for_programs(request)
            and not request.user.is_authenticated
        ):
            request.upload_handlers = [NamesOfFiles(request)]
        return self.get_response(request)


class RefusedBodyMiddleware:
    """Say why ``BoundedBodies`` did not take the body."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        error = getattr(request, "scope", {}).get(REFUSED)
        return self.get_response(request) if error is None else answer(request, error)


class ProblemPageMiddleware:
    """Show our errors as pages: a sentence, the way out, the request's id; as a notice where htmx asked for a part.

    Answers of Django that have a status and nothing to read become pages too.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if response.status_code < 400 or response.streaming or response.content or _is_for_programs(request):
            return response
        page = _problem_page(request, response.status_code, _EMPTY.get(response.status_code, ""))
        if "Allow" in response:
            page["Allow"] = response["Allow"]
        return page

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        problem = problem_of(error)
        return None if problem is None else _page(request, error, problem)


#: What stands above an answer that has no page of its own, for people.
_HEADINGS = {
    410: "This is gone",
    412: "Somebody was faster",
    429: "Too much at once",
    501: "This server does not do that",
    503: "Not possible at the moment",
    507: "There is no room left",
}
#: What Django leaves unsaid.
_EMPTY = {
    405: "This address does not take what your browser sent to it. What you were looking for is on another page.",
}


def csrf_failed(request: HttpRequest, reason: str = "") -> HttpResponse:
    """A form whose token is not the session's, as after signing in again in another window: all of it can be sent again
    where it is from a page of ours, by whom that was made for, else none of it is shown.
    """
    logger.warning("csrf_failed", reason=reason)
    if request.headers.get("HX-Request") == "true":
        response = _problem_page(request, 403, "This page is older than your last sign-in. Reload it.")
        response[SEND_AS_PAGE] = "true"
        return response
    message = (
        "The page that you sent this from is older than your last sign-in, or your browser sends no cookies. "
        "Nothing was done yet."
    )
    typed = typed_form(request) if _is_from_here(request) else None
    return _problem_page(request, 403, message, typed=typed, template="403_csrf.html")


def _is_from_here(request: HttpRequest) -> bool:
    """Whether a page of ours sent the form. Browsers say so of every form; programs that do not need no protection."""
    source = request.headers.get("Origin") or request.headers.get("Referer")
    return source is None or urlsplit(source).netloc == request.get_host()


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """What Django found wrong with a request before any of our code saw it: too many fields, a host nobody knows."""
    if problem_of(exception) is not None:
        return answer(request, exception)
    if isinstance(exception, DisallowedHost) or _is_for_programs(request):
        return defaults.bad_request(request, exception)
    return _problem_page(request, 400, "")


def server_error(request: HttpRequest) -> HttpResponse:
    """What nobody has answered, as a page that has what was typed: a fault of ours, or of the database before or after
    the view. Where that page fails too, it is one for somebody who is not signed in, and then one that needs nothing.
    """
    error = sys.exception()
    problem = problem_of(error) if isinstance(error, Exception) else None
    if _is_for_programs(request):
        return _for_programs(problem or FAULT)
    status = 500 if problem is None else status_of(problem["code"])
    message = "" if problem is None else problem["message"]
    for seen in (lambda: request, lambda: _of_nobody(request)):
        with suppress(Exception):  # whatever broke the page may break this one
            asked = seen()
            page = _problem_page(asked, status, message, typed=typed_form(asked))
            return _with_headers(page, problem or FAULT)
    return defaults.server_error(request)


def _of_nobody(request: HttpRequest) -> HttpRequest:
    """The request, as far as it was read, without whoever it is from, whom the database knows. The session stays as it
    is.
    """
    nobody = copy(request)
    nobody.user, nobody.session = AnonymousUser(), SessionStore()
    vars(nobody).pop("_messages", None)
    return nobody


def answer(request: HttpRequest, error: Exception) -> HttpResponse:
    """One of our errors as the caller reads it: problem+json for programs, else a page."""
    problem = problem_of(error) or {}
    if not _is_for_programs(request):
        return _page(request, error, problem)
    return _for_programs(problem)


def _for_programs(problem: Mapping[str, Any]) -> HttpResponse:
    status = status_of(problem["code"])
    return JsonResponse(
        document(problem, status, current_request_id()),
        status=status,
        headers=headers_of(problem),
        content_type="application/problem+json",
    )


def _page(request: HttpRequest, error: Exception, problem: Mapping[str, Any]) -> HttpResponse:
    status = status_of(problem["code"])
    if status >= 500:
        logger.error("request_failed", exc_info=error)
    typed = typed_form(request)
    if typed is not None and isinstance(error, InvalidInput):
        typed = typed.refused({name: " ".join(told) for name, told in error.by_field.items() if name})
    page = _problem_page(
        request, status, problem["message"], blockers=problem.get("blockers", []), typed=typed
    )
    return _with_headers(page, problem)


def _with_headers(page: HttpResponse, problem: Mapping[str, Any]) -> HttpResponse:
    for name, value in headers_of(problem).items():
        page[name] = value
    return page


def _is_for_programs(request: HttpRequest) -> bool:
    return request.path_info.startswith(("/api/", "/delta/"))


def _problem_page(
    request: HttpRequest,
    status: int,
    message: str,
    *,
    blockers: Sequence[Mapping[str, Any]] = (),
    typed: TypedForm | None = None,
    template: str = "",
) -> HttpResponse:
    """A page for an error, with the form that it was the answer to; for htmx a notice.

    A form that htmx sent stays as it is: its notice stands at the corner.
    """
    posting = request.method not in ("GET", "HEAD")
    back = (request.headers.get("Referer") or page_of(request.path)) if posting else ""
    context = {
        "heading": _HEADINGS.get(status, ""),
        "above": page_above(request.path) if status != 404 else "",
        "status": status,
        "message": message,
        "blockers": blockers,
        "request_id": current_request_id(),
        "back": back,
        "typed": typed,
    }
    if request.headers.get("HX-Request") != "true":
        return render(request, [template or f"{status}.html", "error.html"], context, status=status)
    if not posting:
        return render(request, "_problem.html", context, status=status)
    response = render(request, "_problem_toast.html", context, status=status)
    response["HX-Retarget"], response["HX-Reswap"] = "#toasts", "beforeend"
    return response


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
