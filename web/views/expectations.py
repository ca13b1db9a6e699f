"""A dataset's expectations and their history, and what they say of a change request."""

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from changerequests import policies, selectors
from changerequests.errors import PlanChanged
from changerequests.facts import Facts, expectation_check_to_show
from changerequests.services import expectations, plans
from changerequests.states import Action, Status
from datasets import suites
from datasets.errors import InvalidInput, NotFound, SuiteChanged
from datasets.models import Dataset, SuiteVersion
from web.forms import AnswerForm, SuiteForm
from web.parameters import NUMBER, PAGE, asked_with
from web.rule_forms import choices
from web.typed import typed_form
from web.view_models.change_requests import head
from web.view_models.expectations import rows_of_expectation, shown_check
from web.view_models.rules import shown_rules
from web.view_models.runs import checks_of
from web.views.shared import (
    body_limit,
    dataset_at,
    dataset_page,
    facts_at,
    form_at,
    is_fragment,
    person,
    posted,
    request_at,
    signed_in,
    whole_number,
)
from web.wording import counted

VERSIONS = 20
TAB = "expectations"


@dataclass(frozen=True)
class Edited:
    """A suite as somebody edits it: nothing of it is saved yet."""

    document: str
    number: int
    note: str = ""


@asked_with(proposal=NUMBER)
@body_limit("LONG_LIST_LIMIT_BYTES")
@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def suite(request: HttpRequest, project_slug: str, dataset_slug: str) -> HttpResponse:
    """The expectations in words, and for owners the rules to edit; a proposal lays out its own."""
    dataset = dataset_at(request, project_slug, dataset_slug)
    current = suites.current_version(dataset)
    if request.method == "POST":
        return _save(request, dataset, current)
    document = current.document if current is not None else suites.EMPTY_SUITE
    number = current.number if current is not None else 0
    proposal_id = whole_number(request.GET.get("proposal", ""))
    if proposal_id is None:
        return suite_page(request, dataset, Edited(document, number))
    proposal = suites.proposal_of(dataset, proposal_id)
    edited = Edited(proposal.document or document, number, "Proposed from the table's own data.")
    return suite_page(request, dataset, edited, proposed=True)


def _save(request: HttpRequest, dataset: Dataset, current: SuiteVersion | None) -> HttpResponse:
    form, edited = SuiteForm(request.POST), edited_of(request)
    if not form.is_valid():
        return suite_page(request, dataset, edited, form=form, refused=True, status=422)
    if posted(request, "action") == "read":
        return suite_page(request, dataset, edited, form=form, was_read=True)
    try:
        saved = expectations.save_suite(
            dataset_id=dataset.pk,
            actor=person(request),
            document=form.cleaned_data["document"],
            edited_number=form.cleaned_data["edited_number"],
            note=form.cleaned_data["note"],
        )
    except suites.SuiteRejected:
        return suite_page(request, dataset, edited, form=form, refused=True, status=422)
    except SuiteChanged as error:
        return suite_page(request, dataset, edited, form=form, moved=error.message, status=412)
    if current is not None and saved.number == current.number:
        messages.info(request, "Nothing changed: these are the expectations that hold already.")
    else:
        count = counted(saved.expectation_count, "expectation")
        messages.success(
            request, f"Version {saved.number} holds now: {count}. Open requests are checked by it."
        )
    return HttpResponseRedirect(request.path)


def edited_of(request: HttpRequest) -> Edited:
    """The suite as it was sent."""
    number = whole_number(posted(request, "edited_number"))
    return Edited(posted(request, "document"), number or 0, posted(request, "note"))


