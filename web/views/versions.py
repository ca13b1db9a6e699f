"""Two versions of a table beside each other, and the way back to one of them."""

from contextlib import closing
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_safe

from changerequests.errors import NothingToChange
from changerequests.services.going_back import propose_version
from datasets import services
from datasets.errors import InvalidInput
from datasets.roles import may_contribute
from datasets.rows import InvalidCursor, changes_filter
from web.parameters import NUMBER, TEXT, asked_with, choice
from web.view_models.versions import compared_rows
from web.views.shared import (
    dataset_at,
    dataset_page,
    form_at,
    person,
    posted,
    signed_in,
    whole_number,
    within_dataset,
)

ROWS = 100
KINDS = (("", "All"), ("insert", "New"), ("update", "Changed"), ("delete", "Deleted"))


_ASKED = {
    "from": NUMBER,
    "to": NUMBER,
    "kind": choice("insert", "update", "delete"),
    "column": TEXT,
    "after": TEXT,
}


@asked_with(starting="", **_ASKED)
@require_safe
@signed_in
@within_dataset("history")
def compare(request: HttpRequest, project_slug: str, dataset_slug: str) -> HttpResponse:
    """What differs between two versions, cell by cell; without both the newest and the one before."""
    dataset = dataset_at(request, project_slug, dataset_slug)
    newest = services.newest_version(dataset)
    after = _version(request, "to", newest)
    before = _version(request, "from", max(after - 1, 0))
    kind = request.GET.get("kind", "")
    wanted: dict[str, Any] = {"operation": kind if kind in dict(KINDS) else None, "column": None}
    names = [field["name"] for field in dataset.meta.schema_json["fields"]]
    column = request.GET.get("column", "")
    if column in names and column not in dataset.primary_keys:
        wanted["column"] = column
    with closing(services.compare_versions(dataset=dataset, before=before, after=after)) as found:
        try:
            page = found.page(changes_filter(wanted), after=request.GET.get("after") or None, limit=ROWS)
        except InvalidCursor:  # of another pair of versions, or damaged: from the beginning
            page = found.page(changes_filter(wanted), limit=ROWS)
    return dataset_page(
        request,
        dataset,
        "compare",
        {
            "before": before,
            "after": after,
            "newest": newest,
            "rows": compared_rows(page.items),
            "reads": found.reads,
            "next": page.next,
            "kinds": KINDS,
            "kind": kind,
            "column": wanted["column"] or "",
            "columns": [name for name in names if name not in dataset.primary_keys],
            # The way back leads from the newest version to the other one.
            "back_to": before if after == newest and before != newest else None,
            "may_go_back": may_contribute(person(request), dataset),
        },
        tab="history",
    )


def _version(request: HttpRequest, name: str, otherwise: int) -> int:
    asked = whole_number(request.GET.get(name, ""))
    return otherwise if asked is None else asked


@form_at("compare_versions", "project_slug", "dataset_slug")
@signed_in
def go_back(request: HttpRequest, project_slug: str, dataset_slug: str) -> HttpResponse:
    """Begin a draft that proposes the table as it was in a version."""
    dataset = dataset_at(request, project_slug, dataset_slug)
    version = whole_number(posted(request, "version"))
    if version is None:
        raise InvalidInput("Name the version to go back to.")
    try:
        made = propose_version(dataset_id=dataset.pk, actor=person(request), version=version)
    except NothingToChange as error:
        messages.warning(request, error.message)
        place = reverse("compare_versions", args=[project_slug, dataset_slug])
        return HttpResponseRedirect(f"{place}?{urlencode({'from': version})}")
    messages.success(
        request, f"This draft goes back to version {version:,}. Look at the changes, then submit it."
    )
    return redirect("changes", made.cr_id)
