"""Operators look at change requests, runs and the queue, ring for work that is stuck and cancel runs."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.views.generic import RedirectView

from changerequests import queue
from changerequests.models import (
    ChangeRequest,
    Comment,
    ConflictResolution,
    EditedRow,
    Edits,
    EditStep,
    ExpectationCheck,
    ExpectationOverride,
    MergedKeys,
    MergeFigures,
    MergeRun,
    PlanCheck,
    Preview,
    Review,
    ReviewRequest,
    Revision,
    RunPhaseTime,
    SavedView,
    Upload,
    ViewedGroup,
)
from changerequests.services import maintenance, operations, plans, runs
from changerequests.states import RunStatus
from datasets.admin import OperatorAdmin
from datasets.errors import DomainError
from datasets.maintenance import active_run
from datasets.models import Dataset, MaintenanceRun
from datasets.work import unattended_under_lease


@admin.register(ChangeRequest)
class ChangeRequestAdmin(OperatorAdmin):
    """Change requests, newest first."""

    list_display = ["cr_id", "title", "dataset", "status", "author", "merged_version", "updated_at"]
    list_filter = ["status", "dataset", "created_at"]
    list_select_related = ["dataset", "author"]
    search_fields = ["title", "author__username"]
    actions = ["check_again"]

    @admin.action(description="Check again on the table as it is now", permissions=["operate"])
    def check_again(self, request: HttpRequest, found: QuerySet[ChangeRequest]) -> None:
        """Plan the draft and pending ones among them."""
        checked = [
            plans.check_again(change_request_id=change_request.pk, actor=request.user)  # type: ignore[arg-type]  # an operator
            for change_request in found
        ]
        messages.success(
            request, f"{sum(check is not None for check in checked)} change requests were checked."
        )


class StuckFilter(admin.SimpleListFilter):
    """Runs that wait for nobody's work."""

    title = "stuck"
    parameter_name = "stuck"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("died", "running, and their worker died"), ("unheard", "queued, and nobody is at work")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[MergeRun]) -> QuerySet[MergeRun]:
        if self.value() == "died":
            return _unattended(queryset, RunStatus.RUNNING)
        if self.value() == "unheard":
            return _unattended(queryset, RunStatus.QUEUED)
        return queryset


def _unattended(queryset: QuerySet[MergeRun], status: RunStatus) -> QuerySet[MergeRun]:
    found = unattended_under_lease(queue.workable_runs()).filter(status=status)
    return queryset.filter(pk__in=found.values("pk"))


