"""What the database holds of change requests. What must never happen is a constraint here, not an ``if``."""

import re
import uuid
from typing import Any

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Q, Value

from changerequests.states import (
    ACTIVE_RUN_STATUSES,
    KINDS_WITH_SOURCE,
    OPEN_STATUSES,
    EmptyCells,
    FollowUp,
    RunPhase,
    RunStatus,
    Status,
    UploadKind,
    UploadPhase,
    UploadState,
    UploadStatus,
)
from datasets.durable_work import DurableWork, TableWork
from datasets.models import Dataset, SuiteVersion


def choices(values: type[Any]) -> list[tuple[str, str]]:
    """Django's choices for a string enum."""
    return [(member.value, member.value.replace("_", " ")) for member in values]


def new_identity() -> str:
    """A name that no other request has or will have, in no copy of this database."""
    return uuid.uuid4().hex


class ChangeRequest(models.Model):
    """A proposal of row changes (and schema changes) to one dataset.

    Its number is for people; a database that was restored hands it out again. What tables and audit files know it by
    is its ``identity``.
    """

    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="change_requests")
    title = models.CharField(max_length=200)
    description = models.TextField(blank=True)
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="change_requests"
    )
    status = models.CharField(max_length=10, choices=choices(Status), default=Status.DRAFT)
    close_reason = models.TextField(blank=True)
    merge_schema = models.BooleanField(
        default=True, help_text="Whether new columns in the staged content are added to the table."
    )
    identity = models.CharField(
        max_length=40,
        unique=True,
        editable=False,
        default=new_identity,
        help_text="What its transaction marker in the table's log names it. Random; of requests from before there were "
        "identities, the public id that their markers hold.",
    )
    merge_generation = models.PositiveIntegerField(
        default=1, help_text="Version of the transaction marker that the merge will write."
    )
    unsettled_version = models.PositiveBigIntegerField(
        null=True,
        blank=True,
        editable=False,
        help_text="The highest table version that a merge began to commit and that may land yet. Set before the "
        "commit, cleared once the log shows what became of it; until then nothing of the request may change.",
    )
    resolutions_digest = models.CharField(
        max_length=64,
        blank=True,
        editable=False,
        help_text="SHA-256 over the choices that stand; empty where there are none. Approvals, checks and runs are "
        "bound to it. Written whenever choices are.",
    )
    merged_version = models.PositiveBigIntegerField(null=True, blank=True)
    merged_at = models.DateTimeField(null=True, blank=True)
    merged_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    merge_record = models.JSONField(
        null=True,
        blank=True,
        encoder=DjangoJSONEncoder,
        help_text="Frozen at the merge: result, plan, reviewers, digests and the hashes of the audit files.",
    )
    staging_removed_at = models.DateTimeField(null=True, blank=True)
    reverts = models.ForeignKey(
        "self",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="reverted_by",
        help_text="The merged request whose inverse this one holds.",
    )
    merge_when_ready_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="Who asked for the merge to begin by itself once nothing has to be waited for.",
    )
    merge_when_ready_at = models.DateTimeField(null=True, blank=True)
    merge_when_ready_message = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.CheckConstraint(
                condition=Q(status__in=[status.value for status in Status]),
                name="change_request_status_known",
            ),
            models.CheckConstraint(
                condition=(
                    Q(
                        status=Status.MERGED,
                        merged_version__isnull=False,
                        merged_at__isnull=False,
                        merge_record__isnull=False,
                    )
                    | (~Q(status=Status.MERGED) & Q(merged_version__isnull=True, merged_at__isnull=True))
                ),
                name="merged_exactly_with_version",
            ),
            models.CheckConstraint(
                condition=Q(unsettled_version__isnull=True) | Q(status__in=[Status.PENDING, Status.MERGING]),
                name="nothing_unsettled_is_edited_or_closed",
            ),
            models.UniqueConstraint(
                fields=["reverts"],
                condition=Q(status__in=[status.value for status in OPEN_STATUSES]),
                name="one_open_revert",
            ),
            models.CheckConstraint(
                condition=Q(merge_when_ready_by__isnull=True) | Q(status=Status.PENDING),
                name="only_pending_waits_to_merge",
            ),
        ]
        indexes = [
            models.Index(fields=["dataset", "status"], name="change_request_by_status"),
            models.Index(fields=["updated_at"], name="change_request_by_update"),
            models.Index(fields=["created_at"], name="change_request_by_creation"),
            # What every sweep asks for: a handful of requests among all there ever were.
            models.Index(
                fields=["merged_at"],
                condition=Q(merged_at__isnull=False, staging_removed_at__isnull=True),
                name="merged_and_not_cleared",
            ),
            models.Index(
                fields=["dataset"], condition=Q(unsettled_version__isnull=False), name="may_still_land"
            ),
            models.Index(
                fields=["merge_when_ready_at"],
                condition=Q(merge_when_ready_by__isnull=False),
                name="waits_to_merge",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.cr_id} {self.title}"

    @property
    def cr_id(self) -> str:
        """The public id, for example ``CR-128``."""
        return f"CR-{self.pk}"

    @staticmethod
    def pk_of(cr_id: str) -> int | None:
        """The primary key behind a public id; None if it is no public id."""
        found = re.fullmatch(r"CR-([1-9][0-9]{0,17})", cr_id)
        return int(found[1]) if found else None


class MergedKeys(models.Model):
    """Which rows a merged request can have changed, so that the history of one row opens the merges that did.

    Made from the stored images after the merge, or the first time that somebody asks.
    """

    change_request = models.OneToOneField(
        ChangeRequest, on_delete=models.CASCADE, related_name="merged_keys", primary_key=True
    )
    filter = models.BinaryField(help_text="See merging.history.keys.")

    class Meta:
        verbose_name_plural = "merged keys"

    def __str__(self) -> str:
        return f"keys of {self.change_request_id}"


class Revision(models.Model):
    """One immutable staged content of a change request."""

    change_request = models.ForeignKey(ChangeRequest, on_delete=models.CASCADE, related_name="revisions")
    number = models.PositiveIntegerField()
    is_current = models.BooleanField(default=True)
    location = models.CharField(max_length=1000, help_text="Where the staged content is.")
    digest = models.CharField(max_length=100, help_text="Of the content; does not depend on row order.")
    base_version = models.PositiveBigIntegerField()
    table_id = models.CharField(max_length=100)
    rows = models.PositiveBigIntegerField()
    rows_inserted = models.PositiveBigIntegerField()
    rows_updated = models.PositiveBigIntegerField()
    rows_deleted = models.PositiveBigIntegerField()
    noop_rows = models.PositiveBigIntegerField(help_text="Rows that equalled the table and were dropped.")
    columns = models.JSONField(help_text="Names of the staged value columns.")
    cells_updated = models.JSONField(default=dict, help_text="Changed cells per column.")
    new_columns = models.JSONField(
        default=list, blank=True, help_text="Columns that the table does not have: name and type of each."
    )
    warnings = models.JSONField(
        default=list,
        blank=True,
        help_text="Sentences about what was read otherwise than somebody may expect.",
    )
    file_name = models.CharField(max_length=255, blank=True)
    rebased_from = models.ForeignKey(
        "self",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="The revision whose base images were refreshed to make this one.",
    )
    split_from = models.ForeignKey(
        "self",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="parts",
        help_text="The revision that this one is a part of: what stayed of it, or what was left out of it.",
    )
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    checks_cut_short = models.PositiveSmallIntegerField(
        default=0, help_text="Checks of it that were begun since the last one that came to its end."
    )

    class Meta:
        ordering = ["change_request", "-number"]
        constraints = [
            models.UniqueConstraint(fields=["change_request", "number"], name="revision_number"),
            models.UniqueConstraint(
                fields=["change_request"], condition=Q(is_current=True), name="one_current_revision"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.change_request.cr_id} revision {self.number}"

    @property
    def was_rebased(self) -> bool:
        """Whether its rows may stand on base images of different versions."""
        if self.rebased_from_id is not None:
            return True
        return self.split_from is not None and self.split_from.was_rebased


class ReceivedContent(TableWork):
    """Content that was received and is not believed yet, with how it is to be read: a worker reads it in a process that
    may die alone. What came as a file lies under ``token``; the other kinds have a ``source``.
    """

    kind = models.CharField(max_length=10, choices=choices(UploadKind), default=UploadKind.FILE)
    source = models.TextField(
        blank=True, help_text="The SQL statement or the address of the table; else empty."
    )
    token = models.CharField(max_length=40, unique=True, editable=False, default=new_identity)
    title = models.CharField(max_length=200, blank=True)
    description = models.TextField(blank=True)
    merge_schema = models.BooleanField(default=True)
    file_name = models.CharField(max_length=255, blank=True)
    file_format = models.CharField(max_length=20, blank=True, help_text="Empty: by the file's name.")
    null_token = models.TextField(blank=True)
    column_types = models.JSONField(default=dict, blank=True)
    column_actions = models.JSONField(
        default=dict,
        blank=True,
        help_text="What was decided about columns, by their names in the content: action, to, type.",
    )
    empty_cells = models.CharField(
        max_length=10,
        blank=True,
        choices=choices(EmptyCells),
        help_text="What an empty cell of a CSV file or a workbook means; empty: what null_token says.",
    )
    pasted = models.TextField(
        blank=True,
        help_text="Rows that were typed into the page: shown again where they are refused, forgotten once staged.",
    )
    size_bytes = models.PositiveBigIntegerField(
        default=0, help_text="Of the file as it was received; 0 of what came without one."
    )
    rows_read = models.PositiveBigIntegerField(default=0)
    error_data = models.JSONField(
        default=dict, encoder=DjangoJSONEncoder, help_text="Of a refusal: every problem by line and column."
    )

    class Meta:
        abstract = True


class Preview(ReceivedContent):
    """Content that somebody wants to look at before it is proposed, and what a worker found.

    It is the person's own and kept for a day, its file with it: what was looked at is proposed without being sent
    again.
    """

    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="previews")
    asked_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    change_request = models.ForeignKey(
        ChangeRequest,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="+",
        help_text="Whose content it is meant to become; empty for that of a new one.",
    )
    asks_about_columns = models.BooleanField(
        default=True,
        help_text="Whether columns that the table lacks are told, not added, until decided about.",
    )
    result = models.JSONField(
        default=dict, help_text="What it would change: counts, columns, warnings, the first rows."
    )

    class Meta:
        ordering = ["-pk"]
        indexes = [
            models.Index(
                fields=["status"],
                condition=Q(status__in=DurableWork.ACTIVE),
                name="preview_queue",
            ),
            models.Index(fields=["asked_by"], name="previews_of_person"),
        ]

    def __str__(self) -> str:
        return f"preview {self.pk}"


class Upload(ReceivedContent):
    """Content on its way to become that of a change request. Its file is gone once the upload has ended.

    An upload that ``made_request`` is the first content of a draft that was made with it, and that goes
    with it: where the content is not staged, the draft is removed and ``change_request`` empty again.
    """

    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="uploads")
    change_request = models.ForeignKey(
        ChangeRequest,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="uploads",
        help_text="Whose content it shall become; empty where that was a draft that is removed again.",
    )
    made_request = models.BooleanField(
        default=False, help_text="Whether its change request was made with it, as a draft for this content."
    )
    base_version = models.PositiveBigIntegerField(
        null=True,
        blank=True,
        help_text="The version that another table was made from, where its log does not say; of somebody's edits, the "
        "version that they were made on.",
    )
    preview = models.ForeignKey(
        Preview,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="Where it was looked at before.",
    )
    uploaded_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    agent = models.CharField(
        max_length=100, blank=True, help_text="The agent that sent it in the person's name; else empty."
    )
    status = models.CharField(max_length=10, choices=choices(UploadStatus), default=UploadStatus.QUEUED)
    phase = models.CharField(max_length=10, choices=choices(UploadPhase), blank=True)
    follow_up = models.CharField(
        max_length=20,
        blank=True,
        choices=choices(FollowUp),
        help_text="What shall be done with the request once this is staged, as whoever sent it.",
    )
    follow_up_message = models.TextField(blank=True, help_text="Of the merge that was asked for with it.")
    followed_up = models.JSONField(
        default=dict,
        blank=True,
        encoder=DjangoJSONEncoder,
        help_text="What of that was done (outcome), and why no more (code, message).",
    )
    followed_up_at = models.DateTimeField(
        null=True, blank=True, help_text="When nothing of it was left to do."
    )
    idempotency_key = models.CharField(
        max_length=200, blank=True, help_text="That the call had which brought it."
    )
    revision = models.OneToOneField(
        Revision, null=True, blank=True, on_delete=models.CASCADE, related_name="upload"
    )
    edits = models.ForeignKey(
        Revision,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="+",
        help_text="The content that it holds with some rows edited: on the same base, and only while that stands.",
    )
    cancel_requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.CheckConstraint(
                condition=Q(status=UploadStatus.STAGED, revision__isnull=False)
                | (~Q(status=UploadStatus.STAGED) & Q(revision__isnull=True)),
                name="staged_exactly_with_revision",
            ),
            models.CheckConstraint(
                condition=Q(change_request__isnull=False) | ~Q(title=""), name="upload_has_request_or_title"
            ),
            models.CheckConstraint(
                condition=Q(
                    kind__in=[kind.value for kind in UploadKind if kind not in KINDS_WITH_SOURCE], source=""
                )
                | (Q(kind__in=[kind.value for kind in KINDS_WITH_SOURCE]) & ~Q(source="")),
                name="upload_has_source_by_its_kind",
            ),
        ]
        indexes = [
            # What every sweep asks for: a handful among all there ever were.
            models.Index(
                fields=["status"],
                condition=Q(status__in=[UploadStatus.QUEUED, UploadStatus.RUNNING]),
                name="upload_queue",
            ),
            models.Index(
                fields=["status"],
                condition=Q(status=UploadStatus.STAGED, followed_up_at__isnull=True) & ~Q(follow_up=""),
                name="upload_to_follow_up",
            ),
            models.Index(fields=["change_request", "uploaded_by"], name="uploads_of_request"),
            models.Index(
                fields=["uploaded_by", "idempotency_key"],
                condition=~Q(idempotency_key=""),
                name="upload_of_call",
            ),
        ]

    def __str__(self) -> str:
        return f"upload {self.pk}"

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left to do: it has ended, and where it is staged what shall follow was done."""
        if self.status != UploadStatus.STAGED:
            return not self.is_active
        return not self.follow_up or self.followed_up_at is not None

    @property
    def state(self) -> UploadState:
        """Where it stands, in one word."""
        if self.status == UploadStatus.QUEUED:
            return UploadState.RECEIVED
        return UploadState(self.phase if self.status == UploadStatus.RUNNING else self.status)


class Edits(models.Model):
    """What one person edited of a dataset's rows and has not proposed yet: the tray. Nobody else sees it."""

    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="edits")
    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="edits")
    upload = models.ForeignKey(
        Upload,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="What proposes them, or tried to: once it is staged they are gone, until it ends they stand still.",
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["-updated_at"]
        verbose_name_plural = "edits"
        constraints = [
            models.UniqueConstraint(fields=["dataset", "person"], name="one_tray_of_a_person_and_dataset")
        ]
        indexes = [models.Index(fields=["updated_at"], name="edits_by_update")]

    def __str__(self) -> str:
        return f"edits of {self.dataset} by {self.person}"

    @property
    def is_proposed(self) -> bool:
        """Whether an upload that proposes them is under way, so that they stand still."""
        return self.upload is not None and self.upload.is_active


class EditedRow(models.Model):
    """One row of somebody's edits: what is to become of it, and what stood in the table when it was first edited.

    ``values`` are what was typed, by column, in the column's form where it fits and as text where it does not yet:
    nothing typed is lost. ``version`` and ``digest`` name the row as it was looked at.
    """

    class Operation(models.TextChoices):
        INSERT = "insert", "added"
        UPDATE = "update", "edited"
        DELETE = "delete", "deleted"

    edits = models.ForeignKey(Edits, on_delete=models.CASCADE, related_name="rows")
    name = models.CharField(
        max_length=64,
        help_text="The digest of its key; of an added row, whose key may change, a random name.",
    )
    operation = models.CharField(max_length=6, choices=Operation.choices)
    key = models.JSONField(default=dict, help_text="Its key by column; empty for an added row.")
    values = models.JSONField(default=dict)
    seen = models.JSONField(default=dict, help_text="What the table had in the edited columns.")
    version = models.PositiveBigIntegerField(help_text="The table version that was looked at.")
    digest = models.CharField(
        max_length=64, blank=True, help_text="Of the whole row as it was; empty for one that is added."
    )
    changes = models.PositiveIntegerField(
        default=1, help_text="Edited cells; 1 for a row that is added or deleted."
    )

    class Meta:
        ordering = ["pk"]
        constraints = [models.UniqueConstraint(fields=["edits", "name"], name="edited_row_once")]

    def __str__(self) -> str:
        return f"row {self.name} of edits {self.edits_id}"


class EditStep(models.Model):
    """One thing that somebody did to their edits, to be undone and done again: rows by name, before and after it."""

    edits = models.ForeignKey(Edits, on_delete=models.CASCADE, related_name="steps")
    number = models.PositiveIntegerField()
    rows = models.JSONField(
        help_text="Name of a row -> what stood of it before and after; null where nothing did."
    )
    undone = models.BooleanField(default=False)

    class Meta:
        ordering = ["edits", "number"]
        constraints = [models.UniqueConstraint(fields=["edits", "number"], name="edit_step_number")]

    def __str__(self) -> str:
        return f"step {self.number} of edits {self.edits_id}"


class SavedView(models.Model):
    """Filters that somebody keeps under a name: of the requests on the first page, or of the rows of a dataset."""

    class Place(models.TextChoices):
        REQUESTS = "requests", "change requests"
        ROWS = "rows", "rows of a dataset"

    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    place = models.CharField(max_length=8, choices=Place.choices)
    dataset = models.ForeignKey(
        Dataset,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="+",
        help_text="Whose rows they filter; empty for requests.",
    )
    name = models.CharField(max_length=80)
    filters = models.JSONField(help_text="Parameters of the page's address, as texts.")
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["person", "name"]
        constraints = [
            models.UniqueConstraint(fields=["person", "dataset", "name"], name="one_view_of_rows_of_a_name"),
            models.UniqueConstraint(
                fields=["person", "name"],
                condition=models.Q(dataset__isnull=True),
                name="one_view_of_requests_of_a_name",
            ),
            models.CheckConstraint(
                condition=models.Q(place="rows", dataset__isnull=False)
                | models.Q(place="requests", dataset__isnull=True),
                name="views_of_rows_have_a_dataset",
            ),
        ]

    def __str__(self) -> str:
        return f"view {self.name} of {self.person}"


class PlanCheck(models.Model):
    """The last plan of a change request in numbers, with everything it depends on.

    A cache of what the engine said, so that lists and gates need not plan again: it counts only while the
    revision and the resolutions are the ones it was made on.
    """

    change_request = models.OneToOneField(
        ChangeRequest, on_delete=models.CASCADE, related_name="plan_check", primary_key=True
    )
    revision = models.ForeignKey(Revision, on_delete=models.CASCADE, related_name="+")
    resolutions_digest = models.CharField(max_length=64)
    table_version = models.PositiveBigIntegerField()
    plan_digest = models.CharField(max_length=100, blank=True)
    strategy = models.CharField(max_length=40, blank=True)
    rows_added = models.PositiveBigIntegerField(default=0)
    rows_updated = models.PositiveBigIntegerField(default=0)
    rows_deleted = models.PositiveBigIntegerField(default=0)
    rows_agreed = models.PositiveBigIntegerField(default=0)
    cells_updated = models.JSONField(default=dict)
    schema_changes = models.JSONField(default=list)
    conflicts = models.PositiveBigIntegerField(default=0)
    unresolved = models.PositiveBigIntegerField(default=0)
    row_count_before = models.PositiveBigIntegerField(default=0)
    row_count_after = models.PositiveBigIntegerField(default=0)
    deleted_share = models.FloatField(default=0)
    reads = models.JSONField(
        default=list,
        db_default=Value([], models.JSONField()),  # rows of the release before have none
        help_text="Which engine looked for rows in the table, and in how much of it.",
    )
    problem_code = models.CharField(max_length=40, blank=True)
    problem = models.TextField(blank=True, help_text="Why no plan could be made; empty if it could.")
    checked_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.revision} on version {self.table_version}"


