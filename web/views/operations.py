"""Operators' pages: queue, leases and stuck work, uploads, deliveries, the audit trail, stores and retention.

They show how the installation runs and nothing of rows. What they change goes through the services that the admin and
``manage.py operate`` use.
"""

from datetime import datetime
from functools import wraps
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from audit.errors import InvalidMoment
from audit.export import moment_of
from audit.selectors import entries_like, events_called, untold
from changerequests.models import Preview, Upload
from changerequests.services import operations, retention
from changerequests.states import UploadStatus
from datasets import anchoring, services
from datasets.durable_work import WorkStatus
from datasets.errors import DomainError, InvalidInput, NotFound
from datasets.models import Dataset
from datasets.operators import is_operator
from notifications.models import Delivery
from web.forms import OperatorActionForm
from web.parameters import NUMBER, TEXT, asked_with, choice
from web.view_models.operations import operator_tabs, periods, room, shown_entry
from web.views.shared import View, form_at, person, posted, signed_in, whole_number
from web.wording import counted

ROWS = 50
#: Of what would go, so many are named.
NAMED = 200
#: How uploads and looks stand and end.
_ENDS = dict.fromkeys(one.value for one in (*UploadStatus, *Preview.Status))
#: How long a request removes what is due.
REMOVING_SECONDS = 20


