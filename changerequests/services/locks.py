"""Named row locks, always taken in this order: lease, change request, merge run. Outside a transaction they raise."""

from django.contrib.auth.models import User

from audit.row_locks import locked
from changerequests.models import ChangeRequest, Edits, MergeRun
from datasets.errors import NotFound
from datasets.models import Dataset


def lock_change_request(pk: int) -> ChangeRequest:
    """The change request with its row locked until the transaction ends. Raises ``NotFound``."""
    found = locked(
        ChangeRequest.objects.select_related("dataset__project", "dataset__meta", "author").filter(pk=pk)
    ).first()
    if found is None:
        raise NotFound(f"There is no change request CR-{pk}.")
    return found


def lock_run(pk: int) -> MergeRun:
    """The merge run with its row locked until the transaction ends. Lock its change request first."""
    return locked(MergeRun.objects.select_related("revision", "requested_by")).get(pk=pk)


def lock_edits(dataset: Dataset, person: User) -> Edits:
    """The person's edits of the dataset, made where there are none, locked until the transaction ends."""
    while True:
        made, _ = Edits.objects.get_or_create(dataset=dataset, person=person)
        if (found := locked(Edits.objects.select_related("upload").filter(pk=made.pk)).first()) is not None:
            return found  # else they were thrown away in another window, between the two