class Review(models.Model):
    """A verdict on one revision together with the resolutions as they stood then."""

    #: Whether the reviewer is still one of those who review. Set where facts are loaded.
    entitled: bool
    #: Whether the reviewer made one of the choices that stand for the request's conflicts. Queries set it, see
    #: ``selectors.verdicts_on``.
    chose: bool
    #: Whether the reviewer is a service account. The same.
    by_service: bool
    #: Whether the reviewer is a service account, or has held a key of one. The same.
    keyed: bool
    #: Whether the reviewer is one person, by keys of service accounts, with who made or approved it. The same.
    same_hands: bool
    #: The number of its revision. The same.
    revision_number: int

    class Verdict(models.TextChoices):
        APPROVE = "approve", "approve"
        REQUEST_CHANGES = "request_changes", "request changes"
        COMMENT = "comment", "comment"

    change_request = models.ForeignKey(ChangeRequest, on_delete=models.CASCADE, related_name="reviews")
    revision = models.ForeignKey(Revision, on_delete=models.PROTECT, related_name="reviews")
    reviewer = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    verdict = models.CharField(max_length=15, choices=Verdict.choices)
    body = models.TextField(blank=True)
    revision_digest = models.CharField(max_length=100)
    resolutions_digest = models.CharField(max_length=64)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["created_at", "pk"]

    def __str__(self) -> str:
        return f"{self.reviewer} {self.verdict} {self.revision}"


