"""A change request: its conversation, and what moves it through its life. It begins in ``uploads``."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from changerequests import policies, selectors
from changerequests.errors import PlanChanged, RequestChanged
from changerequests.facts import Facts
from changerequests.models import ChangeRequest, Upload
from changerequests.services import plans, proposals, rebasing, reviews, uploads
from changerequests.states import Action, Status
from datasets.errors import InvalidInput
from notifications.services.preferences import subscription_to
from web.forms import CloseForm, Composer, WordsForm, add_errors
from web.parameters import NUMBER, asked_with, choice
from web.view_models.change_requests import TABS, head, may_approve, may_review, side
from web.view_models.merge_box import merge_box
from web.view_models.moved import moved_page
from web.view_models.timeline import TimelineEntry, folded, timeline, timeline_part
from web.views.expectations import checks_page
from web.views.shared import (
    facts_at,
    form_at,
    is_fragment,
    person,
    posted,
    request_at,
    safe_next,
    signed_in,
    whole_number,
    within_request,
)

#: Rows that the page of what moved lists; all of them are counted.
SHOWN_MOVED = 50


@asked_with(start=NUMBER, until=NUMBER, comment=NUMBER)
@require_safe
@signed_in
def conversation(request: HttpRequest, cr_id: str) -> HttpResponse:
    """The timeline, the merge box, reviews and comments; for htmx a part of the timeline that is folded away."""
    start, until = (whole_number(request.GET.get(name, "")) for name in ("start", "until"))
    if is_fragment(request) and start is not None and until is not None:
        facts = facts_at(request, cr_id)
        part = timeline_part(facts.change_request, person(request), start=start, until=until)
        context = {
            "change_request": facts.change_request,
            "entries": part.entries,
            "lines": folded(part.entries),
            "named": part.named,
            "shown": sum(isinstance(entry, TimelineEntry) for entry in part.entries),
            "may_comment": facts.contributes,
        }
        return render(request, "change_requests/_timeline_part.html", context)
    return _conversation_page(request, cr_id)


def _conversation_page(
    request: HttpRequest,
    cr_id: str,
    *,
    composer: Composer | None = None,
    close_form: CloseForm | None = None,
    words_form: WordsForm | None = None,
    moved: str = "",
    status: int = 200,
) -> HttpResponse:
    facts = facts_at(request, cr_id)
    change_request = facts.change_request
    approving = may_approve(facts)
    looked_at = {
        "revision_digest": facts.revision.digest if facts.revision else "",
        "resolutions_digest": facts.resolutions_digest,
    }
    if moved and composer is not None:  # the same words, for what this page shows
        composer = Composer({**request.POST.dict(), **looked_at})
    told = timeline(
        change_request,
        person(request),
        until=whole_number(request.GET.get("until", "")),
        comment=whole_number(request.GET.get("comment", "")),
    )
    context = {
        "change_request": change_request,
        "dataset": facts.dataset,
        "head": head(facts, "conversation"),
        "side": side(facts),
        "subscription": subscription_to(person=person(request), to=change_request),
        "entries": told.entries,
        "lines": folded(told.entries),
        "named": told.named,
        "box": merge_box(facts),
        "not_staged": _not_staged(facts, person(request)),
        "may_comment": facts.contributes,
        "may_review": may_review(facts),
        "may_approve": approving,
        "composer": composer or Composer(initial=looked_at),
        "moved": moved,
        "close_form": close_form or CloseForm(),
        "words_form": words_form or _words_form(change_request),
    }
    return render(request, "change_requests/conversation.html", context, status=status)


def _words_form(change_request: ChangeRequest) -> WordsForm:
    return WordsForm(
        initial={
            "title": change_request.title,
            "description": change_request.description,
            "edited": proposals.words_digest(change_request),
        }
    )


def _not_staged(facts: Facts, sender: User) -> Upload | None:
    """What the person sent last, where it did not become a revision."""
    if not facts.contributes or facts.status not in (Status.DRAFT, Status.PENDING):
        return None
    return uploads.not_staged(dataset=facts.dataset, change_request=facts.change_request, sender=sender)


@asked_with(page=choice(*TABS))
@require_safe
@signed_in
def standing(request: HttpRequest, cr_id: str) -> HttpResponse:
    """The strip and the tabs of one of the pages alone, for pages that are open; as a page it is the conversation."""
    if request.headers.get("Sec-Fetch-Dest") == "document":
        return _back(cr_id)
    facts = facts_at(request, cr_id)
    shown = head(facts, request.GET.get("page", ""))
    context = {"change_request": facts.change_request, "dataset": facts.dataset, "head": shown}
    return render(request, "change_requests/_standing.html", context)


@require_safe
@signed_in
def box(request: HttpRequest, cr_id: str) -> HttpResponse:
    """The merge box alone, for pages that are open; as a page of its own it is the conversation."""
    if request.headers.get("Sec-Fetch-Dest") == "document":
        return _back(cr_id)
    facts = facts_at(request, cr_id)
    context = {"change_request": facts.change_request, "box": merge_box(facts), "dataset": facts.dataset}
    return render(request, "merges/_merge_box.html", context)


@require_safe
@signed_in
def checks(request: HttpRequest, cr_id: str) -> HttpResponse:
    """What was checked, on which version of the table, and with which outcome."""
    return checks_page(request, facts_at(request, cr_id))


@form_at("checks", "cr_id")
@signed_in
def check_again(request: HttpRequest, cr_id: str) -> HttpResponse:
    """Plan the merge on the table as it is now and say what came out."""
    change_request = request_at(request, cr_id)
    found = plans.check_again(change_request_id=change_request.pk, actor=person(request))
    if found is None:
        messages.info(request, "There is nothing to check: the request is finished or nothing was uploaded.")
    elif found.problem:
        messages.error(request, found.problem)
    else:
        messages.success(request, f"Checked against version {found.table_version} of the table.")
    return HttpResponseRedirect(reverse("checks", args=[cr_id]))


@require_safe
@signed_in
@within_request("checks")
def moved(request: HttpRequest, cr_id: str) -> HttpResponse:
    """What moved in the table under the rows of this request: a sentence for other pages, or the whole of it."""
    fragment = is_fragment(request)
    facts = facts_at(request, cr_id)
    change_request = facts.change_request
    found = rebasing.what_moved(
        change_request=change_request, rows=0 if fragment else SHOWN_MOVED, versions=0 if fragment else 20
    )
    context: dict[str, Any] = {"change_request": change_request, "moved": moved_page(found)}
    if fragment:
        return render(request, "change_requests/_moved.html", context)
    context |= {
        "dataset": facts.dataset,
        "head": head(facts, "checks"),
        "may_rebase": not policies.blockers(facts, Action.REBASE),
    }
    return render(request, "change_requests/moved.html", context)


@form_at("checks", "cr_id")
@signed_in
def rebase(request: HttpRequest, cr_id: str) -> HttpResponse:
    """Refresh the base images to the table as it is now."""
    change_request = request_at(request, cr_id)
    before = selectors.current_revision(change_request)
    after = rebasing.rebase(change_request_id=change_request.pk, actor=person(request))
    if before is not None and after.pk == before.pk:
        messages.info(request, f"The base is version {after.base_version} already.")
    elif before is not None and after.digest == before.digest:
        messages.success(
            request, f"The base is version {after.base_version} now. No row moved, so approvals stay."
        )
    else:
        messages.success(
            request,
            f"The base is version {after.base_version} now, in revision {after.number}. It needs a new review.",
        )
    return HttpResponseRedirect(reverse("checks", args=[cr_id]))


@form_at("change_request", "cr_id")
@signed_in
def submit(request: HttpRequest, cr_id: str) -> HttpResponse:
    """Ask for review."""
    change_request = request_at(request, cr_id)
    proposals.submit(change_request_id=change_request.pk, actor=person(request))
    messages.success(request, f"{cr_id} waits for review now.")
    return _back(cr_id)


@form_at("change_request", "cr_id")
@signed_in
def return_to_draft(request: HttpRequest, cr_id: str) -> HttpResponse:
    """Take the request back to work on it."""
    change_request = request_at(request, cr_id)
    proposals.return_to_draft(change_request_id=change_request.pk, actor=person(request))
    messages.success(request, f"{cr_id} is a draft again.")
    return _back(cr_id)


@form_at("change_request", "cr_id")
@signed_in
def edit(request: HttpRequest, cr_id: str) -> HttpResponse:
    """Change the title or description."""
    change_request = request_at(request, cr_id)
    form = WordsForm(request.POST)
    if not form.is_valid():
        return _conversation_page(request, cr_id, words_form=form, status=422)
    edited = [form.cleaned_data.pop("edited")]
    try:
        proposals.edit(
            change_request_id=change_request.pk,
            actor=person(request),
            edited=[one for one in edited if one],
            **form.cleaned_data,
        )
    except RequestChanged as error:
        form.add_error(None, error.message)
        return _conversation_page(request, cr_id, words_form=form, status=412)
    except InvalidInput as error:
        add_errors(form, error)
        return _conversation_page(request, cr_id, words_form=form, status=422)
    messages.success(request, "The title and description are changed.")
    return _back(cr_id)


@form_at("change_request", "cr_id")
@signed_in
def remove(request: HttpRequest, cr_id: str) -> HttpResponse:
    """Remove a draft that never had content."""
    facts = facts_at(request, cr_id)
    proposals.remove_draft(change_request_id=facts.change_request.pk, actor=person(request))
    messages.success(request, f"{cr_id} is gone.")
    return HttpResponseRedirect(reverse("dataset", args=[facts.dataset.project.slug, facts.dataset.slug]))


@form_at("change_request", "cr_id")
@signed_in
def close(request: HttpRequest, cr_id: str) -> HttpResponse:
    """Withdraw or reject the request."""
    change_request = request_at(request, cr_id)
    form = CloseForm(request.POST)
    if not form.is_valid():
        return _conversation_page(request, cr_id, close_form=form, status=422)
    try:
        proposals.close(
            change_request_id=change_request.pk, actor=person(request), reason=form.cleaned_data["reason"]
        )
    except InvalidInput as error:
        form.add_error("reason", error.message)
        return _conversation_page(request, cr_id, close_form=form, status=422)
    messages.success(request, f"{cr_id} is closed. It can be opened again as a draft.")
    return _back(cr_id)


@form_at("change_request", "cr_id")
@signed_in
def reopen(request: HttpRequest, cr_id: str) -> HttpResponse:
    """Take a closed request up again."""
    change_request = request_at(request, cr_id)
    proposals.reopen(change_request_id=change_request.pk, actor=person(request))
    messages.success(request, f"{cr_id} is a draft again.")
    return _back(cr_id)


@form_at("change_request", "cr_id")
@signed_in
def comment(request: HttpRequest, cr_id: str) -> HttpResponse:
    """Say something, or answer a discussion."""
    change_request = request_at(request, cr_id)
    form = Composer(request.POST)
    if not form.is_valid():
        return _conversation_page(request, cr_id, composer=form, status=422)
    parent = posted(request, "parent")
    try:
        written = reviews.comment(
            change_request_id=change_request.pk,
            actor=person(request),
            body=form.cleaned_data["body"],
            parent_id=whole_number(parent),
        )
    except InvalidInput as error:
        if whole_number(parent) is not None:
            raise  # an answer in a discussion: it is shown by itself, to be sent again
        add_errors(form, error, otherwise="body")
        return _conversation_page(request, cr_id, composer=form, status=422)
    return _to_thread(cr_id, written.parent_id or written.pk)


@form_at("change_request", "cr_id")
@signed_in
def review(request: HttpRequest, cr_id: str) -> HttpResponse:
    """Give a verdict on the content that was shown."""
    change_request = request_at(request, cr_id)
    form = Composer(request.POST)
    if not form.is_valid():
        return _conversation_page(request, cr_id, composer=form, status=422)
    try:
        reviews.review(
            change_request_id=change_request.pk,
            actor=person(request),
            verdict=form.cleaned_data["verdict"],
            body=form.cleaned_data["body"],
            revision_digest=form.cleaned_data["revision_digest"],
            resolutions_digest=form.cleaned_data["resolutions_digest"]
            if "resolutions_digest" in request.POST
            else None,
        )
    except InvalidInput as error:
        form.add_error("body", error.message)
        return _conversation_page(request, cr_id, composer=form, status=422)
    except PlanChanged as error:
        return _conversation_page(request, cr_id, composer=form, moved=error.message, status=409)
    messages.success(request, "Your review is in the timeline.")
    return HttpResponseRedirect(safe_next(request, reverse("change_request", args=[cr_id])))


@form_at("change_request", "cr_id")
@signed_in
def settle(request: HttpRequest, cr_id: str, comment_id: int) -> HttpResponse:
    """Mark a discussion as resolved, or open it again."""
    change_request = request_at(request, cr_id)
    get_thread = change_request.comments.filter(pk=comment_id).values_list("pk", flat=True).first()
    reviews.settle_thread(
        comment_id=get_thread or 0, actor=person(request), resolved=posted(request, "resolved") == "true"
    )
    return HttpResponseRedirect(safe_next(request, _place_of_thread(cr_id, comment_id)))


def _to_thread(cr_id: str, thread: int) -> HttpResponse:
    return HttpResponseRedirect(_place_of_thread(cr_id, thread))


def _place_of_thread(cr_id: str, thread: int) -> str:
    """The conversation where a discussion stands, which may be folded away otherwise."""
    url = reverse("change_request", args=[cr_id])
    return f"{url}?comment={thread}#comment-{thread}"


def _back(cr_id: str) -> HttpResponse:
    return HttpResponseRedirect(reverse("change_request", args=[cr_id]))
