"""Editing where the data is: rows edited in place or in a form, kept in a tray of one's own until they are proposed.

The grid is an enhancement over these pages and speaks to the API; every step has a form here as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_http_methods, require_safe

from changerequests.errors import EditsMoved, RequestChanged
from changerequests.facts import Facts
from changerequests.policies import require
from changerequests.services import edits, plans, replacing, staged_rows, uploads
from changerequests.states import Action
from datasets.errors import Forbidden, InvalidInput, NotFound
from datasets.models import Dataset
from datasets.roles import may_contribute
from datasets.rows import key_digest, text_value
from web.cells import cell_html
from web.forms import ProposeEditsForm, ReplaceForm, add_errors
from web.parameters import TEXT, asked_with, choice
from web.view_models.blame import key_fields
from web.view_models.change_requests import head
from web.view_models.datasets import KEY_PARAMETER, preview_table, types_of
from web.view_models.editing import as_typed, fields_of_columns, row_fields, row_form_url, tray_page
from web.views.shared import (
    dataset_at,
    dataset_page,
    facts_at,
    form_at,
    person,
    posted,
    signed_in,
    within_dataset,
)
from web.views.table_rows import ROWS_A_PAGE, rows_asked_for
from web.views.uploads import PATIENCE_SECONDS
from web.wording import counted

_PLACE = ("project_slug", "dataset_slug")


@asked_with(sort=TEXT, column=TEXT, value=TEXT, after=TEXT)
@require_safe
@signed_in
@within_dataset("rows")
def edit_rows(request: HttpRequest, project_slug: str, dataset_slug: str) -> HttpResponse:
    """The table's rows, to be edited: in place where scripts run, else each in a form of its own."""
    dataset = _editable(request, project_slug, dataset_slug)
    asked = rows_asked_for(request, dataset)
    table = preview_table(dataset, asked.page, asked.order)
    keys = [{name: row[name] for name in dataset.primary_keys} for row in asked.page.rows]
    tray = edits.tray_of(dataset=dataset, person=person(request))
    edited = {row.name: row.operation for row in tray.rows}
    lines = [
        (row, row_form_url(dataset, key), edited.get(key_digest(key), ""))
        for row, key in zip(table.rows, keys, strict=True)
    ]
    context = {
        "asked": asked,
        "table": table,
        "lines": lines,
        "next": asked.page.next,
        "tray": tray_page(dataset, tray),
        "grid_columns": fields_of_columns(dataset),
        "most_rows": edits.MOST_ROWS,
    }
    return dataset_page(request, dataset, "edit_rows", context, tab="rows")


@asked_with(starting=KEY_PARAMETER, row=TEXT)
@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
@within_dataset("rows")
def edit_row(request: HttpRequest, project_slug: str, dataset_slug: str) -> HttpResponse:
    """One row in a form: of the table by its key, added and edited again by its name, or new."""
    dataset = _editable(request, project_slug, dataset_slug)
    name = request.GET.get("row", "")
    key = _key_asked_for(dataset, request)
    if request.method == "POST":
        return _save_row(request, dataset, name, key)
    return _row_page(request, dataset, name, key)


def _key_asked_for(dataset: Dataset, request: HttpRequest) -> dict[str, str] | None:
    fields = key_fields(dataset, request.GET)
    asked = [field for field in fields if field.parameter in request.GET]
    return {field.name: field.value for field in fields} if len(asked) == len(fields) else None


def _row_page(
    request: HttpRequest,
    dataset: Dataset,
    name: str,
    key: dict[str, str] | None,
    *,
    refused: InvalidInput | None = None,
) -> HttpResponse:
    looked = edits.look_at(dataset=dataset, person=person(request), row=edits.RowName(key, name))
    if key is not None and looked.row is None and looked.edited is None:
        raise NotFound("The table has no such row.")
    if name and looked.edited is None:
        raise NotFound("There is no such row among your edits any more.")
    fields = row_fields(dataset, looked.row, looked.edited, adding=key is None)
    if refused is not None:
        fields = as_typed(fields, request.POST, refused.by_field)
    context = {
        "fields": fields,
        "edited": looked.edited,
        "adding": key is None,
        "key": ", ".join(key.values()) if key else "",
        "version": looked.version,
        "problem": refused.message if refused else "",
    }
    return dataset_page(request, dataset, "edit_row", context, tab="rows", status=422 if refused else 200)


