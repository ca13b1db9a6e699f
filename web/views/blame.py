"""The history of one row: who made each of its cells what it is."""

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from changerequests.services.blame import row_history as history_of
from web.parameters import asked_with
from web.view_models.blame import key_fields, row_story
from web.view_models.datasets import KEY_PARAMETER
from web.views.shared import dataset_at, dataset_page, signed_in


@asked_with(starting=KEY_PARAMETER)
@require_safe
@signed_in
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
