"""Making an existing table a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from django.conf import settings as installation_settings
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction

import merging
from audit.services import dataset_stream, record
from datasets.errors import Forbidden, InvalidInput, RegistrationRejected
from datasets.evidence import DATASET
from datasets.models import Dataset, DatasetLease, DatasetMeta, Project
from datasets.operators import is_operator
from datasets.roles import Role, role_on
from datasets.services.meta import facts_of
from datasets.services.reach import registering
from datasets.services.validating import require_valid

#: Folders under ``DELTA_DATA_ROOT`` that hold Headgate's own files, not tables.
RESERVED_FOLDERS = ((), ("_staging",), ("_archive",), ("audit",))


def register_dataset(
    *,
    project: Project,
    slug: str,
    name: str,
    table_uri: str,
    primary_keys: Sequence[str],
    description: str = "",
    actor: User | None = None,
    made_for_it: bool = False,
    **settings: Any,
) -> Dataset:
    """Make an existing Delta table a dataset.

    The table must be readable and writable by the engine and its key columns free of NULLs and duplicates; else
    ``RegistrationRejected`` says which feature, column or rows are in the way, and nothing is recorded. What is no
    obstacle and yet to be known (``table_at(…).warnings``) is told in the event.

    ``made_for_it`` tells the trail that Headgate has just made the table.
    ``actor`` is None for the system (commands). Operators register any table that this server reaches, owners of
    the project those below ``DELTA_DATA_ROOT`` whose files all lie in their own folder: a role in Headgate must not
    open the server's other files, nor those of other tables.
    """
    table_uri = canonical_table_uri(table_uri)
    if actor is not None:
        may_register(actor, project, table_uri)
    # Before it is looked into: what it holds is nothing for people who have no role on the dataset that it is.
    refuse_registered(table_uri)
    refuse_nested(table_uri)
    try:
        with registering(by_operator=actor is None or is_operator(actor)):
            info = merging.inspect_table(table_uri)
            report = merging.check_keys(table_uri, tuple(primary_keys))
    except merging.MergeError as error:
        raise RegistrationRejected(error.message, **error.data) from error
    if report.null_rows or report.duplicate_keys:
        raise RegistrationRejected(
            f"The columns {', '.join(primary_keys)} are no key of {table_uri}: "
            f"{report.null_rows:,} rows have a NULL in them and {report.duplicate_keys:,} keys occur more than once. "
            f"Name other columns, or mend the table first.",
            null_rows=report.null_rows,
            duplicate_keys=report.duplicate_keys,
            examples=list(report.examples),
        )
    dataset = Dataset(
        project=project,
        slug=slug,
        name=name,
        description=description,
        table_uri=table_uri,
        primary_keys=list(primary_keys),
        files_elsewhere=bool(info.files_elsewhere),
        **settings,
    )
    require_valid(dataset)
    try:
        with transaction.atomic():
            dataset.save()
            DatasetLease.objects.create(dataset=dataset)
            meta = DatasetMeta(dataset=dataset, **facts_of(info))
            meta.save(force_insert=True)
            record(
                stream=dataset_stream(dataset.pk),
                action="dataset.registered",
                subject_type="dataset",
                subject_id=str(dataset.pk),
                actor=actor.get_username() if actor else "",
                data={
                    "name": name,
                    "table_uri": table_uri,
                    "table_id": info.table_id,
                    "primary_keys": list(primary_keys),
                    "delta_version": info.version,
                    "row_count": info.row_count,
                    **({"table_created": True} if made_for_it else {}),
                    **({"files_elsewhere": len(info.files_elsewhere)} if info.files_elsewhere else {}),
                    **({"warnings": list(info.warnings)} if info.warnings else {}),
                },
                rows=DATASET.seal(dataset),
            )
    except IntegrityError:  # somebody was faster since the looks above
        refuse_registered(table_uri)
        require_valid(dataset)
        raise
    return dataset


def refuse_registered(table_uri: str) -> None:
    """Raise ``InvalidInput`` where the table is a dataset already, whoever may see it."""
    if Dataset.objects.filter(table_uri=table_uri).exists():
        sentence = (
            "This table is a dataset already; ask an owner of that dataset or an operator for a role on it."
        )
        raise InvalidInput(sentence, errors={"table_uri": [sentence]})


def refuse_nested(table_uri: str) -> None:
    """Raise ``InvalidInput`` for a table inside of another dataset's folder, or around one, whoever may see that.

    Caring for the outer one would clear away the files of the inner one, which its log does not know.
    """
    above = places_above(table_uri)
    inside = Dataset.objects.filter(table_uri__startswith=f"{table_uri}/").values_list("table_uri", flat=True)
    if any(one.startswith(f"{table_uri}/") for one in inside):  # SQLite takes large letters for small ones
        sentence = "Another dataset's table lies inside of this folder. A table has a folder of its own."
    elif Dataset.objects.filter(table_uri__in=above).exists():
        sentence = "This folder lies inside of another dataset's table. A table has a folder of its own."
    else:
        return
    raise InvalidInput(sentence, errors={"table_uri": [sentence]})


def places_above(table_uri: str) -> list[str]:
    """The addresses of all folders that a table lies in."""
    scheme, _, path = table_uri.rpartition("://")
    return [f"{scheme}://{one}" if scheme else str(one) for one in PurePosixPath(path).parents]


def canonical_table_uri(table_uri: str) -> str:
    """One spelling for one table: local paths absolute and without links, addresses without a slash at the end."""
    address = table_uri.strip().removeprefix("file://")
    return address.rstrip("/") if "://" in address else str(Path(address).resolve())


def may_register(actor: User, project: Project, table_uri: str) -> None:
    """Raise ``Forbidden`` for whoever may not make a dataset of a table at this address in the project."""
    if is_operator(actor):
        return
    if role_on(actor, project) is not Role.OWNER:
        raise Forbidden(f"Only owners of {project.name} and operators register datasets.")
    root = Path(installation_settings.DELTA_DATA_ROOT).resolve()
    inside = "://" not in table_uri and Path(table_uri).is_relative_to(root)
    if not inside or Path(table_uri).relative_to(root).parts[:1] in RESERVED_FOLDERS:
        raise Forbidden(
            "Owners register tables below the installation's data folder; ask an operator for others."
        )
