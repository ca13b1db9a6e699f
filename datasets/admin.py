"""Operators look at the catalogue, give roles and reconcile tables.

Nothing is edited by hand: what changes goes through the services that people and programs use, so that it is checked
and recorded in the audit trail. Object permissions are given as roles.
"""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import Group, User
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone

from audit.admin import ReadOnlyAdmin
from datasets import services
from datasets.errors import DomainError
from datasets.models import (
    Connection,
    ConnectionPrefix,
    Dataset,
    DatasetLease,
    DatasetMeta,
    Installation,
    Measurement,
    Project,
    RememberedAnswer,
    ServerProcess,
    StorePlace,
    SuiteProposal,
    SuiteTrial,
    SuiteVersion,
)
from datasets.operators import is_operator
from datasets.roles import Role, members_of, set_role


class OperatorAdmin(ReadOnlyAdmin):
    """Lists for operators, with actions that call services."""

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """What actions ask for with ``permissions=["operate"]``."""
        return is_operator(request.user)


class RoleForm(forms.Form):
    """Which user or group gets which role."""

    member = forms.ChoiceField()
    role = forms.ChoiceField(choices=[("none", "no role"), *((role.value, role.value) for role in Role)])

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        users = User.objects.order_by("username").values_list("pk", "username")
        groups = Group.objects.order_by("name").values_list("pk", "name")
        member = self.fields["member"]
        if isinstance(member, forms.ChoiceField):
            member.choices = [
                ("users", [(f"user:{pk}", name) for pk, name in users]),
                ("groups", [(f"group:{pk}", name) for pk, name in groups]),
            ]

    def chosen(self) -> tuple[User | Group, Role | None]:
        """The member and their role, once the form is valid."""
        kind, _, pk = self.cleaned_data["member"].partition(":")
        role = self.cleaned_data["role"]
        return (User if kind == "user" else Group).objects.get(pk=pk), None if role == "none" else Role(role)


