"""The digest of the choices that stand is kept with the request, and nothing else is merged under it."""

import hashlib
import json
from importlib import import_module

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.db import connection

from changerequests.models import ChangeRequest, ConflictResolution
from changerequests.services import conflicts, plans, runs
from changerequests.services.choices import digest_of
from changerequests.states import RunStatus, Status
from datasets.errors import InvalidInput
from datasets.models import Dataset
from datasets.rows import ConflictFilter
from tests.factories import ChangeRequestFactory, drain, merge, rows_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def conflicting(dataset: Dataset, owner: User) -> ChangeRequest:
    """A pending request with a conflict in the seats of N1 and one in those of N2."""
    change_request = ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN1,1\nN2,2\n")
    faster = ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN1,10\nN2,20\n")
    merge(faster, owner)
    return change_request


def kept(change_request: ChangeRequest) -> str:
    return ChangeRequest.objects.values_list("resolutions_digest", flat=True).get(pk=change_request.pk)


def choose(change_request: ChangeRequest, choice: str, tailnum: str) -> None:
    """Choose for one of the two conflicts."""
    page = plans.conflicts_page(change_request=ChangeRequest.objects.get(pk=change_request.pk))
    [conflict] = [one for one in page.conflicts if one.key == {"tailnum": tailnum}]
    conflicts.resolve(
        change_request_id=change_request.pk,
        actor=change_request.author,
        choices=[conflicts.Choosing(conflict.key, conflict.column, choice, conflict.inputs_digest)],
    )


def test_the_digest_follows_every_choice(conflicting: ChangeRequest) -> None:
    assert kept(conflicting) == ""
    choose(conflicting, "proposed", "N1")
    first = kept(conflicting)
    [one] = ConflictResolution.objects.all()
    content = [[one.key_digest, "seats", "proposed", None, one.inputs_digest]]
    assert first == hashlib.sha256(json.dumps(content).encode()).hexdigest()

    choose(conflicting, "current", "N1")
    assert kept(conflicting) not in ("", first)
    choose(conflicting, "proposed", "N1")
    assert kept(conflicting) == first
    conflicts.resolve_matching(
        change_request_id=conflicting.pk,
        actor=conflicting.author,
        wanted=ConflictFilter(column="seats"),
        choice="current",
    )
    standing = list(ConflictResolution.objects.filter(is_current=True))
    assert len(standing) == 2
    assert kept(conflicting) == digest_of(standing) == digest_of(reversed(standing)) != first


def test_choices_that_are_taken_back_leave_the_digest(conflicting: ChangeRequest) -> None:
    choose(conflicting, "proposed", "N1")
    before = kept(conflicting)
    page = plans.conflicts_page(change_request=ChangeRequest.objects.get(pk=conflicting.pk))
    two = page.conflicts[1]
    wrong = conflicts.Choosing(two.key, two.column, "custom", two.inputs_digest, value="many")

    with pytest.raises(InvalidInput):
        conflicts.resolve(change_request_id=conflicting.pk, actor=conflicting.author, choices=[wrong])

    assert kept(conflicting) == before
    assert ConflictResolution.objects.count() == 1


def test_other_choices_than_the_run_was_asked_for_with_are_not_merged(
    conflicting: ChangeRequest, owner: User, dataset: Dataset
) -> None:
    conflicts.resolve_matching(
        change_request_id=conflicting.pk,
        actor=conflicting.author,
        wanted=ConflictFilter(column="seats"),
        choice="proposed",
    )
    before = rows_of(dataset)
    run = runs.request_merge(change_request_id=conflicting.pk, actor=owner)
    ConflictResolution.objects.update(choice="current")  # behind the services, and so behind the digest

    drain()

    run.refresh_from_db()
    assert (run.status, run.error_message) == (
        RunStatus.CANCELLED,
        "The choices moved after the merge was asked for.",
    )
    assert ChangeRequest.objects.get(pk=conflicting.pk).status == Status.PENDING
    assert rows_of(dataset) == before


def test_the_migration_digests_what_stands(conflicting: ChangeRequest) -> None:
    choose(conflicting, "proposed", "N1")
    choose(conflicting, "current", "N1")
    choose(conflicting, "proposed", "N2")
    digest = kept(conflicting)
    ChangeRequest.objects.update(resolutions_digest="")
    migration = import_module("changerequests.migrations.0008_keep_the_digest_of_choices")

    migration.digest_what_stands(apps, connection.schema_editor())

    assert kept(conflicting) == digest
    assert list(ChangeRequest.objects.exclude(pk=conflicting.pk).values_list("resolutions_digest")) == [("",)]
