"""What people do with datasets: register, change settings, reconcile with the table, look at rows and history."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from django.conf import settings as installation_settings
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

import merging
from audit.services import INSTALLATION_STREAM, dataset_stream, record
from datasets.errors import Forbidden, InvalidInput, RegistrationRejected, TableReplaced
from datasets.models import Dataset, DatasetLease, DatasetMeta, Installation, Project
from datasets.operators import is_operator
from datasets.roles import Role, may_contribute, require_owner, role_on

CHANGE_SETTINGS = "change its settings"

#: What an owner may change of a dataset after registration.
EDITABLE_SETTINGS = (
    "name",
    "description",
    "required_approvals",
    "contributors_may_merge",
    "threads_must_be_resolved",
    "delete_limit",
    "conflict_policy",
    "staging_cleanup",
    "write_checkpoints",
    "compact_files",
    "remove_old_files",
    "keep_files_days",
    "block_pre_existing",
)


#: Folders under ``DELTA_DATA_ROOT`` that hold Headgate's own files, not tables.
RESERVED_FOLDERS = ((), ("_staging",), ("_archive",), ("audit",))


def installation_identity() -> str:
    """This installation's name in the tables' logs, made once."""
    installation, _ = Installation.objects.get_or_create(singleton=True)
    return f"headgate-{installation.identity.hex}"


def create_project(*, slug: str, name: str, description: str = "", actor: User | None = None) -> Project:
    """Make a project; for operators and (``actor`` None) the system. ``InvalidInput`` if the slug is bad or taken."""
    if actor is not None and not is_operator(actor):
        raise Forbidden("Only operators make projects.")
    project = Project(slug=slug, name=name, description=description)
    _clean(project)
    with transaction.atomic():
        project.save()
        record(
            stream=INSTALLATION_STREAM,
            action="project.created",
            subject_type="project",
            subject_id=str(project.pk),
            actor=actor.get_username() if actor else "",
            data={"slug": slug, "name": name},
        )
    return project


def register_dataset(
    *,
    project: Project,
    slug: str,
    name: str,
    table_uri: str,
    primary_keys: Sequence[str],
    description: str = "",
    actor: User | None = None,
    **settings: Any,
) -> Dataset:
    """Make an existing Delta table a dataset.

    The table must be readable and writable by the engine and its key columns free of NULLs and duplicates; else
    ``RegistrationRejected`` says which feature, column or rows are in the way, and nothing is recorded. What is no
    obstacle and yet to be known (``table_at(…).warnings``) is told in the event.

    ``actor`` is None for the system (commands). Operators register any table that this server reaches, owners of
    the project those below ``DELTA_DATA_ROOT``: a role in Headgate must not open the server's other files.
    """
    table_uri = canonical_table_uri(table_uri)
    if actor is not None:
        _may_register(actor, project, table_uri)
    # Before it is looked into: what it holds is nothing for people who have no role on the dataset that it is.
    if Dataset.objects.filter(table_uri=table_uri).exists():
        sentence = (
            "This table is a dataset already; ask an owner of that dataset or an operator for a role on it."
        )
        raise InvalidInput(sentence, errors={"table_uri": [sentence]})
    try:
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
        **settings,
    )
    _clean(dataset)
    with transaction.atomic():
        dataset.save()
        DatasetLease.objects.create(dataset=dataset)
        meta = DatasetMeta(dataset=dataset, **_facts(info))
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
                **({"warnings": list(info.warnings)} if info.warnings else {}),
            },
        )
    return dataset


def canonical_table_uri(table_uri: str) -> str:
    """One spelling for one table: local paths absolute and without links, addresses without a slash at the end."""
    address = table_uri.strip().removeprefix("file://")
    return address.rstrip("/") if "://" in address else str(Path(address).resolve())


def _may_register(actor: User, project: Project, table_uri: str) -> None:
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


def change_settings(*, dataset_id: int, actor: User, changes: Mapping[str, Any]) -> Dataset:
    """Change a dataset's settings; recorded with the values before and after. For owners."""
    unknown = sorted(set(changes) - set(EDITABLE_SETTINGS))
    if unknown:
        raise InvalidInput(f"These settings do not exist or cannot be changed: {', '.join(unknown)}.")
    with transaction.atomic():
        dataset = Dataset.objects.select_for_update().get(pk=dataset_id)
        require_owner(actor, dataset, CHANGE_SETTINGS)
        before = {name: getattr(dataset, name) for name in changes}
        for name, value in changes.items():
            setattr(dataset, name, value)
        _clean(dataset)
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
            )
    return dataset