def _save_row(request: HttpRequest, dataset: Dataset, name: str, key: dict[str, str] | None) -> HttpResponse:
    row, actor = edits.RowName(key, name), person(request)
    done = posted(request, "action")
    change: edits.Change
    if done == "delete" and (key is not None or name):
        change = edits.DeleteRow(row)
    elif done == "restore" and (key is not None or name):
        change = edits.RestoreRow(row)
    else:
        cells, seen = _cells_of(request, types_of(dataset))
        change = edits.SetCells(row, cells, seen) if key is not None or name else edits.AddRow(cells)
    try:
        applied = edits.apply(dataset=dataset, actor=actor, changes=[change])
    except InvalidInput as error:
        return _row_page(request, dataset, name, key, refused=error)
    for one in applied.overwritten:
        messages.info(
            request,
            f"{one.column} held {text_value(one.before) or 'NULL'} by then, from another window of yours. Undo brings "
            "it back.",
        )
    tray = edits.tray_of(dataset=dataset, person=actor, names=applied.touched)
    wrong = next((told for told in tray.rows if told.problems), None)
    if wrong is not None:
        messages.warning(
            request, f"Kept, and {counted(wrong.problems, 'cell')} of it cannot be proposed yet."
        )
        return HttpResponseRedirect(row_form_url(dataset, wrong.key, wrong.name if key is None else ""))
    return HttpResponseRedirect(reverse("edit_rows", args=[dataset.project.slug, dataset.slug]))


