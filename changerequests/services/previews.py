"""Content looked at before it is proposed: what it would change, and nothing that stays in the table or among requests.

A worker reads the rows exactly as it would for a proposal, tells the first of them and how many there are, and removes
what it staged. What came as a file is kept for a day, so that it can be looked at again in another way, and proposed as
it was looked at, without being sent again.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

import merging
from audit.row_locks import locked
from changerequests import queue
from changerequests.errors import InvalidTransition, ReaderDied, TooManyQueries, UploadEnded, UploadLost
from changerequests.facts import facts_of
from changerequests.models import ChangeRequest, Preview, Upload
from changerequests.policies import require
from changerequests.services import reading, storage, uploads
from changerequests.services.storage import PREVIEWS, preview_folder
from changerequests.states import KINDS_WITH_SOURCE, Action, EmptyCells, UploadKind
from datasets import table_work, work
from datasets.data_root import data_root
from datasets.durable_work import WorkStatus
from datasets.errors import DomainError, Forbidden, NotFound
from datasets.models import Dataset
from datasets.roles import may_contribute, role_on
from datasets.rows import json_value, keepable, kept, storable

logger = structlog.get_logger(__name__)

#: How many changed rows are told.
ROWS_TOLD = 20
#: How many one person may have under way.
MOST_UNDER_WAY = 5
#: How long what was found is kept, and the file with it.
KEPT_FOR = timedelta(days=1)
#: Of one person: more are forgotten, the oldest first.
MOST_KEPT = 40
#: Previews that one sweep rings for.
RUNG_AT_ONCE = 100
CANCELLED = "cancelled"

Hold = work.Hold[Preview]


@dataclass(frozen=True)
class Words:
    """Title and text that were typed meanwhile."""

    title: str = ""
    description: str = ""


@dataclass(frozen=True)
class Choices:
    """How content is to be read: see ``uploads.ReceivedFile``."""

    null_token: str = ""
    column_types: Mapping[str, str] = field(default_factory=dict)
    column_actions: uploads.ColumnActions = field(default_factory=dict)
    empty_cells: EmptyCells | None = None


def look(
    *,
    dataset: Dataset,
    actor: User,
    content: uploads.Content,
    change_request: ChangeRequest | None = None,
    merge_schema: bool = True,
    asks_about_columns: bool = True,
    words: Words = Words(),
) -> Preview:
    """Have a worker look what content would change, as that of a new request or of ``change_request``.

    With ``asks_about_columns`` columns that the table lacks are told, not added, until somebody decides about them.
    Raises ``Forbidden`` for whoever may not propose, what the policies say of ``Action.STAGE``, ``InvalidInput`` for a
    file above the limit, ``TooManyQueries`` and ``merging.StorageFull``.
    """
    if not may_contribute(actor, dataset):
        raise Forbidden(
            f"You may not propose changes to {dataset.name}. An owner of the dataset can let you."
        )
    if change_request is not None:
        require(facts_of(change_request, actor), Action.STAGE)
        merge_schema = change_request.merge_schema
    preview = Preview(
        dataset=dataset,
        asked_by=actor,
        change_request=change_request,
        merge_schema=merge_schema,
        asks_about_columns=asks_about_columns,
        title=storable(words.title)[:200],
        description=storable(words.description),
    )
    uploads.describe(preview, content)
    return _received(preview, content)


def look_again(
    *, preview_id: int, actor: User, choices: Choices | None = None, words: Words | None = None
) -> Preview:
    """Look at the same content again, read as ``choices`` say: a preview of its own. Raises as ``look`` does, and
    ``NotFound`` where the content is gone.
    """
    before = visible_preview(actor, preview_id)
    change_request = before.change_request
    if not may_contribute(actor, before.dataset):
        raise Forbidden(f"You may not propose changes to {before.dataset.name} any more.")
    if change_request is not None:
        require(facts_of(change_request, actor), Action.STAGE)
    preview = Preview(
        dataset=before.dataset,
        asked_by=actor,
        change_request=change_request,
        merge_schema=before.merge_schema,
        asks_about_columns=before.asks_about_columns,
        title=before.title,
        description=before.description,
    )
    uploads.describe(preview, before)
    if choices is not None:
        preview.null_token = storable(choices.null_token)
        preview.column_types = storable(choices.column_types)
        preview.column_actions = {name: vars(action) for name, action in choices.column_actions.items()}
        preview.empty_cells = choices.empty_cells or ""
    if words is not None:
        preview.title, preview.description = storable(words.title)[:200], storable(words.description)
    return _received(preview, before)


def keep_words(*, preview_id: int, actor: User, words: Words) -> Preview:
    """Note title and text with a preview, for when somebody comes back to it."""
    kept_words = {"title": storable(words.title)[:200], "description": storable(words.description)}
    Preview.objects.filter(pk=visible_preview(actor, preview_id).pk).update(**kept_words)
    return visible_preview(actor, preview_id)


def _received(preview: Preview, content: uploads.Content) -> Preview:
    def save() -> None:
        _require_room_for(preview.asked_by)
        preview.save()
        queue.ring_for_preview_on_commit(preview.pk)

    uploads.save_with_file(content, preview_folder(preview), save)
    surplus = Preview.objects.filter(asked_by=preview.asked_by).order_by("-pk")[MOST_KEPT:]
    for old in surplus:
        _forget(old)
    return preview


def _require_room_for(actor: User) -> None:
    """Raise ``TooManyQueries`` for whoever has so many under way that others would wait for them."""
    # Two at once are counted one after the other.
    locked(User.objects.all()).get(pk=actor.pk)
    if Preview.objects.filter(asked_by=actor, status__in=Preview.ACTIVE).count() >= MOST_UNDER_WAY:
        raise TooManyQueries(
            f"{MOST_UNDER_WAY} looks of yours are under way already. Wait until one has ended.", retry_after=5
        )


def visible_preview(user: User, preview_id: int) -> Preview:
    """The preview, for whoever asked for it and still sees the dataset; else ``NotFound``."""
    found = (
        Preview.objects.select_related("dataset__project", "dataset__meta", "change_request__dataset__meta")
        .filter(pk=preview_id, asked_by=user)
        .first()
    )
    if found is None or role_on(user, found.dataset) is None:
        raise NotFound("There is no such look, or it is not yours. What was found is kept for a day.")
    return found


def wait_for_preview(preview_id: int, seconds: float) -> Preview:
    """The preview once it has ended, or as it stands after ``seconds``; between two looks without a connection of the
    database.
    """
    deadline = time.monotonic() + seconds
    pause = 0.02
    while True:
        preview = (
            Preview.objects.select_related("dataset__project", "change_request").filter(pk=preview_id).first()
        )
        if preview is None:
            raise NotFound("There is no such look any more: it was removed while it went on.")
        if not preview.is_active or time.monotonic() >= deadline:
            return preview
        if not connection.in_atomic_block:
            connection.close()
        time.sleep(pause)
        pause = min(pause * 1.5, 0.25)


def found_by(preview: Preview) -> dict[str, Any]:
    """What a preview that has ended found. Raises what ended it: ``merging.StagingRejected`` with the place where the
    content was refused, else ``UploadEnded``.
    """
    if preview.status == WorkStatus.SUCCEEDED:
        return dict(kept(preview.result))
    if preview.error_code == merging.StagingRejected.code:
        raise rejection_of(preview)
    raise UploadEnded(preview.error_message, preview.error_code, **preview.error_data)


def rejection_of(preview: Preview) -> merging.StagingRejected:
    """The refusal of content that was refused, with the columns that somebody has yet to decide about."""
    problems = [merging.StagingProblem(**problem) for problem in preview.error_data["errors"]]
    refusal = merging.StagingRejected(problems, total=preview.error_data["total"])
    refusal.unknown_columns = tuple(
        merging.UnknownColumn(**one) for one in preview.error_data.get("unknown_columns", ())
    )
    return refusal


def differ(preview: Preview, choices: Choices) -> bool:
    """Whether the content was looked at in another way than ``choices`` say."""
    actions = {name: vars(action) for name, action in choices.column_actions.items()}
    return (
        (choices.null_token, choices.empty_cells or "") != (preview.null_token, preview.empty_cells)
        or actions != preview.column_actions
        or dict(choices.column_types) != preview.column_types
    )


def moved_since(upload: Upload) -> str:
    """What is to be said where an upload changes something else than was looked at before; else nothing."""
    preview, revision = upload.preview, upload.revision
    if preview is None or revision is None or preview.status != WorkStatus.SUCCEEDED:
        return ""
    found = found_by(preview)
    looked_at = [found[name] for name in ("rows_inserted", "rows_updated", "rows_deleted")]
    staged = [revision.rows_inserted, revision.rows_updated, revision.rows_deleted]
    if staged == looked_at and revision.cells_updated == found["cells_updated"]:
        return ""
    return (
        f"The table moved to version {revision.base_version} since you looked at version {found['version']}: "
        f"there are {sum(staged):,} row changes now, where you saw {sum(looked_at):,}."
    )


def takes_empty_cells(preview: Preview) -> bool:
    """Whether its format has cells without anything, so that somebody can say what they mean."""
    if preview.kind != UploadKind.FILE:
        return False
    named = preview.file_format or merging.format_of(preview.file_name) or ""
    return named in ("csv", "tsv", "xlsx")


def cancel_preview(*, preview_id: int, actor: User) -> Preview:
    """Stop a look that goes on; what was sent stays for a day. Raises ``InvalidTransition`` where it has ended."""
    preview = visible_preview(actor, preview_id)
    stopped = Preview.objects.filter(pk=preview.pk, status__in=Preview.ACTIVE).update(
        status=WorkStatus.FAILED,
        error_code=CANCELLED,
        error_message="You cancelled it.",
        finished_at=timezone.now(),
    )
    if not stopped:
        raise InvalidTransition("It has ended already.")
    preview.refresh_from_db()
    return preview


def forget_preview(*, preview_id: int, actor: User) -> None:
    """Remove a preview with what was sent for it, whether it goes on or has ended."""
    _forget(visible_preview(actor, preview_id))


def _forget(preview: Preview) -> None:
    Preview.objects.filter(pk=preview.pk).delete()
    storage.discard(preview_folder(preview))


# --- On the side of the worker ----------------------------------------------------------------------------------


def look_at(*, preview_id: int, worker: str) -> Preview | None:
    """Look what content would change. Called by workers, safe to call again; None if it is gone, has ended,
    waits for the table's store or is in other hands.
    """
    preview = (
        Preview.objects.select_related("dataset__meta", "dataset__project").filter(pk=preview_id).first()
    )
    hold = table_work.claim(preview, worker=worker, rows_read=0) if preview is not None else None
    if hold is None:
        return None
    with table_work.kept_alive(hold):
        _look(hold)
    return hold.work


def _look(hold: Hold) -> None:
    folder = data_root().workplace(f"{preview_folder(hold.work)}/{hold.work.attempt_id}")
    keeps_file = False
    try:
        table_work.require_store(hold)
        if hold.is_worn_out:
            raise ReaderDied(
                f"Given up: {work.MOST_ATTEMPTS} attempts were cut short. The worker's log says more."
            )
        staged = _staged(hold, folder)
        work.end(hold, WorkStatus.SUCCEEDED, result=keepable(_told(staged)))
        keeps_file = True
    except merging.ConfinedCancelled:
        keeps_file = True  # somebody has taken it up, cancelled or forgotten it
    except merging.TableUnreachable as error:
        if not table_work.waits_on(hold, error):
            _end(hold, error)
        keeps_file = True
    except (merging.MergeFailed, UploadLost) as error:
        logger.warning("preview_failed", preview_id=hold.work.pk, code=error.code)
        _end(hold, reading.told(error, UploadKind(hold.work.kind)))
    except ReaderDied as error:
        _end(hold, error)
    except (merging.MergeError, DomainError) as refusal:
        _end(hold, refusal)
        keeps_file = True
    except Exception as error:  # the boundary: whoever waits must hear of it
        logger.error("preview_failed", preview_id=hold.work.pk, exc_info=error)
        _end(hold, UploadEnded(reading.UNFORESEEN, UploadEnded.code))
    finally:
        _clear(hold, folder, keeps_file=keeps_file)


def _staged(hold: Hold, folder: Path) -> merging.Staged:
    preview = hold.work
    of_preview = reading.Reading(
        preview.dataset,
        destination=folder,
        merge_schema=preview.merge_schema,
        on_progress=lambda _, rows: _note_progress(hold, rows),
        is_cancelled=reading.now_and_then(lambda: not hold.rows().exists()),
    )
    asks = preview.asks_about_columns
    if preview.kind == UploadKind.SQL:
        return of_preview.statement(
            preview.source, column_actions=reading.decided(preview), asks_about_columns=asks
        )
    received = storage.received(preview_folder(preview))
    if not received.is_file():
        raise UploadLost("The received file is not there any more. Send it again.")
    return of_preview.file(received, **reading.how_to_read(preview), asks_about_columns=asks)


def _clear(hold: Hold, folder: Path, *, keeps_file: bool) -> None:
    """Remove what was staged; and the file of a preview that is gone, or whose reader it ended."""
    shutil.rmtree(folder, ignore_errors=True)
    is_wanted = keeps_file and Preview.objects.filter(pk=hold.work.pk).exists()
    if not is_wanted or (hold.work.kind in KINDS_WITH_SOURCE and not hold.work.is_active):
        storage.discard(preview_folder(hold.work))


def _note_progress(hold: Hold, rows: int) -> None:
    work.progress(hold, rows_read=rows)


def _told(staged: merging.Staged) -> dict[str, Any]:
    return {
        "version": staged.base_version,
        "rows_inserted": staged.counts["insert"],
        "rows_updated": staged.counts["update"],
        "rows_deleted": staged.counts["delete"],
        "noop_rows": staged.noop_rows,
        "duplicate_rows": staged.duplicate_rows,
        "cells_updated": dict(staged.cells_updated),
        "cells_becoming_null": staged.cells_becoming_null(),
        "columns": list(staged.columns),
        "new_columns": dict(staged.new_column_types),
        "unknown_columns": [dict(vars(one)) for one in staged.unknown_columns],
        "warnings": list(staged.warnings),
        "rows": [_row(row) for row in staged.page(limit=ROWS_TOLD).items],
    }


def _row(row: merging.ChangedRow) -> dict[str, Any]:
    before: Mapping[str, Any] = json_value(row.before or {})
    after: Mapping[str, Any] = json_value(row.after or {})
    columns = (
        row.changed
        if row.operation == "update"
        else [name for name in after or before if name not in row.key]
    )
    return {
        "key": json_value(row.key),
        "operation": row.operation,
        "cells": [
            {"column": name, "base": before.get(name), "proposed": after.get(name)} for name in columns
        ],
        "filled": list(row.filled),
    }  # fmt: skip


def _end(hold: Hold, error: merging.MergeError | DomainError) -> None:
    data = dict(error.data)
    if isinstance(error, merging.StagingRejected):
        data = {
            "errors": [vars(problem) for problem in error.problems],
            "total": error.total,
            "unknown_columns": [vars(one) for one in error.unknown_columns],
        }
    work.end(
        hold,
        WorkStatus.FAILED,
        error_code=error.code,
        error_message=storable(table_work.message_of(error)),
        error_data=storable(data),
    )


def sweep_previews() -> int:
    """Ring again for previews that wait or whose worker died, and forget old ones; returns how many rang."""
    before = timezone.now() - KEPT_FOR
    for old in Preview.objects.filter(finished_at__lt=before):
        _forget(old)
    _clear_what_is_nobodys(before.timestamp())
    waiting = table_work.unattended(Preview.objects.order_by("pk")).values_list("pk", flat=True)[
        :RUNG_AT_ONCE
    ]
    for preview_id in waiting:
        queue.ring_for_preview(preview_id)
    return len(waiting)


def _clear_what_is_nobodys(before: float) -> None:
    """Remove folders whose preview went with its dataset, its request or its person."""
    keep = data_root()
    tokens = keep.folders(PREVIEWS)
    known = set(Preview.objects.filter(token__in=tokens).values_list("token", flat=True))
    for token in tokens:
        if token in known:
            continue
        contents = keep.contents(f"{PREVIEWS}/{token}")
        if contents is not None and contents.newest < before:
            storage.discard(f"{PREVIEWS}/{token}")