@admin.register(MergeRun)
class MergeRunAdmin(OperatorAdmin):
    """Merge runs, newest first: the queue, what is at work, and how it ended."""

    change_list_template = "admin/changerequests/mergerun/change_list.html"
    list_display = [
        "pk",
        "change_request",
        "dataset",
        "status",
        "phase",
        "requested_by",
        "attempts",
        "worker",
        "heartbeat_at",
        "queued_at",
        "finished_at",
        "error_code",
    ]
    list_filter = [
        "status",
        StuckFilter,
        "phase",
        "dataset",
        "error_code",
        "force_merge",
        "skip_conflict_check",
    ]
    list_select_related = ["change_request", "dataset", "requested_by"]
    search_fields = ["change_request__title", "worker", "attempt_id"]
    exclude = ["error_data", "error_message"]  # they may quote rows, which are the dataset's members' to see
    actions = ["cancel"]

    def get_urls(self) -> list[URLPattern]:
        sweep = path("sweep/", self.admin_site.admin_view(self.sweep), name="changerequests_mergerun_sweep")
        # Where queue, leases and stuck work were until there was a page of Headgate's own.
        moved = path("operations/", RedirectView.as_view(pattern_name="operations"))
        return [sweep, moved, *super().get_urls()]

    @admin.action(description="Cancel", permissions=["operate"])
    def cancel(self, request: HttpRequest, found: QuerySet[MergeRun]) -> None:
        """Stop queued runs at once and ask running ones to stop before they commit."""
        for run in found:
            try:
                runs.cancel_run(run_id=run.pk, actor=request.user)  # type: ignore[arg-type]  # an operator
            except DomainError as error:
                messages.error(request, f"Run {run.pk}: {error.message}")
            else:
                messages.success(request, f"Run {run.pk} is cancelled, or stops before it commits.")

    def sweep(self, request: HttpRequest) -> HttpResponse:
        """Do at once what the periodic sweep does: ring for lost and interrupted runs, clear what was left."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if self.has_operate_permission(request):
            rung = operations.sweep(actor=request.user)  # type: ignore[arg-type]  # an operator
            messages.success(request, f"Swept: rang for {rung} datasets.")
        else:
            messages.error(request, "Only operators sweep.")
        return HttpResponseRedirect(reverse("admin:changerequests_mergerun_changelist"))


class MaintenanceRequestForm(forms.ModelForm):
    """Which table is looked after, how, and why."""

    jobs = forms.MultipleChoiceField(
        choices=MaintenanceRun.Job.choices, widget=forms.CheckboxSelectMultiple, label="What to do"
    )
    reason = forms.CharField(max_length=500, required=False, help_text="Kept in the audit trail.")

    class Meta:
        model = MaintenanceRun
        fields = ["dataset", "jobs", "reason"]

    def clean_dataset(self) -> Dataset:
        """One visit at a time."""
        dataset: Dataset = self.cleaned_data["dataset"]
        if active_run(dataset) is not None:
            raise forms.ValidationError("The table is being looked after already, or waits for it.")
        return dataset


@admin.register(MaintenanceRun)
class MaintenanceRunAdmin(OperatorAdmin):
    """Visits to tables, newest first; adding one asks a worker for it, by the service."""

    list_display = [
        "pk",
        "dataset",
        "jobs",
        "status",
        "requested_by",
        "version_before",
        "version_after",
        "row_count",
        "finished_at",
        "error_code",
    ]
    list_filter = ["status", "dataset", "error_code"]
    list_select_related = ["dataset", "requested_by"]
    search_fields = ["dataset__name", "reason"]
    form = MaintenanceRequestForm

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.has_operate_permission(request)

    def save_model(self, request: HttpRequest, obj: MaintenanceRun, form: Any, change: bool) -> None:
        asked = maintenance.request_maintenance(
            dataset_id=obj.dataset_id,
            actor=request.user,  # type: ignore[arg-type]  # an operator
            jobs=form.cleaned_data["jobs"],
            reason=form.cleaned_data["reason"],
        )
        obj.pk = asked.pk


@admin.register(MergedKeys)
class MergedKeysAdmin(OperatorAdmin):
    """Of which merges it is known which rows they can have changed; not the rows."""

    list_display = ["change_request"]
    list_select_related = ["change_request"]


@admin.register(Revision)
class RevisionAdmin(OperatorAdmin):
    """Staged contents, without what the upload's warnings quote of it."""

    exclude = ["warnings"]
    list_display = [
        "change_request",
        "number",
        "is_current",
        "rows",
        "base_version",
        "created_by",
        "created_at",
    ]
    list_filter = ["is_current", "created_at"]
    list_select_related = ["change_request", "created_by"]
    search_fields = ["change_request__title", "digest", "file_name"]


@admin.register(Upload)
class UploadAdmin(OperatorAdmin):
    """Uploads, newest first: what waits, what is read, how it ended; not what was typed or a refusal quotes."""

    exclude = ["pasted", "source", "error_data", "error_message"]
    list_display = [
        "pk",
        "dataset",
        "change_request",
        "kind",
        "status",
        "phase",
        "uploaded_by",
        "size_bytes",
        "rows_read",
        "attempts",
        "worker",
        "queued_at",
        "finished_at",
        "error_code",
    ]
    list_filter = ["status", "kind", "dataset", "error_code"]
    list_select_related = ["dataset", "change_request", "uploaded_by"]
    search_fields = ["file_name", "worker", "token"]


@admin.register(Preview)
class PreviewAdmin(OperatorAdmin):
    """Content that people looked at before proposing it: how it ended; not what they wrote or saw."""

    exclude = [
        "title",
        "description",
        "source",
        "pasted",
        "column_types",
        "column_actions",
        "result",
        "error_data",
        "error_message",
    ]
    list_display = [
        "pk",
        "dataset",
        "kind",
        "status",
        "asked_by",
        "rows_read",
        "attempts",
        "worker",
        "queued_at",
        "finished_at",
        "error_code",
    ]
    list_filter = ["status", "dataset", "error_code"]
    list_select_related = ["dataset", "asked_by"]
    search_fields = ["worker", "token"]


@admin.register(Edits)
class EditsAdmin(OperatorAdmin):
    """What people edit and have not proposed: whose and how long ago; what they typed is theirs."""

    list_display = ["pk", "dataset", "person", "upload", "created_at", "updated_at"]
    list_filter = ["dataset"]
    list_select_related = ["dataset", "person", "upload"]
    search_fields = ["person__username"]


@admin.register(EditedRow)
class EditedRowAdmin(OperatorAdmin):
    """How much of which rows is edited; not the rows, which are the dataset's members' to see."""

    exclude = ["key", "values", "seen"]
    list_display = ["pk", "edits", "operation", "changes", "version"]
    list_filter = ["operation"]
    list_select_related = ["edits__dataset", "edits__person"]