def suite_page(
    request: HttpRequest,
    dataset: Dataset,
    edited: Edited,
    *,
    form: SuiteForm | None = None,
    status: int = 200,
    **more: Any,
) -> HttpResponse:
    """The page of the expectations with a suite that is being edited; ``more`` is what its template says of it."""
    current = suites.current_version(dataset)
    reading = suites.read_suite(dataset, edited.document)
    initial = {"document": edited.document, "edited_number": edited.number, "note": edited.note}
    holds = current.document if current is not None else suites.EMPTY_SUITE
    context = {
        "current": current,
        "suite_url": reverse("suite", args=[dataset.project.slug, dataset.slug]),
        "rules_url": reverse("edit_rules", args=[dataset.project.slug, dataset.slug]),
        "form": form or SuiteForm(initial=initial),
        "document": edited.document,
        "reading": reading,
        "rules": shown_rules(dataset, edited.document, reading),
        "kinds": choices(suites.shapes_for(dataset)),
        "is_unsaved": edited.document.split() != holds.split(),
        **more,
    }
    return dataset_page(request, dataset, TAB, context, status=status)


@asked_with(page=PAGE)
@require_safe
@signed_in
def history(request: HttpRequest, project_slug: str, dataset_slug: str) -> HttpResponse:
    """Every version of the expectations: who saved it, when and why."""
    dataset = dataset_at(request, project_slug, dataset_slug)
    page = Paginator(suites.suite_history(dataset), VERSIONS).get_page(request.GET.get("page"))
    return dataset_page(request, dataset, "suite_history", {"page": page}, tab=TAB)


@asked_with(against=NUMBER)
@require_safe
@signed_in
def version(request: HttpRequest, project_slug: str, dataset_slug: str, number: int) -> HttpResponse:
    """One version in words, and what changed from another: the one before it unless ``against`` says."""
    dataset = dataset_at(request, project_slug, dataset_slug)
    shown = suites.suite_version(dataset, number)
    against = whole_number(request.GET.get("against", ""))
    against = number - 1 if against is None else against
    old = suites.suite_version(dataset, against) if against else None
    numbers = suites.suite_history(dataset).values_list("number", flat=True)
    context = {
        "shown": shown,
        "old": old,
        "others": [other for other in numbers if other != number],
        "lines": suites.compare_versions(old, shown),
        "reading": suites.read_suite(dataset, shown.document),
        "current_number": dataset.suite_number,
    }
    return dataset_page(request, dataset, "suite_version", context, tab=TAB)


@form_at("suite_version", "project_slug", "dataset_slug", "number")
@signed_in
def restore(request: HttpRequest, project_slug: str, dataset_slug: str, number: int) -> HttpResponse:
    """Make an earlier version hold again, as a new one."""
    dataset = dataset_at(request, project_slug, dataset_slug)
    edited = posted(request, "edited_number")
    page = reverse("suite", args=[project_slug, dataset_slug])
    try:
        saved = expectations.restore_suite(
            dataset_id=dataset.pk,
            actor=person(request),
            number=number,
            edited_number=whole_number(edited) or 0,
        )
    except (SuiteChanged, suites.SuiteRejected) as error:
        messages.error(request, f"Version {number} was not restored. {error.message}")
        return HttpResponseRedirect(reverse("suite_version", args=[project_slug, dataset_slug, number]))
    if saved.restored_from == number:
        messages.success(request, f"Version {saved.number} holds now; it repeats version {number}.")
    else:
        messages.info(request, f"Nothing changed: version {saved.number} says the same as version {number}.")
    return HttpResponseRedirect(page)


@form_at("suite", "project_slug", "dataset_slug")
@signed_in
def propose(request: HttpRequest, project_slug: str, dataset_slug: str) -> HttpResponse:
    """Ask a worker for a suite from the table's own data, and wait for it on a page of its own."""
    dataset = dataset_at(request, project_slug, dataset_slug)
    asked = suites.ask_for_proposal(dataset_id=dataset.pk, actor=person(request))
    return HttpResponseRedirect(reverse("suite_proposal", args=[project_slug, dataset_slug, asked.pk]))


