"""Datasets: the list, and for each its rows, schema, history, change requests and settings."""

from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.models import User
from django.core.paginator import Paginator
from django.db.models import Count, OuterRef, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from changerequests import selectors
from changerequests.facts import facts_listed
from changerequests.models import ChangeRequest
from changerequests.services.known_history import known_versions
from changerequests.services.rule_effects import effects_of_rules
from changerequests.states import Status
from datasets import services
from datasets.errors import SettingsChanged
from datasets.models import Dataset, Project
from datasets.roles import datasets_with_role, require_owner
from datasets.rows import TableUnreachable
from datasets.trail import may_export
from web.forms import DatasetSettingsForm
from web.parameters import NUMBER, PAGE, TEXT, asked_with, choice
from web.view_models.blame import key_fields
from web.view_models.datasets import (
    KEY_PARAMETER,
    history_rows,
    known_schema_rows,
    preview_table,
    schema_rows,
)
from web.view_models.requests import request_rows
from web.view_models.saved_views import saved_views
from web.view_models.settings import setting_in_words, settings_groups
from web.view_models.versions import sparklines
from web.views.shared import (
    dataset_at,
    dataset_page,
    form_at,
    person,
    reads_table,
    signed_in,
    whole_number,
    within_dataset,
)
from web.views.table_rows import rows_asked_for

HISTORY_ROWS = 30
REQUEST_ROWS = 25
OPEN = (Status.DRAFT, Status.PENDING, Status.MERGING)


@require_safe
@signed_in
def datasets(request: HttpRequest) -> HttpResponse:
    """Every dataset that the person may see, by project."""
    context = {
        "datasets": datasets_listed(person(request)),
        "may_add": services.may_register_somewhere(person(request)),
    }
    return render(request, "datasets/datasets.html", context)


def datasets_listed(reader: User, project: Project | None = None) -> list[Dataset]:
    """The datasets that the reader may see, with how many of their requests are open; those of a project alone."""
    # Counted for each by its index: joined, all requests that ever were would be looked at.
    own = ChangeRequest.objects.filter(dataset=OuterRef("pk"), status__in=OPEN).order_by().values("dataset")
    open_requests = Coalesce(Subquery(own.annotate(number=Count("pk")).values("number")), 0)
    found = Dataset.objects.filter(pk__in=datasets_with_role(reader).values("pk"))
    return list(
        (found if project is None else found.filter(project=project))
        .select_related("project", "meta")
        .annotate(open_requests=open_requests)
    )


@asked_with(version=NUMBER, sort=TEXT, column=TEXT, value=TEXT, after=TEXT)
@require_safe
@signed_in
@within_dataset("rows")
@reads_table
def rows(
    request: HttpRequest, project_slug: str, dataset_slug: str, version: int | None = None
) -> HttpResponse:
    """The table's rows in key order or sorted by a column, now or as they were at a version."""
    dataset = dataset_at(request, project_slug, dataset_slug)
    wished = whole_number(request.GET.get("version", ""))
    if version is None and wished is not None:
        return HttpResponseRedirect(reverse("dataset_at_version", args=[project_slug, dataset_slug, wished]))
    asked = rows_asked_for(request, dataset, version)
    looked_for = bool(asked.column and "value" in request.GET and not asked.problem)
    return dataset_page(
        request,
        dataset,
        "rows",
        {
            "asked": asked,
            "saved": saved_views(person(request), request.GET, dataset) if version is None else None,
            "table": preview_table(dataset, asked.page, asked.order),
            "version": version,
            "latest": dataset.meta.delta_version,
            "next": asked.page.next,
            "filtered": f"&{urlencode({'filter': f'{asked.column}:=:{asked.value}'})}" if looked_for else "",
        },
    )


@require_safe
@signed_in
@reads_table
def schema(request: HttpRequest, project_slug: str, dataset_slug: str) -> HttpResponse:
    """The table's columns, constraints and properties, from its log."""
    dataset = dataset_at(request, project_slug, dataset_slug)
    try:
        info = services.table_at(dataset=dataset)
    except TableUnreachable:
        known = {
            "columns": known_schema_rows(dataset),
            "info": services.known_table(dataset),
            "as_last_known": True,
        }
        return dataset_page(request, dataset, "schema", known)
    # As pairs: a template takes the key "items" of a mapping for its method.
    properties = [pair for pair in info.properties.items() if not pair[0].startswith("delta.constraints.")]
    pairs = {"constraints": list(info.constraints.items()), "properties": properties}
    facts = {"columns": schema_rows(dataset, info), "info": info, **pairs}
    return dataset_page(request, dataset, "schema", facts)


