"""Projects, datasets and their suites, what the database remembers of a table, and the lease of its writers."""

import json
import uuid
from decimal import Decimal
from typing import Any, NoReturn

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from datasets.durable_work import DurableWork, TableWork
from datasets.storage_kinds import KINDS
from datasets.unity_catalog import LONGEST_NAME

SLUG = RegexValidator(
    r"^[a-z0-9][a-z0-9_-]*\Z", "Use small letters, digits, - and _, beginning with a letter or digit."
)


class Installation(models.Model):
    """Who this Headgate is to the outside: the first half of the marker that it writes into table logs.

    One row. It keeps two installations that merge into one table from taking each other's ``CR-1`` for their own.
    """

    singleton = models.BooleanField(default=True, unique=True, editable=False)
    identity = models.UUIDField(default=uuid.uuid4, editable=False)

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(singleton=True), name="one_installation")]

    def __str__(self) -> str:
        return str(self.identity)


class Project(models.Model):
    """A group of datasets; roles given here hold for all of them."""

    slug = models.CharField(max_length=64, unique=True, validators=[SLUG])
    name = models.CharField(max_length=200)
    description = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]
        permissions = [
            ("contribute_project", "Can propose changes to every dataset of the project"),
            ("own_project", "Can manage every dataset of the project"),
        ]

    def __str__(self) -> str:
        return self.name


class Connection(models.Model):
    """A store that tables lie in: where it begins and how it is opened. Made and changed by operators.

    Its secrets are sealed (``datasets.encryption``) or stand elsewhere, named by ``references``; without either the
    process opens it with what it has of itself (a role of the machine, a profile, its environment).
    """

    name = models.CharField(max_length=64, unique=True, validators=[SLUG])
    kind = models.CharField(max_length=8, choices=[(one.value, one.label) for one in KINDS.values()])
    root = models.CharField(
        max_length=1000,
        unique=True,
        help_text="Where it begins: its tables lie below. The longest root counts.",
    )
    options = models.JSONField(default=dict, blank=True, help_text="By name, none of them a secret.")
    sealed = models.JSONField(default=dict, editable=False, help_text="Secret options, encrypted.")
    references = models.JSONField(
        default=dict, blank=True, help_text="Where secret options stand: env:NAME or file:/path, by name."
    )
    version = models.PositiveIntegerField(default=1, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class ConnectionPrefix(models.Model):
    """Below which folder of a connection the owners of a project may make tables datasets."""

    connection = models.ForeignKey(Connection, on_delete=models.CASCADE, related_name="prefixes")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="prefixes")
    path = models.CharField(max_length=1000, blank=True, help_text="Below the root; empty for all of it.")

    class Meta:
        ordering = ["connection__name", "project__name", "path"]
        verbose_name_plural = "connection prefixes"
        constraints = [
            models.UniqueConstraint(fields=["connection", "project", "path"], name="prefix_once_per_project")
        ]

    def __str__(self) -> str:
        return self.address

    @property
    def address(self) -> str:
        """The folder."""
        return f"{self.connection.root.rstrip('/')}/{self.path}".rstrip("/")


