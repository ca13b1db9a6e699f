"""What may still land: a commit that was begun and whose outcome nobody knows yet.

A store that gave up answering may do what it was asked all the same, minutes later. So the version that a commit is put
as is noted on its request *before* the put (``note_commit``), and nothing of the request may change (the policies look
at the note, and the database refuses to edit or close a request that has one) until the log has shown what became of
it (``settle``): either the merge stands, or it is superseded there and can never land.
"""

from __future__ import annotations

import merging
from changerequests.errors import OutcomeUnknown
from changerequests.models import ChangeRequest
from changerequests.states import Status
from datasets import leases


def note_commit(change_request_id: int, version: int) -> None:
    """Note, before the put, that a commit of the request may land as this version. Call it in a transaction."""
    noted = ChangeRequest.objects.filter(pk=change_request_id, status=Status.MERGING)
    noted.update(unsettled_version=version)


def withdraw_note(change_request_id: int, version: int, before: int | None) -> None:
    """Take the note back where the store refused the put for certain; what was noted before it stays."""
    noted = ChangeRequest.objects.filter(pk=change_request_id, unsettled_version=version)
    noted.update(unsettled_version=before)


def settle(
    change_request: ChangeRequest, request: merging.MergeRequest, lease: leases.Lease
) -> merging.CommittedMerge | None:
    """The merge of the request in the table's log; None if there is none, and then none comes any more.

    Where a put may still land it is superseded in the log. Write down what was learnt with ``settled_fields`` in the
    transaction that goes on. Raises ``OutcomeUnknown`` where the log cannot be asked, or the lease was lost.
    """
    change_request.refresh_from_db(fields=["unsettled_version"])
    version = change_request.unsettled_version
    try:
        found = merging.find_merge(
            request.table_uri,
            change_request.identity,
            generation=request.generation,
            installation=request.installation,
            staged_digest=request.staged_digest,
            resolutions_digest=request.resolutions_digest,
        )
        if found is None and version is not None:
            if not leases.renew(lease):
                raise OutcomeUnknown("Another worker has taken over the dataset before the log was settled.")
            found = merging.supersede(request, put_version=version)
    except merging.MergedOtherwise:
        if version is None or merging.inspect_table(request.table_uri).version >= version:
            return None  # another merge's marker, and no version left for a put of ours
        raise OutcomeUnknown(_sentence(change_request)) from None
    except OutcomeUnknown:
        raise
    except Exception as error:
        if version is None:
            return None  # no commit was begun: there is nothing to be known
        raise OutcomeUnknown(_sentence(change_request)) from error
    return found


def settled_fields(change_request: ChangeRequest) -> dict[str, int | None]:
    """What a locked request becomes once its log is settled: a later merge is of a generation above all before."""
    if change_request.unsettled_version is None:
        return {}
    return {"unsettled_version": None, "merge_generation": change_request.merge_generation + 2}


def _sentence(change_request: ChangeRequest) -> str:
    return (
        f"Whether {change_request.cr_id} was merged is not known: the store of the table did not answer. It is asked "
        "again by itself; until then the request stays as it is."
    )
