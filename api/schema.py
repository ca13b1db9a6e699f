"""The OpenAPI document: what every operation can answer besides success, as shared components."""

from typing import Any

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter

from api.authentication import SCHEME_NAME, scope_of
from changerequests.models import choices
from changerequests.states import (
    EmptyCells,
    FollowUp,
    Outcome,
    Readiness,
    RunPhase,
    RunStatus,
    Status,
    UploadKind,
    UploadState,
)

#: Sets of values with names of their own in the document.
STATUSES = choices(Status)
RUN_STATUSES = choices(RunStatus)
RUN_PHASES = choices(RunPhase)
UPLOAD_STATES = choices(UploadState)
UPLOAD_KINDS = choices(UploadKind)
EMPTY_CELLS = choices(EmptyCells)
FOLLOW_UPS = [one for one in choices(FollowUp) if one[0]]
OUTCOMES = choices(Outcome)
#: Values of cells that no text stands for.
NO_TEXT = [("null", "null"), ("empty", "empty")]
READINESS = choices(Readiness)

CR_ID = OpenApiParameter("cr_id", str, OpenApiParameter.PATH, description="Public id, for example CR-128.")
IF_MATCH = OpenApiParameter(
    "If-Match",
    str,
    OpenApiParameter.HEADER,
    description='The version that was edited, as `ETag` told: `"3"`.',
)
#: Slugs of a project and of one of its datasets.
DATASET_NAME = "^[a-z0-9][a-z0-9_-]*/[a-z0-9][a-z0-9_-]*$"
#: A dataset; clients that fill in templates of paths write ``%2F`` for the slash.
DATASET_ADDRESS: dict[str, Any] = {
    "oneOf": [{"type": "integer"}, {"type": "string", "pattern": DATASET_NAME}]
}
DATASET_ID = OpenApiParameter(
    "dataset_id",
    DATASET_ADDRESS,
    OpenApiParameter.PATH,
    description="The number of the dataset, or `project/slug`, for example `sales/customers`.",
)


#: Of every POST that is performed once for each key.
IDEMPOTENCY_KEY: dict[str, Any] = {
    "in": "header",
    "name": "Idempotency-Key",
    "schema": {"type": "string", "maxLength": 200},
    "description": "A retry with the same key and body gets the first answer again for 24 hours, marked by the header "
    "`Idempotent-Replayed: true`; the same key with another body is 422, and 409 `in_flight` while the first has not "
    "ended.",
}


class ProblemSchema(AutoSchema):
    """Adds the problem+json answers that an operation can give, by what it needs."""

    def get_operation(self, *args: Any, **kwargs: Any) -> Any:
        operation = super().get_operation(*args, **kwargs)
        if operation is not None:
            for status, name in self._problems(operation):
                operation["responses"].setdefault(status, {"$ref": f"#/components/responses/{name}"})
            if self.method == "POST" and getattr(self.view, "remembers_answers", False):
                operation.setdefault("parameters", []).append(IDEMPOTENCY_KEY)
            operation["responses"] = dict(sorted(operation["responses"].items()))
            self._say_scope(operation)
        return operation

    def _say_scope(self, operation: dict[str, Any]) -> None:
        """Name the scope in the sentences, and as the role that the token must have (OpenAPI 3.1)."""
        scope = scope_of(self.view, self.method)
        if scope is None:
            return
        said = operation.get("description", "").rstrip()
        operation["description"] = f"{said}\n\nA token needs the scope `{scope.value}`.".lstrip()
        for way in operation.get("security", []):
            if SCHEME_NAME in way:
                way[SCHEME_NAME] = [scope.value]

    def _problems(self, operation: dict[str, Any]) -> list[tuple[str, str]]:
        parameters = operation.get("parameters", [])
        found = [("401", "NotAuthenticated"), ("406", "NotAcceptable"), ("422", "Unprocessable")]
        found += [("429", "Throttled"), ("500", "Failed"), ("503", "Unavailable")]
        # What is named in the address or in the body may not be there, or not for the caller.
        if any(parameter["in"] == "path" for parameter in parameters) or (
            self.method != "GET" and "/auth/" not in self.path
        ):
            found.append(("404", "NotFound"))
        if any((parameter["in"], parameter["name"]) == ("query", "version") for parameter in parameters):
            found.append(("410", "Gone"))
        if any(parameter["name"] == "If-Match" for parameter in parameters):
            found.append(("412", "Changed"))
        found += getattr(self.view, "further_problems", ())
        if self.method != "GET" or scope_of(self.view, self.method) is not None:
            found.append(("403", "Forbidden"))
        if self.method != "GET":
            found += [("409", "Conflict"), ("413", "TooLarge"), ("415", "Unsupported")]
            found.append(("507", "Full"))
        return found


