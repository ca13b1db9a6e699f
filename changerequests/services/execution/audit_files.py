"""The audit files of a merge: what each holds, and how they are written without ever replacing one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import merging
from audit.files import KeptAuditFile, audit_files_in, taken_names, write_audit_files
from changerequests import selectors
from changerequests.models import ChangeRequest, MergeRun
from changerequests.services import expectations, storage
from changerequests.services.execution.documents import check_document, result_document
from datasets.rows import kept

#: Audit files that also tell what the database knew of the people; a restored one may know less.
TOLD_BY_THE_DATABASE = {storage.MERGE_RESULT, "validation.json", "conflicts.json"}


def validation_of(change_request: ChangeRequest, result: merging.MergeResult) -> dict[str, Any]:
    """Everything that was checked before the commit, from what the attempt wrote then: whoever records it, and after
    whatever interruption, says the same. Where that is gone, the table's own rules alone.
    """
    path = storage.attempt_folder(change_request, result.attempt_id) / "validation.json"
    if path.is_file():
        return dict(json.loads(path.read_text(encoding="utf-8")))
    audited = storage.audited_merge(change_request)
    if audited is not None and "validation.json" in {one.name for one in audit_files_in(audited.folder)}:
        told = json.loads(KeptAuditFile(audited.folder, "validation.json").text())
        return {name: value for name, value in told.items() if name not in ("cr_id", "overrides")}
    return {"checks": [check_document(check) for check in result.validation.checks]}


def write_audit(
    run: MergeRun, change_request: ChangeRequest, result: merging.MergeResult, validation: dict[str, Any]
) -> tuple[str, dict[str, str]]:
    """Write the audit files; the folder's name and the files' hashes.

    Every file is a function of the commit and the rows in the database, so that a second writer agrees.
    """
    artefacts = storage.attempt_folder(change_request, result.attempt_id)
    document = result_document(result)
    choices = [
        {
            "key": kept(choice.key),
            "column": choice.column or None,
            "choice": choice.choice,
            "value": kept(choice.value),
            "inputs_digest": choice.inputs_digest,
            "chosen_by": str(choice.chosen_by),
            "chosen_at": choice.chosen_at,
        }
        for choice in selectors.current_resolutions(change_request)
    ]
    documents: dict[str, Any] = {
        "merge_result.json": {
            "cr_id": change_request.cr_id,
            "identity": change_request.identity,
            "title": change_request.title,
            "table_uri": change_request.dataset.table_uri,
            "author": str(change_request.author),
            "requested_by": str(run.requested_by),
            "requested_for": run.requested_for,
            "approved_by": run.approved_by,
            "revision_digest": run.revision_digest,
            "resolutions_digest": run.resolutions_digest,
            "override_reason": run.override_reason,
            "overridden": run.overridden_blockers,
            **document,
        },
        "diff.json": {"cr_id": change_request.cr_id, **document["diff"], "cells": document["cells_updated"]},
        "validation.json": {
            "cr_id": change_request.cr_id,
            "overrides": expectations.overrides_as_json(selectors.overrides_in(run, validation)),
            **validation,
        },
    }
    if choices or result.conflicts_overridden:
        documents["conflicts.json"] = {
            "cr_id": change_request.cr_id,
            "resolutions": choices,
            "overridden": result.conflicts_overridden,
        }
    copies = {
        name: artefacts / name
        for name in ("diff.parquet", "images.parquet", "summary.json")
        if (artefacts / name).exists()
    }
    return _audit_files_written(change_request, result, documents, copies)


def _audit_files_written(
    change_request: ChangeRequest,
    result: merging.MergeResult,
    documents: dict[str, Any],
    copies: dict[str, Path],
) -> tuple[str, dict[str, str]]:
    """Write what is not there yet, and never replace anything.

    What was written of this very merge before the database was restored stays as it is. Where the folder holds another
    merge, of a request whose number was handed out again, this one gets a folder of its own.
    """
    own, other = storage.audit_folder_names(change_request)
    taken = taken_names(own, documents=documents, copies=copies)
    audited = storage.audited_merge(change_request)
    if not taken:
        name = own
    elif audited is not None and audited.document.get("merged_version") == result.merged_version:
        name = audited.folder
        taken = taken_names(name, documents=documents, copies=copies) & TOLD_BY_THE_DATABASE
        documents = {file: content for file, content in documents.items() if file not in taken}
    else:
        name = other
    written = write_audit_files(name, documents=documents, copies=copies)
    before = [one for one in audit_files_in(name) if one.name not in written]
    return name, {**{one.name: one.digest() for one in before}, **written}