def for_operators(view: View) -> View:
    """Let operators in; for everybody else there is no such page. Raises ``NotFound``."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not is_operator(person(request)):
            raise NotFound(
                "There is no such page, or it is not for you: it is for operators of the installation."
            )
        return view(request, *args, **kwargs)

    return guarded


def _page(request: HttpRequest, name: str, context: dict[str, Any], *, status: int = 200) -> HttpResponse:
    tabs = operator_tabs(name)
    return render(request, f"operations/{name}.html", {"tabs": tabs, **context}, status=status)


@require_safe
@signed_in
@for_operators
def now(request: HttpRequest) -> HttpResponse:
    """What is stuck and why, what waits and runs, and who holds which table."""
    return _now(request, OperatorActionForm())


def _now(request: HttpRequest, form: OperatorActionForm, *, status: int = 200) -> HttpResponse:
    context = {
        "queue": operations.queued_and_running(),
        "leases": operations.held_leases(),
        "stuck": operations.stuck_work(),
        "sends_mail": settings.SENDS_MAIL,
        "form": form,
    }
    return _page(request, "operations", context, status=status)


@form_at("operations")
@signed_in
@for_operators
def act(request: HttpRequest) -> HttpResponse:
    """One of the safe actions, with a reason."""
    form = OperatorActionForm(request.POST)
    if not form.is_valid():
        return _now(request, form, status=422)
    wanted = form.cleaned_data
    try:
        done = operations.act(
            action=wanted["action"],
            number=wanted["number"],
            actor=person(request),
            reason=wanted["reason"],
        )
    except DomainError as error:
        form.add_error("reason" if isinstance(error, InvalidInput) else "number", error.message)
        return _now(request, form, status=422 if isinstance(error, InvalidInput) else 409)
    messages.success(request, done)
    return HttpResponseRedirect(reverse("operations"))


@form_at("operations")
@signed_in
@for_operators
def sweep(request: HttpRequest) -> HttpResponse:
    """What the periodic sweep does, at once."""
    rung = operations.sweep(actor=person(request))
    messages.success(request, f"Swept: a worker was rung for {counted(rung, 'dataset')}.")
    return HttpResponseRedirect(reverse("operations"))


def _older(found: QuerySet[Any], request: HttpRequest) -> tuple[list[Any], int | None]:
    """A page of rows, newest first, below the number ``before`` of the address; and where the next one begins."""
    before = whole_number(request.GET.get("before", ""))
    page = list((found if before is None else found.filter(pk__lt=before)).order_by("-pk")[: ROWS + 1])
    return page[:ROWS], page[ROWS - 1].pk if len(page) > ROWS else None


@asked_with(status=choice(*_ENDS), of=choice("previews"), before=NUMBER)
@require_safe
@signed_in
@for_operators
def uploads(request: HttpRequest) -> HttpResponse:
    """Uploads, newest first: what waits, what is read, and how it ended; nothing of what they hold.

    Or what people look at before they propose it, which the same workers read.
    """
    status, looks = request.GET.get("status", ""), request.GET.get("of") == "previews"
    statuses = [one.value for one in (Preview.Status if looks else UploadStatus)]
    found: QuerySet[Any] = (
        Preview.objects.select_related("dataset", "change_request", "asked_by")
        if looks
        else Upload.objects.select_related("dataset", "change_request", "uploaded_by")
    )
    rows, following = _older(found.filter(status=status) if status in statuses else found, request)
    context = {"rows": rows, "following": following, "status": status, "statuses": statuses, "looks": looks}
    return _page(request, "operations_uploads", context)


@asked_with(status=choice(*(status.value for status in WorkStatus)), q=TEXT, before=NUMBER)
@require_safe
@signed_in
@for_operators
def deliveries(request: HttpRequest) -> HttpResponse:
    """Messages to people and programs, newest first, and how many events nobody was told of yet."""
    status, text = request.GET.get("status", ""), request.GET.get("q", "").strip()
    statuses = [one.value for one in WorkStatus]
    found = Delivery.objects.select_related("event")
    if status in statuses:
        found = found.filter(status=status)
    if text:
        found = found.filter(receiver__icontains=text)
    rows, following = _older(found, request)
    context = {
        "rows": rows,
        "following": following,
        "status": status,
        "statuses": statuses,
        "text": text,
        "untold": untold(),
    }
    return _page(request, "operations_deliveries", context)


@asked_with(q=TEXT, action=TEXT, since=TEXT, until=TEXT, before=NUMBER)
@require_safe
@signed_in
@for_operators
def trail(request: HttpRequest) -> HttpResponse:
    """The audit trail, newest first; searched by who, what, of which thing and when. Nobody writes it here."""
    given = {name: request.GET.get(name, "").strip() for name in ("q", "action", "since", "until")}
    moments: dict[str, datetime | None] = {}
    problems = {}
    for name in ("since", "until"):
        try:
            moments[name] = moment_of(given[name])
        except InvalidMoment as error:
            problems[name] = error.message
    rows, following = _older(entries_like(about=given["q"], action=given["action"], **moments), request)
    context = {
        "rows": [shown_entry(event) for event in rows],
        "following": following,
        "given": given,
        "problems": problems,
    }
    return _page(request, "operations_trail", context)


@require_safe
@signed_in
@for_operators
def stores(request: HttpRequest) -> HttpResponse:
    """Where tables, staged content and anchors lie, how full that is, and what is known of each table."""
    context = {
        "room": room(),
        "table_places": settings.TABLE_PLACES,
        "anchor_places": anchoring.places(),
        "datasets": Dataset.objects.select_related("project", "meta"),
    }
    return _page(request, "operations_stores", context)


@form_at("operations_stores")
@signed_in
@for_operators
def reconcile(request: HttpRequest) -> HttpResponse:
    """Bring what is known of a table up to its log."""
    dataset = Dataset.objects.filter(pk=whole_number(posted(request, "dataset")) or 0).first()
    if dataset is None:
        raise NotFound("There is no such dataset any more.")
    meta = services.reconcile(dataset_id=dataset.pk, actor=person(request))
    if meta.trouble:
        messages.warning(request, f"{dataset}: {meta.trouble}")
    else:
        rows = "an unknown number of rows" if meta.row_count is None else counted(meta.row_count, "row")
        messages.success(request, f"{dataset} is at version {meta.delta_version} with {rows}.")
    return HttpResponseRedirect(reverse("operations_stores"))


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
@for_operators
def retention_page(request: HttpRequest) -> HttpResponse:
    """What is kept for how long, what would go now, and what went; removing it is asked for here."""
    if request.method == "POST":
        report = retention.apply_retention(actor=person(request), seconds=REMOVING_SECONDS)
        messages.success(request, f"{counted(len(report.removals), 'thing')} went.")
        if report.has_more:
            messages.info(
                request, "More is due: ask again, or leave it to the worker, who removes it at night."
            )
        if report.failed:
            messages.warning(
                request, f"{counted(len(report.failed), 'thing')} could not be removed and is tried again."
            )
        return HttpResponseRedirect(request.path)
    applied = events_called("retention.applied").order_by("-pk")[:10]
    context = {
        "periods": periods(),
        "removals": retention.what_would_go(NAMED),
        "most": NAMED,
        "applied": [shown_entry(event) for event in applied],
    }
    return _page(request, "operations_retention", context)