class Dataset(models.Model):
    """One Delta table with primary key columns, and the rules under which it may change."""

    class ConflictPolicy(models.TextChoices):
        CELL = "cell", "Cell: only cells that both sides changed conflict"
        ROW = "row", "Row: any change to a row since the base conflicts"

    class Engine(models.TextChoices):
        AUTO = "auto", "Spark for what is too large for one machine, where its connection has a cluster"
        DUCKDB = "duckdb", "DuckDB, on the machines of Headgate, whatever the size"
        SPARK = "spark", "Spark, on the cluster of its connection, whatever the size"

    class StagingCleanup(models.TextChoices):
        REMOVE = "remove", "Remove staged content once the audit is durable"
        ARCHIVE = "archive", "Archive staged content once the audit is durable"

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="datasets")
    slug = models.CharField(max_length=64, validators=[SLUG])
    name = models.CharField(max_length=200)
    description = models.TextField(blank=True)
    table_uri = models.CharField(max_length=1000, unique=True, help_text="Path or URI of the Delta table.")
    connection = models.ForeignKey(
        Connection,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="datasets",
        help_text="How its store is opened; empty for local folders and for what the process has of itself.",
    )
    catalog_table = models.CharField(
        max_length=LONGEST_NAME,
        blank=True,
        default="",
        db_default="",
        editable=False,
        help_text="What the Unity Catalog of its connection calls the table, if it was registered by that name: then "
        "that gives the key to its files.",
    )
    primary_keys = models.JSONField(help_text="Names of the key columns, in order.")
    required_approvals = models.PositiveSmallIntegerField(default=1, validators=[MaxValueValidator(100)])
    contributors_may_merge = models.BooleanField(default=True)
    threads_must_be_resolved = models.BooleanField(default=False)
    service_approvals_count = models.BooleanField(
        default=False,
        db_default=False,  # rows of the release before have none
        help_text="Whether approvals of service accounts count as those of people do.",
    )
    delete_limit = models.DecimalField(
        max_digits=5,
        decimal_places=4,
        default=Decimal("0.05"),
        validators=[MinValueValidator(Decimal(0)), MaxValueValidator(Decimal(1))],
        help_text=(
            "Share of the table's rows (0 to 1) above which a merge that deletes them "
            "needs the dataset's name typed."
        ),
    )
    conflict_policy = models.CharField(
        max_length=4, choices=ConflictPolicy.choices, default=ConflictPolicy.CELL
    )
    staging_cleanup = models.CharField(
        max_length=7, choices=StagingCleanup.choices, default=StagingCleanup.REMOVE
    )
    write_checkpoints = models.BooleanField(
        default=True,
        help_text="Keep the table's log quick to read. Changes no row and no file of the table.",
    )
    compact_files = models.BooleanField(
        default=False,
        help_text=(
            "Write small files together and fold deletion vectors away when there are many. "
            "Leave it off where another job optimizes the table."
        ),
    )
    remove_old_files = models.BooleanField(
        default=False,
        help_text=(
            "Delete files that no version needs which is younger than the days below (VACUUM). "
            "Older versions can no longer be read then."
        ),
    )
    keep_files_days = models.PositiveSmallIntegerField(
        default=7, validators=[MinValueValidator(1), MaxValueValidator(3650)]
    )
    files_elsewhere = models.BooleanField(
        default=False,
        help_text="Whether the table's log may name files outside of its folder, as that of a shallow clone does. "
        "For operators alone: whoever sees the dataset sees what those files hold.",
    )
    engine = models.CharField(
        max_length=6,
        choices=Engine.choices,
        default=Engine.AUTO,
        db_default=Engine.AUTO,
        help_text="What looks in the table's files for the rows of a change; Headgate decides and commits, whichever.",
    )
    block_pre_existing = models.BooleanField(
        default=False,
        help_text="Whether failures of expectations that the table already has stop a merge, too.",
    )
    suite_number = models.PositiveIntegerField(
        default=0,
        editable=False,
        help_text="The version of the suite that holds now; 0 if there never was one.",
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["project__name", "name"]
        permissions = [
            ("contribute_dataset", "Can propose changes to the dataset"),
            ("own_dataset", "Can manage the dataset"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["project", "slug"], name="dataset_slug_in_project"),
            models.CheckConstraint(
                condition=Q(delete_limit__gte=0, delete_limit__lte=1), name="dataset_delete_limit_is_share"
            ),
            models.CheckConstraint(condition=Q(keep_files_days__gte=1), name="dataset_keeps_files_a_day"),
        ]

    def __str__(self) -> str:
        return self.name


class SuiteVersionQuerySet(models.QuerySet["SuiteVersion"]):
    def update(self, **_: Any) -> NoReturn:
        raise TypeError("A version of a suite is never changed; save a new one.")

    def delete(self) -> NoReturn:
        raise TypeError("A version of a suite is never deleted.")


class SuiteVersion(models.Model):
    """One state of a dataset's expectations; the history only grows. ``Dataset.suite_number`` says which holds.

    A version without expectations is how an owner says that nothing is expected any more.
    """

    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="suite_versions")
    number = models.PositiveIntegerField()
    document = models.TextField(help_text="A Great Expectations suite in JSON.")
    expectation_count = models.PositiveIntegerField()
    note = models.TextField(blank=True, help_text="Why it was changed.")
    restored_from = models.PositiveIntegerField(
        null=True, help_text="The number of the earlier version that it repeats."
    )
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    objects = SuiteVersionQuerySet.as_manager()

    class Meta:
        ordering = ["dataset", "-number"]
        constraints = [
            models.UniqueConstraint(fields=["dataset", "number"], name="suite_version_number"),
            models.CheckConstraint(condition=Q(number__gte=1), name="suite_versions_begin_at_one"),
        ]

    def __str__(self) -> str:
        return f"version {self.number}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise TypeError("A version of a suite is never changed; save a new one.")
        super().save(*args, **kwargs)

    def delete(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("A version of a suite is never deleted.")

    @property
    def content(self) -> dict[str, Any]:
        """The suite as parsed JSON."""
        return dict(json.loads(self.document))


class SuiteProposal(TableWork):
    """A wish for a first suite from the table's own data, and what a worker made of it."""

    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="suite_proposals")
    asked_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    document = models.TextField(blank=True)

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["dataset"],
                condition=Q(status__in=DurableWork.ACTIVE),
                name="one_active_proposal_per_dataset",
            )
        ]
        indexes = [models.Index(fields=["status"], name="suite_proposal_queue")]

    def __str__(self) -> str:
        return f"proposal {self.pk}"

    @property
    def content(self) -> dict[str, Any] | None:
        """The proposed suite as parsed JSON; None while there is none."""
        return dict(json.loads(self.document)) if self.document else None