class ReviewRequest(models.Model):
    """Somebody, or one of a group, was asked for a review. It stands until it is taken back; whether they still owe it
    follows from their verdicts."""

    #: Whether the asked person, or somebody of the asked group, judged the current content. Queries set it, see
    #: ``selectors.review_requests_of``.
    answered: bool

    change_request = models.ForeignKey(
        ChangeRequest, on_delete=models.CASCADE, related_name="review_requests"
    )
    reviewer = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.CASCADE, related_name="+"
    )
    group = models.ForeignKey("auth.Group", null=True, blank=True, on_delete=models.CASCADE, related_name="+")
    asked_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    asked_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.CheckConstraint(
                condition=Q(reviewer__isnull=True) ^ Q(group__isnull=True), name="person_or_group_is_asked"
            ),
            models.UniqueConstraint(fields=["change_request", "reviewer"], name="person_asked_once"),
            models.UniqueConstraint(fields=["change_request", "group"], name="group_asked_once"),
        ]

    def __str__(self) -> str:
        return f"{self.name} asked for {self.change_request.cr_id}"

    @property
    def name(self) -> str:
        """Who was asked: a user name, or the name of a group."""
        return str(self.reviewer if self.reviewer_id is not None else self.group)


class Comment(models.Model):
    """A remark on the request, one of its rows or one of its cells; the first of a thread can be resolved."""

    change_request = models.ForeignKey(ChangeRequest, on_delete=models.CASCADE, related_name="comments")
    parent = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.CASCADE, related_name="replies"
    )
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    body = models.TextField()
    row_key = models.JSONField(null=True, blank=True, encoder=DjangoJSONEncoder)
    column = models.CharField(max_length=255, blank=True)
    revision = models.ForeignKey(
        Revision,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="Of a remark on a row or cell: the content that it was written about.",
    )
    cell = models.JSONField(
        null=True,
        blank=True,
        encoder=DjangoJSONEncoder,
        help_text="What that content did there: operation, and of a cell its base and its proposed value.",
    )
    suggestion = models.JSONField(
        null=True, blank=True, encoder=DjangoJSONEncoder, help_text="Another value for the cell."
    )
    taken = models.ForeignKey(
        Upload,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="What takes the suggestion over into the content.",
    )
    resolved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    resolved_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["created_at", "pk"]
        constraints = [
            models.CheckConstraint(
                condition=Q(resolved_at__isnull=True) | Q(parent__isnull=True), name="only_threads_resolve"
            )
        ]
        indexes = [
            models.Index(
                fields=["change_request", "parent"],  # alone, the request loses against the index of parents
                condition=Q(parent__isnull=True, resolved_at__isnull=True),
                name="open_threads",
            )
        ]

    def __str__(self) -> str:
        return f"{self.author} on {self.change_request.cr_id}"


