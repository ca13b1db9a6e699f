"""Who may do what on a dataset or project: found by name, given and taken by owners and operators."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.models import Group, User
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from datasets.errors import Forbidden, NotFound
from datasets.models import Dataset, Project
from datasets.operators import is_operator
from datasets.roles import Role, members_of, project_to_manage, require_owner, role_on, set_role
from web.catalogue_forms import MemberForm
from web.parameters import PAGE, TEXT, asked_with
from web.views.shared import (
    dataset_at,
    dataset_page,
    form_at,
    person,
    posted,
    project_page,
    signed_in,
    whole_number,
)
from web.wording import name_of

MEMBER_ROWS = 50


@asked_with(q=TEXT, page=PAGE)
@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def members(request: HttpRequest, project_slug: str, dataset_slug: str) -> HttpResponse:
    """Who may do what, found by name where they are many. Owners give and take roles here."""
    dataset = dataset_at(request, project_slug, dataset_slug)
    if request.method == "POST":
        require_owner(person(request), dataset, "change who may do what")
    form = _given(request, dataset)
    if form is None:
        return HttpResponseRedirect(request.path)
    wanted = request.GET.get("q", "").strip()
    inherited = _members(dataset.project, wanted)
    context = {
        **_listed(request, dataset, form),
        "inherited": inherited[:MEMBER_ROWS],
        "more_inherited": max(len(inherited) - MEMBER_ROWS, 0),
        "remove_at": reverse("remove_member", args=[project_slug, dataset_slug]),
    }
    context["are_many"] = context["are_many"] or len(inherited) > MEMBER_ROWS
    return dataset_page(request, dataset, "members", context, status=422 if request.method == "POST" else 200)


@asked_with(q=TEXT, page=PAGE)
@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def project_members(request: HttpRequest, project_slug: str) -> HttpResponse:
    """The same of a project, whose roles hold for all of its datasets; operators give them, too."""
    project = project_to_manage(person(request), project_slug)
    if request.method == "POST":
        _require_manager(request, project)
    form = _given(request, project)
    if form is None:
        return HttpResponseRedirect(request.path)
    context = {
        **_listed(request, project, form),
        "remove_at": reverse("remove_project_member", args=[project_slug]),
        "may_give": _manages(request, project),
    }
    return project_page(request, project, "members", context, status=422 if request.method == "POST" else 200)


def _listed(request: HttpRequest, target: Dataset | Project, form: MemberForm) -> dict[str, Any]:
    wanted = request.GET.get("q", "").strip()
    own = _members(target, wanted)
    return {
        "form": form,
        "text": wanted,
        "page": Paginator(own, MEMBER_ROWS).get_page(request.GET.get("page")),
        "are_many": bool(wanted) or len(own) > MEMBER_ROWS,
    }


def _members(target: Dataset | Project, wanted: str) -> list[dict[str, Any]]:
    """The members with a role on the target itself whose name or user name has the text in it."""
    found = [_member(member, role) for member, role in members_of(target)]
    text = wanted.casefold()
    return [one for one in found if text in one["name"].casefold() or text in one["user_name"].casefold()]


def _given(request: HttpRequest, target: Dataset | Project) -> MemberForm | None:
    """The form to give a role, with what is wrong with it; None where the role was given."""
    form = MemberForm(request.POST if request.method == "POST" else None, asker=person(request))
    if request.method != "POST" or not form.is_valid():
        return form
    member, role = form.cleaned_data["found"], Role(form.cleaned_data["role"])
    set_role(member=member, target=target, role=role, actor=person(request))
    messages.success(request, f"{_member(member, role)['name']} is now {role.value} of {target.name}.")
    return None


@form_at("members", "project_slug", "dataset_slug")
@signed_in
def remove_member(request: HttpRequest, project_slug: str, dataset_slug: str) -> HttpResponse:
    """Take a member's own role on the dataset; what the project gives stays."""
    _remove(request, dataset_at(request, project_slug, dataset_slug))
    return HttpResponseRedirect(reverse("members", args=[project_slug, dataset_slug]))


@form_at("project_members", "project_slug")
@signed_in
def remove_project_member(request: HttpRequest, project_slug: str) -> HttpResponse:
    """Take a member's role on the project; what single datasets give stays."""
    project = project_to_manage(person(request), project_slug)
    _require_manager(request, project)
    _remove(request, project)
    return HttpResponseRedirect(reverse("project_members", args=[project_slug]))


def _remove(request: HttpRequest, target: Dataset | Project) -> None:
    kind = Group if posted(request, "kind") == "group" else User
    member = kind.objects.filter(pk=whole_number(posted(request, "id")) or 0).first()
    if member is None:
        raise NotFound("There is no such member.")
    set_role(member=member, target=target, role=None, actor=person(request))
    messages.success(request, f"{member} has no role of their own on {target.name} any more.")


def _require_manager(request: HttpRequest, project: Project) -> None:
    if not _manages(request, project):
        raise Forbidden(f"Only owners of {project.name} and operators change who may do what.")


def _manages(request: HttpRequest, project: Project) -> bool:
    return role_on(person(request), project) is Role.OWNER or is_operator(person(request))


def _member(member: User | Group, role: Role) -> dict[str, Any]:
    group = isinstance(member, Group)
    return {
        "id": member.pk,
        "kind": "group" if group else "user",
        "name": member.name if isinstance(member, Group) else name_of(member),
        "user_name": "" if isinstance(member, Group) else member.get_username(),
        "role": role.value,
    }
