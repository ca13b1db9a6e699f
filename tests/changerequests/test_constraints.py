"""What the database itself refuses, whoever writes."""

from typing import Any

import pytest
from django.apps import apps
from django.db import IntegrityError, connection, transaction
from django.db.models import ProtectedError
from django.utils import timezone

from changerequests.models import ChangeRequest, Comment, ConflictResolution, MergeRun, Revision
from changerequests.selectors import current_revision
from changerequests.services.locks import lock_change_request, lock_run
from changerequests.states import RunStatus, Status
from tests.factories import ChangeRequestFactory, DatasetFactory

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


def run_of(change_request: ChangeRequest, **fields: Any) -> MergeRun:
    revision = current_revision(change_request)
    assert revision is not None
    return MergeRun.objects.create(
        change_request=change_request,
        dataset=change_request.dataset,
        revision=revision,
        revision_digest=revision.digest,
        requested_by=change_request.author,
        **fields,
    )


def refused(constraint: str) -> Any:
    """The database refuses, naming the constraint (PostgreSQL) or its columns (SQLite)."""
    return pytest.raises(IntegrityError, match=constraint)


def test_every_constraint_and_index_that_the_models_declare_is_in_the_database() -> None:
    """A migration may take more with it than it says: dropping a column's own index drops partial ones, too."""
    wanted = {}
    for model in apps.get_models():
        if model._meta.app_label in ("audit", "accounts", "datasets", "changerequests"):
            declared = [*model._meta.constraints, *model._meta.indexes]
            wanted[model._meta.db_table] = {one.name for one in declared}
    with connection.cursor() as cursor:
        there = {table: set(connection.introspection.get_constraints(cursor, table)) for table in wanted}

    assert sum(map(len, wanted.values())) > 30
    assert {table: names - there[table] for table, names in wanted.items() if names - there[table]} == {}


def test_two_running_merges_of_one_dataset(pending: ChangeRequest) -> None:
    other = ChangeRequestFactory.create(dataset=pending.dataset)
    run_of(pending, status=RunStatus.RUNNING)

    with refused("one_running_merge_per_dataset|dataset_id"), transaction.atomic():
        run_of(other, status=RunStatus.RUNNING)

    run_of(other, status=RunStatus.QUEUED)
    assert MergeRun.objects.count() == 2


def test_running_merges_of_two_datasets_are_fine(pending: ChangeRequest) -> None:
    run_of(pending, status=RunStatus.RUNNING)
    run_of(ChangeRequestFactory.create(), status=RunStatus.RUNNING)

    assert MergeRun.objects.filter(status=RunStatus.RUNNING).count() == 2


@pytest.mark.parametrize("second", [RunStatus.QUEUED, RunStatus.RUNNING])
def test_two_active_runs_of_one_request(pending: ChangeRequest, second: RunStatus) -> None:
    run_of(pending, status=RunStatus.QUEUED)

    with refused("one_active_run_per_request|change_request_id"), transaction.atomic():
        run_of(pending, status=second)

    run_of(pending, status=RunStatus.CANCELLED)
    assert MergeRun.objects.count() == 2


def test_one_idempotency_key_twice(pending: ChangeRequest) -> None:
    run_of(pending, status=RunStatus.FAILED, idempotency_key="k")

    with refused("one_run_per_idempotency_key|idempotency_key"), transaction.atomic():
        run_of(pending, status=RunStatus.FAILED, idempotency_key="k")

    run_of(pending, status=RunStatus.FAILED)
    run_of(pending, status=RunStatus.FAILED)


def test_a_success_without_a_version(pending: ChangeRequest) -> None:
    with refused("succeeded_run_has_version"), transaction.atomic():
        run_of(pending, status=RunStatus.SUCCEEDED)


@pytest.mark.parametrize("missing", ["merged_version", "merged_at", "merge_record"])
def test_merged_without_what_belongs_to_it(pending: ChangeRequest, missing: str) -> None:
    fields: dict[str, Any] = {
        "status": Status.MERGED,
        "merged_version": 1,
        "merged_at": timezone.now(),
        "merge_record": {},
    }

    with refused("merged_exactly_with_version"), transaction.atomic():
        ChangeRequest.objects.filter(pk=pending.pk).update(**{**fields, missing: None})

    ChangeRequest.objects.filter(pk=pending.pk).update(**fields)


def test_a_version_without_being_merged(pending: ChangeRequest) -> None:
    with refused("merged_exactly_with_version"), transaction.atomic():
        ChangeRequest.objects.filter(pk=pending.pk).update(merged_version=1)


def test_an_unknown_status(pending: ChangeRequest) -> None:
    with refused("change_request_status_known"), transaction.atomic():
        ChangeRequest.objects.filter(pk=pending.pk).update(status="ready")


def test_two_current_revisions(pending: ChangeRequest) -> None:
    revision = current_revision(pending)
    assert revision is not None
    fields = {
        name: getattr(revision, name)
        for name in [
            "change_request",
            "location",
            "digest",
            "base_version",
            "table_id",
            "rows",
            "rows_inserted",
            "rows_updated",
            "rows_deleted",
            "noop_rows",
            "columns",
            "created_by",
        ]
    }

    with refused("one_current_revision|change_request_id"), transaction.atomic():
        Revision.objects.create(**fields, number=2)
    with refused("revision_number|number"), transaction.atomic():
        Revision.objects.create(**fields, number=1, is_current=False)

    Revision.objects.create(**fields, number=2, is_current=False)


def test_two_current_choices_for_one_conflict(pending: ChangeRequest) -> None:
    fields = {
        "change_request": pending,
        "key": {"tailnum": "N1"},
        "key_digest": "d",
        "column": "seats",
        "choice": "current",
        "inputs_digest": "i",
        "chosen_by": pending.author,
    }
    ConflictResolution.objects.create(**fields)

    with refused("one_current_choice|key_digest"), transaction.atomic():
        ConflictResolution.objects.create(**fields)

    ConflictResolution.objects.create(**fields, is_current=False)


def test_an_answer_is_never_resolved(pending: ChangeRequest) -> None:
    thread = Comment.objects.create(change_request=pending, author=pending.author, body="?")

    with refused("only_threads_resolve"), transaction.atomic():
        Comment.objects.create(
            change_request=pending,
            author=pending.author,
            body="!",
            parent=thread,
            resolved_at=timezone.now(),
        )


@pytest.mark.django_db(transaction=True)
def test_locks_outside_a_transaction_raise(pending: ChangeRequest) -> None:
    run = run_of(pending)
    for lock, pk in ((lock_change_request, pending.pk), (lock_run, run.pk)):
        with pytest.raises(transaction.TransactionManagementError):
            lock(pk)


def test_deleting_a_dataset_with_requests_is_refused(pending: ChangeRequest) -> None:
    with pytest.raises(ProtectedError):
        pending.dataset.delete()
    assert DatasetFactory._meta.model.objects.filter(pk=pending.dataset_id).exists()
