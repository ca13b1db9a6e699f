"""The one table that maps errors to HTTP, and how they look: problem+json (RFC 9457) for the API."""

import http
import re
from collections.abc import Mapping
from typing import Any, Final

import structlog
from django.core.exceptions import (
    PermissionDenied,
    RequestDataTooBig,
    TooManyFieldsSent,
    TooManyFilesSent,
)
from django.db import DatabaseError, IntegrityError, InterfaceError, OperationalError
from django.http import Http404
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

import merging
from audit.errors import AuditError
from changerequests.services.plans import conflict_document
from datasets import outages
from datasets.errors import DomainError

logger = structlog.get_logger(__name__)

#: Error code -> HTTP status. Codes without a row here fail a test, not a request.
STATUS_OF_CODE: Mapping[str, int] = {
    "merge_conflict": 409,
    "blocked": 409,
    "in_flight": 409,
    "invalid_transition": 409,
    "last_owner": 409,
    "project_not_empty": 409,
    "connection_in_use": 409,
    "plan_changed": 409,
    "dataset_busy": 409,
    "maintenance_stopped": 409,
    "run_stopped": 409,
    "cancelled": 409,
    "version_moved": 409,
    "suite_changed": 412,
    "settings_changed": 412,
    "request_changed": 412,
    "edits_proposed": 409,
    "edits_moved": 412,
    "table_changed": 409,
    "table_replaced": 409,
    "table_damaged": 409,
    "merged_otherwise": 409,
    "content_missing": 409,
    "content_moved": 409,
    "outcome_unknown": 503,
    "unavailable": 503,
    "duplicate_keys": 409,
    "validation_failed": 422,
    "staging_rejected": 422,
    "nothing_to_change": 422,
    "reader_died": 422,
    "upload_took_too_long": 422,
    "upload_out_of_memory": 422,
    "upload_replaced": 409,
    "upload_lost": 409,
    "upload_failed": 500,
    "suite_rejected": 422,
    "invalid": 422,
    "invalid_resolution": 422,
    "invalid_keys": 422,
    "invalid_cursor": 422,
    "invalid_filter": 422,
    "unsupported_table": 422,
    "table_not_found": 422,
    "files_elsewhere": 422,
    "table_elsewhere": 422,
    "too_large_for_workbook": 422,
    "cut_short": 422,
    "version_gone": 410,
    "staged_corrupt": 500,
    "merge_failed": 500,
    "table_unreachable": 503,
    "commit_differs": 500,
    "engine_failed": 500,
    "cluster_failed": 503,
    "storage_full": 507,
    "confined_failed": 500,
    "confined_died": 500,
    "confined_too_long": 422,
    "confined_out_of_memory": 422,
    "confined_cancelled": 409,
    "merge_error": 500,
    "internal_error": 500,
    "audit_failed": 500,
    "audit_append_only": 500,
    "audit_file_exists": 500,
    "forbidden": 403,
    "scope_missing": 403,
    "sign_in_denied": 403,
    "sign_in_expired": 410,
    "invitation_over": 410,
    "sign_in_link_over": 410,
    "passwords_off": 403,
    "sign_in_refused": 403,
    "provider_failed": 502,
    "email_taken": 409,
    "identity_taken": 409,
    "not_found": 404,
    "not_authenticated": 401,
    "method_not_allowed": 405,
    "not_acceptable": 406,
    "unsupported_media_type": 415,
    "throttled": 429,
    "too_many_downloads": 503,
    "content_gone": 410,
    "too_large": 413,
    "streams_unavailable": 501,
}


class TooLarge(DomainError):
    """A body with more bytes, fields or files than its address takes."""

    code = "too_large"

    @classmethod
    def beyond(cls, limit: int) -> "TooLarge":
        """A body of more than ``limit`` bytes."""
        return cls(
            f"The body is larger than {limit:,} bytes. Only uploads and long lists of choices may be larger, from "
            f"callers who have signed in. Nothing was read of it."
        )


#: When to ask a database again that did not answer.
RETRY_AFTER_SECONDS: Final = 5
#: What PostgreSQL says (SQLSTATE) of changes while it takes none, as where another machine is about to take over.
_READ_ONLY: Final = "25006"


class Unavailable(DomainError):
    """The database does not answer, has no connection free, or refused what somebody else made impossible meanwhile."""

    code = "unavailable"


#: A fault of ours: the sentence says nothing of it, the log under the request's id says all.
FAULT: Final[dict[str, Any]] = {
    "code": "internal_error",
    "message": "Something went wrong here; the operator can find it.",
}

#: For whoever asked for something that a full disk kept from being done.
NO_ROOM: Final = merging.StorageFull(
    "There is no room left on a disk of this server, or of its database. Nothing was changed. Try again once whoever "
    "operates Headgate has made room there."
)