@asked_with(starting=KEY_PARAMETER, before=NUMBER)
@require_safe
@signed_in
@reads_table
def history(request: HttpRequest, project_slug: str, dataset_slug: str) -> HttpResponse:
    """Each version of the table: which change request or which other job wrote it, and how many rows."""
    dataset = dataset_at(request, project_slug, dataset_slug)
    before = whole_number(request.GET.get("before", ""))
    try:
        versions = services.history(dataset=dataset, limit=HISTORY_ROWS, before=before)
        oldest = versions[-1].version if versions else 0
        sizes = services.sizes(dataset=dataset, first=oldest, last=versions[0].version) if versions else ()
        told = {"versions": history_rows(dataset, versions), "sparklines": sparklines(sizes)}
    except TableUnreachable:
        versions = known_versions(dataset=dataset, limit=HISTORY_ROWS, before=before)
        oldest = versions[-1].version if versions else 0
        told = {"versions": history_rows(dataset, versions), "as_last_known": True}
    return dataset_page(
        request,
        dataset,
        "history",
        {
            **told,
            "next_before": oldest if oldest > 0 and len(versions) == HISTORY_ROWS else None,
            "key_fields": key_fields(dataset, request.GET),
            "may_export": may_export(person(request), dataset),
        },
    )


@asked_with(status=choice("open", Status.MERGED, Status.CLOSED, "all"), page=PAGE)
@require_safe
@signed_in
def change_requests(request: HttpRequest, project_slug: str, dataset_slug: str) -> HttpResponse:
    """The change requests to one dataset, by status."""
    dataset = dataset_at(request, project_slug, dataset_slug)
    status = request.GET.get("status", "open")
    found = selectors.change_requests_to(dataset, person(request)).order_by("-pk")
    if status == "open":
        found = found.filter(status__in=OPEN)
    elif status in (Status.MERGED, Status.CLOSED):
        found = found.filter(status=status)
    else:
        status = "all"
    page = Paginator(found.values_list("pk", flat=True), REQUEST_ROWS).get_page(request.GET.get("page"))
    return dataset_page(
        request,
        dataset,
        "change_requests",
        {
            "rows": request_rows(facts_listed(list(page.object_list), person(request))),
            "page": page,
            "status": status,
            "statuses": [("open", "Open"), ("merged", "Merged"), ("closed", "Closed"), ("all", "All")],
        },
    )


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def settings(request: HttpRequest, project_slug: str, dataset_slug: str) -> HttpResponse:
    """The rules under which the dataset changes; owners change them."""
    dataset = dataset_at(request, project_slug, dataset_slug)
    if request.method == "POST":
        require_owner(request.user, dataset, services.CHANGE_SETTINGS)
        seen = request.POST.get("seen", "")
        form = DatasetSettingsForm(request.POST, instance=dataset)
        if not form.is_valid():
            return _settings_page(request, dataset, form, seen, status=422)
        try:
            services.change_settings(
                dataset_id=dataset.pk,
                actor=person(request),
                changes={name: form.cleaned_data[name] for name in form.changed_data},
                edited=(seen,) if seen else (),
            )
        except SettingsChanged:
            return _settings_changed(request, dataset_at(request, project_slug, dataset_slug), form)
        messages.success(request, "The settings are saved; the audit trail keeps the old ones.")
        return HttpResponseRedirect(request.path)
    form = DatasetSettingsForm(instance=dataset)
    return _settings_page(request, dataset, form, services.settings_digest(dataset))


def _settings_page(
    request: HttpRequest,
    dataset: Dataset,
    form: DatasetSettingsForm,
    seen: str,
    *,
    status: int = 200,
    **more: Any,
) -> HttpResponse:
    groups = settings_groups(form, effects_of_rules(dataset))
    context = {"form": form, "groups": groups, "seen": seen, **more}
    return dataset_page(request, dataset, "settings", context, status=status)


def _settings_changed(request: HttpRequest, now: Dataset, form: DatasetSettingsForm) -> HttpResponse:
    """The form as it was sent, beside what somebody else saved meanwhile; sent again, it replaces that knowingly."""
    stands = [
        (form[name].label, setting_in_words(form, name, getattr(now, name)))
        for name in form.differing_from(now)
    ]
    seen = services.settings_digest(now)
    return _settings_page(request, now, form, seen, status=409, stands=stands)


@form_at("dataset", "project_slug", "dataset_slug")
@signed_in
def reconcile(request: HttpRequest, project_slug: str, dataset_slug: str) -> HttpResponse:
    """Read the table's log again and say what moved."""
    dataset = dataset_at(request, project_slug, dataset_slug)
    before = dataset.meta.delta_version
    meta = services.reconcile(dataset_id=dataset.pk, actor=person(request))
    if meta.trouble:
        messages.error(request, meta.trouble)
    elif meta.delta_version == before:
        messages.success(request, f"Nothing moved: the table is at version {before}, as known.")
    else:
        messages.success(
            request,
            f"The table was written to by somebody else: version {before} became {meta.delta_version}.",
        )
    return HttpResponseRedirect(reverse("dataset", args=[project_slug, dataset_slug]))
