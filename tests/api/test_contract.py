"""The API against its own document, with inputs that Schemathesis makes up: fixed seed, bounded, in this process.

Identifiers in addresses are those of things that exist, else almost every call would end in 404. Each call is rolled
back, so that every example meets the same world. Asked is that nothing ends in a server error, and that each answer
has a status, a content type and a body that the document knows.
"""

import uuid
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from django.contrib.auth.models import User
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, transaction
from hypothesis import Phase, given, seed, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from audit import bells
from changerequests.models import ChangeRequest, MergeRun, Review, Upload
from changerequests.services.reviews import comment, review
from changerequests.services.runs import request_merge
from config.wsgi import application
from datasets.models import Dataset
from datasets.operators import make_operator
from datasets.roles import Role
from tests import options
from tests.api.clients import token_of
from tests.factories import ChangeRequestFactory, fresh, merge, person_with
from tests.openapi import FILE

pytestmark = pytest.mark.django_db

#: Requests made up for each operation, where a run takes a sample and where it takes all.
EXAMPLES = 12 if options.SAMPLE_SEED is None else 3
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
#: Ends the token that every call sends.
LEFT_OUT = ("/api/v1/auth/logout",)


@pytest.fixture
def owner(dataset: Dataset) -> User:
    person = person_with(Role.OWNER, dataset)
    make_operator(person)
    return fresh(person)


@pytest.fixture
def merged(dataset: Dataset, owner: User) -> ChangeRequest:
    made: ChangeRequest = ChangeRequestFactory(dataset=dataset, csv="tailnum,seats\nN4,1\n")
    merge(made, owner)
    made.refresh_from_db()
    return made


@pytest.fixture
def conflicting(dataset: Dataset, owner: User, merged: ChangeRequest) -> ChangeRequest:
    """A pending request with a comment, a run, and a conflict with what was merged since."""
    made: ChangeRequest = ChangeRequestFactory(dataset=dataset, csv="tailnum,seats\nN1,2\nN5,1\n")
    merge(ChangeRequestFactory(dataset=dataset, csv="tailnum,seats\nN1,3\n"), owner)
    comment(change_request_id=made.pk, actor=owner, body="Why?")
    return made


@pytest.fixture
def known(merged: ChangeRequest, conflicting: ChangeRequest, owner: User) -> dict[str, list[Any]]:
    """What stands in addresses: things of every kind that exist, and one that does not."""
    waiting: Any = ChangeRequestFactory(dataset=merged.dataset, csv="tailnum,seats\nN2,2\n")
    request_merge(change_request_id=waiting.pk, actor=owner)
    given = review(
        change_request_id=conflicting.pk, actor=owner, verdict=Review.Verdict.APPROVE, body="Fine."
    )
    return {
        "dataset_id": [merged.dataset_id, 10**6],
        "cr_id": [conflicting.cr_id, merged.cr_id, waiting.cr_id, "CR-0"],
        "slug": [merged.dataset.project.slug, "nothing"],
        "run_id": [*MergeRun.objects.values_list("pk", flat=True), 10**6],
        "comment_id": [*conflicting.comments.values_list("pk", flat=True), 10**6],
        "number": [1, 99],
        "proposal_id": [10**6],
        "trial_id": [10**6],
        "review_id": [given.pk, 10**6],
        "review_request_id": [10**6],
        "query_id": [10**6],
        "preview_id": [10**6],
        "view_id": [10**6],
        "webhook_id": [10**6],
        "delivery_id": [10**6],
        "invitation_id": [10**6],
        "connection": ["nothing"],
        "prefix_id": [10**6],
        "service_account_id": [10**6],
        "token_number": [str(uuid.uuid4())],
        "kind": ["user", "group"],
        "member": ["nobody-such", owner.username],
        "upload_id": [*Upload.objects.values_list("pk", flat=True), 10**6],
        "name": ["merge_result.json", "diff.parquet", "nothing"],
    }


@pytest.fixture
def _open_connection() -> Iterator[None]:
    """As Django's own test client does: an answer's end does not close the test's connection."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.mark.usefixtures("_open_connection")
def test_every_answer_is_one_that_the_document_knows(
    owner: User, known: dict[str, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bells, "ring", lambda *_: None)
    monkeypatch.setattr("changerequests.services.runs.wait_for_run", _at_once)
    token = token_of(owner)
    schema = schemathesis.openapi.from_path(FILE)
    schema.app = _application
    failures, called = [], 0

    for found in schema.get_all_operations():
        assert isinstance(found, Ok), found
        operation = found.ok()
        if operation.path in LEFT_OUT or operation.path.endswith("/stream"):  # streams want ASGI: tests/live
            continue

        @seed(2013)
        @settings(
            max_examples=EXAMPLES,
            database=None,
            phases=[Phase.explicit, Phase.generate],
        )
        @given(operation.as_strategy())
        def call(case: Any) -> None:
            nonlocal called
            called += 1
            for name in case.path_parameters or {}:
                case.path_parameters[name] = known[name][called % len(known[name])]
            with transaction.atomic():
                response = case.call(headers={"Authorization": f"Token {token}"})
                transaction.set_rollback(True)
            case.validate_response(response, checks=CHECKS)

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                call()
        except BaseExceptionGroup as group:
            failures.append(f"{operation.label}: {[str(error) for error in group.exceptions]}")
    assert failures == [], "\n\n".join(failures)
    assert called > 20 * EXAMPLES


def _application(environ: Any, start_response: Any) -> list[bytes]:
    """The application behind a server that closes every answer, as servers do."""
    answer = application(environ, start_response)
    try:
        return [b"".join(answer)]
    finally:
        answer.close()


def _at_once(run_id: int, seconds: float, **_: Any) -> MergeRun:
    """Nobody works here: waiting for a run answers how it stands."""
    return MergeRun.objects.select_related("change_request").get(pk=run_id)
