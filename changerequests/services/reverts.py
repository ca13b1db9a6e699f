"""Reverts: a merged request's inverse as a new one, through the same gates."""

from __future__ import annotations

import shutil
from pathlib import Path

from django.contrib.auth.models import User
from django.db import transaction

import merging
from changerequests import selectors
from changerequests.blockers import Blocker
from changerequests.errors import Blocked
from changerequests.facts import facts_of
from changerequests.models import ChangeRequest
from changerequests.policies import require
from changerequests.services import proposals, storage
from changerequests.services.locks import lock_change_request
from changerequests.services.trail import record_event
from changerequests.states import Action
from datasets.services import installation_identity


def revert_merge(
    *, change_request_id: int, actor: User, title: str = "", description: str = ""
) -> ChangeRequest:
    """Begin a draft that proposes what was there before a merge; for owners of the dataset.

    It is made from the images that the merge stored, never from an old version of the table. What was changed since
    the merge conflicts in the new request instead of being lost. Asking again answers the revert that is open.
    Raises ``Forbidden``, ``InvalidTransition`` where the request is not merged, ``Blocked`` where nothing is left to
    revert, and the engine's ``StagedCorrupt`` and ``TableChanged``.
    """
    merged = ChangeRequest.objects.select_related("dataset__meta", "dataset__project").get(
        pk=change_request_id
    )
    require(facts_of(merged, actor), Action.REVERT)
    known = selectors.open_revert_of(merged)
    if known is not None:
        return known
    folder = storage.workplace(storage.REVERTS)
    try:
        staged = _inverse(merged, folder)
        with transaction.atomic():
            merged = lock_change_request(change_request_id)
            require(facts_of(merged, actor), Action.REVERT)
            known = selectors.open_revert_of(merged)
            if known is not None:
                return known
            revert = proposals.create_change_request(
                dataset=merged.dataset,
                author=actor,
                title=(title.strip() or f"Revert {merged.cr_id}: {merged.title}")[:200],
                description=description or f"Takes back {merged.cr_id}, merged as v{merged.merged_version}.",
                reverts=merged,
            )
            record_event(merged, "change_request.revert_opened", actor, {"revert": revert.cr_id})
            proposals.make_current(revert, actor, storage.adopt(revert, staged))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return revert


def _inverse(merged: ChangeRequest, folder: Path) -> merging.Staged:
    dataset = merged.dataset
    keys = tuple(dataset.primary_keys)
    staged = merging.invert(dataset.table_uri, storage.artefacts_of(merged), keys, str(folder))
    request = merging.MergeRequest(
        table_uri=dataset.table_uri,
        cr_id=merged.cr_id,
        primary_keys=keys,
        staged=staged,
        conflict_policy="row" if dataset.conflict_policy == "row" else "cell",
        installation=installation_identity(),
        identity=merged.identity,
    )
    with merging.plan(request) as plan:
        if not plan.conflicts and plan.changes_nothing:
            sentence = f"There is nothing to revert: the table is already as it was before {merged.cr_id} was merged."
            raise Blocked(sentence, [Blocker("nothing_to_revert", "wait", sentence, "changes")])
    return staged
