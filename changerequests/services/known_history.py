"""A table's history as the database knows it, while its log cannot be read: the versions that merges here made."""

from __future__ import annotations

from typing import Any

import merging
from changerequests.models import ChangeRequest
from datasets.models import Dataset


def known_versions(
    *, dataset: Dataset, limit: int = 50, before: int | None = None
) -> tuple[merging.TableVersion, ...]:
    """Those below ``before``, newest first; what other jobs wrote, and visits of maintenance, is not among them."""
    merged = ChangeRequest.objects.filter(dataset=dataset, merged_version__isnull=False)
    if before is not None:
        merged = merged.filter(merged_version__lt=before)
    newest = merged.select_related("merged_by").order_by("-merged_version")[:limit]
    return tuple(_version(one, one.merged_version) for one in newest if one.merged_version is not None)


def _version(change_request: ChangeRequest, version: int) -> merging.TableVersion:
    diff: dict[str, Any] = ((change_request.merge_record or {}).get("result") or {}).get("diff") or {}
    return merging.TableVersion(
        version=version,
        timestamp=change_request.merged_at,
        operation="MERGE",
        user=change_request.merged_by.get_username() if change_request.merged_by else "",
        cr_id=change_request.cr_id,
        rows_added=diff.get("rows_added"),
        rows_updated=diff.get("rows_updated"),
        rows_deleted=diff.get("rows_deleted"),
        engine="",
    )
