"""Datasets as pages show them: head and tabs, rows, schema, history."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from django.contrib.auth.models import User
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from changerequests.models import ChangeRequest
from changerequests.services.edits import TrayCounts, counts_of, edits_of
from changerequests.states import Status
from datasets.models import Dataset
from datasets.operators import is_operator
from datasets.roles import CONTRIBUTING, role_on
from datasets.rows import column_types, filled_columns, text_value
from notifications.services.preferences import subscription_to
from web.cells import cell_html, cell_text
from web.wording import name_of

#: Types whose values stand right-aligned.
NUMERIC = ("byte", "short", "integer", "long", "float", "double", "decimal")


def is_numeric(type_name: str) -> bool:
    """Whether values of a Delta type are numbers."""
    return type_name.startswith(NUMERIC)


@dataclass(frozen=True)
class Tab:
    """One tab of a page."""

    title: str
    url: str
    icon: str
    is_current: bool
    count: int | None = None


@dataclass(frozen=True)
class DatasetHead:
    """What stands above every page of a dataset."""

    tabs: tuple[Tab, ...]
    may_contribute: bool
    may_reconcile: bool
    role: str
    tray: TrayCounts
    subscription: str


def dataset_head(dataset: Dataset, user: User, current: str) -> DatasetHead:
    """The head of a dataset's page as the person sees it."""
    address = [dataset.project.slug, dataset.slug]
    role = role_on(user, dataset)
    contributes = role in CONTRIBUTING
    open_requests = ChangeRequest.objects.filter(
        dataset=dataset, status__in=[Status.DRAFT, Status.PENDING, Status.MERGING]
    ).count()
    tabs = [
        ("rows", "Rows", "dataset", "table", None),
        ("schema", "Schema", "dataset_schema", "key", None),
        ("history", "History", "dataset_history", "history", None),
        ("change_requests", "Change requests", "dataset_change_requests", "pending", open_requests),
        ("expectations", "Expectations", "suite", "shield", None),
        ("members", "Members", "members", "people", None),
        ("settings", "Settings", "dataset_settings", "gear", None),
    ]
    return DatasetHead(
        tabs=tuple(
            Tab(title, reverse(url, args=address), icon, name == current, count)
            for name, title, url, icon, count in tabs
        ),
        may_contribute=contributes,
        may_reconcile=contributes or is_operator(user),
        role=role.value if role else "",
        tray=counts_of(edits_of(dataset, user)) if contributes else TrayCounts(),
        subscription=subscription_to(person=user, to=dataset),
    )


@dataclass(frozen=True)
class ColumnHead:
    """A column of a data table; ``sort`` is what a click on its name asks for."""

    name: str
    type: str
    is_key: bool
    is_numeric: bool
    sort: str = ""
    sorted: str = ""


@dataclass(frozen=True)
class Cell:
    """A cell, ready to show."""

    html: SafeString
    is_key: bool
    is_numeric: bool


@dataclass(frozen=True)
class DataTable:
    """Column heads and rows of cells, key columns first."""

    columns: tuple[ColumnHead, ...]
    rows: tuple["TableRow", ...]


@dataclass(frozen=True)
class TableRow:
    """One row: its cells, its key in words, and where its history is told."""

    cells: tuple[Cell, ...]
    name: str
    history_url: str


class _Column(Protocol):
    name: str
    type: str


class _PreviewPage(Protocol):
    @property
    def rows(self) -> tuple[dict[str, Any], ...]: ...

    @property
    def columns(self) -> tuple[Any, ...]: ...


def preview_table(dataset: Dataset, page: _PreviewPage, order: str) -> DataTable:
    """The rows of a preview with the key columns first."""
    keys = dataset.primary_keys
    by_name: dict[str, _Column] = {column.name: column for column in page.columns}
    names = [name for name in keys if name in by_name] + [name for name in by_name if name not in keys]
    heads = []
    for name in names:
        ascending, descending = order == name, order == f"-{name}"
        heads.append(
            ColumnHead(
                name=name,
                type=by_name[name].type,
                is_key=name in keys,
                is_numeric=is_numeric(by_name[name].type),
                sort=f"-{name}" if ascending else name,
                sorted="ascending" if ascending else "descending" if descending else "",
            )
        )
    rows = tuple(
        TableRow(
            tuple(Cell(cell_html(row.get(head.name)), head.is_key, head.is_numeric) for head in heads),
            name=", ".join(cell_text(row[name]) for name in keys),
            history_url=row_history_url(dataset, row),
        )
        for row in page.rows
    )
    return DataTable(tuple(heads), rows)


#: What stands before a key column's name in the address of a row's history.
KEY_PARAMETER = "key-"