def _cells_of(request: HttpRequest, types: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The cells that were changed in the form. Browsers write every end of a line as two characters."""
    cells: dict[str, Any] = {}
    seen: dict[str, Any] = {}
    for number, (name, kind) in enumerate(types.items()):
        if posted(request, f"column-{number}") != name:
            continue
        text, before = (
            posted(request, f"{what}-{number}").replace("\r\n", "\n") for what in ("value", "seen")
        )
        was_null, is_null = (f"{what}-{number}" in request.POST for what in ("was", "null"))
        if was_null and is_null and text:
            is_null = False  # a value was typed, and the tick beside it stayed
        if not text and kind != "string":
            is_null = True
        if is_null == was_null and (is_null or text == before):
            continue
        cells[name] = None if is_null else text
    return cells, seen


@require_safe
@signed_in
@within_dataset("rows")
def edits_page(request: HttpRequest, project_slug: str, dataset_slug: str) -> HttpResponse:
    """The tray: every edited row with what it would change, what is wrong, and the form that proposes it."""
    return _tray_page(request, _editable(request, project_slug, dataset_slug))


def _tray_page(
    request: HttpRequest, dataset: Dataset, form: ProposeEditsForm | None = None, *, status: int = 200
) -> HttpResponse:
    tray = edits.tray_of(dataset=dataset, person=person(request))
    context = {"tray": tray_page(dataset, tray), "form": form or ProposeEditsForm()}
    return dataset_page(request, dataset, "edits", context, tab="rows", status=status)


@form_at("edits", *_PLACE)
@signed_in
def propose(request: HttpRequest, project_slug: str, dataset_slug: str) -> HttpResponse:
    """Make the edits a change request."""
    dataset = _editable(request, project_slug, dataset_slug)
    form = ProposeEditsForm(request.POST)
    if not form.is_valid():
        return _tray_page(request, dataset, form, status=422)
    try:
        upload = edits.propose(dataset=dataset, actor=person(request), **form.cleaned_data)
    except InvalidInput as error:
        form.add_error("title" if "title" in error.by_field else None, error.message)
        return _tray_page(request, dataset, form, status=422)
    found = uploads.wait_for_upload(upload.pk, PATIENCE_SECONDS)
    if found.is_active:
        return HttpResponseRedirect(reverse("received_upload", args=[found.pk]))
    if found.revision is None:
        return _tray_page(request, dataset, form, status=422)
    return HttpResponseRedirect(reverse("change_request", args=[found.revision.change_request.cr_id]))


@form_at("edits", *_PLACE)
@signed_in
def undo(request: HttpRequest, project_slug: str, dataset_slug: str) -> HttpResponse:
    """Take the last step of the tray back."""
    dataset = _editable(request, project_slug, dataset_slug)
    edits.undo(dataset=dataset, actor=person(request))
    return _to_tray(dataset)


@form_at("edits", *_PLACE)
@signed_in
def redo(request: HttpRequest, project_slug: str, dataset_slug: str) -> HttpResponse:
    """Do the step again that was undone last."""
    dataset = _editable(request, project_slug, dataset_slug)
    edits.redo(dataset=dataset, actor=person(request))
    return _to_tray(dataset)


@form_at("edits", *_PLACE)
@signed_in
def discard(request: HttpRequest, project_slug: str, dataset_slug: str) -> HttpResponse:
    """Throw the edits away."""
    dataset = _editable(request, project_slug, dataset_slug)
    edits.discard(dataset=dataset, actor=person(request))
    messages.success(request, "Your edits are gone; the table is as it was.")
    return HttpResponseRedirect(reverse("edit_rows", args=[dataset.project.slug, dataset.slug]))


@form_at("edits", *_PLACE)
@signed_in
def settle(request: HttpRequest, project_slug: str, dataset_slug: str) -> HttpResponse:
    """Take the edits of one row back, or keep them although somebody else changed it."""
    dataset = _editable(request, project_slug, dataset_slug)
    name = posted(request, "row")
    row = edits.RowName(name=name)
    if posted(request, "action") == "keep":
        tray = edits.tray_of(dataset=dataset, person=person(request), names=[name])
        key = next((told.key for told in tray.rows), None)
        change: edits.Change = edits.KeepRow(edits.RowName(key=key, name=name))
    else:
        change = edits.RestoreRow(row)
    edits.apply(dataset=dataset, actor=person(request), changes=[change])
    return _to_tray(dataset)


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def replace(request: HttpRequest, project_slug: str, dataset_slug: str) -> HttpResponse:
    """Find and replace: what would be replaced is counted and shown first, then done as one step."""
    dataset = _editable(request, project_slug, dataset_slug)
    names = [one["name"] for one in fields_of_columns(dataset) if not one["key"] and not one["computed"]]
    form = ReplaceForm(request.POST or None, columns=names)
    context: dict[str, Any] = {"form": form}
    if request.method != "POST":
        return dataset_page(request, dataset, "replace", context, tab="rows")
    status = 422
    if form.is_valid():
        looked_for = replacing.Replacing(
            tuple(form.cleaned_data["columns"]),
            form.cleaned_data["find"],
            None if form.cleaned_data["with_null"] else form.cleaned_data["replace"],
            form.cleaned_data["match_case"],
            form.cleaned_data["whole_cell"],
        )
        try:
            if posted(request, "action") == "replace":
                counted_before = form.cleaned_data["counted"]
                replacing.replace(
                    dataset=dataset, actor=person(request), replacing=looked_for, counted=counted_before
                )
                return _to_tray(dataset)
            context["found"] = replacing.find(dataset=dataset, actor=person(request), replacing=looked_for)
            context["shown"] = [
                (", ".join(text_value(one) for one in (cell.row.key or {}).values()) or "an edited row", cell)
                for cell in context["found"].cells[: replacing.SHOWN]
            ]
            status = 200
        except InvalidInput as error:
            add_errors(form, error)
        except EditsMoved as error:
            form.add_error(None, error.message)
            status = 412
    return dataset_page(request, dataset, "replace", context, tab="rows", status=status)


# --- The rows of a draft ----------------------------------------------------------------------------------------------


@asked_with(starting=KEY_PARAMETER, after=TEXT, add=choice("row"))
@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def staged(request: HttpRequest, cr_id: str) -> HttpResponse:
    """The rows of a request's content, to be edited: in place where scripts run, else each in a form of its own."""
    facts = facts_at(request, cr_id)
    require(facts, Action.STAGE)
    revision = staged_rows.content_of(facts.change_request)
    if request.method == "POST":
        return _save_staged(request, facts)
    key = _key_asked_for(facts.dataset, request)
    if key is not None or request.GET.get("add"):
        return _staged_row_page(request, facts, key)
    page = plans.changes_page(
        change_request=facts.change_request, after=request.GET.get("after") or None, limit=ROWS_A_PAGE
    )
    rows = [staged_rows.row_as_sent(row) for row in page.items]
    keys = facts.dataset.primary_keys
    lines = [
        {
            "key": ", ".join(text_value(row[name]) for name in keys),
            "what": row[staged_rows.OPERATION],
            "url": _staged_url(facts, row),
            "cells": [(name, cell_html(value)) for name, value in row.items() if name not in (*keys, "_op")],
        }
        for row in rows
    ]
    new = [
        {"name": one["name"], "type": one["type"], "key": False, "computed": "", "nullable": True}
        for one in revision.new_columns
    ]
    return _staged_page(
        request,
        facts,
        {"lines": lines, "next": page.next, "grid_columns": [*fields_of_columns(facts.dataset), *new]},
    )


def _staged_url(facts: Facts, row: Mapping[str, Any]) -> str:
    parts = {KEY_PARAMETER + name: text_value(row[name]) for name in facts.dataset.primary_keys}
    return f"{reverse('staged_rows', args=[facts.change_request.cr_id])}?{urlencode(parts)}"


def _staged_row_page(
    request: HttpRequest,
    facts: Facts,
    key: dict[str, str] | None,
    *,
    problem: str = "",
    at: Mapping[str | None, list[str]] | None = None,
    status: int = 200,
) -> HttpResponse:
    """The form of one row; where it came back, as it was typed, with what is wrong above and ``at`` its cells."""
    row: Mapping[str, Any] = {}
    if key is not None:
        found = staged_rows.row_called(facts.change_request, key)
        if found is None:
            raise NotFound(f"{facts.change_request.cr_id} has no such row.")
        row = found
    fields = row_fields(facts.dataset, row, None, adding=key is None)
    if problem:
        fields = as_typed(fields, request.POST, at or {})
    context = {"fields": fields, "adding": key is None, "key": ", ".join((key or {}).values()), "row": row}
    return _staged_page(request, facts, {**context, "problem": problem}, status=status)


def _staged_page(
    request: HttpRequest, facts: Facts, context: dict[str, Any], *, status: int = 200
) -> HttpResponse:
    template = (
        "change_requests/staged_row.html" if "fields" in context else "change_requests/staged_rows.html"
    )
    shared = {
        "change_request": facts.change_request,
        "dataset": facts.dataset,
        "head": head(facts, "changes"),
        "revision": facts.revision,
        "most_rows": staged_rows.MOST_ROWS,
    }
    return render(request, template, {**shared, **context}, status=status)


def _save_staged(request: HttpRequest, facts: Facts) -> HttpResponse:
    key = _key_asked_for(facts.dataset, request)
    seen = posted(request, "edited")
    try:
        rows, remove = [], []
        if posted(request, "action") == "remove" and key is not None:
            remove = [key]
        else:
            cells, _ = _cells_of(request, types_of(facts.dataset))
            rows = [{**(key or {}), **staged_rows.typed_cells(facts.change_request, cells)}]
        upload = staged_rows.edit_rows(
            change_request_id=facts.change_request.pk,
            actor=person(request),
            rows=rows,
            remove=remove,
            seen=[seen] if seen else [],
        )
    except (InvalidInput, RequestChanged) as error:
        return _staged_row_page(
            request,
            facts,
            key,
            problem=error.message,
            at=error.by_field if isinstance(error, InvalidInput) else None,
            status=412 if isinstance(error, RequestChanged) else 422,
        )
    found = uploads.wait_for_upload(upload.pk, PATIENCE_SECONDS)
    if found.is_active:
        return HttpResponseRedirect(reverse("received_upload", args=[found.pk]))
    if found.revision is None:
        at: dict[str | None, list[str]] = {}
        for one in uploads.rejection_of(found).problems if found.error_code == uploads.REJECTED else ():
            at.setdefault(one.column, []).append(one.message)
        return _staged_row_page(request, facts, key, problem=uploads.told_of(found), at=at, status=422)
    messages.success(request, f"Revision {found.revision.number} holds the edited row.")
    return HttpResponseRedirect(reverse("staged_rows", args=[facts.change_request.cr_id]))


def _to_tray(dataset: Dataset) -> HttpResponse:
    return HttpResponseRedirect(reverse("edits", args=[dataset.project.slug, dataset.slug]))


def _editable(request: HttpRequest, project_slug: str, dataset_slug: str) -> Dataset:
    dataset = dataset_at(request, project_slug, dataset_slug)
    if not may_contribute(request.user, dataset):
        raise Forbidden(
            f"You may not propose changes to {dataset.name}. An owner of the dataset can let you."
        )
    return dataset
