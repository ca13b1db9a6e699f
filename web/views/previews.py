"""The ways in, and the look before anything is proposed: a file, pasted rows or a statement become a preview.

Its page shows what would change, asks what it cannot know, and proposes exactly what was looked at. The answer to a
form waits a moment for the worker, so that small content is shown at once; the page of larger content follows it.
"""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from changerequests.facts import Facts
from changerequests.models import ChangeRequest, Preview
from changerequests.policies import require
from changerequests.services import previews, uploads
from changerequests.states import Action, FollowUp
from datasets.errors import Forbidden, InvalidInput, NotFound
from datasets.models import Dataset
from datasets.roles import may_contribute
from web.content_forms import ContentForm, PreviewForm
from web.parameters import NUMBER, asked_with
from web.view_models.change_requests import head
from web.view_models.datasets import upload_columns
from web.view_models.previews import columns_to_decide, preview_page
from web.views.shared import (
    body_limit,
    dataset_at,
    facts_at,
    form_at,
    is_fragment,
    person,
    signed_in,
    whole_number,
)
from web.views.uploads import PATIENCE_SECONDS, led_on


@asked_with(preview=NUMBER)
@require_safe
@signed_in
def new(request: HttpRequest, project_slug: str, dataset_slug: str) -> HttpResponse:
    """The ways to propose changes; with ``preview`` as they were when it was sent."""
    dataset = dataset_at(request, project_slug, dataset_slug)
    _require_contributor(request, dataset)
    return ways_page(request, dataset, _form_of(request, dataset))


@asked_with(preview=NUMBER)
@require_safe
@signed_in
def upload(request: HttpRequest, cr_id: str) -> HttpResponse:
    """The ways to give a change request new content."""
    facts = facts_at(request, cr_id)
    return ways_page(request, facts.dataset, _form_of(request, facts.dataset), facts)


def _form_of(request: HttpRequest, dataset: Dataset) -> ContentForm:
    """The forms as they were when a preview was sent, where one is named and still there."""
    number = whole_number(request.GET.get("preview", ""))
    try:
        preview = previews.visible_preview(person(request), number) if number is not None else None
    except NotFound:
        messages.info(request, "What you looked at was kept for a day, and is gone. Send it again.")
        preview = None
    return ContentForm.of(preview) if preview is not None and preview.dataset == dataset else ContentForm()


def _require_contributor(request: HttpRequest, dataset: Dataset) -> None:
    if not may_contribute(request.user, dataset):
        raise Forbidden(
            f"You may not propose changes to {dataset.name}. An owner of the dataset can let you."
        )


@body_limit("UPLOAD_LIMIT_BYTES")
@form_at("new_change_request", "project_slug", "dataset_slug")
@signed_in
def look(request: HttpRequest, project_slug: str, dataset_slug: str) -> HttpResponse:
    """Look what content would change, as that of a new request."""
    dataset = dataset_at(request, project_slug, dataset_slug)
    _require_contributor(request, dataset)
    return _looked(request, dataset)


@body_limit("UPLOAD_LIMIT_BYTES")
@form_at("upload", "cr_id")
@signed_in
def look_for_request(request: HttpRequest, cr_id: str) -> HttpResponse:
    """The same, as new content of a request."""
    facts = facts_at(request, cr_id)
    require(facts, Action.STAGE)
    return _looked(request, facts.dataset, facts)


def _looked(request: HttpRequest, dataset: Dataset, facts: Facts | None = None) -> HttpResponse:
    form = ContentForm(request.POST, request.FILES)
    if not form.is_valid():
        return ways_page(request, dataset, form, facts, status=422)
    try:
        with form.content() as content:
            preview = previews.look(
                dataset=dataset,
                actor=person(request),
                content=content,
                change_request=facts.change_request if facts is not None else None,
                words=form.words,
            )
    except InvalidInput as error:  # such as a file above the limit
        form.add_error(form.field, error.message)
        return ways_page(request, dataset, form, facts, status=422)
    return _at(previews.wait_for_preview(preview.pk, PATIENCE_SECONDS))


@require_safe
@signed_in
def preview(request: HttpRequest, preview_id: int) -> HttpResponse:
    """What content would change; its fragment is what htmx asks for each second until that is known."""
    found = previews.visible_preview(person(request), preview_id)
    if is_fragment(request) and not found.is_active:
        response = HttpResponse()
        response["HX-Redirect"] = reverse("preview", args=[found.pk])
        return response
    if found.is_active:
        template = "previews/_progress.html" if is_fragment(request) else "previews/progress.html"
        return render(request, template, {"preview": found, "page": preview_page(found)})
    return _preview_page(request, found, PreviewForm.of(found, columns_to_decide(found)))


