"""The history of one row, who made each of its cells what it is; and of one column, who changed it and how often."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from changerequests.services.blame import row_history as history_of
from changerequests.services.column_blame import column_history as history_of_column
from datasets.errors import NotFound
from web.parameters import NUMBER, TEXT, asked_with
from web.view_models.blame import column_story, key_fields, row_story
from web.view_models.datasets import KEY_PARAMETER, types_of
from web.views.shared import dataset_at, dataset_page, signed_in, whole_number, within_dataset


@asked_with(starting=KEY_PARAMETER)
@require_safe
@signed_in
@within_dataset("history")
def row_history(request: HttpRequest, project_slug: str, dataset_slug: str) -> HttpResponse:
    """Which requests changed which cell of a row, when, by whom, approved by whom and why; a form without a key."""
    dataset = dataset_at(request, project_slug, dataset_slug)
    fields = key_fields(dataset, request.GET)
    asked = [field for field in fields if field.parameter in request.GET]
    story = None
    if len(asked) == len(fields):
        key = {field.name: field.value for field in fields}
        story = row_story(dataset, history_of(dataset=dataset, key=key))
    return dataset_page(
        request, dataset, "row_history", {"key_fields": fields, "story": story}, tab="history"
    )


@asked_with(column=TEXT, before=NUMBER)
@require_safe
@signed_in
def column_history(request: HttpRequest, project_slug: str, dataset_slug: str) -> HttpResponse:
    """Which merged requests changed cells of a column, newest first, and whose they were; a form without a column."""
    dataset = dataset_at(request, project_slug, dataset_slug)
    column, before = request.GET.get("column", ""), whole_number(request.GET.get("before", ""))
    context: dict[str, Any] = {
        "column": column,
        "columns": [name for name in types_of(dataset) if name not in dataset.primary_keys],
    }
    if column:
        try:
            context["story"] = column_story(history_of_column(dataset=dataset, column=column, before=before))
        except NotFound as error:
            context["problem"] = error.message
    return dataset_page(request, dataset, "column_history", context, tab="history")
