"""Uploads on the side of the worker: read in a process that may die alone, judged again, made a revision.

An upload is claimed by compare-and-set and read outside any transaction. What came out is adopted in one: the policies
are asked again under the lock, and the upload ends in the same breath as its revision begins.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import structlog
from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q

import merging
from audit.services import acting_as
from changerequests import queue
from changerequests.errors import (
    NothingToChange,
    ReaderDied,
    UploadEnded,
    UploadLost,
    UploadReplaced,
)
from changerequests.facts import facts_of
from changerequests.models import ChangeRequest, Edits, Revision, Upload
from changerequests.policies import require
from changerequests.services import following, reading, storage, uploads
from changerequests.services.locks import lock_change_request
from changerequests.services.other_tables import other_table
from changerequests.services.proposals import (
    changes_nothing,
    make_current,
    nothing_in,
)
from changerequests.services.storage import UPLOADS, upload_folder
from changerequests.states import (
    ACTIVE_UPLOAD_STATUSES,
    Action,
    UploadKind,
    UploadPhase,
    UploadStatus,
)
from datasets import table_work, work
from datasets.data_root import data_root
from datasets.errors import DomainError
from datasets.roles import is_owner
from datasets.rows import storable

logger = structlog.get_logger(__name__)

#: Uploads that one sweep rings for.
RUNG_AT_ONCE = 100

Hold = work.Hold[Upload]


class _Taken(Exception):
    """Somebody else has taken the upload up, or cancelled it: this attempt writes nothing any more."""


def stage_upload(*, upload_id: int, worker: str) -> Upload | None:
    """Read an upload and make it the revision that it was sent for. Called by workers, safe to call again.

    What shall follow is done, too. None if it is gone, has ended, waits for the table's store or is in other hands.
    """
    upload = (
        Upload.objects.select_related("dataset__meta", "dataset__project", "uploaded_by")
        .filter(pk=upload_id)
        .first()
    )
    if upload is None:
        return None
    with acting_as(upload.agent):
        return _stage_once(upload, worker)


def _stage_once(upload: Upload, worker: str) -> Upload | None:
    hold = table_work.claim(upload, worker=worker, phase=UploadPhase.READING, rows_read=0)
    if hold is None:
        return upload if following.follow_up(upload_id=upload.pk) else None
    with table_work.kept_alive(hold):
        _stage(hold)
    following.follow_up(upload_id=upload.pk)
    if not hold.work.is_active:
        storage.discard(upload_folder(hold.work))
    return hold.work


def _stage(hold: Hold) -> None:
    if hold.is_worn_out:
        message = (
            f"Given up: {work.MOST_ATTEMPTS} attempts to read it were cut short. It may be what kills its workers; "
            "the worker's log says more. Nothing was staged."
        )
        _end(hold, UploadStatus.FAILED, ReaderDied(message))
        return
    try:
        table_work.require_store(hold)
        _adopt(hold, _read(hold))
    except (_Taken, merging.ConfinedCancelled):
        _end(hold, UploadStatus.CANCELLED, None)
    except merging.TableUnreachable as error:
        if not table_work.waits_on(hold, error, phase=""):
            _end(hold, UploadStatus.FAILED, error)
    except (merging.MergeFailed, UploadLost) as error:
        logger.warning("upload_failed", upload_id=hold.work.pk, code=error.code, message=error.message)
        _end(hold, UploadStatus.FAILED, reading.told(error, UploadKind(hold.work.kind)))
    except UploadReplaced as replaced:
        _end(hold, UploadStatus.CANCELLED, replaced)
    except (merging.MergeError, DomainError) as refusal:
        _end(hold, UploadStatus.REFUSED, refusal)
    except Exception as error:  # the boundary: whoever waits must hear of it
        logger.error("upload_failed", upload_id=hold.work.pk, exc_info=error)
        _end(hold, UploadStatus.FAILED, UploadEnded(reading.UNFORESEEN, UploadEnded.code))


def _read(hold: Hold) -> merging.Staged:
    """The content as a child process staged it, in the folder of the upload."""
    upload, folder = hold.work, upload_folder(hold.work)
    of_upload = reading.Reading(
        upload.dataset,
        destination=data_root().workplace(f"{folder}/{upload.attempt_id}"),
        merge_schema=upload.merge_schema,
        on_progress=lambda phase, rows: _note_progress(hold, phase, rows),
        is_cancelled=reading.now_and_then(lambda: not _is_wanted(hold)),
    )
    if upload.kind == UploadKind.SQL:
        return of_upload.statement(upload.source, column_actions=reading.decided(upload))
    if upload.kind == UploadKind.TABLE:
        actor = User.objects.get(pk=upload.uploaded_by_id)  # as the person is now
        return of_upload.other_table(
            other_table(upload.dataset, actor, upload.source),
            base_version=upload.base_version,
            # An owner may vouch for a copy whose log does not tell where it comes from.
            proved_only=not is_owner(actor, upload.dataset),
        )
    received = storage.received(folder)
    if not received.is_file():
        raise UploadLost("The received file is not there any more. Upload it again; nothing was staged.")
    return of_upload.file(
        received,
        **reading.how_to_read(upload),
        base_version=upload.edits.base_version if upload.edits is not None else upload.base_version,
    )


def _note_progress(hold: Hold, phase: str, rows: int) -> None:
    work.progress(hold, phase=UploadPhase(phase), rows_read=rows)


def _is_wanted(hold: Hold) -> bool:
    return hold.rows().filter(cancel_requested_by=None).exists()


def _adopt(hold: Hold, staged: merging.Staged) -> None:
    """Make staged content the revision that the upload was sent for, all in one transaction with the upload's end."""
    upload = hold.work
    actor = User.objects.get(pk=upload.uploaded_by_id)  # as the person is now, not when the file came
    # Before the request is locked: in an object store it takes the longer the larger the content is.
    content = storage.adopt(upload.change_request, staged) if upload.change_request is not None else None
    adopted = False
    try:
        with transaction.atomic():
            change_request = _request_for(upload, actor, staged)
            if not work.progress(hold, Q(cancel_requested_by=None)):
                raise _Taken
            content = content or storage.adopt(change_request, staged)
            revision = make_current(change_request, actor, content, file_name=upload.file_name)
            if not work.end(hold, UploadStatus.STAGED, revision=revision, pasted=""):
                raise _Taken
            Edits.objects.filter(upload=upload).delete()
            adopted = True
    finally:
        if content is not None and not adopted:
            storage.discard_content(content)


