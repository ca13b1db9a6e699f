"""A dataset's settings in four groups: what each rule means, and what it means for requests that are under review."""

import pytest
from django.contrib.auth.models import User

from changerequests.services.reviews import comment
from datasets.models import Dataset
from datasets.roles import Role
from tests.factories import ChangeRequestFactory, approve, person_with
from tests.web.conftest import SignedIn
from tests.web.test_expectation_pages import text_of
from web.forms import DatasetSettingsForm

pytestmark = pytest.mark.django_db


@pytest.fixture
def address(dataset: Dataset) -> str:
    return f"/datasets/{dataset.project.slug}/planes/settings/"


def test_every_setting_stands_in_one_group_with_what_it_means() -> None:
    form = DatasetSettingsForm()
    grouped = [name for _, _, names in form.GROUPS for name in names]
    assert sorted(grouped) == sorted(form.fields)
    assert len(form.GROUPS) == 4
    assert [name for name in grouped if not form.fields[name].help_text] == ["name"]


def test_owners_read_what_a_rule_means_for_requests_under_review(
    dataset: Dataset, owner: User, author: User, signed_in: SignedIn, address: str
) -> None:
    assert "under review" not in text_of(signed_in(owner).get(address))
    approved = ChangeRequestFactory.create(dataset=dataset, author=author, csv="tailnum,seats\nN1,5\n")
    approve(approved, owner)
    other = ChangeRequestFactory.create(dataset=dataset, author=author, csv="tailnum,seats\nN2,5\n")
    comment(change_request_id=other.pk, actor=owner, body="Sure?")
    said = text_of(signed_in(owner).get(address))
    assert "Counts at once for the 2 requests under review: 1 with no approval and 1 with 1 approval." in said
    assert "Counts at once: 1 of 2 requests under review has an open discussion." in said


def test_others_read_the_rules_and_change_none(dataset: Dataset, signed_in: SignedIn, address: str) -> None:
    shown = signed_in(person_with(Role.VIEWER, dataset)).get(address)
    said = text_of(shown)
    assert "Only owners change these settings." in said
    assert "How many people other than the author and the last editor must approve." in said
    assert b'name="required_approvals"' not in shown.content
