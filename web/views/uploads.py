"""How an upload goes on that people or programs sent: progress while it is read, then the request, or why not.

The page waits a moment for the worker, so that small content comes to its end in one step.
"""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from changerequests.models import Revision, Upload
from changerequests.services import previews, uploads
from web.view_models.uploads import upload_panel
from web.views.shared import form_at, is_fragment, person, signed_in
from web.wording import counted

#: How long the answer to a form waits for the worker before it leads to the page that shows the progress.
PATIENCE_SECONDS = 2.0
#: Problems of an upload that a page lists; all of them are counted.
SHOWN_PROBLEMS = 200


def led_on(request: HttpRequest, received: Upload) -> HttpResponse:
    """Where whoever sent an upload goes on: to its end if that comes soon, else to its progress."""
    found = uploads.wait_for_upload(received.pk, PATIENCE_SECONDS)
    if not found.is_settled:
        return HttpResponseRedirect(reverse("received_upload", args=[found.pk]))
    return _ended(request, uploads.visible_upload(person(request), found.pk))


@require_safe
@signed_in
def received(request: HttpRequest, upload_id: int) -> HttpResponse:
    """How an upload goes on; its fragment is what htmx asks for each second until it has ended.

    Then the page shows itself again: the request where it was staged, else what was wrong.
    """
    found = uploads.visible_upload(person(request), upload_id)
    if is_fragment(request) and not found.is_active:
        response = HttpResponse()
        response["HX-Redirect"] = reverse("received_upload", args=[found.pk])
        return response
    if found.is_active:
        context = {"panel": upload_panel(found), "upload": found, "dataset": found.dataset}
        template = "uploads/_progress.html" if is_fragment(request) else "uploads/progress.html"
        return render(request, template, context)
    return _ended(request, found)


@form_at("received_upload", "upload_id")
@signed_in
def cancel(request: HttpRequest, upload_id: int) -> HttpResponse:
    """Cancel an upload, which is possible until it is staged."""
    found = uploads.cancel_upload(upload_id=upload_id, actor=person(request))
    return HttpResponseRedirect(reverse("received_upload", args=[found.pk]))


def _ended(request: HttpRequest, found: Upload) -> HttpResponse:
    """Where an upload leads that has ended: to the request, back to where it was looked at, or to what was wrong."""
    if found.revision is not None:
        return _staged(request, found, found.revision)
    looked_at = found.preview if found.preview and found.preview.asked_by == request.user else None
    if looked_at is not None:
        messages.error(request, f"Not proposed: {found.error_message}")
        return HttpResponseRedirect(reverse("preview", args=[looked_at.pk]))
    context: dict[str, Any] = {
        "upload": found,
        "dataset": found.dataset,
        "change_request": found.change_request,
        "failure": found.error_message,
    }
    if found.error_code == uploads.REJECTED:
        rejection = uploads.rejection_of(found)
        context |= {"rejection": rejection, "problems": rejection.problems[:SHOWN_PROBLEMS]}
    return render(request, "uploads/ended.html", context)


def _staged(request: HttpRequest, found: Upload, revision: Revision) -> HttpResponse:
    rows = counted(revision.rows, "row change")
    dropped = (
        f" {counted(revision.noop_rows, 'row')} already equal to the table left out."
        if revision.noop_rows
        else ""
    )
    messages.success(request, f"Uploaded as revision {revision.number}: {rows}.{dropped}")
    moved = previews.moved_since(found)
    if moved:
        messages.warning(request, moved)
    for column in revision.new_columns:
        messages.info(request, f"New column {column['name']}: {column['type']}.")
    for warning in revision.warnings:
        messages.warning(request, warning)
    return HttpResponseRedirect(reverse("change_request", args=[revision.change_request.cr_id]))