@admin.register(EditStep)
class EditStepAdmin(OperatorAdmin):
    """How far back edits can be undone."""

    exclude = ["rows"]
    list_display = ["pk", "edits", "number", "undone"]
    list_select_related = ["edits__dataset", "edits__person"]


@admin.register(PlanCheck)
class PlanCheckAdmin(OperatorAdmin):
    """The last check of each request; its code says what stands in the way, its sentence may quote rows."""

    exclude = ["problem"]
    list_display = [
        "change_request",
        "table_version",
        "conflicts",
        "unresolved",
        "problem_code",
        "checked_at",
    ]
    list_filter = ["problem_code", "strategy"]
    list_select_related = ["change_request"]


@admin.register(ExpectationCheck)
class ExpectationCheckAdmin(OperatorAdmin):
    """What suites said of revisions, quickly or in a merge run; not the failing rows."""

    exclude = ["failing", "report"]
    list_display = [
        "change_request",
        "revision",
        "run",
        "suite_version",
        "table_version",
        "passed",
        "warnings",
        "pre_existing",
        "deferred",
        "overridden",
        "checked_at",
    ]
    list_filter = ["change_request__dataset", ("run", admin.EmptyFieldListFilter), "checked_at"]
    list_select_related = [
        "change_request",
        "revision__change_request",
        "run__change_request",
        "suite_version",
    ]
    search_fields = ["change_request__title"]


@admin.register(ExpectationOverride)
class ExpectationOverrideAdmin(OperatorAdmin):
    """Who answers for which broken expectations, and why."""

    list_display = ["change_request", "suite_version", "given_by", "reason", "given_at"]
    list_filter = ["change_request__dataset", "given_at"]
    list_select_related = ["change_request", "suite_version", "given_by"]
    search_fields = ["change_request__title", "reason", "given_by__username"]


@admin.register(Review)
class ReviewAdmin(OperatorAdmin):
    """Verdicts, without what their reasons quote."""

    exclude = ["body"]
    list_display = ["change_request", "reviewer", "verdict", "created_at"]
    list_filter = ["verdict", "created_at"]
    list_select_related = ["change_request", "reviewer"]
    search_fields = ["change_request__title", "reviewer__username"]


@admin.register(ReviewRequest)
class ReviewRequestAdmin(OperatorAdmin):
    """Who was asked for a review."""

    list_display = ["change_request", "reviewer", "group", "asked_by", "asked_at"]
    list_select_related = ["change_request", "reviewer", "group", "asked_by"]
    search_fields = ["change_request__title", "reviewer__username", "group__name"]


@admin.register(Comment)
class CommentAdmin(OperatorAdmin):
    """Remarks: who, when and on which column. Which row, and what is said of it, is the members' to see."""

    exclude = ["row_key", "body", "cell", "suggestion"]
    list_display = ["change_request", "author", "column", "resolved_at", "created_at"]
    list_filter = [("resolved_at", admin.EmptyFieldListFilter), "created_at"]
    list_select_related = ["change_request", "author"]
    search_fields = ["change_request__title", "author__username"]


@admin.register(SavedView)
class SavedViewAdmin(OperatorAdmin):
    """How many views people keep; what they filter by is theirs."""

    exclude = ["filters"]
    list_display = ["pk", "person", "place", "dataset", "name", "updated_at"]
    list_filter = ["place"]
    list_select_related = ["person", "dataset"]
    search_fields = ["person__username"]


@admin.register(ViewedGroup)
class ViewedGroupAdmin(OperatorAdmin):
    """Who has looked at how many groups of changes."""

    list_display = ["change_request", "person", "viewed_at"]
    list_select_related = ["change_request", "person"]
    search_fields = ["change_request__title", "person__username"]


@admin.register(ConflictResolution)
class ConflictResolutionAdmin(OperatorAdmin):
    """Choices for conflicts, without the values of the rows."""

    exclude = ["key", "value"]
    list_display = ["change_request", "column", "choice", "is_current", "chosen_by", "chosen_at"]
    list_filter = ["choice", "is_current"]
    list_select_related = ["change_request", "chosen_by"]
    search_fields = ["change_request__title", "chosen_by__username"]


@admin.register(MergeFigures)
class MergeFiguresAdmin(OperatorAdmin):
    """What the metrics tell, dataset by dataset."""

    list_display = ["dataset", "outcomes", "rows_affected", "bytes_written"]
    list_select_related = ["dataset"]


@admin.register(RunPhaseTime)
class RunPhaseTimeAdmin(OperatorAdmin):
    """Seconds by phase."""

    list_display = ["run", "phase", "seconds"]
    list_filter = ["phase"]
    list_select_related = ["run__change_request"]
