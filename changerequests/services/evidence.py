"""Which rows of change requests the audit trail vouches for: reviews, runs, revisions, choices and what goes with them.

Each is sealed by the entry that is written with it (``audit.rows``); ``agreement`` compares them, both ways.
"""

from __future__ import annotations

from typing import Final

from audit.rows import RowKind
from changerequests.models import (
    ChangeRequest,
    Comment,
    ConflictResolution,
    ExpectationOverride,
    MergeRun,
    Review,
    Revision,
)

REQUEST: Final = RowKind(
    "request",
    ChangeRequest,
    (
        (
            "dataset_id", "title", "description", "author_id", "merge_schema", "identity", "reverts_id",
            "created_at",
        ),
    ),
)  # fmt: skip
#: What a request says of its merge.
MERGE: Final = RowKind(
    "merge of request", ChangeRequest, (("merged_version", "merged_at", "merged_by_id", "merge_record"),)
)
#: Who wants it merged as soon as that can be; while it waits.
WAIT: Final = RowKind(
    "wait of request",
    ChangeRequest,
    (("merge_when_ready_by_id", "merge_when_ready_at", "merge_when_ready_message"),),
)
REVISION: Final = RowKind(
    "revision",
    Revision,
    (
        (
            "change_request_id", "number", "location", "digest", "base_version", "table_id", "rows",
            "rows_inserted", "rows_updated", "rows_deleted", "noop_rows", "columns", "cells_updated",
            "new_columns", "warnings", "file_name", "rebased_from_id", "created_by_id", "created_at",
        ),
        (
            "change_request_id", "number", "location", "digest", "base_version", "table_id", "rows",
            "rows_inserted", "rows_updated", "rows_deleted", "noop_rows", "columns", "cells_updated",
            "new_columns", "warnings", "file_name", "rebased_from_id", "created_by_id", "created_at",
            "split_from_id",
        ),
    ),
)  # fmt: skip
REVIEW: Final = RowKind(
    "review",
    Review,
    (
        (
            "change_request_id", "revision_id", "reviewer_id", "verdict", "body", "revision_digest",
            "resolutions_digest", "created_at",
        ),
    ),
)  # fmt: skip
COMMENT: Final = RowKind(
    "comment",
    Comment,
    (
        ("change_request_id", "parent_id", "author_id", "body", "row_key", "column", "created_at"),
        (
            "change_request_id", "parent_id", "author_id", "body", "row_key", "column", "created_at",
            "revision_id", "cell", "suggestion",
        ),
    ),
)  # fmt: skip
#: Whether the discussion that a comment began is settled.
THREAD: Final = RowKind("thread", Comment, (("resolved_by_id", "resolved_at"),))
CHOICE: Final = RowKind(
    "choice",
    ConflictResolution,
    (
        (
            "change_request_id", "key", "key_digest", "column", "choice", "value", "inputs_digest",
            "chosen_by_id", "chosen_at",
        ),
        (
            "change_request_id", "key", "key_digest", "column", "choice", "value", "inputs_digest",
            "chosen_by_id", "chosen_at", "replaced_id",
        ),
    ),
)  # fmt: skip
OVERRIDE: Final = RowKind(
    "override",
    ExpectationOverride,
    (
        (
            "change_request_id", "suite_version_id", "revision_digest", "resolutions_digest", "expectations",
            "reason", "given_by_id", "given_at",
        ),
    ),
)  # fmt: skip
#: What was asked for.
RUN: Final = RowKind(
    "run",
    MergeRun,
    (
        (
            "change_request_id", "dataset_id", "revision_id", "revision_digest", "resolutions_digest",
            "requested_by_id", "requested_for", "message", "merge_schema", "skip_conflict_check", "force_merge",
            "override_reason", "overridden_blockers", "large_delete_confirmed", "idempotency_key", "queued_at",
        ),
    ),
)  # fmt: skip
#: How it ended.
OUTCOME: Final = RowKind(
    "outcome of run",
    MergeRun,
    (
        (
            "status", "worker", "attempt_id", "attempts", "started_at", "finished_at", "error_code",
            "error_message", "error_data", "approved_by", "cancel_requested_by_id", "result",
            "suite_version_id", "merged_version", "rows_affected", "bytes_written",
        ),
    ),
)  # fmt: skip
#: Those that stand in the database as they were written with their entry.
KEPT: Final = (REQUEST, REVISION, REVIEW, COMMENT, CHOICE, OVERRIDE, RUN)