class WithMembersAdmin(OperatorAdmin):
    """A page of members with their roles, in place of single object permissions."""

    change_form_template = "admin/datasets/change_form_with_members.html"

    def get_urls(self) -> list[URLPattern]:
        name = f"datasets_{self.model._meta.model_name}_members"
        return [
            path("<int:pk>/members/", self.admin_site.admin_view(self.members), name=name),
            *super().get_urls(),
        ]

    def members(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Who has which role here; operators give and take them."""
        if not self.has_operate_permission(request):
            raise PermissionDenied
        target = get_object_or_404(self.model, pk=pk)
        form = RoleForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            member, role = form.chosen()
            set_role(member=member, target=target, role=role, actor=request.user)  # type: ignore[arg-type]  # an operator
            messages.success(request, f"{member}: {role.value if role else 'no role'} on {target}.")
            return HttpResponseRedirect(request.path)
        context = {
            **self.admin_site.each_context(request),
            "title": f"Members of {target}",
            "opts": self.opts,
            "target": target,
            "form": form,
            "own": members_of(target),
            "inherited": members_of(target.project) if isinstance(target, Dataset) else [],
        }
        return TemplateResponse(request, "admin/datasets/members.html", context)


@admin.register(Installation)
class InstallationAdmin(OperatorAdmin):
    """Who this Headgate is in the logs of tables."""

    list_display = ["identity"]


@admin.register(Project)
class ProjectAdmin(WithMembersAdmin):
    """Projects; made here, by the service."""

    list_display = ["name", "slug", "created_at"]
    search_fields = ["name", "slug"]
    fields = ["slug", "name", "description"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return is_operator(request.user)

    def save_model(self, request: HttpRequest, obj: Project, form: Any, change: bool) -> None:
        made = services.create_project(
            slug=obj.slug,
            name=obj.name,
            description=obj.description,
            actor=request.user,  # type: ignore[arg-type]  # whoever adds is signed in
        )
        obj.pk = made.pk


@admin.register(Dataset)
class DatasetAdmin(WithMembersAdmin):
    """Datasets with what is known of their tables."""

    list_display = ["name", "project", "version", "rows", "problem", "checked_at", "table_uri"]
    list_filter = ["project", ("meta__problem", admin.EmptyFieldListFilter), "conflict_policy"]
    list_select_related = ["project", "meta"]
    search_fields = ["name", "slug", "table_uri"]
    actions = ["reconcile", "allow_files_elsewhere", "refuse_files_elsewhere"]

    @admin.action(description="Files elsewhere: let the table's log name them", permissions=["operate"])
    def allow_files_elsewhere(self, request: HttpRequest, datasets: QuerySet[Dataset]) -> None:
        """For shallow clones."""
        self._files_elsewhere(request, datasets, allowed=True)

    @admin.action(description="Files elsewhere: keep the table in its folder", permissions=["operate"])
    def refuse_files_elsewhere(self, request: HttpRequest, datasets: QuerySet[Dataset]) -> None:
        """The default."""
        self._files_elsewhere(request, datasets, allowed=False)

    def _files_elsewhere(self, request: HttpRequest, datasets: QuerySet[Dataset], *, allowed: bool) -> None:
        for dataset in datasets:
            services.allow_files_elsewhere(dataset_id=dataset.pk, actor=request.user, allowed=allowed)  # type: ignore[arg-type]  # an operator
        self.reconcile(request, datasets)

    @admin.display(ordering="meta__delta_version")
    def version(self, dataset: Dataset) -> int:
        return dataset.meta.delta_version

    @admin.display(ordering="meta__row_count")
    def rows(self, dataset: Dataset) -> int | None:
        return dataset.meta.row_count

    @admin.display(ordering="meta__problem")
    def problem(self, dataset: Dataset) -> str:
        return dataset.meta.problem

    @admin.display(ordering="meta__checked_at")
    def checked_at(self, dataset: Dataset) -> Any:
        return dataset.meta.checked_at

    @admin.action(description="Reconcile with the table's log", permissions=["operate"])
    def reconcile(self, request: HttpRequest, datasets: QuerySet[Dataset]) -> None:
        """Bring what is known of each table up to its log."""
        for dataset in datasets:
            try:
                meta = services.reconcile(dataset_id=dataset.pk, actor=request.user)  # type: ignore[arg-type]  # an operator
            except DomainError as error:
                messages.error(request, f"{dataset}: {error.message}")
                continue
            if meta.problem:
                messages.warning(request, f"{dataset}: {meta.problem}")
            else:
                messages.success(request, f"{dataset}: version {meta.delta_version}, {meta.row_count} rows.")


@admin.register(Connection)
class ConnectionAdmin(OperatorAdmin):
    """The stores that tables lie in; nothing of their secrets, which are not even sent to this page."""

    list_display = ["name", "kind", "root", "created_at"]
    list_filter = ["kind"]
    search_fields = ["name", "root"]
    exclude = ["sealed"]


@admin.register(ConnectionPrefix)
class ConnectionPrefixAdmin(OperatorAdmin):
    """Which projects may use which folder of a connection."""

    list_display = ["connection", "project", "path"]
    list_select_related = ["connection", "project"]


@admin.register(DatasetMeta)
class DatasetMetaAdmin(OperatorAdmin):
    """What is remembered of the tables."""

    list_display = [
        "dataset",
        "delta_version",
        "row_count",
        "size_bytes",
        "strategy",
        "problem",
        "difference",
        "unreachable_since",
        "checked_at",
    ]
    list_filter = [
        ("problem", admin.EmptyFieldListFilter),
        ("difference", admin.EmptyFieldListFilter),
        "strategy",
    ]
    list_select_related = ["dataset"]
    search_fields = ["dataset__name", "table_id"]


@admin.register(SuiteVersion)
class SuiteVersionAdmin(OperatorAdmin):
    """Every version of every dataset's expectations: who and when. The suite itself quotes values of the table."""

    exclude = ["document"]
    list_display = [
        "dataset",
        "number",
        "expectation_count",
        "note",
        "restored_from",
        "created_by",
        "created_at",
    ]
    list_filter = ["dataset", "created_at"]
    list_select_related = ["dataset", "created_by"]
    search_fields = ["dataset__name", "note"]


@admin.register(SuiteProposal)
class SuiteProposalAdmin(OperatorAdmin):
    """Suites that workers proposed from the table's values, or were asked to; not the suites."""

    exclude = ["document"]
    list_display = ["pk", "dataset", "status", "asked_by", "queued_at", "finished_at", "error_message"]
    list_filter = ["status", "dataset"]
    list_select_related = ["dataset", "asked_by"]


@admin.register(SuiteTrial)
class SuiteTrialAdmin(OperatorAdmin):
    """Rules that owners try on tables before they save them; not the rules, nor the rows that break them."""

    exclude = ["document", "rule", "note", "report", "error_message"]
    list_display = ["pk", "dataset", "status", "asked_by", "queued_at", "finished_at", "error_code"]
    list_filter = ["status", "dataset"]
    list_select_related = ["dataset", "asked_by"]


class AliveFilter(admin.SimpleListFilter):
    """Leases by whether somebody alive holds them."""

    title = "held"
    parameter_name = "held"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("alive", "by a worker that is alive"),
            ("expired", "by a worker that died"),
            ("free", "free"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        now = timezone.now()
        if self.value() == "alive":
            return queryset.exclude(holder="").filter(expires_at__gt=now)
        if self.value() == "expired":
            return queryset.exclude(holder="").filter(expires_at__lte=now)
        return queryset.filter(holder="") if self.value() == "free" else queryset


@admin.register(DatasetLease)
class DatasetLeaseAdmin(OperatorAdmin):
    """Who may write to which table now."""

    list_display = ["dataset", "holder", "fence", "acquired_at", "heartbeat_at", "expires_at"]
    list_filter = [AliveFilter]
    list_select_related = ["dataset"]
    search_fields = ["dataset__name", "holder"]


@admin.register(ServerProcess)
class ServerProcessAdmin(ReadOnlyAdmin):
    """Which processes there are, and when each gave its last sign of life."""

    list_display = ["name", "kind", "host", "queues", "started_at", "seen_at"]
    list_filter = ["kind"]


@admin.register(StorePlace)
class StorePlaceAdmin(ReadOnlyAdmin):
    """Places whose store does not answer, and until when nobody asks it."""

    list_display = ["place", "failing_since", "failures", "shut_until", "reason"]


@admin.register(Measurement)
class MeasurementAdmin(ReadOnlyAdmin):
    """Figures that are taken from time to time."""

    list_display = ["name", "value", "taken_at"]


@admin.register(RememberedAnswer)
class RememberedAnswerAdmin(ReadOnlyAdmin):
    """Which calls with an ``Idempotency-Key`` were answered; what was said may hold values of rows and stays unseen."""

    list_display = ["operation", "key", "user", "status", "created_at"]
    list_select_related = ["user"]
    exclude = ["headers", "body"]
