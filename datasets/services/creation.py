"""Making a dataset whose table does not exist yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings as installation_settings
from django.contrib.auth.models import User

import merging
from datasets.connecting import canonical_table_uri, connection_at
from datasets.errors import InvalidInput, RegistrationRejected
from datasets.models import Dataset, Project
from datasets.operators import is_operator
from datasets.services.reach import registering
from datasets.services.registration import (
    may_register,
    refuse_nested,
    refuse_registered,
    register_dataset,
)
from datasets.services.validating import require_valid

NewColumn = merging.Column


@dataclass(frozen=True)
class NewTable:
    """What a table is to be: its columns (types as Delta names them), how it is partitioned and written."""

    columns: Sequence[NewColumn]
    partition_by: Sequence[str] = ()
    deletion_vectors: bool = True
    change_data_feed: bool = False


def create_dataset(
    *,
    project: Project,
    slug: str,
    name: str,
    table: NewTable,
    primary_keys: Sequence[str],
    actor: User,
    table_uri: str = "",
    **fields: Any,
) -> Dataset:
    """Make a table without rows and a dataset of it. For owners of the project and operators.

    Without ``table_uri`` it lies below ``DELTA_DATA_ROOT``, in ``tables/<project>/<dataset>``. Where it shall lie must
    be empty, and neither inside of another dataset's table nor around one. Raises ``Forbidden``, ``InvalidInput`` with
    every problem by its place, and ``RegistrationRejected`` where there is something already.
    """
    address = canonical_table_uri(
        table_uri or f"{installation_settings.DELTA_DATA_ROOT}/tables/{project.slug}/{slug}"
    )
    may_register(actor, project, address)
    refuse_registered(address)
    refuse_nested(address)
    _refuse_taken(address)
    problems = merging.new_table_problems(table.columns, primary_keys, table.partition_by)
    if problems:
        errors: dict[str, list[str]] = {}
        for problem in problems:
            field = problem.place if problem.place == "primary_keys" else f"schema.{problem.place}"
            errors.setdefault(field, []).append(problem.message)
        said = " ".join(f"{field}: {' '.join(sentences)}" for field, sentences in errors.items())
        raise InvalidInput(said, errors=errors)
    require_valid(
        Dataset(
            project=project,
            slug=slug,
            name=name,
            table_uri=address,
            primary_keys=list(primary_keys),
            **fields,
        )
    )
    try:
        with registering(by_operator=is_operator(actor), connection=connection_at(address)):
            merging.create_empty_table(
                address,
                table.columns,
                primary_keys,
                partition_by=table.partition_by,
                deletion_vectors=table.deletion_vectors,
                change_data_feed=table.change_data_feed,
                name=name,
            )
    except merging.MergeError as error:
        raise RegistrationRejected(error.message, **error.data) from error
    return register_dataset(
        project=project,
        slug=slug,
        name=name,
        table_uri=address,
        primary_keys=primary_keys,
        actor=actor,
        made_for_it=True,
        **fields,
    )


def _refuse_taken(address: str) -> None:
    if (
        "://" not in address
        and Path(address).exists()
        and (Path(address).is_file() or any(Path(address).iterdir()))
    ):
        sentence = (
            "There is something at this address already. To make a Delta table a dataset, leave schema out."
        )
        raise RegistrationRejected(sentence, errors={"table_uri": [sentence]})
