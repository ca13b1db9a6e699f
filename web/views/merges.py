"""The merge dialog and the progress of a run. Both are whole pages without JavaScript."""

import json
import uuid
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from changerequests import selectors
from changerequests.errors import Blocked, ExpectationsFailed, PlanChanged
from changerequests.models import ChangeRequest, MergeRun
from changerequests.services import plans, reverts, runs, waiting
from changerequests.states import Status
from datasets.errors import DomainError, InvalidInput
from datasets.roles import is_owner
from notifications.services.people import told_of_merge
from web.view_models.merge_dialog import merge_dialog
from web.view_models.runs import RunPanel, run_panel
from web.views.shared import (
    facts_at,
    form_at,
    is_fragment,
    person,
    posted,
    request_at,
    signed_in,
    whole_number,
)
from web.wording import counted, listed, name_of


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def merge(request: HttpRequest, cr_id: str) -> HttpResponse:
    """What the merge would do, every gate, and the button; confirming it queues the run and shows its progress."""
    if request.method != "POST":
        facts = facts_at(request, cr_id)
        run = facts.latest_run if facts.status == Status.MERGED else facts.run
        if run is not None:
            return HttpResponseRedirect(reverse("merge_run", args=[run.pk]))
        return _dialog(request, cr_id)
    try:
        run = _ask(request, request_at(request, cr_id))
    except (PlanChanged, Blocked) as error:
        return _dialog(request, cr_id, problem=error.message, at=_field_of(error), status=409)
    except (InvalidInput, ExpectationsFailed) as error:
        return _dialog(request, cr_id, problem=error.message, at=_field_of(error), status=422)
    unsent = ""
    if run.requested_by_id != person(request).pk:
        unsent = f"{name_of(run.requested_by)} had asked for this merge already, so yours was not needed."
        if message := posted(request, "message").strip():
            unsent += f" Your message does not stand in it: {message}"
    if is_fragment(request):
        return _panel(request, run, unsent=unsent)
    if unsent:
        messages.warning(request, unsent)
    return HttpResponseRedirect(reverse("merge_run", args=[run.pk]))


def _ask(request: HttpRequest, change_request: ChangeRequest) -> MergeRun:
    version, suite = posted(request, "table_version"), posted(request, "suite_number")
    return runs.request_merge(
        change_request_id=change_request.pk,
        actor=person(request),
        seen=runs.Seen(
            revision_digest=posted(request, "revision_digest"),
            plan_digest=posted(request, "plan_digest"),
            table_version=whole_number(version),
            suite_number=whole_number(suite),
        ),
        message=posted(request, "message"),
        idempotency_key=posted(request, "idempotency_key"),
        dataset_name_typed=posted(request, "dataset_name").strip(),
        force_merge=posted(request, "force") == "true",
        override_reason=_override_reason(request),
    )


def _field_of(error: DomainError) -> str:
    """The field of the dialog that a refusal is about; empty where it is about none of them alone."""
    if isinstance(error, Blocked):
        return "dataset_name" if [one.code for one in error.blockers] == ["delete_guard"] else ""
    fields = error.by_field if isinstance(error, InvalidInput) else {}
    return {"reason": "override_reason", "message": "message"}.get(str(next(iter(fields), "")), "")


def _override_reason(request: HttpRequest) -> str:
    if posted(request, "override") != "true":
        return ""
    reason = posted(request, "override_reason").strip()
    if not reason:
        sentence = "Give a reason for the override: it is shown in the timeline and kept in the audit trail."
        raise InvalidInput(sentence, errors={"reason": [sentence]})
    return reason


def _dialog(
    request: HttpRequest, cr_id: str, *, problem: str = "", at: str = "", status: int = 200
) -> HttpResponse:
    """The dialog as things stand; what was refused is told above, or ``at`` the field that it is about."""
    plans.fresh_check(facts_at(request, cr_id))
    facts = facts_at(request, cr_id)  # with the check that was made
    context = {
        "change_request": facts.change_request,
        "dataset": facts.dataset,
        "dialog": merge_dialog(facts),
        "idempotency_key": uuid.uuid4().hex,
        "problem": problem,
        "problem_at": at,
        "moved": status == 409,
        "message": posted(request, "message"),
        "dataset_name_typed": posted(request, "dataset_name"),
        "in_dialog": is_fragment(request),
        "told": _named([name_of(one) for one in told_of_merge(facts.change_request, person(request))]),
    }
    template = "merges/_merge_dialog.html" if is_fragment(request) else "merges/merge.html"
    return render(request, template, context, status=status)


