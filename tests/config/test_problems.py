"""Every error of ours has a status, and looks as RFC 9457 has it."""

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, transaction
from django.http import Http404
from django.test import RequestFactory
from rest_framework import exceptions, serializers
from rest_framework.decorators import api_view, permission_classes
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIClient

import audit
import changerequests
import datasets
import merging
from changerequests.blockers import Blocker
from changerequests.errors import Blocked, RunEnded
from config.problems import KNOWN_ERRORS, STATUS_OF_CODE, problem_of
from datasets.errors import InvalidInput
from datasets.models import Dataset, Project
from merging import errors as engine_errors


def every_error() -> Iterator[type[Exception]]:
    """All error classes of the four packages, wherever they are defined."""
    for package in (merging, audit, datasets, changerequests):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if ".migrations" not in module.name and ".commands." not in module.name:
                importlib.import_module(module.name)
    waiting: list[type[Exception]] = list(KNOWN_ERRORS)
    while waiting:
        kind = waiting.pop()
        if kind.__module__.partition(".")[0] in (
            "merging",
            "audit",
            "datasets",
            "accounts",
            "changerequests",
        ):
            yield kind
        waiting += kind.__subclasses__()


def test_every_error_class_has_a_status() -> None:
    found = {kind.__name__: str(kind.code) for kind in every_error()}  # type: ignore[attr-defined]  # ours have one

    assert {"MergeConflict", "Blocked", "NotFound", "AuditFileExists", "TableReplaced"} <= set(found)
    assert {name: code for name, code in found.items() if code not in STATUS_OF_CODE} == {}


def test_the_walk_would_find_a_class_without_a_row() -> None:
    class Unmapped(merging.MergeError):
        code = "no_such_code"

    Unmapped.__module__ = "merging.somewhere"
    try:
        assert Unmapped in set(every_error())
        assert Unmapped.code not in STATUS_OF_CODE
    finally:
        Unmapped.__module__ = __name__


def data_looked_into(source: str) -> list[str]:
    """Where an ``except … as name`` looks into ``name.data`` to find out what to do."""
    found = []
    for handler in ast.walk(ast.parse(source)):
        if not isinstance(handler, ast.ExceptHandler):
            continue
        for node in ast.walk(handler):
            inner = node.value if isinstance(node, ast.Subscript | ast.Attribute) else None
            if isinstance(inner, ast.Attribute) and ast.unparse(inner) == f"{handler.name}.data":
                found.append(ast.unparse(node))
    return found


def test_what_is_done_after_an_error_is_told_by_its_class_not_by_its_data() -> None:
    root = Path(__file__).parents[2]
    packages = ("merging", "audit", "datasets", "accounts", "changerequests", "config", "api", "web", "demo")
    found = {
        str(path.relative_to(root)): looked
        for package in packages
        for path in (root / package).rglob("*.py")
        if (looked := data_looked_into(path.read_text()))
    }

    assert found == {}
    assert data_looked_into("try: f()\nexcept E as e:\n if e.data.get('retry') or e.data['x']: g()") == [
        "e.data['x']",
        "e.data.get",
    ]


def test_what_became_of_a_commit_is_one_of_four() -> None:
    outcomes = (
        engine_errors.CommitRefused,
        engine_errors.CommitUnknown,
        engine_errors.CommitDiffers,
        engine_errors.MergeFactsLost,
    )
    kinds = {kind: [one for one in outcomes if issubclass(kind, one)] for kind in every_error()}

    assert {kind.__name__ for kind, told in kinds.items() if told} == {
        *("CommitRefused", "VersionMoved", "CommitUnknown"),
        *("CommitDiffers", "MergeDiffers", "MergeFactsLost"),
    }
    assert max(len(told) for told in kinds.values()) == 1


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("merge_conflict", 409),
        ("blocked", 409),
        ("invalid_transition", 409),
        ("plan_changed", 409),
        ("dataset_busy", 409),
        ("table_damaged", 409),
        ("validation_failed", 422),
        ("staging_rejected", 422),
        ("invalid", 422),
        ("merge_failed", 500),
        ("forbidden", 403),
        ("not_found", 404),
        ("not_authenticated", 401),
        ("throttled", 429),
    ],
)
def test_the_codes_of_the_design_have_their_statuses(code: str, status: int) -> None:
    assert STATUS_OF_CODE[code] == status


@pytest.mark.django_db(transaction=True)
def test_a_row_whose_project_went_in_the_same_moment_is_to_be_tried_again() -> None:
    project = Project.objects.create(name="planes")
    with pytest.raises(IntegrityError) as gone, transaction.atomic():
        Dataset.objects.create(project_id=project.pk + 1, name="a", table_uri="/a", primary_keys=["id"])
    with pytest.raises(IntegrityError) as there, transaction.atomic():
        Project.objects.create(name="planes")
    with pytest.raises(IntegrityError) as defect, transaction.atomic():
        Project.objects.filter(pk=project.pk).update(name=None)
    for raced in (gone, there):
        problem = problem_of(raced.value)
        assert problem is not None
        assert (problem["code"], "Try again" in problem["message"]) == ("unavailable", True)
    assert problem_of(defect.value) is None


