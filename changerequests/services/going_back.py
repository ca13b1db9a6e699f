"""Going back to a version of a table: the inverse of everything since, as a draft that takes the normal gates."""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction

import merging
from changerequests.errors import NothingToChange
from changerequests.models import ChangeRequest
from changerequests.services import proposals, storage
from datasets.models import Dataset
from datasets.services import naming_gone_versions


def propose_version(
    *, dataset_id: int, actor: User, version: int, title: str = "", description: str = ""
) -> ChangeRequest:
    """Begin a draft that proposes the rows of a version; for whoever may propose changes of the dataset.

    It is made from the two versions as they are. What is changed after that conflicts instead of being lost. Columns
    that came since stay.
    Raises ``Forbidden``, ``NothingToChange`` where the table is so already, and the engine's ``VersionGone``,
    ``TableNotFound`` and ``TableChanged``.
    """
    dataset = Dataset.objects.select_related("meta", "project").get(pk=dataset_id)
    title = proposals.proposable(dataset, actor, title.strip() or f"Go back to version {version:,}")
    folder = Path(settings.DELTA_DATA_ROOT) / "_staging" / "reverts" / uuid.uuid4().hex
    try:
        with naming_gone_versions(dataset, version):
            keys = tuple(dataset.primary_keys)
            staged = merging.stage_version(dataset.table_uri, version, keys, str(folder))
        if not staged.rows:
            raise NothingToChange(
                f"There is nothing to go back to: the table is as it was in version {version:,}."
            )
        with transaction.atomic():
            made = proposals.create_change_request(
                dataset=dataset,
                author=actor,
                title=title,
                description=description
                or f"Takes back everything between version {version:,} and {staged.base_version:,}.",
            )
            target = storage.staging_folder(made) / uuid.uuid4().hex
            target.parent.mkdir(parents=True, exist_ok=True)
            os.rename(staged.location, target)
            proposals.make_current(
                made, actor, merging.open_staged(str(target)), facts={"restores_version": version}
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return made
