"""FS11: operators run the installation, and see no row of a table in which they have no role."""

from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from changerequests.models import Comment, ConflictResolution, MergeRun, PlanCheck, Revision
from changerequests.services import conflicts, plans, reviews
from datasets.models import Dataset, SuiteProposal, SuiteTrial
from datasets.operators import make_operator
from datasets.roles import Role
from tests.factories import (
    ChangeRequestFactory,
    DatasetFactory,
    UserFactory,
    expect_of,
    expectation,
    fresh,
    merge,
    person_with,
)

pytestmark = pytest.mark.django_db

#: A number that stands in cells, and nowhere else by chance.
SECRET = 987_654_321


@pytest.fixture
def operator() -> Client:
    adam = UserFactory.create(username="adam")
    make_operator(adam)
    client = Client()
    client.force_login(fresh(adam))
    return client


@pytest.fixture
def dataset() -> Dataset:
    """A dataset of which every kind of record here quotes a value."""
    dataset: Dataset = DatasetFactory.create(slug="planes")
    owner: User = person_with(Role.OWNER, dataset)
    conflicting: Any = ChangeRequestFactory.create(dataset=dataset, csv=f"tailnum,seats\nN1,{SECRET}\n")
    merge(ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN1,3\n"), owner)
    (found,) = plans.conflicts_page(change_request=conflicting).conflicts
    choice = conflicts.Choosing(
        key=dict(found.key), column="seats", choice="custom", value=SECRET, inputs_digest=found.inputs_digest
    )
    conflicts.resolve(change_request_id=conflicting.pk, actor=owner, choices=[choice])
    key = {"tailnum": str(SECRET)}
    reviews.comment(
        change_request_id=conflicting.pk, actor=owner, body=f"Why {SECRET}?", row_key=key, column="seats"
    )
    reviews.review(change_request_id=conflicting.pk, actor=owner, verdict="request_changes", body="Not so.")
    expect_of(dataset, expectation("column_values_to_not_be_in_set", column="seats", value_set=[SECRET]))
    ChangeRequestFactory.create(dataset=dataset, csv=f"tailnum,seats\nN2,{SECRET}\n")
    sentence = f"The row {SECRET} is there twice."
    PlanCheck.objects.update(problem=sentence)
    MergeRun.objects.update(error_message=sentence, error_data={"keys": [key]})
    Revision.objects.update(warnings=[sentence])
    SuiteProposal.objects.create(dataset=dataset, asked_by=owner, document=f'{{"value_set": [{SECRET}]}}')
    SuiteTrial.objects.create(
        dataset=dataset,
        asked_by=owner,
        document=f'{{"value_set": [{SECRET}]}}',
        rule={"kwargs": {"value_set": [SECRET]}},
        note=sentence,
        report={"results": [{"failing_rows": [{"key": key}]}]},
        error_message=sentence,
    )
    assert ConflictResolution.objects.filter(value=SECRET).exists()
    assert Comment.objects.filter(row_key=key).exists()
    return dataset


def test_fs11_no_page_of_the_admin_shows_a_rows_key_or_value(operator: Client, dataset: Dataset) -> None:
    looked_at = set()
    for label in ("audit", "datasets", "changerequests"):
        for model in apps.get_app_config(label).get_models():
            if model not in admin.site._registry:
                continue
            name = f"admin:{label}_{model._meta.model_name}"
            pages = [operator.get(reverse(f"{name}_changelist"))]
            pages += [
                operator.get(reverse(f"{name}_change", args=[row.pk])) for row in model._default_manager.all()
            ]
            looked_at |= {model.__name__} if len(pages) > 1 else set()
            for page in pages:
                assert page.status_code == 200
                assert str(SECRET) not in page.content.decode(), name
    assert str(SECRET) not in operator.get(reverse("operations")).content.decode()
    assert {
        "Comment", "ConflictResolution", "ExpectationCheck", "MergeRun", "PlanCheck", "Review", "Revision",
        "SuiteProposal", "SuiteTrial", "SuiteVersion",
    } <= looked_at  # fmt: skip


def test_fs11_the_audit_trail_names_no_row(operator: Client, dataset: Dataset) -> None:
    exported = operator.get(reverse("admin:audit_event_export"))
    assert str(SECRET) not in exported.getvalue().decode()
