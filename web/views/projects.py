"""Projects: the list, and for each its datasets and what it is called."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from datasets import services
from datasets.errors import Forbidden, InvalidInput, ProjectNotEmpty, SettingsChanged
from datasets.models import Project
from datasets.operators import is_operator
from datasets.roles import Role, project_to_manage, set_role
from web.catalogue_forms import ProjectForm
from web.forms import add_errors
from web.view_models.projects import project_head, project_rows
from web.views.datasets import datasets_listed
from web.views.shared import form_at, person, posted, project_page, signed_in


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def projects(request: HttpRequest) -> HttpResponse:
    """The projects that the person may see or manage; operators make one, which they own until they give it away."""
    may_make = is_operator(person(request))
    form = ProjectForm(request.POST if request.method == "POST" else None, is_new=True)
    if request.method == "POST":
        if not may_make:
            raise Forbidden("Only operators make projects.")
        made = _made(request, form) if form.is_valid() else None
        if made is not None:
            return HttpResponseRedirect(reverse("project_members", args=[made.slug]))
    context = {"rows": project_rows(person(request)), "form": form, "may_make": may_make}
    return render(request, "projects/projects.html", context, status=422 if request.method == "POST" else 200)


def _made(request: HttpRequest, form: ProjectForm) -> Project | None:
    given = form.cleaned_data
    try:
        made = services.create_project(
            slug=given["slug"], name=given["name"], description=given["description"], actor=person(request)
        )
    except InvalidInput as error:
        add_errors(form, error)
        return None
    set_role(member=person(request), target=made, role=Role.OWNER, actor=person(request))
    messages.success(request, f"{made.name} is made, and you own it. Say who else may do what in it.")
    return made


@require_safe
@signed_in
def project(request: HttpRequest, project_slug: str) -> HttpResponse:
    """One project and those of its datasets that the person may see."""
    shown = project_to_manage(person(request), project_slug)
    context = {
        "datasets": datasets_listed(person(request), shown),
        "may_add": services.may_register_somewhere(person(request)),
    }
    return project_page(request, shown, "datasets", context)


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def project_settings(request: HttpRequest, project_slug: str) -> HttpResponse:
    """What the project is called; an empty one is deleted here. For its owners and operators."""
    shown = project_to_manage(person(request), project_slug)
    if not project_head(shown, person(request), "").may_manage:
        raise Forbidden(f"Only owners of {shown.name} and operators change it.")
    initial = {"name": shown.name, "description": shown.description}
    form = ProjectForm(request.POST if request.method == "POST" else None, is_new=False, initial=initial)
    seen, moved = services.project_digest(shown), ""
    if request.method == "POST" and form.is_valid():
        try:
            services.change_project(
                project_id=shown.pk,
                actor=person(request),
                changes={name: form.cleaned_data[name] for name in services.EDITABLE_OF_PROJECT},
                edited=[posted(request, "seen")] if posted(request, "seen") else (),
            )
        except InvalidInput as error:
            add_errors(form, error)
        except SettingsChanged:
            shown = project_to_manage(person(request), project_slug)
            seen = services.project_digest(shown)
            moved = (
                f"Somebody changed it meanwhile: it is called {shown.name} now. Save again to replace that."
            )
        else:
            messages.success(request, "Saved.")
            return HttpResponseRedirect(request.path)
    context = {"form": form, "seen": seen, "moved": moved}
    status = 200 if request.method != "POST" else 409 if moved else 422
    return project_page(request, shown, "settings", context, status=status)


@form_at("project_settings", "project_slug")
@signed_in
def delete_project(request: HttpRequest, project_slug: str) -> HttpResponse:
    """Delete a project that holds no dataset, with the roles on it."""
    shown = project_to_manage(person(request), project_slug)
    try:
        services.delete_project(project_id=shown.pk, actor=person(request))
    except ProjectNotEmpty as error:
        messages.error(request, error.message)
        return HttpResponseRedirect(reverse("project_settings", args=[project_slug]))
    messages.success(request, f"{shown.name} is deleted.")
    return HttpResponseRedirect(reverse("projects"))