#: So many people are named; of more, how many there are.
NAMED_PEOPLE = 5


def _named(names: list[str]) -> str:
    more = len(names) - NAMED_PEOPLE
    return listed(
        [*names[:NAMED_PEOPLE], *([counted(more, "other") if more > 1 else names[-1]] if more > 0 else [])]
    )


@form_at("merge", "cr_id")
@signed_in
def merge_when_ready(request: HttpRequest, cr_id: str) -> HttpResponse:
    """Let the merge begin by itself once nothing has to be waited for; or take that wish back."""
    change_request = request_at(request, cr_id)
    if posted(request, "stop") == "true":
        waiting.stop_waiting(change_request_id=change_request.pk, actor=person(request))
        messages.info(request, f"{cr_id} does not merge by itself any more.")
    else:
        try:
            waiting.merge_when_ready(
                change_request_id=change_request.pk,
                actor=person(request),
                message=posted(request, "message"),
            )
        except Blocked as error:
            return _dialog(request, cr_id, problem=error.message, status=409)
        messages.success(request, f"{cr_id} merges by itself as soon as every gate holds.")
    page = reverse("change_request", args=[cr_id])
    if is_fragment(request):
        response = HttpResponse()
        response["HX-Redirect"] = page
        return response
    return HttpResponseRedirect(page)


@form_at("change_request", "cr_id")
@signed_in
def revert(request: HttpRequest, cr_id: str) -> HttpResponse:
    """Open a draft with what was there before the merge."""
    merged = request_at(request, cr_id)
    opened = reverts.revert_merge(change_request_id=merged.pk, actor=person(request))
    messages.success(
        request, f"{opened.cr_id} proposes what was there before {cr_id}. Ask for review when it is right."
    )
    return HttpResponseRedirect(reverse("change_request", args=[opened.cr_id]))


@require_safe
@signed_in
def run(request: HttpRequest, run_id: int) -> HttpResponse:
    """The progress of a merge run; its fragment is what htmx asks for each second while it is active."""
    found = selectors.visible_run(person(request), run_id)
    if is_fragment(request):
        return _panel(request, found, template="merges/_run_progress.html")
    return _panel(request, found, template="merges/run.html")


@form_at("merge_run", "run_id")
@signed_in
def cancel(request: HttpRequest, run_id: int) -> HttpResponse:
    """Cancel the run, which is possible until its commit begins."""
    found = selectors.visible_run(person(request), run_id)
    found = runs.cancel_run(run_id=found.pk, actor=person(request))
    if is_fragment(request):
        return _panel(request, found, template="merges/_run_progress.html")
    messages.info(request, "The merge stops before it commits, or it has stopped already.")
    return HttpResponseRedirect(reverse("merge_run", args=[run_id]))


def _panel(
    request: HttpRequest, found: MergeRun, *, template: str = "merges/_run.html", unsent: str = ""
) -> HttpResponse:
    user = person(request)
    change_request = found.change_request
    may_cancel = user.pk in (found.requested_by_id, change_request.author_id) or is_owner(
        user, change_request.dataset
    )
    panel: RunPanel = run_panel(found, may_cancel=may_cancel)
    context: dict[str, Any] = {
        "panel": panel,
        "run": found,
        "change_request": change_request,
        "dataset": change_request.dataset,
        "in_dialog": is_fragment(request),
        "unsent": unsent,
        "toast": json.dumps(_toast(panel)) if panel.outcome else "",
    }
    return render(request, template, context)


def _toast(panel: RunPanel) -> dict[str, str]:
    return {"text": panel.sentence, "level": panel.outcome, "href": panel.next_url, "label": panel.next_text}
