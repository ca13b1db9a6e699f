"""What moves while content is read or rebased is seen under the lock, and then nothing changes."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db.models import QuerySet

import merging
from accounts.models import Token
from accounts.tokens import make_token
from audit.selectors import events_of
from changerequests.errors import Blocked, InvalidTransition, PlanChanged, UploadEnded
from changerequests.models import ChangeRequest, EditedRow, Edits, Preview, Revision
from changerequests.services import edits, previews, proposals, rebasing, runs, uploads
from changerequests.states import UploadKind
from datasets.durable_work import WorkStatus
from datasets.errors import DomainError, Forbidden, InvalidInput, NotFound
from datasets.models import Dataset, Project
from datasets.roles import Role, is_owner, set_role
from datasets.services import change_project, change_settings, delete_project
from notifications.models import Webhook
from notifications.services import webhooks
from tests import kept
from tests.factories import (
    ChangeRequestFactory,
    ProjectFactory,
    UserFactory,
    give_role,
    merge,
    person_with,
    stage_csv,
)

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


def at_the_lock(monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], object]) -> None:
    """Let something happen while the call that comes next waits for its first lock."""
    lock = QuerySet.select_for_update

    def waited(rows: QuerySet[Any], *arguments: Any, **options: Any) -> QuerySet[Any]:
        monkeypatch.setattr(QuerySet, "select_for_update", lock)
        meanwhile()
        return lock(rows, *arguments, **options)

    monkeypatch.setattr(QuerySet, "select_for_update", waited)


def _of_webhook(act: Callable[..., object], **options: Any) -> Callable[[Dataset, User], object]:
    def done(dataset: Dataset, owner: User) -> object:
        return act(webhook_id=Webhook.objects.get(dataset=dataset).pk, actor=owner, **options)

    return done


#: What owners do of a dataset that somebody else owns, too.
DONE_BY_OWNERS: dict[str, Callable[[Dataset, User], object]] = {
    "take the other's role": lambda dataset, owner: set_role(
        member=User.objects.get(username="other"), target=dataset, role=None, actor=owner
    ),
    "give a role": lambda dataset, owner: set_role(
        member=UserFactory.create(), target=dataset, role=Role.OWNER, actor=owner
    ),
    "change the settings": lambda dataset, owner: change_settings(
        dataset_id=dataset.pk, actor=owner, changes={"required_approvals": 0}
    ),
    "change a webhook": _of_webhook(webhooks.change_webhook, changes={"name": "Mine"}),
    "rotate the secret of a webhook": _of_webhook(webhooks.rotate_secret),
    "remove a webhook": _of_webhook(webhooks.remove_webhook),
}


@pytest.mark.parametrize("doing", DONE_BY_OWNERS)
def test_who_was_removed_a_moment_ago_does_nothing_of_what_owners_do(
    dataset: Dataset, owner: User, doing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    person_with(Role.OWNER, dataset, username="other")
    webhooks.create_webhook(actor=owner, place=dataset, name="Hook", url="https://hooks.example.org/")
    at_the_lock(monkeypatch, lambda: give_role(owner, dataset, Role.VIEWER))

    with pytest.raises(Forbidden):
        DONE_BY_OWNERS[doing](dataset, owner)

    assert is_owner(User.objects.get(username="other"), dataset)
    assert list(Webhook.objects.values_list("name", "version")) == [("Hook", 1)]


#: What is done to a project that holds nothing.
DONE_TO_PROJECTS: dict[str, Callable[[Project, User], object]] = {
    "change": lambda project, owner: change_project(
        project_id=project.pk, actor=owner, changes={"name": "Mine"}
    ),
    "delete": lambda project, owner: delete_project(project_id=project.pk, actor=owner),
    "have a webhook": lambda project, owner: webhooks.create_webhook(
        actor=owner, place=project, name="Hook", url="https://hooks.example.org/"
    ),
}


@pytest.mark.parametrize("doing", DONE_TO_PROJECTS)
def test_a_project_that_is_deleted_meanwhile_is_not_there(
    doing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = ProjectFactory.create()
    owner = person_with(Role.OWNER, project)
    at_the_lock(monkeypatch, lambda: Project.objects.filter(pk=project.pk).delete())

    with pytest.raises(NotFound):
        DONE_TO_PROJECTS[doing](project, owner)


def test_edits_that_are_thrown_away_in_another_window_begin_anew(
    dataset: Dataset, author: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def typed(year: int) -> None:
        row = edits.RowName(key={"tailnum": "N1"})
        edits.apply(dataset=dataset, actor=author, changes=[edits.SetCells(row, {"year": year})])

    typed(2001)
    at_the_lock(monkeypatch, Edits.objects.all().delete)
    typed(2002)

    [row] = EditedRow.objects.all()
    assert row.values == {"year": 2002}


def test_a_look_that_is_removed_while_somebody_waits_for_it_is_not_there(
    dataset: Dataset, author: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = uploads.NamedSource(UploadKind.SQL, "SELECT tailnum, 7 AS seats FROM dataset")
    looked = previews.look(dataset=dataset, actor=author, content=asked)
    Preview.objects.update(status=WorkStatus.QUEUED)
    monkeypatch.setattr("time.sleep", lambda _: previews.forget_preview(preview_id=looked.pk, actor=author))
    with pytest.raises(NotFound):
        previews.wait_for_preview(looked.pk, 5)


def test_nobody_makes_a_token_of_an_account_that_is_deactivated_meanwhile(
    author: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would open everything again once the account is let in again."""
    at_the_lock(monkeypatch, lambda: User.objects.filter(pk=author.pk).update(is_active=False))

    with pytest.raises(InvalidInput):
        make_token(owner=author, name="nightly")

    assert not Token.objects.filter(user=author).exists()
