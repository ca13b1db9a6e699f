"""What is told of a table beyond its rows: who made a row what it is, how worn the table is, the trail."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from api.serializers.shared import AnyValue, EngineReadSerializer, StrictSerializer, TableWorkSerializer
from datasets.models import MaintenanceRun
from datasets.rows import json_value, parse_json


class ComparedCellSerializer(serializers.Serializer):
    """One cell that differs; null where the row is absent, too."""

    column = serializers.CharField()

    def get_fields(self) -> dict[str, Any]:
        sides = {
            name: AnyValue(allow_null=True) for name in ("from", "to")
        }  # a word of Python's is none of a field
        return {**super().get_fields(), **sides}


class ComparedRowSerializer(serializers.Serializer):
    """One row that differs: its key and the cells that do."""

    key = serializers.DictField(child=AnyValue(allow_null=True))
    operation = serializers.ChoiceField([(name, name) for name in ("insert", "update", "delete")])
    cells = serializers.SerializerMethodField()

    @extend_schema_field(ComparedCellSerializer(many=True))
    def get_cells(self, row: Any) -> list[dict[str, Any]]:
        before, after = json_value(row.before or {}), json_value(row.after or {})
        return [
            {"column": column, "from": before.get(column), "to": after.get(column)} for column in row.changed
        ]


class ComparisonPageSerializer(serializers.Serializer):
    """A page of differing rows in key order."""

    next = serializers.URLField(allow_null=True, help_text="Address of the following page.")
    previous = serializers.URLField(allow_null=True, help_text="Address of the page before.")
    total = serializers.IntegerField(help_text="How many rows the filters let through.")
    reads = EngineReadSerializer(
        many=True, help_text="What was read of the table; empty where nothing had to be."
    )
    results = ComparedRowSerializer(many=True)


class GoBackSerializer(StrictSerializer):
    """Which version shall be proposed again."""

    version = serializers.IntegerField(min_value=0)
    title = serializers.CharField(max_length=200, default="", allow_blank=True)
    description = serializers.CharField(default="", allow_blank=True)


class RowKeyParameters(serializers.Serializer):
    """Which row."""

    key = serializers.CharField(help_text='The key as a JSON object, for example `{"tailnum": "N1"}`.')

    def validate_key(self, text: str) -> dict[str, Any]:
        key = parse_json(text, "key", cells=True)
        if not isinstance(key, dict):
            raise serializers.ValidationError('Write an object, for example {"tailnum": "N1"}.')
        return key


class DecisionSerializer(serializers.Serializer):
    """What was chosen for a conflict of the row or one of its cells."""

    column = serializers.CharField(allow_null=True, help_text="null where the row itself was in conflict.")
    choice = serializers.CharField()
    chosen_by = serializers.CharField()


class MergedRowChangeSerializer(serializers.Serializer):
    """What one merged change request did to the row."""

    change_request = serializers.CharField(source="cr_id")
    title = serializers.CharField()
    description = serializers.CharField(allow_blank=True)
    version = serializers.IntegerField()
    merged_at = serializers.DateTimeField(allow_null=True)
    author = serializers.CharField()
    merged_by = serializers.CharField(allow_blank=True)
    requested_for = serializers.CharField(allow_blank=True)
    message = serializers.CharField(allow_blank=True)
    override_reason = serializers.CharField(allow_blank=True)
    approved_by = serializers.ListField(child=serializers.CharField())
    decisions = DecisionSerializer(many=True)
    reverts = serializers.CharField(allow_null=True, help_text="The change request that this one took back.")
    operation = serializers.ChoiceField(
        [("insert", "insert"), ("update", "update"), ("delete", "delete")],
        source="row.operation",
        help_text="What became of the row.",
    )
    changed = serializers.ListField(
        child=serializers.CharField(), source="row.changed", help_text="Columns whose cells changed."
    )
    before = serializers.DictField(child=AnyValue(allow_null=True), source="row.before", allow_null=True)
    after = serializers.DictField(child=AnyValue(allow_null=True), source="row.after", allow_null=True)
    changed_outside = serializers.ListField(
        child=serializers.CharField(),
        help_text="Columns that somebody changed past Headgate since the change before.",
    )


class CellOriginSerializer(serializers.Serializer):
    """Where a cell's value of today comes from."""

    value = AnyValue(allow_null=True)
    change_request = serializers.SerializerMethodField(
        help_text="Who made it; null where it is older than the first merge, or from outside."
    )
    through = serializers.SerializerMethodField(
        help_text="Reverts that brought an earlier value back, newest first."
    )
    from_outside = serializers.BooleanField()

    def get_change_request(self, origin: Any) -> str | None:
        return origin.change.cr_id if origin.change else None

    def get_through(self, origin: Any) -> list[str]:
        return [change.cr_id for change in origin.through]


class RowHistorySerializer(serializers.Serializer):
    """Every merged change of a row, oldest first, and the origin of each of its cells of today."""

    key = serializers.DictField(child=AnyValue(allow_null=True))
    is_complete = serializers.BooleanField(
        help_text="Whether the table was read; else `current` is null and `cells` is empty."
    )
    current = serializers.DictField(
        child=AnyValue(allow_null=True), allow_null=True, help_text="null where the row is not in the table."
    )
    changes = MergedRowChangeSerializer(many=True)
    cells = serializers.DictField(child=CellOriginSerializer(), help_text="By column.")
    unreadable = serializers.DictField(
        child=serializers.CharField(), help_text="Change requests whose stored images are missing, and why."
    )


