"""Statements tried before they are proposed: what they would change, and nothing that stays.

A worker reads the rows exactly as it would for a proposal, tells the first of them and how many there are, and removes
them again.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import structlog
from django.contrib.auth.models import User
from django.db import connection, transaction
from django.utils import timezone

import merging
from changerequests import queue
from changerequests.errors import ReaderDied, TooManyQueries, UploadEnded
from changerequests.models import Query
from changerequests.services import reading
from changerequests.services.storage import uploads_folder
from changerequests.states import UploadKind
from datasets import work
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
#: How long what was found is kept.
KEPT_FOR = timedelta(days=1)
#: Queries that one sweep rings for.
RUNG_AT_ONCE = 100

Hold = work.Hold[Query]


def ask(*, dataset: Dataset, actor: User, statement: str, merge_schema: bool = True) -> Query:
    """Have a worker look what a statement would change. Raises ``Forbidden`` for whoever may not propose, and
    ``TooManyQueries``.
    """
    if not may_contribute(actor, dataset):
        raise Forbidden(
            f"You may not propose changes to {dataset.name}. An owner of the dataset can let you."
        )
    with transaction.atomic():
        _require_room_for(actor)
        query = Query.objects.create(
            dataset=dataset, asked_by=actor, statement=storable(statement), merge_schema=merge_schema
        )
        queue.ring_for_query_on_commit(query.pk)
    return query


def _require_room_for(actor: User) -> None:
    """Raise ``TooManyQueries`` for whoever has so many under way that others would wait for them."""
    User.objects.select_for_update().get(pk=actor.pk)  # two at once are counted one after the other
    under_way = Query.objects.filter(asked_by=actor, status__in=[WorkStatus.QUEUED, WorkStatus.RUNNING])
    if under_way.count() >= MOST_UNDER_WAY:
        raise TooManyQueries(
            f"{MOST_UNDER_WAY} looks of yours are under way already. Wait until one has ended.", retry_after=5
        )


def visible_query(user: User, query_id: int) -> Query:
    """The query, for whoever asked it and still sees the dataset; else ``NotFound``."""
    found = Query.objects.select_related("dataset__project").filter(pk=query_id, asked_by=user).first()
    if found is None or role_on(user, found.dataset) is None:
        raise NotFound("There is no such query, or it is not yours. What was found is kept for a day.")
    return found


def wait_for_query(query_id: int, seconds: float) -> Query:
    """The query once it has ended, or as it stands after ``seconds``; between two looks without a connection of the
    database.
    """
    deadline = time.monotonic() + seconds
    pause = 0.02
    while True:
        query = Query.objects.select_related("dataset__project").get(pk=query_id)
        if not query.is_active or time.monotonic() >= deadline:
            return query
        if not connection.in_atomic_block:
            connection.close()
        time.sleep(pause)
        pause = min(pause * 1.5, 0.25)


def found_by(query: Query) -> dict[str, Any]:
    """What a query that has ended found. Raises what ended it: ``merging.StagingRejected`` with the place where the
    statement or its rows were refused, else ``UploadEnded``.
    """
    if query.status == WorkStatus.SUCCEEDED:
        return dict(kept(query.result))
    if query.error_code == merging.StagingRejected.code:
        problems = [merging.StagingProblem(**problem) for problem in query.error_data["errors"]]
        raise merging.StagingRejected(problems, total=query.error_data["total"])
    raise UploadEnded(query.error_message, query.error_code, **query.error_data)


# --- On the side of the worker ----------------------------------------------------------------------------------


def answer_query(*, query_id: int, worker: str) -> Query | None:
    """Look what a statement would change. Called by workers, safe to call again; None if it is gone, has ended or is in
    other hands.
    """
    query = Query.objects.select_related("dataset__meta", "dataset__project").filter(pk=query_id).first()
    hold = work.claim(query, worker=worker, rows_read=0) if query is not None else None
    if hold is None:
        return None
    with work.kept_alive(hold):
        _answer(hold)
    return hold.work


def _answer(hold: Hold) -> None:
    if hold.is_worn_out:
        message = f"Given up: {work.MOST_ATTEMPTS} attempts were cut short. The worker's log says more."
        _end(hold, ReaderDied(message))
        return
    folder = uploads_folder() / f"query-{hold.work.token}"
    try:
        staged = reading.Reading(
            hold.work.dataset,
            destination=folder,
            token=hold.work.token,
            merge_schema=hold.work.merge_schema,
            on_progress=lambda _, rows: _note_progress(hold, rows),
            is_cancelled=reading.now_and_then(lambda: not hold.rows().exists()),
        ).statement(hold.work.statement)
        work.end(hold, WorkStatus.SUCCEEDED, result=keepable(_told(staged)))
    except merging.ConfinedCancelled:
        return  # somebody else has taken it up
    except merging.MergeFailed as error:
        logger.warning("query_failed", query_id=hold.work.pk, code=error.code)
        _end(hold, reading.told(error, UploadKind.SQL))
    except (merging.MergeError, DomainError) as refusal:
        _end(hold, refusal)
    except Exception as error:  # the boundary: whoever waits must hear of it
        logger.error("query_failed", query_id=hold.work.pk, exc_info=error)
        _end(hold, UploadEnded(reading.UNFORESEEN, UploadEnded.code))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _note_progress(hold: Hold, rows: int) -> None:
    work.progress(hold, rows_read=rows)


def _told(staged: merging.Staged) -> dict[str, Any]:
    return {
        "version": staged.base_version,
        "rows_inserted": staged.counts["insert"],
        "rows_updated": staged.counts["update"],
        "rows_deleted": staged.counts["delete"],
        "noop_rows": staged.noop_rows,
        "cells_updated": dict(staged.cells_updated),
        "columns": list(staged.columns),
        "new_columns": dict(staged.new_column_types),
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
    }  # fmt: skip


def _end(hold: Hold, error: merging.MergeError | DomainError) -> None:
    data = dict(error.data)
    if isinstance(error, merging.StagingRejected):
        data = {"errors": [vars(problem) for problem in error.problems], "total": error.total}
    work.end(
        hold,
        WorkStatus.FAILED,
        error_code=error.code,
        error_message=storable(error.message),
        error_data=storable(data),
    )


def sweep_queries() -> int:
    """Ring again for queries that wait or whose worker died, and forget old ones; returns how many rang."""
    Query.objects.filter(finished_at__lt=timezone.now() - KEPT_FOR).delete()
    waiting = work.unattended(Query.objects.order_by("pk")).values_list("pk", flat=True)[:RUNG_AT_ONCE]
    for query_id in waiting:
        queue.ring_for_query(query_id)
    return len(waiting)
