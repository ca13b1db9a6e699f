"""A dataset's settings: what its owners may change after registration."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction

from audit.row_locks import locked
from audit.services import dataset_stream, record
from datasets.errors import Forbidden, InvalidInput, SettingsChanged
from datasets.evidence import DATASET
from datasets.models import Dataset
from datasets.operators import is_operator
from datasets.roles import require_owner
from datasets.services.validating import require_valid

CHANGE_SETTINGS = "change its settings"

#: What an owner may change of a dataset after registration.
EDITABLE_SETTINGS = (
    "name",
    "description",
    "required_approvals",
    "contributors_may_merge",
    "threads_must_be_resolved",
    "service_approvals_count",
    "delete_limit",
    "conflict_policy",
    "staging_cleanup",
    "write_checkpoints",
    "compact_files",
    "remove_old_files",
    "keep_files_days",
    "block_pre_existing",
    "engine",
)


def settings_digest(dataset: Dataset) -> str:
    """What stands for the settings as they are: another one after every change."""
    values = [(name, getattr(dataset, name)) for name in EDITABLE_SETTINGS]
    return hashlib.sha256(json.dumps(values, default=str).encode()).hexdigest()[:16]


def change_settings(
    *, dataset_id: int, actor: User, changes: Mapping[str, Any], edited: Collection[str] = ()
) -> Dataset:
    """Change a dataset's settings; recorded with the values before and after. For owners.

    ``edited`` are digests of the settings that the actor looked at: ``SettingsChanged`` where they are others by now.
    """
    unknown = sorted(set(changes) - set(EDITABLE_SETTINGS))
    if unknown:
        raise InvalidInput(f"These settings do not exist or cannot be changed: {', '.join(unknown)}.")
    with transaction.atomic():
        dataset = locked(Dataset.objects.all()).get(pk=dataset_id)
        require_owner(actor, dataset, CHANGE_SETTINGS)
        if edited and settings_digest(dataset) not in edited:
            raise SettingsChanged(
                "Somebody changed the settings since you looked at them. Look again, then change."
            )
        before = {name: getattr(dataset, name) for name in changes}
        for name, value in changes.items():
            setattr(dataset, name, value)
        require_valid(dataset)
        moved = {name for name in changes if getattr(dataset, name) != before[name]}
        if moved:
            dataset.save(update_fields=sorted(moved))
            record(
                stream=dataset_stream(dataset.pk),
                action="dataset.settings_changed",
                subject_type="dataset",
                subject_id=str(dataset.pk),
                actor=actor.get_username(),
                data={
                    name: {"before": before[name], "after": getattr(dataset, name)} for name in sorted(moved)
                },
                rows=DATASET.seal(dataset),
            )
    return dataset


def allow_files_elsewhere(*, dataset_id: int, actor: User, allowed: bool) -> Dataset:
    """Say whether the log of the dataset's table may name files outside of its folder, as a shallow clone's does.

    For operators (``Forbidden``): whoever sees the dataset sees what those files hold.
    """
    if not is_operator(actor):
        raise Forbidden("Only operators say which tables may name files outside of their folder.")
    with transaction.atomic():
        dataset = locked(Dataset.objects.all()).get(pk=dataset_id)
        if dataset.files_elsewhere != allowed:
            dataset.files_elsewhere = allowed
            dataset.save(update_fields=["files_elsewhere"])
            record(
                stream=dataset_stream(dataset.pk),
                action="operator.files_elsewhere_allowed" if allowed else "operator.files_elsewhere_refused",
                subject_type="dataset",
                subject_id=str(dataset.pk),
                actor=actor.get_username(),
                data={"table_uri": dataset.table_uri},
                rows=DATASET.seal(dataset),
            )
    return dataset