class SuiteTrial(TableWork):
    """Rules that an owner tries on the table before they are saved, and what a worker found; forgotten after a day.

    ``document`` is the suite that is being edited, ``rule`` the one rule of it that is tried, if it is one.
    """

    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="suite_trials")
    asked_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    document = models.TextField()
    rule = models.JSONField(null=True, blank=True)
    rule_number = models.PositiveIntegerField(
        null=True, blank=True, help_text="Which expectation of the document the rule is to replace."
    )
    edited_number = models.PositiveIntegerField(default=0, help_text="The version that is being edited.")
    note = models.TextField(blank=True, help_text="Why it is changed, as far as that was written.")
    report = models.JSONField(null=True, blank=True)

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["dataset", "asked_by"],
                condition=Q(status__in=DurableWork.ACTIVE),
                name="one_active_trial_per_person",
            )
        ]
        indexes = [models.Index(fields=["status"], name="suite_trial_queue")]

    def __str__(self) -> str:
        return f"trial {self.pk}"


class DatasetMeta(models.Model):
    """What the database remembers of the table: right after every merge, and reconciled when others write."""

    dataset = models.OneToOneField(Dataset, on_delete=models.CASCADE, related_name="meta", primary_key=True)
    table_id = models.CharField(
        max_length=100, help_text="The table's own identity (metaData.id in its log)."
    )
    is_copy = models.BooleanField(
        default=False,
        db_default=False,
        help_text="Whether an operator said that another dataset's table has the same identity: a copy of its folder.",
    )
    delta_version = models.PositiveBigIntegerField()
    row_count = models.PositiveBigIntegerField(
        null=True, help_text="Exact, from the log; NULL if the log has no counts."
    )
    schema_json = models.JSONField()
    partition_columns = models.JSONField(default=list)
    size_bytes = models.PositiveBigIntegerField()
    file_count = models.PositiveIntegerField()
    strategy = models.CharField(max_length=40, blank=True, help_text="How merges are written to this table.")
    problem = models.TextField(
        blank=True, help_text="Why the table cannot be read or written now; empty if it can."
    )
    difference = models.TextField(
        blank=True,
        help_text="How the table is other than a commit of ours planned it; nothing is merged until an operator has "
        "looked. Empty where every commit is as planned.",
    )
    unreachable_since = models.DateTimeField(
        null=True,
        blank=True,
        help_text="Since when the store of the table does not answer; empty where it does.",
    )
    unreachable_reason = models.TextField(
        blank=True, default="", db_default="", help_text="What it said last, in words without secrets."
    )
    unreachable_for_good = models.BooleanField(
        default=False,
        db_default=False,  # rows of the release before have none
        help_text="Whether somebody has to mend something (credentials, options) before it answers again.",
    )
    version_timestamp = models.DateTimeField(null=True)
    checked_at = models.DateTimeField()

    class Meta:
        db_table = "dataset_meta"
        verbose_name = "dataset meta"
        verbose_name_plural = "dataset meta"
        constraints = [
            models.UniqueConstraint(
                fields=["table_id"], condition=Q(is_copy=False), name="one_dataset_per_table_id"
            )
        ]

    def __str__(self) -> str:
        return f"{self.dataset_id} at version {self.delta_version}"

    @property
    def trouble(self) -> str:
        """Why nobody can work with the table now, in a sentence; empty if they can."""
        if self.unreachable_since is None:
            return self.problem
        since = f"{self.unreachable_since:%Y-%m-%d %H:%M} UTC"
        return f"The table cannot be reached since {since}. {self.unreachable_reason}"


class DatasetLease(models.Model):
    """Who may write to a dataset's table now: one merge or maintenance at a time.

    ``fence`` grows with every holder, so that a worker that comes back from the dead can be told apart.
    """

    class Kind(models.TextChoices):
        MERGE = "merge", "merge"
        MAINTENANCE = "maintenance", "maintenance"

    dataset = models.OneToOneField(Dataset, on_delete=models.CASCADE, related_name="lease", primary_key=True)
    kind = models.CharField(
        max_length=11, choices=Kind.choices, default=Kind.MERGE, help_text="What its last holder took it for."
    )
    holder = models.CharField(
        max_length=100, blank=True, help_text='For example "run 12"; empty if nobody holds it.'
    )
    fence = models.PositiveBigIntegerField(default=0)
    acquired_at = models.DateTimeField(null=True)
    heartbeat_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(holder="") | Q(acquired_at__isnull=False, expires_at__gt=F("acquired_at")),
                name="held_lease_expires",
            )
        ]

    def __str__(self) -> str:
        return self.holder or "free"


