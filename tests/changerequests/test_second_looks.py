"""What moves while content is read or rebased is seen under the lock, and then nothing changes."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User

import merging
from audit.selectors import events_of
from changerequests.errors import Blocked, InvalidTransition, PlanChanged, UploadEnded
from changerequests.models import ChangeRequest, Revision
from changerequests.services import proposals, rebasing, runs
from datasets.errors import DomainError, Forbidden
from datasets.models import Dataset
from datasets.roles import Role
from tests import kept
from tests.factories import ChangeRequestFactory, give_role, merge, stage_csv

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

Meanwhile = Callable[[ChangeRequest], object]


def closed(change_request: ChangeRequest) -> None:
    proposals.close(change_request_id=change_request.pk, actor=change_request.author)


def queued(change_request: ChangeRequest) -> None:
    runs.request_merge(change_request_id=change_request.pk, actor=change_request.author)


def not_let_any_more(change_request: ChangeRequest) -> None:
    give_role(change_request.author, change_request.dataset, Role.VIEWER)


MOVES = [(closed, InvalidTransition), (queued, Blocked), (not_let_any_more, Forbidden)]


def after(monkeypatch: pytest.MonkeyPatch, name: str, meanwhile: Callable[[], object]) -> None:
    """Let something happen once the engine has done its part, before the lock is taken."""
    work = getattr(merging, name)

    def worked(*arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(merging, name, work)
        result = work(*arguments, **options)
        meanwhile()
        return result

    monkeypatch.setattr(merging, name, worked)


def told(change_request: ChangeRequest) -> list[str]:
    return [event.action for event in events_of("change_request", change_request.cr_id)]


@pytest.mark.parametrize(("move", "error"), MOVES)
def test_an_upload_is_judged_again_once_it_is_read(
    dataset: Dataset, move: Meanwhile, error: type[DomainError], monkeypatch: pytest.MonkeyPatch
) -> None:
    change_request = ChangeRequestFactory.create(dataset=dataset)
    before = list(change_request.revisions.values_list("pk", "is_current"))
    after(monkeypatch, "stage_apart", lambda: move(change_request))

    with pytest.raises(UploadEnded) as refused:
        stage_csv(change_request, "tailnum,seats\nN1,1\n")

    assert refused.value.code == error.code
    assert list(change_request.revisions.values_list("pk", "is_current")) == before
    assert told(change_request).count("revision.staged") == 1


@pytest.fixture
def movable(dataset: Dataset, owner: User) -> ChangeRequest:
    """A pending request under which the table moved, so that a rebase makes a revision."""
    change_request = ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN1,1\n")
    merge(ChangeRequestFactory.create(dataset=dataset, csv="tailnum,year\nN1,2000\n"), owner)
    return ChangeRequest.objects.get(pk=change_request.pk)


def rebase(change_request: ChangeRequest) -> Revision:
    return rebasing.rebase(change_request_id=change_request.pk, actor=change_request.author)


@pytest.mark.parametrize(("move", "error"), MOVES)
def test_a_rebase_is_judged_again_once_it_is_made(
    movable: ChangeRequest, move: Meanwhile, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    after(monkeypatch, "rebase", lambda: move(movable))

    with pytest.raises(error):
        rebase(movable)

    assert list(movable.revisions.values_list("number", "is_current")) == [(1, True)]
    assert "revision.rebased" not in told(movable)


def test_a_rebase_never_replaces_newer_content(
    movable: ChangeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    after(monkeypatch, "rebase", lambda: stage_csv(movable, "tailnum,seats\nN2,2\n"))

    with pytest.raises(PlanChanged) as refused:
        rebase(movable)

    assert refused.value.data == {"moved": "revision"}
    newest, first = movable.revisions.all()
    assert (newest.number, newest.is_current, newest.rebased_from) == (2, True, None)
    assert (first.number, first.is_current) == (1, False)
    assert "revision.rebased" not in told(movable)
    places = {kept.content_folder(one) for one in (newest, first)}
    folders = {folder for folder in kept.staging_folder(movable).iterdir() if folder.is_dir()}
    assert {
        place if place in folders else place.parent for place in places
    } == folders  # what was rebased is gone
