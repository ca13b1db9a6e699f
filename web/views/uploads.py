"""Proposing rows: a new change request or new content for one, and how an upload goes on.

The page waits a moment for the worker, so that small files come to their end in one step; larger ones have a page of
their own that shows the progress, and where they are refused the form as it was.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from changerequests.facts import Facts, visible_facts
from changerequests.models import Revision, Upload
from changerequests.services import uploads
from datasets.errors import Forbidden
from datasets.models import Dataset
from datasets.roles import may_contribute
from web.forms import NewChangeRequestForm, UploadForm
from web.view_models.change_requests import head
from web.view_models.datasets import upload_columns
from web.view_models.uploads import upload_panel
from web.views.shared import body_limit, dataset_at, facts_at, form_at, is_fragment, person, signed_in
from web.wording import counted

#: How long the answer to a form waits for the worker before it leads to the page that shows the progress.
PATIENCE_SECONDS = 2.0
#: Problems of an upload that a page lists; all of them are counted.
SHOWN_PROBLEMS = 200


@body_limit("UPLOAD_LIMIT_BYTES")
@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def new(request: HttpRequest, project_slug: str, dataset_slug: str) -> HttpResponse:
    """Propose changes: title, reason, and the changed rows."""
    dataset = dataset_at(request, project_slug, dataset_slug)
    if not may_contribute(request.user, dataset):
        raise Forbidden(
            f"You may not propose changes to {dataset.name}. An owner of the dataset can let you."
        )
    form = NewChangeRequestForm(request.POST or None, request.FILES or None)
    if request.method != "POST":
        return _new_page(request, dataset, form, 200)
    if not form.is_valid():
        return _new_page(request, dataset, form, 422)
    given = {name: form.cleaned_data[name] for name in ("title", "description", "merge_schema")}
    with _content(form) as content:
        upload = uploads.receive_draft(dataset=dataset, author=person(request), content=content, **given)
    return _led_on(request, upload, form)


@body_limit("UPLOAD_LIMIT_BYTES")
@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def upload(request: HttpRequest, cr_id: str) -> HttpResponse:
    """New content for a change request; refused whole, with every problem listed, or staged."""
    facts = facts_at(request, cr_id)
    form = UploadForm(request.POST or None, request.FILES or None)
    if request.method != "POST":
        return _upload_page(request, facts, form, 200)
    if not form.is_valid():
        return _upload_page(request, facts, form, 422)
    with _content(form) as content:
        received = uploads.receive(
            change_request_id=facts.change_request.pk, actor=person(request), content=content
        )
    return _led_on(request, received, form)


def _led_on(request: HttpRequest, received: Upload, form: UploadForm) -> HttpResponse:
    found = uploads.wait_for_upload(received.pk, PATIENCE_SECONDS)
    if found.is_active:
        return HttpResponseRedirect(reverse("received_upload", args=[found.pk]))
    return _ended(request, uploads.visible_upload(person(request), found.pk), form)


@require_safe
@signed_in
def received(request: HttpRequest, upload_id: int) -> HttpResponse:
    """How an upload goes on; its fragment is what htmx asks for each second until it has ended.

    Then the page shows itself again: the request where it was staged, else the form as it was, with what was wrong.
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
    return _ended(request, found, _form_as_it_was(found))


@form_at("received_upload", "upload_id")
@signed_in
def cancel(request: HttpRequest, upload_id: int) -> HttpResponse:
    """Cancel an upload, which is possible until it is staged."""
    found = uploads.cancel_upload(upload_id=upload_id, actor=person(request))
    return HttpResponseRedirect(reverse("received_upload", args=[found.pk]))


def _ended(request: HttpRequest, found: Upload, form: UploadForm) -> HttpResponse:
    """Where an upload leads that has ended: to the request, or back to its form with what was wrong."""
    if found.revision is not None:
        return _staged(request, found.revision)
    status = 422 if request.method == "POST" else 200
    outcome: dict[str, Any] = {}
    if found.error_code == uploads.REJECTED:
        rejection = uploads.rejection_of(found)
        outcome = {"rejection": rejection, "problems": rejection.problems[:SHOWN_PROBLEMS]}
    elif form.is_bound:
        form.add_error("pasted" if found.pasted else "file", found.error_message)
    else:
        outcome = {"failure": found.error_message}
    if found.change_request is None:
        return _new_page(request, found.dataset, form, status, **outcome)
    facts = visible_facts(person(request), found.change_request.cr_id)
    return _upload_page(request, facts, form, status, **outcome)


def _staged(request: HttpRequest, revision: Revision) -> HttpResponse:
    rows = counted(revision.rows, "row change")
    dropped = (
        f" {counted(revision.noop_rows, 'row')} already equal to the table left out."
        if revision.noop_rows
        else ""
    )
    messages.success(request, f"Uploaded as revision {revision.number}: {rows}.{dropped}")
    for column in revision.new_columns:
        messages.info(request, f"New column {column['name']}: {column['type']}.")
    for warning in revision.warnings:
        messages.warning(request, warning)
    return HttpResponseRedirect(reverse("change_request", args=[revision.change_request.cr_id]))


def _form_as_it_was(found: Upload) -> UploadForm:
    """The form that brought the upload, filled in again; a file has to be chosen anew."""
    typed = {
        "pasted": found.pasted,
        "null_token": found.null_token,
        "column_types": "\n".join(f"{name}: {kind}" for name, kind in found.column_types.items()),
    }
    if found.change_request is not None:
        return UploadForm(initial=typed)
    about = {name: getattr(found, name) for name in ("title", "description", "merge_schema")}
    return NewChangeRequestForm(initial=typed | about)


@contextmanager
def _content(form: UploadForm) -> Iterator[uploads.ReceivedFile]:
    """What was uploaded or pasted, as a file for the service; a pasted one is gone afterwards."""
    file = form.cleaned_data["file"]
    options = {name: form.cleaned_data[name] for name in ("null_token", "column_types")}
    if file is not None:
        yield uploads.ReceivedFile(Path(file.temporary_file_path()), file_name=file.name, **options)
        return
    pasted = form.cleaned_data["pasted"]
    with tempfile.TemporaryDirectory(prefix="headgate-upload-") as folder:
        path = Path(folder) / "pasted.csv"
        path.write_text(pasted, encoding="utf-8")
        yield uploads.ReceivedFile(path, file_name="pasted rows", file_format="csv", pasted=pasted, **options)


def _new_page(
    request: HttpRequest, dataset: Dataset, form: UploadForm, status: int, **outcome: Any
) -> HttpResponse:
    context = {"dataset": dataset, "form": form, "columns": upload_columns(dataset), **outcome}
    if request.method != "POST" and not outcome:
        context["not_staged"] = uploads.not_staged(
            dataset=dataset, change_request=None, sender=person(request)
        )
    return render(request, "change_requests/new.html", context, status=status)


def _upload_page(
    request: HttpRequest, facts: Facts, form: UploadForm, status: int, **outcome: Any
) -> HttpResponse:
    context = {
        "change_request": facts.change_request,
        "dataset": facts.dataset,
        "head": head(facts, "conversation"),
        "form": form,
        "columns": upload_columns(facts.dataset),
        **outcome,
    }
    return render(request, "change_requests/upload.html", context, status=status)
