"""What the engine is asked for a request: the content, the choices that stand, the expectations, a run's options."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, cast

import merging
from changerequests import selectors
from changerequests.errors import RunStopped
from changerequests.models import ChangeRequest, ConflictResolution, MergeRun, Revision
from changerequests.services import expectations
from changerequests.services.choices import digest_of
from changerequests.services.storage import attempts_folder, content_of
from datasets.rows import column_types, kept, key_digest, typed_key
from datasets.services import installation_identity


def bare_request_for(
    change_request: ChangeRequest, revision: Revision, *, run: MergeRun | None = None
) -> merging.MergeRequest:
    """What tells a merge in the table's log (identity, generation, digests), and the run's options: without choices and
    expectations.
    """
    dataset = change_request.dataset
    options: dict[str, Any] = {}
    if run is not None:
        options = {
            "skip_conflict_check": run.skip_conflict_check,
            "force_merge": run.force_merge,
            "requested_by": run.requested_by.get_username(),
            "message": run.message or f"{change_request.cr_id} {change_request.title}",
            "attempt_id": run.attempt_id,
            "destination": str(attempts_folder(change_request)),
        }
    return merging.MergeRequest(
        table_uri=dataset.table_uri,
        cr_id=change_request.cr_id,
        primary_keys=tuple(dataset.primary_keys),
        staged=content_of(revision),
        merge_schema=change_request.merge_schema if run is None else run.merge_schema,
        conflict_policy="row" if dataset.conflict_policy == "row" else "cell",
        generation=change_request.merge_generation,
        installation=installation_identity(),
        identity=change_request.identity,
        staged_digest=revision.digest,
        resolutions_digest=change_request.resolutions_digest if run is None else run.resolutions_digest,
        **options,
    )


def merge_request_for(
    change_request: ChangeRequest,
    revision: Revision,
    *,
    run: MergeRun | None = None,
    answered: Collection[int] = (),
) -> merging.MergeRequest:
    """The engine's request for a revision with the choices that stand; for a run, with its options and attempt, and the
    numbers of the expectations that owners answer for.

    Raises ``InvalidInput`` for choices that do not fit the table's columns any more, and ``RunStopped`` where they are
    not those that the run was asked for with.
    """
    types = column_types(change_request.dataset.meta.schema_json)
    chosen = selectors.current_resolutions(change_request)
    if run is not None and digest_of(chosen) != run.resolutions_digest:
        raise RunStopped("The choices moved after the merge was asked for.")
    return replace(
        bare_request_for(change_request, revision, run=run),
        resolutions=tuple(_resolution(resolution, types) for resolution in chosen),
        expectations=expectations.rules_for(change_request.dataset, answered=answered),
    )


def conflicts_request_for(change_request: ChangeRequest, revision: Revision) -> merging.MergeRequest:
    """The engine's request for what is in conflict, which no choice for rows and cells changes."""
    types = column_types(change_request.dataset.meta.schema_json)
    chosen = selectors.schema_choices(change_request, key_digest({}))
    return replace(
        bare_request_for(change_request, revision),
        resolutions=tuple(_resolution(resolution, types) for resolution in chosen),
    )


def _resolution(resolution: ConflictResolution, types: Mapping[str, str]) -> merging.Resolution:
    return merging.Resolution(
        key=typed_key(kept(resolution.key), types),
        column=resolution.column or None,
        choice=cast(merging.Choice, resolution.choice),
        value=kept(resolution.value),
        inputs_digest=resolution.inputs_digest,
    )
