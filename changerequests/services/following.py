"""What shall follow an upload once it is staged: submitted, merged when ready. Asked for with it, done by the worker.

It is done as whoever sent the content, with the policies as they are then, and once: each step is written down in its
own transaction, so that a worker that takes over from a dead one goes on where that stopped. What is not possible
leaves the request what it got to, and the upload says why.
"""

from __future__ import annotations

from collections.abc import Callable

import structlog
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

import merging
from audit.row_locks import locked
from changerequests.errors import UploadEnded, UploadReplaced
from changerequests.facts import facts_of
from changerequests.models import ChangeRequest, Upload
from changerequests.selectors import current_revision
from changerequests.services import plans, proposals, waiting
from changerequests.services.locks import lock_change_request
from changerequests.states import FollowUp, Outcome, Status, UploadStatus
from datasets.errors import DomainError
from datasets.rows import storable

logger = structlog.get_logger(__name__)

_UNFORESEEN = "It failed unexpectedly: go on by hand. The worker's log says more."

#: What is done with a locked request as whoever sent the upload.
Step = Callable[[ChangeRequest, Upload], object]


def to_follow_up() -> QuerySet[Upload]:
    """Staged uploads that something has yet to follow."""
    staged = Upload.objects.filter(status=UploadStatus.STAGED, followed_up_at=None)
    return staged.exclude(follow_up=FollowUp.NOTHING)


def follow_up(*, upload_id: int) -> bool:
    """Do what was asked to follow a staged upload; False where nothing is left to do. Safe to call again."""
    upload = to_follow_up().select_related("revision").filter(pk=upload_id).first()
    if upload is None or upload.revision is None:
        return False
    request_id = upload.revision.change_request_id
    try:
        _take(_submit, Outcome.SUBMITTED, request_id, upload_id)
        if upload.follow_up == FollowUp.MERGE_WHEN_READY:
            _plan(request_id)  # which may take a minute: nothing is locked
            _take(_merge_when_ready, Outcome.MERGE_WHEN_READY, request_id, upload_id)
    except (DomainError, merging.MergeError) as error:
        logger.info("not_followed_up", upload_id=upload_id, reason=error.code)
        _give_up(upload_id, error.code, error.message)
    except Exception as error:  # the boundary: whoever asked must hear of it
        logger.error("follow_up_failed", upload_id=upload_id, exc_info=error)
        _give_up(upload_id, UploadEnded.code, _UNFORESEEN)
    return True


def _take(step: Step, outcome: Outcome, request_id: int, upload_id: int) -> None:
    """Take a step and write its outcome down in the same transaction, unless that was done already."""
    with transaction.atomic():
        change_request = lock_change_request(request_id)
        left = locked(to_follow_up().filter(pk=upload_id)).first()
        if left is None or left.followed_up.get("outcome") == outcome:
            return
        step(change_request, left)
        left.followed_up = {"outcome": outcome}
        if outcome.value == _LAST_OUTCOME[FollowUp(left.follow_up)]:
            left.followed_up_at = timezone.now()
        left.save(update_fields=["followed_up", "followed_up_at"])


_LAST_OUTCOME = {
    FollowUp.SUBMIT: Outcome.SUBMITTED,
    FollowUp.MERGE_WHEN_READY: Outcome.MERGE_WHEN_READY,
}


def _submit(change_request: ChangeRequest, upload: Upload) -> None:
    _require_current(change_request, upload)
    if change_request.status != Status.PENDING:
        proposals.submit(change_request_id=change_request.pk, actor=_sender(upload))


def _merge_when_ready(change_request: ChangeRequest, upload: Upload) -> None:
    _require_current(change_request, upload)
    waiting.merge_when_ready(
        change_request_id=change_request.pk, actor=_sender(upload), message=upload.follow_up_message
    )


def _sender(upload: Upload) -> User:
    return User.objects.get(pk=upload.uploaded_by_id)  # as the person is now


def _require_current(change_request: ChangeRequest, upload: Upload) -> None:
    """Nobody submits or merges by this what somebody else has put there since."""
    current, staged = current_revision(change_request), upload.revision
    if current is None or staged is None or current.digest != staged.digest:
        raise UploadReplaced(
            f"{change_request.cr_id} does not hold this content any more: newer content stands. Look at it, and go on "
            "by hand."
        )


def _plan(request_id: int) -> None:
    plans.fresh_check(
        facts_of(ChangeRequest.objects.select_related("dataset__meta", "dataset__project").get(pk=request_id))
    )


def _give_up(upload_id: int, code: str, message: str) -> None:
    """Write down why there is nothing more to do, beside what was done."""
    with transaction.atomic():
        left = locked(to_follow_up().filter(pk=upload_id)).first()
        if left is None:
            return
        left.followed_up = storable(
            {"outcome": Outcome.STAGED, **left.followed_up, "code": code, "message": message}
        )
        left.followed_up_at = timezone.now()
        left.save(update_fields=["followed_up", "followed_up_at"])
