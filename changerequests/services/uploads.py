"""Uploads on the side of whoever sends them: received without a look inside, followed, cancelled.

The rows are read elsewhere: ``services/staging.py`` is what a worker does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone

import merging
from audit.services import acting_agent
from changerequests import queue
from changerequests.errors import InvalidTransition, UploadEnded
from changerequests.facts import facts_of
from changerequests.models import ChangeRequest, Edits, Preview, ReceivedContent, Revision, Upload
from changerequests.policies import require
from changerequests.services import storage
from changerequests.services.locks import lock_change_request
from changerequests.services.proposals import create_change_request, remove_if_empty
from changerequests.services.storage import CONTENT, preview_folder, upload_folder
from changerequests.states import (
    ACTIVE_UPLOAD_STATUSES,
    KINDS_WITH_SOURCE,
    Action,
    EmptyCells,
    FollowUp,
    UploadKind,
    UploadStatus,
)
from datasets.data_root import data_root
from datasets.durable_work import WorkStatus
from datasets.errors import InvalidInput, NotFound
from datasets.idempotency import KEPT
from datasets.models import Dataset
from datasets.roles import is_owner, role_on
from datasets.rows import kept, storable

#: What a preview and the upload of it have in common.
_HOW_TO_READ = (
    "merge_schema",
    "source",
    "size_bytes",
    "file_name",
    "file_format",
    "null_token",
    "column_types",
    "column_actions",
    "empty_cells",
    "pasted",
)
#: The ``error_code`` of content that was refused with problems by line and column.
REJECTED = merging.StagingRejected.code


#: What was decided about columns, by their names in the content.
ColumnActions = Mapping[str, merging.ColumnAction]


@dataclass(frozen=True)
class ReceivedFile:
    """A file that came in, and how it is to be read.

    It is CSV, Parquet, JSON lines, Arrow or XLSX, by its name unless ``file_format`` says. In CSV, ``null_token`` (an
    unquoted field equal to it) stands for NULL, and ``empty_cells`` says what a cell without anything means there and
    in a workbook; ``column_types`` says the types of new columns, ``column_actions`` what is to become of columns by
    their names in the file. ``pasted`` is the text itself where somebody typed it. ``kind`` is ``ROWS`` where Headgate
    wrote the file from rows that came as JSON; ``edits`` is the content that it holds with some rows edited. ``tray``
    are somebody's edits that it holds, made on ``base_version`` of the table: they go once it is staged.
    """

    path: Path
    file_name: str = ""
    file_format: str | None = None
    null_token: str = ""
    column_types: Mapping[str, str] = field(default_factory=dict)
    column_actions: ColumnActions = field(default_factory=dict)
    empty_cells: EmptyCells | None = None
    pasted: str = ""
    kind: UploadKind = UploadKind.FILE
    edits: Revision | None = None
    tray: Edits | None = None
    base_version: int | None = None


@contextmanager
def written_down(pieces: Iterable[str]) -> Iterator[Path]:
    """Content that came as something else than a file, as one for ``ReceivedFile``: gone once the block ends."""
    with merging.scratch_folder("content") as folder:
        path = folder / "content"
        with path.open("w", encoding="utf-8", newline="") as file:
            file.writelines(pieces)
        yield path


@dataclass(frozen=True)
class NamedSource:
    """Content that comes from elsewhere: the answer to a SQL statement (``SQL``) or another Delta table (``TABLE``).

    ``base_version`` is the version that the other table was made from, for one whose log does not say.
    """

    kind: UploadKind
    source: str
    base_version: int | None = None
    column_actions: ColumnActions = field(default_factory=dict)


#: A preview is proposed as it was looked at, its file with it.
Content = ReceivedFile | NamedSource | Preview


@dataclass(frozen=True)
class Then:
    """What shall follow once the content is staged, done as whoever sent it; ``message`` is that of the merge."""

    follow_up: FollowUp = FollowUp.NOTHING
    message: str = ""


#: Where nothing follows: people go on by themselves.
NOTHING_MORE = Then()


def receive(
    *,
    change_request_id: int,
    actor: User,
    content: Content,
    then: Then = NOTHING_MORE,
    call: str = "",
) -> Upload:
    """Take content in for a draft or pending request, and ring a worker. ``call`` names what brought it, for
    ``received_by``.

    Raises ``InvalidInput`` for a file above the limit, what the policies say of ``Action.STAGE``, and
    ``merging.StorageFull``.
    """
    change_request = ChangeRequest.objects.select_related("dataset__meta", "dataset__project").get(
        pk=change_request_id
    )
    require(facts_of(change_request, actor), Action.STAGE)
    upload = Upload(
        dataset=change_request.dataset,
        change_request=change_request,
        merge_schema=change_request.merge_schema,
        uploaded_by=actor,
        idempotency_key=call,
    )
    return _received(upload, content, then)


def receive_draft(
    *,
    dataset: Dataset,
    author: User,
    title: str,
    content: Content,
    description: str = "",
    merge_schema: bool = True,
    then: Then = NOTHING_MORE,
    call: str = "",
) -> Upload:
    """Take content in as the first of a draft that is made with it; where the content is not staged in the end, the
    draft is removed again. Raises as ``create_change_request`` and ``receive`` do.
    """
    upload = Upload(
        dataset=dataset,
        title=title.strip(),
        description=description,
        merge_schema=merge_schema,
        uploaded_by=author,
        made_request=True,
        idempotency_key=call,
    )
    return _received(upload, content, then)


def _received(upload: Upload, content: Content, then: Then) -> Upload:
    if isinstance(content, Preview):
        require_proposable(content, upload)
        upload.preview = content
    describe(upload, content)
    upload.follow_up, upload.follow_up_message = then.follow_up, storable(then.message.strip())

    def save() -> None:
        if upload.made_request:
            upload.change_request = draft_for(upload, upload.uploaded_by)
        upload.agent = acting_agent()
        upload.save()
        if isinstance(content, ReceivedFile) and content.tray is not None:
            Edits.objects.filter(pk=content.tray.pk).update(upload=upload)
        queue.ring_for_upload_on_commit(upload.pk)

    save_with_file(content, upload_folder(upload), save)
    return upload


def save_with_file(content: Content, folder: str, save: Callable[[], None]) -> None:
    """Keep the file of the content in a folder, and in a transaction what ``save`` writes of it: both or nothing.

    Once the database is asked to commit, the file stays: where its answer is lost, the rows may be there. A file that
    has none is removed later. Raises as ``keep_file_of`` and ``save`` do.
    """
    is_saved = False
    try:
        keep_file_of(content, folder)
        with transaction.atomic():
            save()
            is_saved = True
    finally:
        if not is_saved:
            storage.discard(folder)


def received_by(call: str, *, sender: User) -> Upload | None:
    """What a call of this name brought already, for one whose answer did not get through; not what was refused: such a
    call may be sent again.
    """
    if not call:
        return None
    sent = Upload.objects.filter(
        idempotency_key=call, uploaded_by=sender, queued_at__gt=timezone.now() - KEPT
    )
    return sent.filter(status__in=(*ACTIVE_UPLOAD_STATUSES, UploadStatus.STAGED)).order_by("-pk").first()


def draft_for(upload: Upload, author: User) -> ChangeRequest:
    """The draft that an upload is the first content of. Raises as ``create_change_request`` does."""
    return create_change_request(
        dataset=upload.dataset,
        author=author,
        title=upload.title,
        description=upload.description,
        merge_schema=upload.merge_schema,
    )


def require_proposable(preview: Preview, upload: Upload) -> None:
    """Raise ``InvalidInput`` where an upload of the preview would not do what was looked at."""
    told = ""
    if preview.dataset_id != upload.dataset_id or preview.asked_by_id != upload.uploaded_by_id:
        told = "It is not a look of yours at this dataset."
    elif preview.is_active:
        told = "It is still being read. Wait until it is known what would change."
    elif preview.status != WorkStatus.SUCCEEDED:
        told = f"It cannot be proposed: {preview.error_message}"
    elif unknown := kept(preview.result).get("unknown_columns"):
        names = ", ".join(one["name"] for one in unknown)
        told = f"Decide first what shall become of what the table does not have: {names}."
    if told:
        raise InvalidInput(told, errors={"preview": [told]})


def describe(row: ReceivedContent, content: Content) -> None:
    """Write into the row what the content is and how it is to be read. Raises ``InvalidInput`` above the limit."""
    row.kind = content.kind
    if isinstance(content, Preview):
        for name in _HOW_TO_READ:
            setattr(row, name, getattr(content, name))
        return
    row.column_actions = {name: vars(action) for name, action in content.column_actions.items()}
    if isinstance(content, NamedSource):
        row.source, row.size_bytes = storable(content.source), 0
        if isinstance(row, Upload):
            row.base_version = content.base_version
        return
    size, limit = content.path.stat().st_size, settings.UPLOAD_LIMIT_BYTES
    if size > limit:
        sentence = (
            f"The file has {size:,} bytes; {limit:,} are possible. Split it into several change requests."
        )
        raise InvalidInput(sentence, errors={"file": [sentence]})
    row.size_bytes = size
    if isinstance(row, Upload):
        row.edits, row.base_version = content.edits, content.base_version
    row.file_name = storable(content.file_name or content.path.name)[:255]
    row.file_format = content.file_format or ""
    row.null_token = storable(content.null_token)
    row.column_types = storable(content.column_types)
    row.empty_cells = content.empty_cells or ""
    row.pasted = storable(content.pasted)


def keep_file_of(content: Content, folder: str) -> None:
    """Keep the file of the content in a folder, where it has one. Raises ``NotFound`` where it is gone."""
    keep = data_root()
    with merging.naming_full_disks("receive the upload", keep.address_of(folder)):
        if isinstance(content, ReceivedFile):
            keep.put_folder(folder, {CONTENT: content.path})
        elif isinstance(content, Preview) and content.kind not in KINDS_WITH_SOURCE:
            try:
                keep.copy_folder(preview_folder(content), folder)
            except FileNotFoundError as error:
                raise NotFound("What was looked at is kept for a day, and is gone. Send it again.") from error


def remove_draft_of(upload_id: int, code: str) -> None:
    """Remove the draft that was made for an upload which has ended without becoming its content, if nobody has done
    anything with it since. In the surrounding transaction.
    """
    upload = Upload.objects.select_related("uploaded_by").get(pk=upload_id)
    if upload.made_request and upload.change_request_id is not None:
        change_request = lock_change_request(upload.change_request_id)
        remove_if_empty(change_request, None, {"upload": upload.pk, "reason": code})


def visible_upload(user: User, upload_id: int) -> Upload:
    """The upload, for whoever sent it and the owners of its dataset; else ``NotFound``."""
    found = (
        Upload.objects.select_related(
            "dataset__project", "change_request", "uploaded_by", "revision__change_request"
        )
        .filter(pk=upload_id)
        .first()
    )
    if found is None or role_on(user, found.dataset) is None or not _concerns(user, found):
        raise NotFound("There is no such upload, or you may not see it.")
    return found


def _concerns(user: User, upload: Upload) -> bool:
    return upload.uploaded_by_id == user.pk or is_owner(user, upload.dataset)


def not_staged(*, dataset: Dataset, change_request: ChangeRequest | None, sender: User) -> Upload | None:
    """The sender's last upload to the request (or for a new one) where it was not staged: it is read, or refused."""
    of_request = (
        Q(made_request=True) | Q(change_request=None)
        if change_request is None
        else Q(change_request=change_request)
    )
    sent = Upload.objects.filter(of_request, dataset=dataset, uploaded_by=sender)
    last = sent.order_by("-pk").first()
    return last if last is not None and last.status != UploadStatus.STAGED else None


