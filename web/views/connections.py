"""Connections to the stores that tables lie in, for operators: made, changed, tried, let to projects."""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from datasets.connecting import shown_address
from datasets.errors import ConnectionInUse, InvalidInput, SettingsChanged
from datasets.models import Connection
from datasets.services import connections as services
from web.connection_forms import ConnectionForm, NewConnectionForm, PrefixForm
from web.forms import add_errors
from web.view_models.operations import operator_tabs
from web.views.operations import for_operators
from web.views.shared import form_at, person, posted, signed_in
from web.wording import counted


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
@for_operators
def connections(request: HttpRequest) -> HttpResponse:
    """Every connection; a new one is made of its name and root."""
    form = NewConnectionForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            made = services.create_connection(actor=person(request), **form.cleaned_data)
        except InvalidInput as error:
            add_errors(form, error)
            form.data = {"name": posted(request, "name"), "root": shown_address(posted(request, "root"))}
        else:
            messages.success(request, f"{made.name} is made. Say how it is opened, then try it.")
            return HttpResponseRedirect(reverse("connection", args=[made.name]))
    context = {
        "connections": services.connections_seen_by(person(request)),
        "addresses_with_secrets": services.addresses_with_secrets(),
        "form": form,
        "tabs": operator_tabs("operations_connections"),
    }
    status = 422 if request.method == "POST" else 200
    return render(request, "operations/operations_connections.html", context, status=status)


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
@for_operators
def connection(request: HttpRequest, connection_name: str) -> HttpResponse:
    """One connection: how it is opened, which projects may use which folder of it, which tables it opens."""
    found = services.connection_seen(actor=person(request), name=connection_name)
    if request.method != "POST":
        return _page(request, found)
    form = ConnectionForm(request.POST, connection=found)
    if not form.is_valid():
        return _page(request, found, form=form, status=422)
    try:
        changed = services.change_connection(
            actor=person(request),
            name=connection_name,
            changes=form.changes(),
            edited=[posted(request, "seen")] if posted(request, "seen") else [],
        )
    except InvalidInput as error:
        add_errors(form, error)
        return _page(request, found, form=form, status=422)
    except SettingsChanged as error:
        form.add_error(None, error.message)
        return _page(request, found, form=form, status=412)
    messages.success(request, f"{changed.name} is saved.")
    return HttpResponseRedirect(reverse("connection", args=[changed.name]))


def _page(
    request: HttpRequest,
    shown: Connection,
    *,
    form: ConnectionForm | None = None,
    prefix_form: PrefixForm | None = None,
    trial: services.Trial | None = None,
    status: int = 200,
) -> HttpResponse:
    context: dict[str, Any] = {
        "connection": shown,
        "form": form or ConnectionForm(connection=shown),
        "prefix_form": prefix_form or PrefixForm(),
        "trial": trial,
        "datasets": shown.datasets.select_related("project"),
        "adoptable": services.adoptable(shown),
        "tabs": operator_tabs("operations_connections"),
    }
    return render(request, "operations/connection.html", context, status=status)


@form_at("connection", "connection_name")
@signed_in
@for_operators
def try_connection(request: HttpRequest, connection_name: str) -> HttpResponse:
    """What tables need of the store, tried; the answer is the page with what came of it."""
    trial = services.try_connection(actor=person(request), name=connection_name)
    found = services.connection_seen(actor=person(request), name=connection_name)
    return _page(request, found, trial=trial)


@form_at("connection", "connection_name")
@signed_in
@for_operators
def allow_prefix(request: HttpRequest, connection_name: str) -> HttpResponse:
    """Let the owners of a project add tables below a folder."""
    form = PrefixForm(request.POST)
    found = services.connection_seen(actor=person(request), name=connection_name)
    if not form.is_valid():
        return _page(request, found, prefix_form=form, status=422)
    try:
        made = services.allow_prefix(actor=person(request), name=connection_name, **form.cleaned_data)
    except InvalidInput as error:
        add_errors(form, error)
        return _page(request, found, prefix_form=form, status=422)
    messages.success(request, f"Owners of {made.project} add tables below {made} now.")
    return HttpResponseRedirect(reverse("connection", args=[connection_name]))


@form_at("connection", "connection_name")
@signed_in
@for_operators
def withdraw_prefix(request: HttpRequest, connection_name: str, prefix_id: int) -> HttpResponse:
    """Let them no more."""
    services.withdraw_prefix(actor=person(request), name=connection_name, prefix_id=prefix_id)
    messages.success(request, "They add no more tables there. What is a dataset stays one.")
    return HttpResponseRedirect(reverse("connection", args=[connection_name]))


@form_at("connection", "connection_name")
@signed_in
@for_operators
def adopt_tables(request: HttpRequest, connection_name: str) -> HttpResponse:
    """Open the tables below the root that have no connection with this one from now on."""
    found = services.adopt_tables(actor=person(request), name=connection_name)
    messages.success(request, f"{counted(len(found), 'table')} opened with {connection_name} from now on.")
    return HttpResponseRedirect(reverse("connection", args=[connection_name]))


@form_at("connection", "connection_name")
@signed_in
@for_operators
def remove_connection(request: HttpRequest, connection_name: str) -> HttpResponse:
    """Remove it, unless tables are opened with it."""
    try:
        services.remove_connection(actor=person(request), name=connection_name)
    except ConnectionInUse as error:
        messages.error(request, error.message)
        return HttpResponseRedirect(reverse("connection", args=[connection_name]))
    messages.success(request, f"{connection_name} is removed.")
    return HttpResponseRedirect(reverse("operations_connections"))