#: Upper bounds of integer columns; which one a field gets depends on the database behind it.
COLUMN_BOUNDS = frozenset({2**15 - 1, 2**31 - 1, 2**63 - 1})


def drop_column_bounds(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Take the bounds of database columns out of the document: it is the same on every database."""
    pending: list[Any] = [result]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            if node.get("type") == "integer" and node.get("maximum") in COLUMN_BOUNDS:
                del node["maximum"]
                node.pop("format", None)
            pending += node.values()
        elif isinstance(node, list):
            pending += node
    return result


#: What drf-spectacular writes for a cell value that may be NULL: NULL would be valid twice over.
_ANY_OR_NULL = [{}, {"type": "null"}]


def say_any_value_once(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """A cell value is anything, NULL included."""
    pending: list[Any] = [result]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            if node.get("oneOf") == _ANY_OR_NULL:
                del node["oneOf"]
            pending += node.values()
        elif isinstance(node, list):
            pending += node
    return result


def add_problems(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """A hook of drf-spectacular: the shared answers that operations refer to, and what is in them."""
    schemas = result["components"].setdefault("schemas", {})
    result["components"]["schemas"] = dict(sorted({**schemas, **_SCHEMAS}.items()))
    result["components"]["responses"] = {
        name: {
            "description": description,
            "content": {"application/problem+json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}},
        }
        for name, (description, schema) in _RESPONSES.items()
    }
    return result


def _with(description: str, **properties: Any) -> dict[str, Any]:
    return {
        "description": description,
        "allOf": [
            {"$ref": "#/components/schemas/Problem"},
            {"type": "object", "required": list(properties), "properties": properties},
        ],
    }


def _list_of(name: str) -> dict[str, Any]:
    return {"type": "array", "items": {"$ref": f"#/components/schemas/{name}"}}


_TEXT = {"type": "string"}

_SCHEMAS: dict[str, Any] = {
    "Problem": {
        "type": "object",
        "description": "An error as RFC 9457 has it, with a stable `code`. Some codes bring members of their own.",
        "required": ["type", "title", "status", "detail", "code", "message", "request_id"],
        "properties": {
            "type": _TEXT,
            "title": _TEXT,
            "status": {"type": "integer"},
            "detail": _TEXT,
            "code": {"type": "string", "description": "Stable, for programs."},
            "message": {
                "type": "string",
                "description": "A sentence for people: what is wrong and what to do.",
            },
            "request_id": {
                "type": "string",
                "description": "Name it to an operator; the logs stand under it.",
            },
        },
    },
    "FieldError": {
        "type": "object",
        "required": ["field", "code", "message"],
        "properties": {"field": _TEXT, "code": _TEXT, "message": _TEXT},
    },
    "ContentError": {
        "type": "object",
        "required": ["line", "column", "code", "message", "value"],
        "properties": {
            "line": {
                "type": ["integer", "null"],
                "description": "Line of the file; 1 is the header of a CSV.",
            },
            "column": {"type": ["string", "null"]},
            "code": _TEXT,
            "message": _TEXT,
            "value": {"type": ["string", "null"]},
        },
    },
    "MergeConflictProblem": _with(
        "`merge_conflict`: Current and Proposed both changed the same cells or rows, and nobody has chosen.",
        conflicts=_list_of("Conflict"),
    ),
    "BlockedProblem": _with("`blocked`: gates stand in the way.", blockers=_list_of("Blocker")),
    "ChosenMeanwhileProblem": _with(
        "`plan_changed`, where others chose for conflicts since the caller looked. `choices` is capped, `total` exact.",
        moved={"type": "string", "const": "choices"},
        choices=_list_of("ChoiceOfOthers"),
        total={"type": "integer"},
    ),
    "ChoiceOfOthers": {
        "type": "object",
        "required": ["key", "column", "choice", "value", "chosen_by", "chosen_at"],
        "properties": {
            "key": {"type": "object", "additionalProperties": {}},
            "column": {"type": ["string", "null"]},
            "choice": _TEXT,
            "value": {"description": "The value of a custom choice."},
            "chosen_by": _TEXT,
            "chosen_at": {"type": "string", "format": "date-time"},
        },
    },
    "InvalidProblem": _with("`invalid`: members of the request do not fit.", errors=_list_of("FieldError")),
    "StagingRejectedProblem": _with(
        "`staging_rejected`: the file was refused whole, nothing was staged. `errors` is capped, `total` exact.",
        errors=_list_of("ContentError"),
        total={"type": "integer"},
    ),
    "ValidationFailedProblem": _with(
        "`validation_failed`: the merged result breaks a rule, or is known to; nothing was merged.",
        checks=_list_of("Check"),
        suite_version={
            "type": ["integer", "null"],
            "description": "Null where the dataset expects nothing.",
        },
        expectations=_list_of("FailedExpectation"),
    ),
    "FailedExpectation": {
        "type": "object",
        "description": "An expectation that stops the merge, with its first failing rows.",
        "required": ["number", "type", "columns", "message", "failing_rows_total", "failing_rows"],
        "properties": {
            "number": {"type": "integer"},
            "type": _TEXT,
            "columns": {"type": "array", "items": _TEXT},
            "message": _TEXT,
            "observed": {},
            "before": {},
            "failing_rows_total": {"type": "integer"},
            "failing_rows": _list_of("FailingRow"),
        },
    },
    "SuiteRejectedProblem": _with(
        "`suite_rejected`: a suite that cannot be checked as it is written; nothing was saved.",
        problems=_list_of("SuiteProblem"),
    ),
    "SuiteProblem": {
        "type": "object",
        "required": ["place", "code", "message", "expectation"],
        "properties": {
            "place": {"type": "string", "description": "For example `expectations[3].kwargs.column`."},
            "code": _TEXT,
            "message": _TEXT,
            "expectation": {"type": ["string", "null"]},
        },
    },
    "ConflictAnswer": {
        "anyOf": [
            {"$ref": f"#/components/schemas/{name}"}
            for name in ("MergeConflictProblem", "BlockedProblem", "ChosenMeanwhileProblem", "Problem")
        ]
    },
    "UnprocessableAnswer": {
        "anyOf": [
            {"$ref": f"#/components/schemas/{name}"}
            for name in (
                "InvalidProblem",
                "StagingRejectedProblem",
                "ValidationFailedProblem",
                "SuiteRejectedProblem",
                "Problem",
            )
        ]
    },
}

_RESPONSES = {
    "NotAuthenticated": ("`not_authenticated`: send a token, or sign in.", "Problem"),
    "Forbidden": (
        "`forbidden`: the caller may see the thing but not do this; `scope_missing`: the token is not for it.",
        "Problem",
    ),
    "NotFound": ("`not_found`: there is no such thing, or the caller may not see it.", "Problem"),
    "Conflict": (
        "`merge_conflict`, `blocked`, `invalid_transition`, `plan_changed`, `dataset_busy`: not as things stand now.",
        "ConflictAnswer",
    ),
    "Unprocessable": (
        "`invalid`, `staging_rejected`, `validation_failed`, `suite_rejected` …: what came in does not fit.",
        "UnprocessableAnswer",
    ),
    "Gone": (
        "`version_gone`: the log or the files of this version were cleaned up; `sign_in_expired`: nobody let the "
        "program in in time.",
        "Problem",
    ),
    "Changed": (
        "`suite_changed`, `settings_changed`, `request_changed`: somebody changed it since `If-Match` was told.",
        "Problem",
    ),
    "NotAcceptable": ("`not_acceptable`: `Accept` names nothing that is answered here.", "Problem"),
    "Unsupported": ("`unsupported_media_type`: `Content-Type` is none that is read here.", "Problem"),
    "TooLarge": ("`too_large`: the body has more bytes, fields or files than the address takes.", "Problem"),
    "Throttled": ("`throttled`: too many requests; `Retry-After` says how long to wait.", "Problem"),
    "Unavailable": (
        "`unavailable`: the database does not answer or is too busy, or somebody was faster, try again; "
        "`outcome_unknown`: the table's store does not say whether a commit took place; `table_unreachable`: the store "
        "gives nothing, and `Retry-After` says when to ask again where that may pass by itself.",
        "Problem",
    ),
    "Full": ("`storage_full`: a disk or quota of Headgate is full; nothing was changed.", "Problem"),
    "Failed": ("`merge_failed` or a fault of Headgate; the operator finds it by `request_id`.", "Problem"),
}