#: What Django says of bodies that it will not read on, in our words.
_TOO_MANY: Mapping[type[Exception], str] = {
    RequestDataTooBig: "The fields of the form are too large. Send texts of fewer characters.",
    TooManyFieldsSent: "The form or the address has too many fields. Send fewer at once.",
    TooManyFilesSent: "The form has too many files. Send one.",
}

#: The errors that people can do something about, wherever they were raised.
KNOWN_ERRORS = (DomainError, merging.MergeError, AuditError)


def status_of(code: str) -> int:
    """The HTTP status of an error code; 500 for one that is not in the table."""
    return STATUS_OF_CODE.get(code, 500)


def problem_of(error: Exception) -> dict[str, Any] | None:
    """The body of the answer for one of our errors; None for errors that are not ours."""
    for kind, sentence in _TOO_MANY.items():
        if isinstance(error, kind):
            error = TooLarge(sentence)
    if isinstance(error, OSError | DatabaseError) and merging.says_disk_is_full(error):
        error = NO_ROOM
    elif isinstance(error, OperationalError | InterfaceError):
        error = Unavailable(
            "The database does not answer, or is too busy. Try again in a moment.",
            retry_after=RETRY_AFTER_SECONDS,
        )
    elif getattr(error.__cause__, "sqlstate", None) == _READ_ONLY:
        error = Unavailable(
            "The database takes no changes at the moment. Try again in a moment.",
            retry_after=RETRY_AFTER_SECONDS,
        )
    elif isinstance(error, IntegrityError) and _somebody_was_faster(error):
        logger.warning("somebody_was_faster", exc_info=error)
        error = Unavailable(
            "Somebody removed or made what this needs in the same moment. Try again.", retry_after=1
        )
    if not isinstance(error, KNOWN_ERRORS):
        return None
    data = dict(getattr(error, "data", {}))
    problem = {"code": error.code, "message": getattr(error, "message", str(error))}
    if isinstance(error, merging.TableUnreachable):
        data |= outages.told_of(error)
    elif isinstance(error, merging.StagingRejected):
        data["errors"] = [vars(found) for found in error.problems]
        data["total"] = error.total
        if error.unknown_columns:
            data["unknown_columns"] = [vars(found) for found in error.unknown_columns]
    elif isinstance(error, merging.MergeConflict):
        data["conflicts"] = [conflict_document(conflict) for conflict in error.conflicts]
    elif isinstance(error, merging.ValidationFailed):
        data["checks"] = [
            {"name": check.name, "ok": check.ok, "message": check.message, "failures": check.failures}
            for check in error.report.checks
        ]
    elif isinstance(data.get("errors"), Mapping):
        data["errors"] = [
            {"field": field, "code": "invalid", "message": str(sentence)}
            for field, sentences in data["errors"].items()
            for sentence in sentences
        ]
    return {**data, **problem}


def _somebody_was_faster(error: IntegrityError) -> bool:
    """Whether a row refers to one that went between the look and the commit, or another with its key came.

    By PostgreSQL's SQLSTATE (Appendix A of its manual), or SQLite's words.
    """
    state = getattr(error.__cause__, "sqlstate", None)
    return state in ("23503", "23505") or bool(
        re.search("(FOREIGN KEY|UNIQUE) constraint failed", str(error))
    )


def headers_of(problem: Mapping[str, Any]) -> dict[str, str]:
    """What an error says in headers, too, on pages as over the API."""
    return {"Retry-After": str(problem["retry_after"])} if "retry_after" in problem else {}


def document(problem: Mapping[str, Any], status: int, request_id: str) -> dict[str, Any]:
    """RFC 9457 members around a problem."""
    return {
        "type": "about:blank",
        "title": http.HTTPStatus(status).phrase,
        **problem,
        "status": status,
        "detail": problem["message"],
        "request_id": request_id,
    }


def exception_handler(error: Exception, context: Mapping[str, Any]) -> Response | None:
    """Django REST framework's handler: every error of the API is problem+json with a stable code."""
    headers: dict[str, str] = {}
    problem = problem_of(error)
    if problem is None:
        if isinstance(error, Http404):
            error = exceptions.NotFound("There is no such thing, or you may not see it.")
        elif isinstance(error, PermissionDenied):
            error = exceptions.PermissionDenied()
        if not isinstance(error, exceptions.APIException):
            problem = FAULT
        else:
            problem, headers = _of_framework(error)
    status = status_of(problem["code"])
    if status >= 500:
        logger.error("request_failed", exc_info=error)
    headers |= headers_of(problem)
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
        exceptions.MethodNotAllowed: "method_not_allowed",
        exceptions.NotAcceptable: "not_acceptable",
        exceptions.UnsupportedMediaType: "unsupported_media_type",
        exceptions.Throttled: "throttled",
        exceptions.ParseError: "invalid",
    }
    code = next((code for kind, code in codes.items() if isinstance(error, kind)), "internal_error")
    return {"code": code, "message": str(error.detail)}, headers


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
