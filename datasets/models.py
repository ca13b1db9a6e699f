"""Projects, datasets, what the database remembers of a table, and the lease that serialises its writers."""

import uuid
from decimal import Decimal

from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import F, Q

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


class Dataset(models.Model):
    """One Delta table with primary key columns, and the rules under which it may change."""

    class ConflictPolicy(models.TextChoices):
        CELL = "cell", "Cell: only cells that both sides changed conflict"
        ROW = "row", "Row: any change to a row since the base conflicts"

    class StagingCleanup(models.TextChoices):
        REMOVE = "remove", "Remove staged content once the audit is durable"
        ARCHIVE = "archive", "Archive staged content once the audit is durable"

    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="datasets")
    slug = models.CharField(max_length=64, validators=[SLUG])
    name = models.CharField(max_length=200)
    description = models.TextField(blank=True)
    table_uri = models.CharField(max_length=1000, unique=True, help_text="Path or URI of the Delta table.")
    primary_keys = models.JSONField(help_text="Names of the key columns, in order.")
    required_approvals = models.PositiveSmallIntegerField(default=1, validators=[MaxValueValidator(100)])
    contributors_may_merge = models.BooleanField(default=True)
    threads_must_be_resolved = models.BooleanField(default=False)
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
        ]

    def __str__(self) -> str:
        return self.name


class DatasetMeta(models.Model):
    """What the database remembers of the table: right after every merge, and reconciled when others write."""

    dataset = models.OneToOneField(Dataset, on_delete=models.CASCADE, related_name="meta", primary_key=True)
    table_id = models.CharField(
        max_length=100, help_text="The table's own identity (metaData.id in its log)."
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
    version_timestamp = models.DateTimeField(null=True)
    checked_at = models.DateTimeField()

    class Meta:
        db_table = "dataset_meta"
        verbose_name = "dataset meta"
        verbose_name_plural = "dataset meta"

    def __str__(self) -> str:
        return f"{self.dataset_id} at version {self.delta_version}"


class DatasetLease(models.Model):
    """Who may write to a dataset's table now: one merge or maintenance at a time.

    ``fence`` grows with every holder, so that a worker that comes back from the dead can be told apart.
    """

    dataset = models.OneToOneField(Dataset, on_delete=models.CASCADE, related_name="lease", primary_key=True)
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
