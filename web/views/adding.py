"""Adding a table: where it lies, what it is, its key, its name and people, and what is expected of it.

Each page has in its address all that was chosen before, so that nothing is lost by going back, reloading or signing in
again; nothing is written before the table is added.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from changerequests.services import expectations
from datasets import services, suites
from datasets.connecting import shown_address
from datasets.errors import Forbidden, InvalidInput, SuiteChanged
from datasets.models import Dataset, Project
from datasets.operators import is_operator
from datasets.roles import Role, projects_to_register_in, require_owner, role_on
from web.catalogue_forms import NewDatasetForm, WhereForm, slug_of
from web.forms import add_errors
from web.parameters import TEXT, asked_with
from web.view_models.adding import (
    SHARED_IDENTITY,
    PathStep,
    key_examples,
    path_at,
    proposed_rules,
    shown_columns,
    what_to_know,
)
from web.view_models.first_run import first_run
from web.views.shared import dataset_at, is_fragment, person, posted, signed_in, whole_number
from web.wording import counted

#: As many columns of a key as an address may name.
MOST_KEYS = 32


@asked_with(inside=TEXT, where=TEXT)
@require_safe
@signed_in
def add_table(request: HttpRequest) -> HttpResponse:
    """Where the table lies: its address typed, or found by looking through the folders that the person may add."""
    form = WhereForm(initial={"where": request.GET.get("where", "")})
    return _where_page(request, form, request.GET.get("inside", ""))


def _where_page(
    request: HttpRequest, form: WhereForm, inside: str = "", *, status: int = 200
) -> HttpResponse:
    roots = services.roots(person(request))
    folder, problem = None, ""
    for address in [inside, roots[0].address] if inside else [roots[0].address]:
        try:
            folder = services.look_into(person(request), address)
            break
        except InvalidInput as error:
            problem = problem or error.message
    context = {
        "form": form,
        "roots": roots,
        "folder": folder,
        "problem": problem if inside else "",
        "path": path_at(PathStep.WHERE),
    }
    return render(request, "adding/where.html", context, status=status)


@asked_with(where=TEXT)
@require_safe
@signed_in
def look_at_table(request: HttpRequest) -> HttpResponse:
    """What the table is, from its log, and what there is to know before it becomes a dataset."""
    found = _look(request)
    if isinstance(found, HttpResponse):
        return found
    context = {
        "look": found,
        "columns": shown_columns(found, ()),
        "notes": what_to_know(found, by_operator=is_operator(person(request))),
        "path": path_at(PathStep.LOOK),
    }
    return render(request, "adding/look.html", context)


@asked_with(where=TEXT, key=TEXT)
@require_safe
@signed_in
def choose_key(request: HttpRequest) -> HttpResponse:
    """Which columns identify a row. Those that are ticked are looked at in every row: NULLs and duplicates, counted."""
    keys = _keys(request.GET.getlist("key"))
    found, problem = _look(request), ""
    if keys and not isinstance(found, HttpResponse):
        try:
            found = services.look_at_table(table_uri=found.written, actor=person(request), primary_keys=keys)
        except InvalidInput as error:
            problem = error.message
    if isinstance(found, HttpResponse):
        return found
    context = {
        "look": found,
        "columns": shown_columns(found, keys),
        "keys": keys,
        "problem": problem,
        "examples": key_examples(found, keys),
        "following": f"{reverse('name_table')}?{_chosen(found.written, keys)}",
        "path": path_at(PathStep.KEY),
    }
    return render(request, "adding/key.html", context, status=422 if problem else 200)


@asked_with(where=TEXT, key=TEXT)
@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def name_table(request: HttpRequest) -> HttpResponse:
    """What it is called, where it belongs, who may review; then it is a dataset."""
    found = _look(request)
    if isinstance(found, HttpResponse):
        return found
    sent = request.POST if request.method == "POST" else request.GET
    keys = _keys(sent.getlist("key"))
    if not keys:
        return HttpResponseRedirect(f"{reverse('choose_key')}?{_chosen(found.written, ())}")
    projects = list(projects_to_register_in(person(request)))
    form = NewDatasetForm(
        request.POST if request.method == "POST" else None,
        asker=person(request),
        projects=projects,
        may_make=is_operator(person(request)),
        may_be_copy=found.shares_identity and is_operator(person(request)),
        initial={"name": found.info.name or found.last_part},
    )
    if request.method == "POST" and form.is_valid():
        try:
            dataset = _register(person(request), found.written, keys, form, projects)
        except InvalidInput as error:
            instead = {"table_uri": "is_copy"} if "is_copy" in form.fields else {}
            if not form.data.get("project"):
                instead["project"] = "new_project"
            add_errors(form, error, instead=instead)
        else:
            return _added(request, dataset)
    context = {
        "look": found,
        "keys": keys,
        "form": form,
        "shared_identity": SHARED_IDENTITY,
        "path": path_at(PathStep.NAME),
    }
    return render(request, "adding/name.html", context, status=422 if request.method == "POST" else 200)


def _register(
    actor: Any, written: str, keys: Sequence[str], form: NewDatasetForm, projects: Sequence[Project]
) -> Dataset:
    given = form.cleaned_data
    chosen = next((one for one in projects if one.slug == given["project"]), None)
    project = chosen or services.NewProject(slug=slug_of(given["new_project"]), name=given["new_project"])
    roles = dict.fromkeys(given["reviewers"], Role.CONTRIBUTOR)
    if not isinstance(project, Project) or role_on(actor, project) is not Role.OWNER:
        roles[actor] = Role.OWNER
    return services.register_dataset(
        project=project,
        slug=given["slug"],
        name=given["name"],
        table_uri=written,
        primary_keys=keys,
        description=given["description"],
        required_approvals=given["required_approvals"],
        is_copy=given.get("is_copy", False),
        actor=actor,
        roles=roles,
    )


def _added(request: HttpRequest, dataset: Dataset) -> HttpResponse:
    messages.success(request, f"{dataset.name} is a dataset now.")
    suites.ask_for_proposal(dataset_id=dataset.pk, actor=person(request))
    return HttpResponseRedirect(reverse("first_suite", args=[dataset.project.slug, dataset.slug]))


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def first_suite(request: HttpRequest, project_slug: str, dataset_slug: str) -> HttpResponse:
    """What a worker found to be true of the table, line by line: what is ticked is expected from now on."""
    dataset = dataset_at(request, project_slug, dataset_slug)
    require_owner(person(request), dataset, "change its expectations")
    if dataset.suite_number:
        return HttpResponseRedirect(reverse("suite", args=[project_slug, dataset_slug]))
    proposal = suites.latest_proposal(dataset)
    if request.method == "POST":
        wanted = suites.proposal_of(dataset, whole_number(posted(request, "proposal")) or 0)
        kept = {number for one in request.POST.getlist("keep") if (number := whole_number(one)) is not None}
        return _expect(request, dataset, wanted, kept)
    context = {
        "dataset": dataset,
        "proposal": proposal,
        "rules": proposed_rules(dataset, proposal) if proposal is not None and proposal.document else [],
        "path": path_at(PathStep.EXPECTATIONS),
        "onward": onward(request, dataset),
    }
    if is_fragment(request):
        if proposal is not None and proposal.finished_at:
            response = HttpResponse()
            response["HX-Redirect"] = request.path
            return response
        return render(request, "adding/_proposing.html", context)
    return render(request, "adding/expectations.html", context)


def _expect(
    request: HttpRequest, dataset: Dataset, proposal: suites.SuiteProposal, kept: set[int]
) -> HttpResponse:
    document = proposal.content or {"name": dataset.slug, "expectations": []}
    chosen = [one for number, one in enumerate(document["expectations"]) if number in kept]
    if chosen:
        try:
            saved = expectations.save_suite(
                dataset_id=dataset.pk,
                actor=person(request),
                document={**document, "expectations": chosen},
                edited_number=0,
                note="Proposed from the table's own data.",
            )
        except (SuiteChanged, suites.SuiteRejected) as error:
            messages.error(request, error.message)
            return HttpResponseRedirect(reverse("suite", args=[dataset.project.slug, dataset.slug]))
        messages.success(request, f"{counted(saved.expectation_count, 'expectation')} from now on.")
    return HttpResponseRedirect(onward(request, dataset))


def onward(request: HttpRequest, dataset: Dataset) -> str:
    """Where the path leads in the end: to what is left of the first run, else to the rows of the table."""
    if first_run(person(request)) is not None:
        return reverse("home")
    return reverse("dataset", args=[dataset.project.slug, dataset.slug])


def _look(request: HttpRequest) -> services.TableLook | HttpResponse:
    """The table of the address, or the page that asks for another one."""
    sent = request.POST if request.method == "POST" else request.GET
    where = sent.get("where", "")
    services.require_registrar(person(request))
    form = WhereForm({"where": where})
    if not where:
        return HttpResponseRedirect(reverse("add_table"))
    if not form.is_valid():
        return _where_page(request, form, status=422)
    try:
        return services.look_at_table(table_uri=form.cleaned_data["where"], actor=person(request))
    except (InvalidInput, Forbidden) as error:
        shown = shown_address(where)
        if shown != where:  # a page at that address would show its secret in every link back
            messages.error(request, error.message)
            return HttpResponseRedirect(f"{reverse('add_table')}?{urlencode({'where': shown})}")
        form.add_error("where", error.message)
        return _where_page(request, form, status=422)


def _keys(names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(name for name in names if name and "\x00" not in name))[:MOST_KEYS]


def _chosen(written: str, keys: Sequence[str]) -> str:
    return urlencode({"where": written, "key": list(keys)}, doseq=True)
