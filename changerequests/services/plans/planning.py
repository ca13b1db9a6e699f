"""The plan of a request on the table as it is now, and what is said where its content is gone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import merging
from changerequests import selectors
from changerequests.errors import ContentGone, ContentMissing, ContentMoved
from changerequests.models import ChangeRequest, Revision
from changerequests.services.plans.requests import conflicts_request_for, merge_request_for
from changerequests.services.storage import conflicts_folder
from changerequests.states import Status
from datasets import outages
from datasets.errors import NotFound, TableReplaced
from datasets.rows import kept


@contextmanager
def plan_of(change_request: ChangeRequest) -> Iterator[merging.MergePlan]:
    """The plan on the table as it is now.

    Raises ``NotFound`` before the first upload, ``ContentMissing`` where the staged content is gone, ``TableReplaced``,
    and the engine's errors.
    """
    revision = _revision_to_plan(change_request)
    with (
        outages.asking(change_request.dataset),
        naming_missing_content(change_request, revision),
        merging.plan(merge_request_for(change_request, revision)) as plan,
    ):
        yield plan


def _revision_to_plan(change_request: ChangeRequest) -> Revision:
    revision = selectors.current_revision(change_request)
    if revision is None:
        raise NotFound("No changes were uploaded yet, so there is nothing to plan.")
    if revision.table_id != change_request.dataset.meta.table_id:
        raise TableReplaced("The table was dropped and made anew since the changes were staged.")
    return revision


@contextmanager
def conflicts_of(change_request: ChangeRequest) -> Iterator[merging.KeptConflicts]:
    """The conflicts of an open request with the table as it is now, and the choices that stand for them. A plan is made
    only where nobody made one for this version of the table. Raises as ``plan_of`` does.
    """
    revision = _revision_to_plan(change_request)
    with (
        outages.asking(change_request.dataset),
        naming_missing_content(change_request, revision),
        merging.open_conflicts(
            conflicts_request_for(change_request, revision),
            str(conflicts_folder(change_request)),
            choices_standing(change_request),
        ) as found,
    ):
        yield found


def choices_standing(change_request: ChangeRequest) -> list[merging.StandingChoice]:
    """The choices that stand now, as the engine lays them over conflicts."""
    return [
        merging.StandingChoice(digest, column, choice, kept(value))
        for digest, column, choice, value in selectors.standing_choices(change_request)
    ]


def keep_conflicts(change_request: ChangeRequest, plan: merging.MergePlan) -> None:
    """Leave the conflicts of a plan, where it has any, for whoever looks at them next."""
    if len(plan.conflicts):
        merging.keep_conflicts(plan, str(conflicts_folder(change_request)))


@contextmanager
def naming_gone_content(change_request: ChangeRequest, revision: Revision) -> Iterator[None]:
    """Say of content that is not what would be merged that it is not kept (``ContentGone``), where it is gone."""
    try:
        yield
    except merging.StagedCorrupt as error:
        raise ContentGone(
            f"The content of revision {revision.number} of {change_request.cr_id} is not kept any more: it was merged, "
            "or replaced long ago. Its counts are."
        ) from error


@contextmanager
def naming_missing_content(change_request: ChangeRequest, revision: Revision) -> Iterator[None]:
    """Say what the files that hold a request's content are, where they are gone or damaged, and what can be done.

    Content goes when its merge is recorded, or when newer content took its place: whoever was just reading it is told
    so (``ContentMoved``). Raises ``ContentMissing`` where nobody knows why it is gone.
    """
    try:
        yield
    except (merging.MergeFailed, FileNotFoundError) as error:
        now = ChangeRequest.objects.get(pk=change_request.pk)
        if now.status == Status.MERGED != change_request.status:
            raise ContentMoved(
                f"{now.cr_id} was merged a moment ago, as version {now.merged_version}. Look at it again: what it "
                f"changed is kept.",
                moved="merged",
            ) from error
        if selectors.current_revision(now) != revision:
            raise ContentMoved(
                f"The content of {now.cr_id} was replaced a moment ago. Look at it again.", moved="revision"
            ) from error
        if not isinstance(error, merging.StagedCorrupt):
            raise
        merged = change_request.status == Status.MERGED
        raise ContentMissing(
            f"The rows that {change_request.cr_id} {'changed' if merged else 'proposes'} cannot be shown: their files "
            f"are gone or damaged. {error.message} "
            + (
                "The counts and the audit events are kept."
                if merged
                else "If the database was restored from a backup, an operator runs manage.py after_restore: it "
                "may be merged already. Else upload the rows again."
            )
        ) from error