class MaintenanceRun(TableWork):
    """One visit to a table to look after it: asked for by a person or due by the dataset's settings.

    Durable like a merge run, and safe to lose: nothing it does changes a row, and what was cut short is due again.
    """

    class Job(models.TextChoices):
        CHECKPOINT = "checkpoint", "write a checkpoint"
        COMPACTION = "compaction", "compact files"
        ORPHANS = "orphans", "remove what dead attempts left"
        VACUUM = "vacuum", "remove old files"

    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="maintenance_runs")
    jobs = models.JSONField(help_text="What is to be done, in this order.")
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="Empty where the dataset's settings asked for it.",
    )
    reason = models.TextField(blank=True)
    version_before = models.PositiveBigIntegerField(null=True, blank=True)
    version_after = models.PositiveBigIntegerField(null=True, blank=True)
    row_count = models.PositiveBigIntegerField(
        null=True, blank=True, help_text="The same before and after, or the run failed."
    )
    report = models.JSONField(default=dict, help_text="What each job did.")

    class Meta:
        ordering = ["-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["dataset"],
                condition=Q(status__in=DurableWork.ACTIVE),
                name="one_active_maintenance_per_dataset",
            )
        ]
        indexes = [models.Index(fields=["status", "dataset"], name="maintenance_queue")]

    def __str__(self) -> str:
        return f"maintenance {self.pk} of {self.dataset}"


class RememberedAnswer(models.Model):
    """What was answered to a call with an ``Idempotency-Key``; without a status while it has not ended."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    operation = models.CharField(max_length=300, help_text="Method and address.")
    key = models.CharField(max_length=200)
    fingerprint = models.CharField(max_length=64, help_text="Digest of what was sent.")
    status = models.PositiveSmallIntegerField(null=True)
    headers = models.JSONField(default=dict)
    body = models.TextField(blank=True)
    claimed_until = models.DateTimeField(null=True)
    created_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "operation", "key"], name="one_answer_per_key"),
        ]

    def __str__(self) -> str:
        return f"{self.operation} {self.key}"


class ServerProcess(models.Model):
    """A process of this installation: when it gave its last sign of life, and what it has counted since it began.

    One row (``ENDED``) holds what all those counted that are gone.
    """

    class Kind(models.TextChoices):
        WEB = "web", "web"
        WORKER = "worker", "worker"
        WORKER_CHILD = "worker_child", "process of a worker"
        SCHEDULE = "schedule", "schedule"
        ENDED = "ended", "all that ended"

    name = models.CharField(max_length=150, unique=True, help_text="Host, number and a few random letters.")
    kind = models.CharField(max_length=12, choices=Kind.choices)
    host = models.CharField(max_length=255, blank=True)
    queues = models.JSONField(default=list, blank=True, help_text="What a worker takes work from.")
    started_at = models.DateTimeField()
    seen_at = models.DateTimeField(db_index=True)
    counts = models.JSONField(default=dict, blank=True)
    free_bytes = models.JSONField(
        default=dict, blank=True, help_text="What is free on the disks that it works on."
    )

    class Meta:
        verbose_name_plural = "server processes"

    def __str__(self) -> str:
        return self.name


class Measurement(models.Model):
    """A figure that is taken from time to time, because taking it whenever somebody asks would cost too much."""

    class Name(models.TextChoices):
        SWEPT_AT = "swept_at", "when the queues were last swept, in seconds of Unix time"
        STAGED_BYTES = "staged_bytes", "bytes of staged content"
        ARCHIVED_BYTES = "archived_bytes", "bytes of archived content"
        AUDIT_BYTES = "audit_bytes", "bytes of audit files"

    name = models.CharField(max_length=30, choices=Name.choices, primary_key=True)
    value = models.FloatField()
    taken_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"{self.name}: {self.value}"


class StorePlace(models.Model):
    """A place of tables (a bucket, a connection) whose store failed: while it is shut off, nobody waits for it.

    After a pause one caller tries it again for all others (a probe); its success opens the place. No row: it answers.
    """

    place = models.CharField(
        max_length=300,
        unique=True,
        help_text="The connection, or else scheme and bucket, for example s3://lake.",
    )
    failures = models.PositiveIntegerField(default=0, help_text="In a row.")
    failing_since = models.DateTimeField()
    reason = models.TextField(blank=True, help_text="What it said last, in words without secrets.")
    shut_until = models.DateTimeField(
        null=True, blank=True, help_text="Nobody asks it before; then one caller does."
    )
    probing = models.BooleanField(default=False, help_text="Whether that one asks it now.")

    def __str__(self) -> str:
        return self.place
