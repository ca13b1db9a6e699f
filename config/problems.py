"""The one table that maps errors to HTTP, and how they look: problem+json (RFC 9457) for the API."""

import http
from collections.abc import Mapping
from typing import Any

import structlog
from django.core.exceptions import PermissionDenied
from django.http import Http404
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

import merging
from audit.errors import AuditError
from changerequests.errors import RunEnded
from datasets.errors import DomainError

logger = structlog.get_logger(__name__)

#: Error code -> HTTP status. Codes without a row here fail a test, not a request.
STATUS_OF_CODE: Mapping[str, int] = {
    "merge_conflict": 409,
    "blocked": 409,
    "invalid_transition": 409,
    "plan_changed": 409,
    "dataset_busy": 409,
    "run_stopped": 409,
    "cancelled": 409,
    "version_moved": 409,
    "table_changed": 409,
    "table_replaced": 409,
    "duplicate_keys": 409,
    "validation_failed": 422,
    "staging_rejected": 422,
    "invalid": 422,
    "invalid_resolution": 422,
    "invalid_keys": 422,
    "invalid_cursor": 422,
    "unsupported_table": 422,
    "table_not_found": 422,
    "staged_corrupt": 500,
    "merge_failed": 500,
    "merge_error": 500,
    "audit_failed": 500,
    "audit_append_only": 500,
    "audit_file_exists": 500,
    "forbidden": 403,
    "not_found": 404,
    "not_authenticated": 401,
    "throttled": 429,
}

#: The errors that people can do something about, wherever they were raised.
KNOWN_ERRORS = (DomainError, merging.MergeError, AuditError)


def status_of(code: str) -> int:
    """The HTTP status of an error code; 500 for one that is not in the table."""
    return STATUS_OF_CODE.get(code, 500)


def problem_of(error: Exception) -> dict[str, Any] | None:
    """The body of the answer for one of our errors; None for errors that are not ours."""
    if not isinstance(error, KNOWN_ERRORS):
        return None
    data = dict(getattr(error, "data", {}))
    problem = {"code": error.code, "message": getattr(error, "message", str(error))}
    if isinstance(error, merging.StagingRejected):
        problem["errors"] = [
            {
                "line": found.line,
                "column": found.column,
                "code": found.code,
                "message": found.message,
                "value": found.value,
            }
            for found in error.problems
        ]
        problem["total"] = error.total
    elif isinstance(error, merging.MergeConflict):
        problem["conflicts"] = data.pop("conflicts", [])
    return {**data, **problem} if isinstance(error, RunEnded) else {**problem, **data}


def document(problem: Mapping[str, Any], status: int, request_id: str) -> dict[str, Any]:
    """RFC 9457 members around a problem."""
    return {
        "type": "about:blank",
        "title": http.HTTPStatus(status).phrase,
        "status": status,
        "detail": problem["message"],
        **problem,
        "request_id": request_id,
    }


def exception_handler(error: Exception, context: Mapping[str, Any]) -> Response | None:
    """Django REST framework's handler: every error of the API is problem+json with a stable code."""
    problem, headers = problem_of(error), {}
    if problem is None:
        if isinstance(error, Http404):
            error = exceptions.NotFound("There is no such thing, or you may not see it.")
        elif isinstance(error, PermissionDenied):
            error = exceptions.PermissionDenied()
        if not isinstance(error, exceptions.APIException):
            return None
        problem, headers = _of_framework(error)
    status = (
        status_of(problem["code"]) if problem["code"] in STATUS_OF_CODE else int(problem.pop("status", 500))
    )
    problem.pop("status", None)
    if status >= 500:
        logger.error("request_failed", exc_info=error)
    set_rollback()
    return Response(
        document(problem, status, current_request_id()),
        status=status,
        headers=headers,
        content_type="application/problem+json",
    )


def current_request_id() -> str:
    """The id under which this request's log lines stand."""
    return str(structlog.contextvars.get_contextvars().get("request_id", ""))


def _of_framework(error: exceptions.APIException) -> tuple[dict[str, Any], dict[str, str]]:
    headers = {}
    if challenge := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    if wait := getattr(error, "wait", None):
        headers["Retry-After"] = str(int(wait))
    if isinstance(error, exceptions.ValidationError):
        errors = list(_flatten(error.get_full_details()))
        return {"code": "invalid", "message": _sentence(errors), "errors": errors}, headers
    codes = {
        exceptions.NotAuthenticated: "not_authenticated",
        exceptions.AuthenticationFailed: "not_authenticated",
        exceptions.PermissionDenied: "forbidden",
        exceptions.NotFound: "not_found",
        exceptions.Throttled: "throttled",
        exceptions.ParseError: "invalid",
        exceptions.UnsupportedMediaType: "invalid",
    }
    code = next((code for kind, code in codes.items() if isinstance(error, kind)), str(error.default_code))
    return {"code": code, "message": str(error.detail), "status": error.status_code}, headers


def _flatten(details: Any, field: str = "") -> Any:
    if isinstance(details, dict) and "message" in details and "code" in details:
        yield {"field": field, "code": str(details["code"]), "message": str(details["message"])}
    elif isinstance(details, dict):
        for name, inner in details.items():
            yield from _flatten(inner, f"{field}.{name}".strip("."))
    elif isinstance(details, list):
        for inner in details:
            yield from _flatten(inner, field)


def _sentence(errors: list[dict[str, str]]) -> str:
    return " ".join(f"{e['field']}: {e['message']}" if e["field"] else e["message"] for e in errors)