def row_history_url(dataset: Dataset, row: Mapping[str, Any]) -> str:
    """Where the history of a row is told; ``row`` has at least the key columns."""
    address = reverse("row_history", args=[dataset.project.slug, dataset.slug])
    return f"{address}?{urlencode({KEY_PARAMETER + name: text_value(row[name]) for name in dataset.primary_keys})}"


@dataclass(frozen=True)
class SchemaRow:
    """One column of the table as the schema page shows it."""

    name: str
    type: str
    is_key: bool
    is_partition: bool
    nullable: bool
    comment: str
    computed: str
    filled: str


def computed_columns(fields: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The expressions of columns that the table computes itself, by name, from the fields of its schema."""
    expressions = {
        field["name"]: (field.get("metadata") or {}).get("delta.generationExpression", "") for field in fields
    }
    return {name: expression for name, expression in expressions.items() if expression}


def fixed_columns(dataset: Dataset) -> dict[str, str]:
    """The columns whose cells nobody gives a value, by name: how the table computes them, or numbers every row itself.
    A key is told by hand all the same.
    """
    schema = dataset.meta.schema_json
    fixed = {
        name: made.words
        for name, made in filled_columns(schema).items()
        if not made.takes_values and name not in dataset.primary_keys
    }
    return {**fixed, **computed_columns(schema["fields"])}


def filled_words(schema: Mapping[str, Any]) -> dict[str, str]:
    """How the table fills columns where a new row says nothing of them, but for those that it computes, by name."""
    computed = computed_columns(schema["fields"])
    return {name: made.words for name, made in filled_columns(schema).items() if name not in computed}


@dataclass(frozen=True)
class UploadColumn:
    """A column of the table as the help beside an upload shows it."""

    name: str
    type: str
    computed: str
    filled: str


def upload_columns(dataset: Dataset) -> list[UploadColumn]:
    """What rows may have, in the table's order; computed columns take no values."""
    schema = dataset.meta.schema_json
    computed, filled = computed_columns(schema["fields"]), filled_words(schema)
    return [
        UploadColumn(name, kind, computed.get(name, ""), filled.get(name, ""))
        for name, kind in column_types(schema).items()
    ]


def schema_rows(dataset: Dataset, info: Any) -> list[SchemaRow]:
    """The columns in the table's order."""
    schema = json.loads(info.schema_json)
    computed, filled = computed_columns(schema["fields"]), filled_words(schema)
    return [
        SchemaRow(
            column.name,
            column.type,
            column.name in dataset.primary_keys,
            column.name in info.partition_columns,
            column.nullable,
            column.comment,
            computed.get(column.name, ""),
            filled.get(column.name, ""),
        )
        for column in info.columns
    ]


@dataclass(frozen=True)
class HistoryRow:
    """One version of the table and where it came from."""

    version: int
    when: datetime | None
    url: str
    change_request: ChangeRequest | None
    who: str
    what: str
    engine: str
    rows_added: int | None
    rows_updated: int | None
    rows_deleted: int | None


def history_rows(dataset: Dataset, versions: Iterable[Any]) -> list[HistoryRow]:
    """Versions with the change request of ours that made each, in one query."""
    listed = list(versions)
    merged: Mapping[int | None, ChangeRequest] = {
        change_request.merged_version: change_request
        for change_request in ChangeRequest.objects.filter(
            dataset=dataset, merged_version__in=[version.version for version in listed]
        ).select_related("merged_by")
    }
    rows = []
    for version in listed:
        change_request = merged.get(version.version)
        rows.append(
            HistoryRow(
                version=version.version,
                when=version.timestamp,
                url=reverse("dataset_at_version", args=[dataset.project.slug, dataset.slug, version.version]),
                change_request=change_request,
                who=name_of(change_request.merged_by) if change_request else version.user,
                what=version.operation,
                engine=version.engine,
                rows_added=version.rows_added,
                rows_updated=version.rows_updated,
                rows_deleted=version.rows_deleted,
            )
        )
    return rows


def known_schema_rows(dataset: Dataset) -> list[SchemaRow]:
    """The columns in the table's order, as the database remembers them."""
    schema = dataset.meta.schema_json
    computed, filled, types = computed_columns(schema["fields"]), filled_words(schema), types_of(dataset)
    return [
        SchemaRow(
            field["name"],
            types[field["name"]],
            field["name"] in dataset.primary_keys,
            field["name"] in dataset.meta.partition_columns,
            field.get("nullable", True),
            (field.get("metadata") or {}).get("comment", ""),
            computed.get(field["name"], ""),
            filled.get(field["name"], ""),
        )
        for field in schema["fields"]
    ]


def types_of(dataset: Dataset) -> dict[str, str]:
    """Column name -> Delta type, as last known."""
    return column_types(dataset.meta.schema_json)
