"""Finding people: only those whom the asker may know of."""

import pytest
from django.contrib.auth.models import User

from accounts import people
from datasets.models import Dataset
from datasets.operators import make_operator
from datasets.roles import Role
from tests.factories import (
    DatasetFactory,
    GroupFactory,
    ProjectFactory,
    UserFactory,
    fresh,
    give_role,
    person_with,
)

pytestmark = pytest.mark.django_db


def found(asker: User, words: str = "") -> set[str]:
    return {one.username for one in people.search(asker, words, 50)}


def test_people_are_known_where_both_have_a_role(
    dataset: Dataset, owner: User, author: User, viewer: User
) -> None:
    person_with(Role.VIEWER, dataset.project, username="paula")
    group = GroupFactory.create(name="Reviewers")
    grete = UserFactory.create(username="grete")
    grete.groups.add(group)
    give_role(group, dataset, Role.CONTRIBUTOR)
    person_with(Role.OWNER, DatasetFactory.create(slug="other"), username="otto")
    person_with(Role.OWNER, ProjectFactory.create(), username="otilie")
    gone = person_with(Role.VIEWER, dataset, username="gone")
    gone.is_active = False
    gone.save()
    stranger = UserFactory.create(username="sam")
    assert found(fresh(viewer)) == {"olivia", "carl", "vera", "paula", "grete"}
    assert found(fresh(stranger)) == {"sam"}
    assert [one.name for one in people.search_groups(fresh(viewer), "rev")] == ["Reviewers"]
    assert people.search_groups(fresh(stranger), "") == []
    make_operator(stranger)
    assert found(fresh(stranger)) >= {"olivia", "otto", "otilie", "sam"}


def test_every_word_is_found_and_mail_by_those_who_give_roles(
    dataset: Dataset, owner: User, author: User, viewer: User
) -> None:
    author.email = "castillo@example.org"
    author.save()
    assert found(viewer, "CAST car") == {"carl"}
    assert found(viewer, "carl okafor") == set()
    assert found(viewer, "castillo@example") == set()
    assert found(owner, "castillo@example") == {"carl"}
    assert found(owner, "%") == found(owner, "_") == found(owner, "c\x00") == set()


def test_one_is_meant_by_user_name_mail_or_a_name_of_ones_own(
    dataset: Dataset, owner: User, author: User, viewer: User
) -> None:
    sam = UserFactory.create(username="sam", email="sam@example.org", first_name="Sam", last_name="Stone")
    assert people.called(owner, " carl ") == people.called(owner, "carl castillo") == author
    assert people.called(owner, "sam") == people.called(owner, "SAM@example.org") == sam
    assert people.called(owner, "Sam Stone") is None  # whom the owner does not know of
    assert people.called(viewer, "sam") is None
    assert people.called(viewer, "sam@example.org") is None
    person_with(Role.VIEWER, dataset, username="carl2", first_name="Carl", last_name="Castillo")
    assert people.called(owner, "Carl Castillo") is None
    assert people.called(owner, "") is people.called(owner, "c\x00") is None
