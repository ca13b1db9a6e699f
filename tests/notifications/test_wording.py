"""One table of sentences for inboxes, mails and channels."""

import string
from datetime import UTC, datetime
from typing import Any

import pytest

from changerequests.models import ChangeRequest
from datasets.models import Dataset, Project
from notifications.documents import message_of
from notifications.kinds import Kind
from notifications.news import News
from notifications.recipients import RULES
from notifications.wording import WORDINGS, headline, is_for_channels


def news(action: str, *, of_request: bool = True, **data: Any) -> News:
    dataset = Dataset(pk=2, slug="planes", name="Planes", project=Project(pk=1, slug="fleet", name="Fleet"))
    request = ChangeRequest(pk=7, title="Fix the {seats}", dataset=dataset)
    return News(
        event_id=1,
        told_as="",
        action=action,
        occurred_at=datetime(2026, 1, 1, tzinfo=UTC),
        actor="ada",
        subject_type="change_request" if of_request else "dataset",
        subject_id="CR-7" if of_request else "2",
        data=data,
        change_request=request if of_request else None,
        dataset=dataset,
        project=dataset.project,
    )


def test_whatever_people_are_told_of_has_words_that_can_be_filled_in() -> None:
    assert set(RULES) <= set(WORDINGS)
    for action, wording in WORDINGS.items():
        names = {
            name for _, name, _, _ in string.Formatter().parse(wording.sentence + wording.to_one) if name
        }
        assert names <= {"request", "dataset", "place", "webhook", "member"}, action
        kind = RULES[action].kind if action in RULES else Kind.STATE
        said = [headline(news(action), kind), message_of(news(action)).sentence]
        assert all(one.startswith("ada ") is not wording.whole for one in said), action
        assert not any(one.endswith(".") for one in said), action


@pytest.mark.parametrize(
    ("told", "kind", "in_inbox", "in_channel"),
    [
        (
            news("review.approved"),
            Kind.REVIEWED,
            "ada approved CR-7 Fix the {seats}",
            "ada approved CR-7",
        ),
        (
            news("merge.conflicted"),
            Kind.MERGE_STOPPED,
            "The merge of CR-7 Fix the {seats} found conflicts",
            "The merge of CR-7 found conflicts",
        ),
        (
            news("comment.added"),
            Kind.MENTIONED,
            "ada mentioned you in CR-7 Fix the {seats}",
            "ada commented on CR-7",
        ),
        (
            news("member.role_set", of_request=False, member="carl"),
            Kind.ACCESS,
            "ada changed your role on Planes",
            "ada changed the role of carl on Planes",
        ),
        (
            news("maintenance.asked_for", of_request=False),
            Kind.DATASET,
            "ada maintenance: asked for (Planes)",
            "ada maintenance: asked for (Planes)",
        ),
    ],
)
def test_inboxes_and_channels_say_the_same(told: News, kind: Kind, in_inbox: str, in_channel: str) -> None:
    assert (headline(told, kind), message_of(told).sentence) == (in_inbox, in_channel)


def test_channels_are_told_what_a_team_wants_to_know() -> None:
    assert is_for_channels("change_request.merged")
    assert not is_for_channels("revision.staged")
    assert not is_for_channels("account.password_changed")
