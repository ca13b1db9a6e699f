"""What the engine answered, as JSON values: what runs, the API and the audit files keep of it."""

from __future__ import annotations

from typing import Any

import merging
from datasets.rows import json_value


def result_document(result: merging.MergeResult) -> dict[str, Any]:
    """A merge result as JSON values: what the run, the API and the audit keep of it."""
    return {
        "merged_version": result.merged_version,
        "commit_id": result.commit_id,
        "rows_affected": result.rows_affected,
        "rows_agreed": result.rows_agreed,
        "diff": dict(vars(result.diff)),
        "cells_updated": dict(result.cells_updated),
        "schema_changes": [dict(vars(change)) for change in result.schema_changes],
        "strategy": result.strategy,
        "reads": [dict(vars(one)) for one in result.reads],
        "writes": [dict(vars(one)) for one in result.writes],
        "conflicts_overridden": result.conflicts_overridden,
        # Of the suite, a merge that was interrupted remembers less here; the whole report is in validation.json.
        "validation": [check_document(check) for check in result.validation.checks if check.built_in],
        "engine_version": result.engine_version,
    }


def check_document(check: merging.Check) -> dict[str, Any]:
    return {
        "name": check.name,
        "ok": check.ok,
        "message": check.message,
        "failures": check.failures,
        "examples": json_value(check.examples),
    }