class ViewedGroup(models.Model):
    """A group of changed rows that somebody has looked at. It counts for the content that it was looked at in."""

    change_request = models.ForeignKey(ChangeRequest, on_delete=models.CASCADE, related_name="viewed_groups")
    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    revision_digest = models.CharField(max_length=100)
    group = models.CharField(max_length=64, help_text="Its name, which the API tells.")
    viewed_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["change_request", "person", "revision_digest", "group"], name="group_viewed_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.person} viewed a group of {self.change_request.cr_id}"


class ConflictResolution(models.Model):
    """What somebody chose for one conflict; it counts while the three values it judged stay (``inputs_digest``).

    Earlier choices stay as history with ``is_current`` false.
    """

    class Choice(models.TextChoices):
        CURRENT = "current", "keep current"
        PROPOSED = "proposed", "take proposed"
        BASE = "base", "take base"
        CUSTOM = "custom", "another value"
        KEEP = "keep", "keep the row"
        DELETE = "delete", "delete the row"

    change_request = models.ForeignKey(ChangeRequest, on_delete=models.CASCADE, related_name="resolutions")
    key = models.JSONField(encoder=DjangoJSONEncoder)
    key_digest = models.CharField(max_length=64)
    column = models.CharField(
        max_length=255, blank=True, help_text="Empty where the row itself is in conflict."
    )
    choice = models.CharField(max_length=8, choices=Choice.choices)
    value = models.JSONField(null=True, blank=True, encoder=DjangoJSONEncoder)
    inputs_digest = models.CharField(max_length=100)
    is_current = models.BooleanField(default=True)
    replaced = models.ForeignKey(
        "self",
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="What stood for the conflict before: undoing this choice lets it stand again.",
    )
    chosen_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    chosen_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["key_digest", "column", "pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["change_request", "key_digest", "column"],
                condition=Q(is_current=True),
                name="one_current_choice",
            )
        ]
        indexes = [
            models.Index(
                fields=["change_request", "chosen_by"],
                condition=Q(is_current=True),
                name="who_chose_what_stands",
            )
        ]

    def __str__(self) -> str:
        return f"{self.change_request.cr_id} {self.column}: {self.choice}"


