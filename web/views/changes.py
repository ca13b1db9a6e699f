"""What a change request changes, cell by cell."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from changerequests.errors import ContentMissing
from changerequests.services import plans
from web.parameters import TEXT, asked_with, choice, chosen
from web.view_models.change_requests import head
from web.view_models.changes import diff_table, groups
from web.view_models.datasets import types_of
from web.views.shared import facts_at, signed_in

PAGE_ROWS = 50
OPERATIONS = (("", "All"), ("update", "Changed"), ("insert", "New"), ("delete", "Deleted"))


@asked_with(
    kind=choice(*(kind for kind, _ in OPERATIONS if kind)),
    column=TEXT,
    view=choice("groups"),
    columns=choice("all"),
    after=TEXT,
)
@require_safe
@signed_in
def changes(request: HttpRequest, cr_id: str) -> HttpResponse:
    """The diff: filtered by kind and column, paged by key; or grouped by equal edits."""
    facts = facts_at(request, cr_id)
    change_request, revision = facts.change_request, facts.revision
    operation = request.GET.get("kind", "")
    operation = operation if operation in dict(OPERATIONS) else ""
    cells = dict(revision.cells_updated) if revision else {}
    column = chosen(request, "column", sorted(cells))
    grouped = request.GET.get("view") == "groups"
    all_columns = request.GET.get("columns") == "all"
    context = {
        "change_request": change_request,
        "dataset": change_request.dataset,
        "head": head(facts, "changes"),
        "revision": revision,
        "operations": OPERATIONS,
        "operation": operation,
        "column": column,
        "cells": sorted(cells.items(), key=lambda item: (-item[1], item[0])),
        "most_cells": max(cells.values(), default=1),
        "cell_total": sum(cells.values()),
        "grouped": grouped,
        "all_columns": all_columns,
        "types": types_of(change_request.dataset),
    }
    try:
        if grouped:
            context["groups"] = groups(plans.grouped_changes(change_request=change_request))
        else:
            page = plans.changes_page(
                change_request=change_request,
                operation=operation or None,
                column=column or None,
                after=request.GET.get("after") or None,
                limit=PAGE_ROWS,
            )
            context["table"] = diff_table(change_request, page, all_columns=all_columns)
            context["next"] = page.next
    except ContentMissing as error:
        context["missing"] = error.message
    return render(request, "change_requests/changes.html", context)
