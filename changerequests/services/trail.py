"""How changes of a change request reach the audit trail."""

from collections.abc import Mapping
from typing import Any, Final

from django.contrib.auth.models import User
from django.utils import timezone

from audit.services import dataset_stream, record
from changerequests.errors import InvalidTransition
from changerequests.models import ChangeRequest
from changerequests.states import Action, Status, target_of

#: The fields of a request that does not wait to be merged when ready.
NOT_WAITING: Final[Mapping[str, Any]] = {
    "merge_when_ready_by": None,
    "merge_when_ready_at": None,
    "merge_when_ready_message": "",
}


def record_event(
    change_request: ChangeRequest,
    action: str,
    actor: User | None,
    data: Mapping[str, Any] | None = None,
    rows: Mapping[str, str] | None = None,
) -> None:
    """Record an event of the change request in the chain of its dataset, in the surrounding transaction.

    ``rows`` are the seals of what was written with it (``evidence``).
    """
    record(
        stream=dataset_stream(change_request.dataset_id),
        action=action,
        subject_type="change_request",
        subject_id=change_request.cr_id,
        actor=actor.get_username() if actor else "",
        data=data,
        rows=rows,
    )


def withdraw_merge_when_ready(
    change_request: ChangeRequest, *, actor: User | None = None, reason: str = ""
) -> None:
    """Forget that a locked request waits to be merged when ready, if it does: ``actor`` took it back, or the system
    dropped it for a reason.
    """
    asked_by = change_request.merge_when_ready_by
    if asked_by is None:
        return
    ChangeRequest.objects.filter(pk=change_request.pk).update(**NOT_WAITING)
    for name, value in NOT_WAITING.items():
        setattr(change_request, name, value)
    if actor is not None:
        record_event(change_request, "merge.when_ready_withdrawn", actor)
    else:
        facts = {"asked_by": asked_by.get_username(), "reason": reason}
        record_event(change_request, "merge.when_ready_dropped", None, facts)


def touch(change_request: ChangeRequest) -> None:
    """Remember that something happened to a locked request; of a closed one the moment stays that it was closed."""
    ChangeRequest.objects.filter(pk=change_request.pk).exclude(status=Status.CLOSED).update(
        updated_at=timezone.now()
    )


def take_transition(change_request: ChangeRequest, action: Action, **fields: Any) -> None:
    """Take the transition by compare-and-set on the status. Raises ``InvalidTransition`` if somebody was faster."""
    target = target_of(change_request.status, action)
    fields.setdefault("updated_at", timezone.now())
    if target != Status.PENDING:
        fields |= NOT_WAITING
    moved = target is not None and ChangeRequest.objects.filter(
        pk=change_request.pk, status=change_request.status
    ).update(status=target, **fields)
    if not moved:
        raise InvalidTransition(
            f"{change_request.cr_id} is not {change_request.status} any more; reload the page to see what happened."
        )
    change_request.status = str(target)
    for name, value in fields.items():
        setattr(change_request, name, value)
