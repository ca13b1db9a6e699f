"""Taking the audit trail out: a filtered range as JSON lines, for those who answer for it."""

from collections.abc import Iterator
from dataclasses import replace

import structlog
from django.contrib.auth.models import User

from audit.export import ExportFilter, export_lines
from audit.services import dataset_stream
from datasets.errors import Forbidden
from datasets.models import Dataset
from datasets.operators import is_operator
from datasets.roles import is_owner

logger = structlog.get_logger(__name__)


def may_export(actor: User, dataset: Dataset | None) -> bool:
    """Whether the person may take the trail of a dataset (its owners, operators) or all of it (operators) out."""
    return is_operator(actor) or (dataset is not None and is_owner(actor, dataset))


def export_trail(*, actor: User, dataset: Dataset | None, wanted: ExportFilter) -> Iterator[str]:
    """The entries as JSON lines, chain by chain, oldest first; only those of the dataset where one is given.

    Raises ``Forbidden``. Nothing is held in memory.
    """
    if not may_export(actor, dataset):
        raise Forbidden("Only owners of a dataset and operators take its audit trail out.")
    if dataset is not None:
        wanted = replace(wanted, stream=dataset_stream(dataset.pk))
    logger.info("audit_exported", actor=actor.get_username(), stream=wanted.stream)
    return export_lines(wanted)