def _preview_page(request: HttpRequest, found: Preview, form: PreviewForm, status: int = 200) -> HttpResponse:
    context = {
        "preview": found,
        "page": preview_page(found),
        "dataset": found.dataset,
        "change_request": found.change_request,
        "form": form,
    }
    return render(request, "previews/preview.html", context, status=status)


@form_at("preview", "preview_id")
@signed_in
def look_again(request: HttpRequest, preview_id: int) -> HttpResponse:
    """Look at the same content in another way, or go back to how it came in; what was typed goes along."""
    found = previews.visible_preview(person(request), preview_id)
    form = PreviewForm(request.POST, columns=columns_to_decide(found))
    if request.POST.get("then") == "back":
        previews.keep_words(preview_id=found.pk, actor=person(request), words=form.typed_words)
        return HttpResponseRedirect(_way_in(found))
    if not form.is_valid():
        return _preview_page(request, found, form, 422)
    again = previews.look_again(
        preview_id=found.pk, actor=person(request), choices=form.choices_beside(found), words=form.typed_words
    )
    return _at(previews.wait_for_preview(again.pk, PATIENCE_SECONDS))


@form_at("preview", "preview_id")
@signed_in
def propose(request: HttpRequest, preview_id: int) -> HttpResponse:
    """Propose what was looked at, exactly so; where other choices were made meanwhile they are looked at first."""
    found = previews.visible_preview(person(request), preview_id)
    form = PreviewForm(request.POST, columns=columns_to_decide(found))
    form.needs_title = found.change_request is None
    if not form.is_valid():
        return _preview_page(request, found, form, 422)
    if previews.differ(found, form.choices_beside(found)):
        again = previews.look_again(
            preview_id=found.pk,
            actor=person(request),
            choices=form.choices_beside(found),
            words=form.typed_words,
        )
        messages.warning(request, "You chose otherwise than was looked at. This is what would change now.")
        return _at(previews.wait_for_preview(again.pk, PATIENCE_SECONDS))
    previews.keep_words(preview_id=found.pk, actor=person(request), words=form.typed_words)
    try:
        received = _received(request, found, form)
    except InvalidInput as error:
        form.add_error(None, error.message)
        return _preview_page(request, found, form, 422)
    return led_on(request, received)


def _received(request: HttpRequest, found: Preview, form: PreviewForm) -> Any:
    submits = request.POST.get("then") == "propose"
    then = uploads.Then(FollowUp.SUBMIT) if submits else uploads.NOTHING_MORE
    if found.change_request is not None:
        return uploads.receive(
            change_request_id=found.change_request.pk, actor=person(request), content=found
        )
    return uploads.receive_draft(
        dataset=found.dataset,
        author=person(request),
        title=form.cleaned_data["title"],
        description=form.cleaned_data["description"],
        content=found,
        then=then,
    )


@form_at("preview", "preview_id")
@signed_in
def cancel(request: HttpRequest, preview_id: int) -> HttpResponse:
    """Stop looking, and go back to how the content came in."""
    found = previews.cancel_preview(preview_id=preview_id, actor=person(request))
    messages.info(request, "Stopped. Nothing was proposed.")
    return HttpResponseRedirect(_way_in(found))


def _at(found: Preview) -> HttpResponse:
    return HttpResponseRedirect(reverse("preview", args=[found.pk]))


def _way_in(found: Preview) -> str:
    """The page of the ways in, as it was when the preview was sent."""
    change_request: ChangeRequest | None = found.change_request
    if change_request is not None:
        page = reverse("upload", args=[change_request.cr_id])
    else:
        page = reverse("new_change_request", args=[found.dataset.project.slug, found.dataset.slug])
    return f"{page}?preview={found.pk}"


def ways_page(
    request: HttpRequest,
    dataset: Dataset,
    form: ContentForm,
    facts: Facts | None = None,
    *,
    status: int = 200,
    **outcome: Any,
) -> HttpResponse:
    """The page of the ways in, for a new request or new content of one; ``outcome`` is why an upload was not staged."""
    context = {"dataset": dataset, "form": form, "columns": upload_columns(dataset), **outcome}
    if facts is None:
        context["look_at"] = reverse("look", args=[dataset.project.slug, dataset.slug])
        if request.method != "POST" and not outcome:
            context["not_staged"] = uploads.not_staged(
                dataset=dataset, change_request=None, sender=person(request)
            )
        return render(request, "change_requests/new.html", context, status=status)
    context |= {
        "change_request": facts.change_request,
        "head": head(facts, "conversation"),
        "look_at": reverse("look_for_request", args=[facts.change_request.cr_id]),
    }
    return render(request, "change_requests/upload.html", context, status=status)
