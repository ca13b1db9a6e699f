"""What surrounds every request: its id in the answer, and our errors as pages."""

from collections.abc import Callable

import structlog
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from config.problems import current_request_id, problem_of, status_of

logger = structlog.get_logger(__name__)

GetResponse = Callable[[HttpRequest], HttpResponse]


class RequestIdHeaderMiddleware:
    """Send the request's id back, so that a person can name it to an operator."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        response["X-Request-ID"] = current_request_id()
        return response


class ProblemPageMiddleware:
    """Show our errors as pages: a sentence, the way out, the request's id; as a notice where htmx asked for a part."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        problem = problem_of(error)
        if problem is None:
            return None
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
        return render(request, templates, context, status=status)


def locked_out(request: HttpRequest, response: HttpResponse, _: object) -> HttpResponse:
    """What axes answers after too many failed attempts to sign in: the API has said it already, pages say it here."""
    if request.path.startswith("/api/"):
        return response
    context = {
        "status": 429,
        "message": "Too many failed attempts to sign in. Wait a quarter of an hour, then try again.",
        "blockers": [],
        "request_id": current_request_id(),
        "back": "",
    }
    return render(request, "error.html", context, status=429)