def wait_for_upload(upload_id: int, seconds: float) -> Upload:
    """The upload once it has ended and what shall follow was done, or as it stands after ``seconds``.

    Call it outside a transaction: between two looks it holds no connection of the database.
    """
    deadline = time.monotonic() + seconds
    pause = 0.02
    while True:
        upload = Upload.objects.select_related(
            "change_request", "uploaded_by", "revision__change_request", "revision__created_by"
        ).get(pk=upload_id)
        if upload.is_settled or time.monotonic() >= deadline:
            return upload
        if not connection.in_atomic_block:
            connection.close()
        time.sleep(pause)
        pause = min(pause * 1.5, 0.25)


def revision_of(upload: Upload) -> Revision:
    """What an upload that has ended became. Raises what ended it: ``merging.StagingRejected`` with every problem by
    line and column where the content was refused, else ``UploadEnded``.
    """
    if upload.revision is not None:
        return upload.revision
    if upload.error_code == REJECTED:
        raise rejection_of(upload)
    raise UploadEnded(upload.error_message, upload.error_code, **upload.error_data)


def rejection_of(upload: Upload) -> merging.StagingRejected:
    """The refusal of an upload whose content was refused."""
    problems = [merging.StagingProblem(**problem) for problem in upload.error_data["errors"]]
    return merging.StagingRejected(problems, total=upload.error_data["total"])