def reconcile(*, dataset_id: int, actor: User | None = None) -> DatasetMeta:
    """Read the table's log and bring ``dataset_meta`` up to it, whoever wrote; an event tells what moved.

    A table that cannot be read, is gone or was replaced keeps its last known facts and gets a ``problem``.
    ``actor`` is None for the system; people need the role of a contributor or operate the installation.
    """
    dataset = Dataset.objects.select_related("project").get(pk=dataset_id)
    if actor is not None and not (may_contribute(actor, dataset) or is_operator(actor)):
        raise Forbidden("To reconcile a dataset you need the role of a contributor.")
    info, problem = None, ""
    try:
        info = merging.inspect_table(dataset.table_uri)
    except merging.MergeError as error:
        problem = error.message
    with transaction.atomic():
        before, after = _remember(dataset, info, problem)
        if before != after:
            record(
                stream=dataset_stream(dataset.pk),
                action="dataset.reconciled",
                subject_type="dataset",
                subject_id=str(dataset.pk),
                actor=actor.get_username() if actor else "",
                data={"before": before, "after": after},
            )
    return DatasetMeta.objects.get(dataset=dataset)


def remember_table(dataset: Dataset, info: merging.TableInfo) -> None:
    """Store what the log says after a merge. Call it in the transaction that marks the merge."""
    _remember(dataset, info, "")


def _remember(
    dataset: Dataset, info: merging.TableInfo | None, problem: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    meta = DatasetMeta.objects.select_for_update().get(dataset=dataset)
    before = _summary(meta)
    if info is not None and info.table_id != meta.table_id:
        problem = (
            f"The table at {dataset.table_uri} was dropped and made anew (it was {meta.table_id}, "
            f"it is {info.table_id}). Register the new table as a dataset of its own."
        )
        info = None
    if info is not None and info.version < meta.delta_version:
        return before, before  # a slower reader must not take back what a merge has recorded meanwhile
    for name, value in (_facts(info) if info else {}).items():
        setattr(meta, name, value)
    meta.problem, meta.checked_at = problem, timezone.now()
    meta.save()
    return before, _summary(meta)


def _summary(meta: DatasetMeta) -> dict[str, Any]:
    return {"delta_version": meta.delta_version, "row_count": meta.row_count, "problem": meta.problem}


def preview(
    *,
    dataset: Dataset,
    version: int | None = None,
    order_by: str | None = None,
    descending: bool = False,
    filters: Sequence[tuple[str, str, str]] = (),
    after: str | None = None,
    limit: int = 50,
) -> merging.TablePage:
    """One page of the table's rows, in key order unless asked otherwise, on any version that is still there."""
    return merging.preview(
        dataset.table_uri,
        version=version,
        primary_keys=tuple(dataset.primary_keys),
        order_by=order_by,
        descending=descending,
        filters=tuple(filters),
        after=after,
        limit=limit,
    )


def table_at(*, dataset: Dataset, version: int | None = None) -> merging.TableInfo:
    """Schema, counts and properties of the table at a version, from its log."""
    info = merging.inspect_table(dataset.table_uri, version=version)
    if info.table_id != dataset.meta.table_id:
        raise TableReplaced(f"The table at {dataset.table_uri} is not the one that was registered.")
    return info


def history(
    *, dataset: Dataset, limit: int = 50, before: int | None = None
) -> tuple[merging.TableVersion, ...]:
    """The table's versions, newest first: which change request or which foreign job wrote each."""
    return merging.history(dataset.table_uri, limit=limit, before=before)


def _facts(info: merging.TableInfo) -> dict[str, Any]:
    return {
        "table_id": info.table_id,
        "delta_version": info.version,
        "row_count": info.row_count,
        "schema_json": json.loads(info.schema_json),
        "partition_columns": list(info.partition_columns),
        "size_bytes": info.size_bytes,
        "file_count": info.file_count,
        "strategy": info.strategy,
        "version_timestamp": info.timestamp,
        "checked_at": timezone.now(),
        "problem": "",
    }


def _clean(instance: Project | Dataset) -> None:
    try:
        instance.full_clean()
    except ValidationError as error:
        sentences = " ".join(f"{field}: {' '.join(found)}" for field, found in error.message_dict.items())
        raise InvalidInput(sentences, errors=error.message_dict) from error