class MergeRun(TableWork):
    """One attempt to merge a change request: durable, claimed by compare-and-set, safe to run twice."""

    #: How many runs of its dataset end before it. Queries set it, see ``selectors.latest_runs_of``.
    ahead: int

    change_request = models.ForeignKey(ChangeRequest, on_delete=models.PROTECT, related_name="runs")
    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="runs")
    revision = models.ForeignKey(Revision, on_delete=models.PROTECT, related_name="+")
    revision_digest = models.CharField(max_length=100)
    resolutions_digest = models.CharField(max_length=64)
    status = models.CharField(max_length=10, choices=choices(RunStatus), default=RunStatus.QUEUED)
    phase = models.CharField(max_length=12, choices=choices(RunPhase), default=RunPhase.QUEUED)
    requested_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    requested_for = models.CharField(
        max_length=150, blank=True, help_text="The name that a client gave beside its own."
    )
    message = models.TextField(blank=True)
    merge_schema = models.BooleanField(default=True)
    skip_conflict_check = models.BooleanField(default=False)
    force_merge = models.BooleanField(default=False)
    override_reason = models.TextField(blank=True)
    overridden_blockers = models.JSONField(default=list)
    large_delete_confirmed = models.BooleanField(
        default=False,
        help_text="Whether the dataset's name was typed, so that deletes above its limit may pass.",
    )
    approved_by = models.JSONField(
        default=list, help_text="Whose approvals counted when the commit began: what the audit says of them."
    )
    idempotency_key = models.CharField(max_length=200, blank=True)
    cancel_requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    error_data = models.JSONField(default=dict, encoder=DjangoJSONEncoder)
    result = models.JSONField(null=True, blank=True, encoder=DjangoJSONEncoder)
    suite_version = models.ForeignKey(
        SuiteVersion,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="The version of the expectations that judged the merged result; empty where none did.",
    )
    merged_version = models.PositiveBigIntegerField(null=True, blank=True)
    rows_affected = models.PositiveBigIntegerField(default=0)
    bytes_written = models.PositiveBigIntegerField(default=0)

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["dataset"],
                condition=Q(status=RunStatus.RUNNING),
                name="one_running_merge_per_dataset",
            ),
            models.UniqueConstraint(
                fields=["change_request"],
                condition=Q(status__in=[status.value for status in ACTIVE_RUN_STATUSES]),
                name="one_active_run_per_request",
            ),
            models.UniqueConstraint(
                fields=["change_request", "idempotency_key"],
                condition=~Q(idempotency_key=""),
                name="one_run_per_idempotency_key",
            ),
            models.CheckConstraint(
                condition=~Q(status=RunStatus.SUCCEEDED) | Q(merged_version__isnull=False),
                name="succeeded_run_has_version",
            ),
        ]
        indexes = [
            models.Index(fields=["status", "dataset", "queued_at"], name="merge_run_queue"),
            models.Index(fields=["dataset", "status"], name="merge_runs_of_dataset"),
            models.Index(fields=["queued_at"], name="merge_runs_by_moment"),
        ]

    def __str__(self) -> str:
        return f"run {self.pk} of {self.change_request.cr_id}"