class ColumnHistoryParameters(serializers.Serializer):
    """Which column, and from where on."""

    column = serializers.CharField(help_text="The name of the column.")
    before = serializers.IntegerField(
        min_value=0, required=False, help_text="Only merges of versions before this one; from `next`."
    )
    limit = serializers.IntegerField(min_value=1, max_value=200, default=50)


class ColumnChangeSerializer(serializers.Serializer):
    """What one merged request did to the column."""

    change_request = serializers.CharField(source="cr_id")
    title = serializers.CharField()
    version = serializers.IntegerField()
    merged_at = serializers.DateTimeField(allow_null=True)
    author = serializers.CharField()
    merged_by = serializers.CharField(allow_blank=True)
    approved_by = serializers.ListField(child=serializers.CharField())
    reverts = serializers.CharField(allow_null=True, help_text="The request that it took back.")
    cells = serializers.IntegerField(help_text="Changed cells of rows that were there.")
    added = serializers.BooleanField(help_text="Whether it brought the column into the table.")


class ColumnAuthorSerializer(serializers.Serializer):
    """Somebody whose requests changed the column."""

    author = serializers.CharField()
    times = serializers.IntegerField(help_text="How many merged requests of theirs changed it.")
    version = serializers.IntegerField(help_text="The version that the last of them made.")
    merged_at = serializers.DateTimeField(allow_null=True)


class ColumnHistorySerializer(serializers.Serializer):
    """A page of a column's changes, newest first, and everybody whose requests changed it."""

    next = serializers.URLField(allow_null=True, help_text="Address of the following page.")
    column = serializers.CharField()
    is_there = serializers.BooleanField(help_text="Whether the table has the column now.")
    times = serializers.IntegerField(help_text="How many merged requests changed it.")
    people = ColumnAuthorSerializer(many=True)
    results = ColumnChangeSerializer(many=True)


class TrailParameters(serializers.Serializer):
    """Which entries of the audit trail; what is left out does not filter."""

    since = serializers.DateTimeField(
        required=False, input_formats=["iso-8601", "%Y-%m-%d"], help_text="First moment, included."
    )
    until = serializers.DateTimeField(
        required=False, input_formats=["iso-8601", "%Y-%m-%d"], help_text="The moment before which it ends."
    )
    actor = serializers.CharField(default="", help_text="User name of who did it.")
    action = serializers.CharField(default="", help_text="For example change_request.merged.")
    subject_type = serializers.CharField(default="", help_text="For example change_request.")
    subject_id = serializers.CharField(default="", help_text="For example CR-128.")


class WholeTrailParameters(TrailParameters):
    """The same for the whole installation."""

    stream = serializers.CharField(default="", help_text="One chain, for example dataset:7 or installation.")


class TableConditionSerializer(serializers.Serializer):
    """How worn the table is, from its log."""

    version = serializers.IntegerField()
    row_count = serializers.IntegerField()
    size_bytes = serializers.IntegerField()
    files = serializers.IntegerField()
    small_files = serializers.IntegerField(help_text="Files that compaction would write together.")
    vectors = serializers.IntegerField(help_text="Files with a deletion vector.")
    dead_rows = serializers.IntegerField(help_text="Rows that those hide.")
    misspelt_files = serializers.IntegerField(
        help_text="Files that VACUUM of Spark would delete although the table needs them, until it is compacted."
    )
    checkpoint_due = serializers.BooleanField()
    obstacles = serializers.ListField(
        child=serializers.CharField(), help_text="Why Headgate cannot compact the table; empty if it can."
    )


class RemovableFilesSerializer(serializers.Serializer):
    """Files that would be removed now."""

    files = serializers.SerializerMethodField()
    size_bytes = serializers.IntegerField()

    def get_files(self, found: Any) -> int:
        return len(found.paths)


class MaintenanceRunSerializer(TableWorkSerializer):
    """One visit to the table."""

    jobs = serializers.ListField(child=serializers.ChoiceField(MaintenanceRun.Job.choices))
    requested_by: Any = serializers.SlugRelatedField(slug_field="username", read_only=True, allow_null=True)
    report = serializers.DictField(child=AnyValue(), help_text="What each job did.")

    class Meta:
        model = MaintenanceRun
        fields = [
            "id",
            "jobs",
            "status",
            "requested_by",
            "reason",
            "queued_at",
            "started_at",
            "finished_at",
            "version_before",
            "version_after",
            "row_count",
            "report",
            "waits_for_store",
            "error_code",
            "error_message",
        ]


class MaintenanceSerializer(serializers.Serializer):
    """The dry run, what is due by the settings, and the last visits, newest first."""

    condition = TableConditionSerializer(
        allow_null=True, help_text="Null, as what follows from it, while the store does not answer."
    )
    due = serializers.ListField(child=serializers.ChoiceField(MaintenanceRun.Job.choices))
    old_files = RemovableFilesSerializer(source="unneeded", allow_null=True)
    leftover_files = RemovableFilesSerializer(source="orphaned", allow_null=True)
    runs = MaintenanceRunSerializer(many=True)


class RequestMaintenanceSerializer(StrictSerializer):
    """What is to be done."""

    jobs = serializers.ListField(
        child=serializers.ChoiceField(MaintenanceRun.Job.choices), allow_empty=False, max_length=4
    )
    reason = serializers.CharField(default="", allow_blank=True, max_length=500)
