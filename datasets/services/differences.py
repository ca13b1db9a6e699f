"""Commits of ours after which a table is not what was planned: no merge goes on until an operator has looked."""

from __future__ import annotations

import structlog
from django.contrib.auth.models import User
from django.db import transaction

from audit.row_locks import locked
from audit.services import dataset_stream, record
from datasets.errors import NotFound
from datasets.models import Dataset, DatasetMeta
from datasets.operators import require_operator

logger = structlog.get_logger(__name__)


def note_difference(dataset: Dataset, sentence: str) -> None:
    """Stop merges into the dataset and tell its operators. Call it in the transaction that records the commit."""
    meta = locked(DatasetMeta.objects.all()).get(dataset=dataset)
    meta.difference = " ".join(told for told in (meta.difference, sentence) if told)
    meta.save(update_fields=["difference"])
    logger.error("commit_differs", dataset_id=dataset.pk, dataset=str(dataset), reason=sentence)


def acknowledge_difference(*, dataset_id: int, actor: User, reason: str) -> None:
    """An operator has looked at the table, and mended it where that was needed: merges go on.

    Raises ``Forbidden``, ``InvalidInput`` without a reason, and ``NotFound`` where there is nothing to look at. The
    caller rings for what waited.
    """
    require_operator(actor, reason)
    with transaction.atomic():
        meta = locked(DatasetMeta.objects.filter(dataset=dataset_id)).first()
        if meta is None or not meta.difference:
            raise NotFound("Every commit to the table of this dataset is what was planned, or was looked at.")
        told, meta.difference = meta.difference, ""
        meta.save(update_fields=["difference"])
        record(
            stream=dataset_stream(dataset_id),
            action="operator.difference_acknowledged",
            subject_type="dataset",
            subject_id=str(dataset_id),
            actor=actor.get_username(),
            data={"difference": told, "reason": reason.strip()},
        )