def _request_for(upload: Upload, actor: User, staged: merging.Staged) -> ChangeRequest:
    """The locked request that the content is for, judged again: it may have moved while the file was read."""
    if upload.change_request_id is None:  # received before drafts were made with their uploads
        _require_changes(staged)
        return uploads.draft_for(upload, actor)
    change_request = lock_change_request(upload.change_request_id)
    require(facts_of(change_request, actor), Action.STAGE)
    newer = Upload.objects.filter(change_request=change_request, pk__gt=upload.pk, status=UploadStatus.STAGED)
    if newer.exists():
        raise UploadReplaced(
            f"Newer content was uploaded to {change_request.cr_id} meanwhile, and stands: this is not staged."
        )
    if upload.edits_id is not None and not change_request.revisions.filter(
        pk=upload.edits_id, is_current=True
    ):
        raise UploadReplaced(
            f"{change_request.cr_id} does not hold the content any more whose rows were edited. Read them again."
        )
    if not change_request.revisions.exists():
        _require_changes(staged)
    return change_request


def _require_changes(staged: merging.Staged) -> None:
    """Refuse a first content that changes nothing. Later ones may empty a request, which says so."""
    if changes_nothing(staged):
        raise NothingToChange(
            nothing_in(staged), noop_rows=staged.noop_rows, duplicate_rows=staged.duplicate_rows
        )


def _end(hold: Hold, status: UploadStatus, error: merging.MergeError | DomainError | None) -> None:
    """End the upload with what ended it; somebody else who has taken it up speaks for it instead."""
    upload = hold.work
    if error is None:
        upload.refresh_from_db(fields=["cancel_requested_by"])
        code, message, data = "cancelled", f"Cancelled by {upload.cancel_requested_by}.", {}
    else:
        code, message, data = error.code, table_work.message_of(error), dict(error.data)
    if isinstance(error, merging.StagingRejected):
        data = {"errors": [vars(problem) for problem in error.problems], "total": error.total}
    forgotten = {"pasted": ""} if status == UploadStatus.CANCELLED else {}
    with transaction.atomic():
        if upload.made_request and upload.change_request_id is not None:
            lock_change_request(upload.change_request_id)
        ended = work.end(
            hold,
            status,
            error_code=code,
            error_message=storable(message),
            error_data=storable(data),
            **forgotten,
        )
        if ended:
            uploads.remove_draft_of(upload.pk, code)


# --- Without a worker, and what a worker left -------------------------------------------------------------------


def stage_at_once(*, change_request_id: int, actor: User, path: Path, **options: Any) -> Revision:
    """Receive a file and read it here and now, for commands that wait; ``options`` are those of ``ReceivedFile``.

    Raises as ``uploads.receive`` and ``uploads.revision_of`` do.
    """
    content = uploads.ReceivedFile(path, **options)
    upload = uploads.receive(change_request_id=change_request_id, actor=actor, content=content)
    return staged_at_once(upload)


def staged_at_once(upload: Upload) -> Revision:
    """What a received upload becomes, read here and now unless a worker does."""
    stage_upload(upload_id=upload.pk, worker="at once")
    return uploads.revision_of(uploads.wait_for_upload(upload.pk, settings.STAGING_SECONDS))


def sweep_uploads() -> int:
    """Ring again for uploads that wait, whose worker died, or that something has yet to follow, and clear what dead
    ones left; returns how many rang.
    """
    waiting = table_work.unattended(Upload.objects.order_by("pk")).values_list("pk", flat=True)[:RUNG_AT_ONCE]
    staged = following.to_follow_up().order_by("pk").values_list("pk", flat=True)[:RUNG_AT_ONCE]
    for upload_id in (*waiting, *staged):
        queue.ring_for_upload(upload_id)
    _clear_what_ended()
    return len(waiting) + len(staged)


def _clear_what_ended() -> None:
    """Remove received files whose upload ended without a chance to do so. Those without a row are retention's."""
    tokens = data_root().folders(UPLOADS)
    if not tokens:
        return
    ended = Upload.objects.filter(token__in=tokens).exclude(status__in=ACTIVE_UPLOAD_STATUSES)
    for token in ended.values_list("token", flat=True):
        storage.discard(f"{UPLOADS}/{token}")
