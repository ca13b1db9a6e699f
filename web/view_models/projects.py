"""Projects as pages show them: the list, and the head with tabs above each page of one."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib.auth.models import User
from django.db.models import Count, Q
from django.urls import reverse

from datasets.models import Project
from datasets.operators import is_operator
from datasets.roles import Role, datasets_with_role, projects_to_list, role_on, roles_on
from web.view_models.datasets import Tab


@dataclass(frozen=True)
class ProjectRow:
    """A project in the list: how many datasets of it the reader sees, and what they are in it."""

    project: Project
    datasets: int
    role: str


def project_rows(reader: User) -> list[ProjectRow]:
    """The projects that the reader may see or manage, by name."""
    visible = Q(datasets__in=datasets_with_role(reader).values("pk"))
    found = list(
        Project.objects.filter(pk__in=projects_to_list(reader).values("pk"))
        .annotate(seen=Count("datasets", filter=visible, distinct=True))
        .order_by("name")
    )
    roles = roles_on(reader, found)
    return [ProjectRow(one, one.seen, roles[one] or "") for one in found]


@dataclass(frozen=True)
class ProjectHead:
    """What stands above every page of a project."""

    tabs: tuple[Tab, ...]
    role: str
    may_manage: bool


def project_head(project: Project, reader: User, current: str) -> ProjectHead:
    """The head as the reader sees it: webhooks for owners, settings for operators, too."""
    role = role_on(reader, project)
    may_manage = role is Role.OWNER or is_operator(reader)
    tabs = [
        ("datasets", "Datasets", "project", "database"),
        ("members", "Members", "project_members", "people"),
    ]
    if role is Role.OWNER:
        tabs.append(("webhooks", "Webhooks", "project_webhooks", "bell"))
    if may_manage:
        tabs.append(("settings", "Settings", "project_settings", "gear"))
    return ProjectHead(
        tuple(
            Tab(title, reverse(url, args=[project.slug]), icon, name == current)
            for name, title, url, icon in tabs
        ),
        role or "",
        may_manage,
    )