def told_of(upload: Upload) -> str:
    """In a line, why an upload that has ended was not staged."""
    if upload.error_code == REJECTED:
        return "; ".join(problem.message for problem in rejection_of(upload).problems[:3])
    return upload.error_message


def cancel_upload(*, upload_id: int, actor: User) -> Upload:
    """Stop an upload that waits at once, or ask the worker that reads it to stop. What was cancelled stays so.

    For whoever may see it. Raises ``InvalidTransition`` where it has ended otherwise.
    """
    with transaction.atomic():
        upload = visible_upload(actor, upload_id)
        if upload.made_request and upload.change_request_id is not None:
            lock_change_request(upload.change_request_id)  # before the upload, as whoever stages it does
        waiting = Upload.objects.filter(pk=upload_id, status=UploadStatus.QUEUED)
        stopped = waiting.update(
            status=UploadStatus.CANCELLED,
            cancel_requested_by=actor,
            finished_at=timezone.now(),
            error_code="cancelled",
            error_message=f"Cancelled by {actor}.",
            pasted="",
        )
        if stopped:
            remove_draft_of(upload_id, "cancelled")
        else:
            running = Upload.objects.filter(pk=upload_id, status=UploadStatus.RUNNING)
            stopped = running.update(cancel_requested_by=actor)
        upload.refresh_from_db()
        if not stopped and upload.status != UploadStatus.CANCELLED:
            raise InvalidTransition(f"The upload has ended already: it is {upload.status}.")
        if not upload.is_active:
            transaction.on_commit(lambda: storage.discard(upload_folder(upload)))
    return upload
