"""Suggestions taken over: another value for one proposed cell becomes new content, by the staging of all content."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.db import transaction

from changerequests.errors import InvalidTransition, PlanChanged
from changerequests.facts import facts_of
from changerequests.models import Comment, Upload
from changerequests.policies import require
from changerequests.services import plans, staged_rows
from changerequests.services.locks import lock_change_request
from changerequests.services.trail import record_event
from changerequests.states import ACTIVE_UPLOAD_STATUSES, Action, UploadStatus
from datasets.errors import NotFound
from datasets.rows import column_types, json_value, kept, typed_key


def take(*, comment_id: int, actor: User, call: str = "") -> Upload:
    """Make the suggested value the one that the content proposes, once. For whoever may change the content.

    Raises ``NotFound`` where nothing was suggested, ``InvalidTransition`` where it was taken or is being taken,
    ``PlanChanged`` where the content proposes another value by now than the one that it was suggested for, and as
    ``staged_rows.edit_rows`` does.
    """
    with transaction.atomic():
        suggested = Comment.objects.filter(pk=comment_id, suggestion__isnull=False).first()
        if suggested is None:
            raise NotFound("Nothing was suggested here.")
        change_request = lock_change_request(suggested.change_request_id)
        suggested = Comment.objects.select_related("taken", "revision").get(pk=comment_id)
        require(facts_of(change_request, actor), Action.STAGE)
        if suggested.taken is not None and suggested.taken.status in (
            *ACTIVE_UPLOAD_STATUSES,
            UploadStatus.STAGED,
        ):
            raise InvalidTransition("The suggestion was taken already.")
        key = kept(suggested.row_key)
        types = column_types(change_request.dataset.meta.schema_json)
        row = plans.staged_row(change_request=change_request, key=typed_key(key, types))
        proposed = None if row is None or row.after is None else row.after.get(suggested.column)
        if row is None or row.after is None or json_value(proposed) != kept(suggested.cell)["proposed"]:
            raise PlanChanged(
                "The content proposes another value by now than the one that this was suggested for. Look at the row, "
                "then edit it.",
                moved="revision",
            )
        value = kept(suggested.suggestion)["value"]
        edited = {**key, suggested.column: kept(value)}
        upload = staged_rows.edit_rows(
            change_request_id=change_request.pk, actor=actor, rows=[edited], call=call
        )
        suggested.taken = upload
        suggested.save(update_fields=["taken"])
        record_event(
            change_request,
            "suggestion.taken",
            actor,
            {"comment": suggested.pk, "upload": upload.pk, "column": suggested.column},
        )
    return upload