@require_safe
@signed_in
def proposal(request: HttpRequest, project_slug: str, dataset_slug: str, proposal_id: int) -> HttpResponse:
    """Wait for a proposal; once it is there the form opens with it."""
    dataset = dataset_at(request, project_slug, dataset_slug)
    asked = suites.proposal_of(dataset, proposal_id)
    if asked.document:
        page = f"{reverse('suite', args=[project_slug, dataset_slug])}?proposal={asked.pk}"
        if is_fragment(request):
            response = HttpResponse()
            response["HX-Redirect"] = page
            return response
        return HttpResponseRedirect(page)
    if is_fragment(request):
        return render(request, "datasets/_proposal.html", {"proposal": asked, "dataset": dataset})
    return dataset_page(request, dataset, "suite_proposal", {"proposal": asked}, tab=TAB)


# --- Of a change request ------------------------------------------------------------------------------------


def checks_page(
    request: HttpRequest,
    facts: Facts,
    *,
    answer: AnswerForm | None = None,
    problem: str = "",
    status: int = 200,
) -> HttpResponse:
    """What was checked, on which version of the table, with which outcome; and an answer that was not taken."""
    last_run = selectors.latest_run(facts.change_request)
    initial = {
        "suite_number": facts.dataset.suite_number,
        "revision_digest": facts.revision.digest if facts.revision else "",
    }
    if answer is not None:  # the same words, for what this page shows
        answer = AnswerForm({"reason": answer.data.get("reason", ""), **initial})
    context = {
        "change_request": facts.change_request,
        "dataset": facts.dataset,
        "head": head(facts, "checks"),
        "check": facts.plan_check,
        "last_run": last_run,
        "last_checks": checks_of(last_run),
        "may_check": plans.may_check_again(facts),
        "is_open": facts.status in (Status.DRAFT, Status.PENDING),
        "may_rebase": not policies.blockers(facts, Action.REBASE),
        "suite": suites.active_suite(facts.dataset),
        "judged": shown_check(facts),
        "answer_form": answer or AnswerForm(initial=initial),
        "answer_problem": problem,
        "typed": typed_form(request),
    }
    return render(request, "change_requests/checks.html", context, status=status)


@asked_with(start=NUMBER)
@require_safe
@signed_in
def rows(request: HttpRequest, cr_id: str, number: int) -> HttpResponse:
    """The failing rows of one expectation, page by page."""
    facts = facts_at(request, cr_id)
    check = expectation_check_to_show(facts)
    if check is None:
        raise NotFound("There is no check of this content by the expectations that hold.")
    start = request.GET.get("start", "")
    result, table = rows_of_expectation(facts, check, number, start=whole_number(start) or 0)
    context = {
        "change_request": facts.change_request,
        "dataset": facts.dataset,
        "head": head(facts, "checks"),
        "result": result,
        "table": table,
    }
    return render(request, "change_requests/expectation_rows.html", context)


@form_at("checks", "cr_id")
@signed_in
def override(request: HttpRequest, cr_id: str) -> HttpResponse:
    """An owner answers for what the request breaks, with a reason."""
    change_request = request_at(request, cr_id)
    form = AnswerForm(request.POST)
    page = reverse("checks", args=[cr_id])
    reason = form.cleaned_data["reason"] if form.is_valid() else ""
    try:
        given = expectations.override_expectations(
            change_request_id=change_request.pk,
            actor=person(request),
            reason=reason,
            suite_number=form.cleaned_data.get("suite_number"),
            revision_digest=form.cleaned_data.get("revision_digest") or "",
        )
    except (InvalidInput, PlanChanged) as error:
        status = 409 if isinstance(error, PlanChanged) else 422
        facts = facts_at(request, cr_id)
        return checks_page(request, facts, answer=form, problem=error.message, status=status)
    messages.success(
        request,
        f"You answer for {counted(len(given.expectations), 'broken expectation')}. A later edit of the content "
        "or the expectations voids it.",
    )
    return HttpResponseRedirect(f"{page}#expectations")
