"""What a check of expectations found: kept with the content that it judged, and read row by row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils import timezone

from changerequests.models import (
    ChangeRequest,
    ExpectationCheck,
    MergeRun,
    Revision,
)
from datasets.errors import NotFound
from datasets.models import SuiteVersion
from datasets.rows import storable

#: Failing rows on one page.
PAGE_ROWS = 50


def remember_check(
    change_request: ChangeRequest,
    revision: Revision,
    resolutions_digest: str,
    report: Mapping[str, Any],
    *,
    run: MergeRun | None = None,
) -> ExpectationCheck:
    """Store a report (as JSON): the quick answer in place of the one before, or that of a run."""
    report = storable(report)
    results = report["results"]
    suite = SuiteVersion.objects.get(dataset=change_request.dataset_id, number=report["version"])
    facts = {
        "suite_version": suite,
        "resolutions_digest": resolutions_digest,
        "block_pre_existing": report["block_pre_existing"],
        "table_version": report["table_version"],
        "failing": [
            {"number": one["number"], "message": one["message"], "state": one["state"]}
            for one in results
            if one["blocking"]
        ],
        "passed": sum(one["state"] == "passed" for one in results),
        "warnings": report["warnings"],
        "pre_existing": report["pre_existing"],
        "deferred": report["deferred"],
        "overridden": report["overridden"],
        "report": report,
        "checked_at": timezone.now(),
    }
    check, _ = ExpectationCheck.objects.update_or_create(
        change_request=change_request, revision=revision, run=run, defaults=facts
    )
    return check


def forget_what_could_not_be_checked(change_request_id: int) -> None:
    """Let full checks that failed for want of means not count any more: the next merge run tries again."""
    for check in ExpectationCheck.objects.filter(
        change_request=change_request_id, run__isnull=False, counts=True
    ).defer("report"):
        if check.could_not_check:
            ExpectationCheck.objects.filter(pk=check.pk).update(counts=False)


@dataclass(frozen=True)
class FailingRows:
    """A page of the failing rows that a report keeps of one expectation; ``total`` is exact, ``kept`` may be less."""

    rows: tuple[dict[str, Any], ...]
    start: int
    next: int | None
    kept: int
    total: int


def failing_rows(
    check: ExpectationCheck, number: int, *, start: int = 0, limit: int = PAGE_ROWS
) -> FailingRows:
    """Failing rows of one expectation, the new ones first. Raises ``NotFound`` for an unknown number."""
    for one in check.report["results"]:
        if one["number"] == number:
            rows = one["failing_rows"]
            end = start + limit
            return FailingRows(
                tuple(rows[start:end]),
                start,
                end if end < len(rows) else None,
                len(rows),
                one["failing_rows_total"],
            )
    raise NotFound(f"The suite has no expectation number {number}.")
