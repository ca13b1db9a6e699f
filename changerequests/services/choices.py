"""The choices that stand for a request's conflicts, in one digest that is kept with the request.

Every gate and page compares it; a request may have ten thousand choices, and only who writes or merges them reads them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.db.models import Exists, OuterRef, QuerySet

from changerequests.models import ChangeRequest, ConflictResolution


def digest_of(choices: Iterable[ConflictResolution]) -> str:
    """SHA-256 over choices, in whatever order they come; empty where there are none."""
    content = sorted(
        [one.key_digest, one.column, one.choice, one.value, one.inputs_digest] for one in choices
    )
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest() if content else ""


def choice_digest(choice: str | None, value: Any) -> str:
    """What stands for one choice as people see it, whoever made it; empty where there is none.

    ``value`` is that of a custom choice as the database keeps it; other choices have none.
    """
    if choice is None:
        return ""
    content = json.dumps(
        [choice, value if choice == ConflictResolution.Choice.CUSTOM else None], sort_keys=True
    )
    return hashlib.sha256(content.encode()).hexdigest()


def replace_choices(
    change_request: ChangeRequest,
    made: Sequence[ConflictResolution],
    standing: Mapping[tuple[str, str], ConflictResolution],
) -> None:
    """Let new choices stand for a locked request, one for each conflict; those that they replace stay as history.

    ``standing`` are the choices that stand for the same conflicts, by key digest and column. A fixed number of
    statements, however many choices there are.
    """
    for one in made:
        one.is_current = False  # until those that stand for the same conflicts do not any more
        one.replaced = standing.get((one.key_digest, one.column))
    first = ConflictResolution.objects.bulk_create(made)[0].pk
    mine = change_request.resolutions.filter(pk__gte=first)
    replaced = mine.filter(replaced__isnull=False).values("replaced")
    change_request.resolutions.filter(is_current=True, pk__in=replaced).update(is_current=False)
    mine.update(is_current=True)
    resolutions_moved(change_request)


def take_choices_back(change_request: ChangeRequest, taken: QuerySet[ConflictResolution]) -> int:
    """Let what stood before stand again for those of these choices of a locked request that still stand; how many."""
    restored = taken.filter(is_current=True).update(is_current=False)
    mine = ConflictResolution.objects.filter(change_request=change_request)
    now = mine.filter(key_digest=OuterRef("key_digest"), column=OuterRef("column"), is_current=True)
    before = mine.filter(pk__in=taken.filter(replaced__isnull=False).values("replaced"))
    before.filter(~Exists(now)).update(is_current=True)
    resolutions_moved(change_request)
    return restored


def resolutions_moved(change_request: ChangeRequest) -> None:
    """Keep the digest of the choices that stand now with a locked request. Call it whenever choices were written, in
    the same transaction and before anything is planned with them.
    """
    standing = change_request.resolutions.filter(is_current=True)
    digested = standing.only(
        "change_request", "key_digest", "column", "choice", "value", "inputs_digest"
    ).order_by()
    change_request.resolutions_digest = digest_of(digested.iterator())
    ChangeRequest.objects.filter(pk=change_request.pk).update(
        resolutions_digest=change_request.resolutions_digest
    )