class MergeFigures(models.Model):
    """How many of a dataset's merges ended how, and what they wrote and took: running totals for the metrics."""

    dataset = models.OneToOneField(
        Dataset, on_delete=models.CASCADE, related_name="merge_figures", primary_key=True
    )
    outcomes = models.JSONField(default=dict, help_text="Ended runs by their status.")
    rows_affected = models.PositiveBigIntegerField(default=0)
    bytes_written = models.PositiveBigIntegerField(default=0)
    phases = models.JSONField(
        default=dict, help_text="For each phase its seconds, and succeeded runs by how long it took."
    )

    class Meta:
        verbose_name_plural = "merge figures"

    def __str__(self) -> str:
        return f"figures of {self.dataset_id}"


class RunPhaseTime(models.Model):
    """How long one phase of a run took."""

    run = models.ForeignKey(MergeRun, on_delete=models.CASCADE, related_name="phase_times")
    phase = models.CharField(max_length=12, choices=choices(RunPhase))
    seconds = models.FloatField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "phase"], name="one_time_per_phase")]

    def __str__(self) -> str:
        return f"{self.run} {self.phase}: {self.seconds:.3f} s"


class ExpectationCheck(models.Model):
    """What a suite said of a revision: quickly about its changed rows (no ``run``), or in full in a merge run.

    It counts while the suite, the choices and (for a full one) the table are those it was made on.
    """

    change_request = models.ForeignKey(
        ChangeRequest, on_delete=models.CASCADE, related_name="expectation_checks"
    )
    revision = models.ForeignKey(Revision, on_delete=models.CASCADE, related_name="+")
    run = models.OneToOneField(
        MergeRun, null=True, blank=True, on_delete=models.CASCADE, related_name="expectation_check"
    )
    suite_version = models.ForeignKey(SuiteVersion, on_delete=models.PROTECT, related_name="+")
    resolutions_digest = models.CharField(max_length=64, blank=True)
    block_pre_existing = models.BooleanField()
    table_version = models.PositiveBigIntegerField()
    failing = models.JSONField(
        default=list, help_text="What stops the merge: number and sentence of each expectation."
    )
    passed = models.PositiveIntegerField(default=0)
    warnings = models.PositiveIntegerField(default=0)
    pre_existing = models.PositiveIntegerField(default=0)
    deferred = models.PositiveIntegerField(default=0)
    overridden = models.PositiveIntegerField(default=0)
    counts = models.BooleanField(
        default=True, help_text="Off once somebody asked to check again what could not be checked."
    )
    report = models.JSONField(help_text="The whole report, as in validation.json.")
    checked_at = models.DateTimeField()

    class Meta:
        ordering = ["pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["revision"], condition=Q(run__isnull=True), name="one_quick_check_per_revision"
            )
        ]

    def __str__(self) -> str:
        return f"{self.suite_version} on {self.revision}"

    @property
    def is_full(self) -> bool:
        """Whether the whole merged result was judged, not the changed rows alone."""
        return self.run_id is not None

    @property
    def could_not_check(self) -> bool:
        """Whether something that stops the merge was not judged at all, for a reason that may pass."""
        return any(one["state"] == "error" for one in self.failing)


class ExpectationOverride(models.Model):
    """An owner answers for expectations that a request breaks.

    It holds for one version of the suite, one content and one set of choices: a later edit of any voids it.
    """

    change_request = models.ForeignKey(
        ChangeRequest, on_delete=models.CASCADE, related_name="expectation_overrides"
    )
    suite_version = models.ForeignKey(SuiteVersion, on_delete=models.PROTECT, related_name="+")
    revision_digest = models.CharField(max_length=100)
    resolutions_digest = models.CharField(max_length=64, blank=True)
    expectations = models.JSONField(help_text="Number and sentence of each.")
    reason = models.TextField()
    given_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    given_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["pk"]
        constraints = [models.CheckConstraint(condition=~Q(reason=""), name="overrides_have_a_reason")]

    def __str__(self) -> str:
        return f"{self.given_by} for {self.change_request.cr_id}"

    @property
    def numbers(self) -> frozenset[int]:
        """The places of the expectations in their suite."""
        return frozenset(one["number"] for one in self.expectations)