def test_staging_problems_keep_line_and_column() -> None:
    error = engine_errors.StagingRejected(
        [merging.StagingProblem("wrong_type", "no whole number", 3, "seats", "many")], total=12
    )

    problem = problem_of(error)

    assert problem is not None
    assert problem["errors"] == [
        {
            "code": "wrong_type",
            "message": "no whole number",
            "line": 3,
            "column": "seats",
            "value": "many",
        }
    ]
    assert problem["total"] == 12


def test_conflicts_of_the_engine_become_json() -> None:
    conflict = merging.Conflict(
        {"n": 1}, "x", "modify/modify", merging.Sides(1, b"\x00", 3), "digest", ("current", "proposed")
    )

    problem = problem_of(engine_errors.MergeConflict([conflict], total=7))

    assert problem is not None
    assert (problem["total"], problem["conflicts"][0]["current"]) == (7, "0x00")


def test_failed_checks_are_named() -> None:
    report = merging.ValidationReport((merging.Check("not_null:x", False, "x is NULL in 2 rows", 2),))

    problem = problem_of(merging.ValidationFailed(report))

    assert problem is not None
    assert problem["checks"] == [
        {"name": "not_null:x", "ok": False, "message": "x is NULL in 2 rows", "failures": 2}
    ]


def test_blockers_and_fields_are_members_and_errors_of_others_are_not_ours() -> None:
    blocked = problem_of(Blocked("No.", [Blocker("threads_open", "fix", "One is open.", "conversation")]))
    invalid = problem_of(InvalidInput("No.", errors={"title": ["Too long.", "Too dull."]}))
    ended = problem_of(RunEnded("3 rows", "merge_conflict", total=3))

    assert blocked is not None
    assert invalid is not None
    assert ended is not None
    assert [blocker["code"] for blocker in blocked["blockers"]] == ["threads_open"]
    assert invalid["errors"] == [
        {"field": "title", "code": "invalid", "message": "Too long."},
        {"field": "title", "code": "invalid", "message": "Too dull."},
    ]
    assert ended == {"code": "merge_conflict", "message": "3 rows", "total": 3}
    assert problem_of(ValueError("not ours")) is None


# --- Through the framework ---------------------------------------------------------------------------------


def answer_to(error: Exception) -> Any:
    """What the API answers where a view raises this."""

    @api_view(["GET"])
    @permission_classes([AllowAny])
    def view(request: Request) -> Response:
        raise error

    response = view(RequestFactory().get("/"))
    response.render()
    return response


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Http404(), 404, "not_found"),
        (PermissionDenied(), 403, "forbidden"),
        (exceptions.NotAuthenticated(), 401, "not_authenticated"),
        (exceptions.AuthenticationFailed(), 401, "not_authenticated"),
        (exceptions.MethodNotAllowed("PUT"), 405, "method_not_allowed"),
        (exceptions.NotAcceptable(), 406, "not_acceptable"),
        (exceptions.UnsupportedMediaType("text/csv"), 415, "unsupported_media_type"),
        (exceptions.ParseError(), 422, "invalid"),
        (exceptions.Throttled(wait=12), 429, "throttled"),
        (serializers.ValidationError({"a": {"b": ["wrong"]}}), 422, "invalid"),
        (KeyError("a secret"), 500, "internal_error"),
        (engine_errors.MergeFailed("the disk is full"), 500, "merge_failed"),
    ],
)
def test_every_error_of_a_view_is_problem_json(error: Exception, status: int, code: str) -> None:
    response = answer_to(error)

    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/problem+json"
    assert set(response.data) >= {"type", "title", "status", "detail", "code", "message", "request_id"}
    assert (response.data["status"], response.data["code"]) == (status, code)
    assert "secret" not in response.content.decode()


def test_nested_fields_are_named_with_dots_and_waiting_is_told() -> None:
    invalid = answer_to(serializers.ValidationError({"a": {"b": ["wrong"]}}))
    throttled = answer_to(exceptions.Throttled(wait=12))

    assert invalid.data["errors"] == [{"field": "a.b", "code": "invalid", "message": "wrong"}]
    assert throttled.headers["Retry-After"] == "12"


def test_the_request_id_of_the_body_is_that_of_the_header_and_not_the_callers(db: None) -> None:
    response = APIClient().get("/api/v1/nowhere", HTTP_X_REQUEST_ID="forged")

    assert response.status_code == 404
    assert response.json()["request_id"] == response.headers["X-Request-ID"]
    assert re.fullmatch(r"[0-9a-f-]{36}", response.headers["X-Request-ID"])
