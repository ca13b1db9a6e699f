"""Reviewing where the data is: groups that were viewed, and what is left out of a request."""

from typing import Any

from rest_framework import serializers

from api.schema import NO_TEXT
from api.serializers.proposals import RevisionSerializer
from api.serializers.shared import AnyValue, StrictSerializer
from datasets.rows import ChangesFilter, changes_filter, json_value

_OPERATIONS = [(name, name) for name in ("insert", "update", "delete")]


class ChangeGroupSerializer(serializers.Serializer):
    """Changed rows that are looked at together."""

    group = serializers.CharField(source="name", help_text="Its name: send it back to tick it off.")
    kind = serializers.ChoiceField(
        [(name, name) for name in ("edit", "column", "insert", "delete")],
        help_text="Equal edits of a column, its other edits, new rows, or deleted ones.",
    )
    column = serializers.CharField(allow_blank=True)
    old = serializers.SerializerMethodField()
    new = serializers.SerializerMethodField()
    rows = serializers.IntegerField()
    viewed = serializers.BooleanField()

    def get_old(self, group: Any) -> Any:
        """The value before, of equal edits; else null."""
        return json_value(group.edit.old) if group.edit else None

    def get_new(self, group: Any) -> Any:
        """The value after, of equal edits; else null."""
        return json_value(group.edit.new) if group.edit else None


class ViewedGroupsSerializer(serializers.Serializer):
    """The groups of the content, and which of them the caller has viewed."""

    revision_digest = serializers.CharField(source="revision.digest")
    total = serializers.SerializerMethodField()
    viewed = serializers.IntegerField()
    groups = ChangeGroupSerializer(many=True)

    def get_total(self, found: Any) -> int:
        return len(found.groups)


class MarkViewedSerializer(StrictSerializer):
    """A group that was looked at."""

    group = serializers.CharField(max_length=64)
    viewed = serializers.BooleanField(default=True, help_text="False takes it back.")
    revision_digest = serializers.CharField(
        allow_blank=True,
        default="",
        help_text="Of the content that was looked at; 409 if it moved meanwhile.",
    )


class ChangesFilterSerializer(StrictSerializer):
    """Changed rows by what they have in common, as the parameters of the diff name it."""

    operation = serializers.ChoiceField(_OPERATIONS, required=False)
    column = serializers.CharField(required=False, help_text="Rows in which this column changes.")
    key = serializers.CharField(required=False, trim_whitespace=False)
    old = serializers.CharField(required=False, trim_whitespace=False)
    old_is = serializers.ChoiceField(NO_TEXT, required=False)
    new = serializers.CharField(required=False, trim_whitespace=False)
    new_is = serializers.ChoiceField(NO_TEXT, required=False)
    became_null = serializers.BooleanField(required=False)
    unusual = serializers.BooleanField(required=False)

    def to_internal_value(self, data: Any) -> ChangesFilter:
        return changes_filter(super().to_internal_value(data))


class LeaveOutSerializer(StrictSerializer):
    """What is left out of a request, and why."""

    rows = serializers.ListField(
        child=serializers.DictField(child=AnyValue(allow_null=True)),
        required=False,
        max_length=10_000,
        help_text="Keys of rows that are left out whole.",
    )
    groups = ChangesFilterSerializer(
        many=True, required=False, help_text="Left out are all rows that one of these lets through, whole."
    )
    columns = serializers.ListField(
        child=serializers.CharField(),
        required=False,
        help_text="Left out are the cells of these columns. New and deleted rows have no such part and stay whole.",
    )
    reason = serializers.CharField(
        allow_blank=True, default="", help_text="For the author. Needed unless `dry_run`."
    )
    revision_digest = serializers.CharField(
        allow_blank=True,
        default="",
        help_text="Of the content that was looked at; 409 if it moved meanwhile.",
    )
    dry_run = serializers.BooleanField(default=False, help_text="Only count what it would do.")


class SplitCountsSerializer(serializers.Serializer):
    """What leaving it out does."""

    rows_left = serializers.IntegerField(help_text="Rows that go whole to the new draft.")
    rows_parted = serializers.IntegerField(help_text="Rows of which some cells go and the others stay.")
    rows_kept = serializers.IntegerField(help_text="Rows that stay, the parted ones included.")
    rows_whole = serializers.IntegerField(
        help_text="New and deleted rows that stay whole although columns are left out."
    )
    cells_left = serializers.DictField(
        child=serializers.IntegerField(), help_text="Updated cells that go, by column."
    )


class SplitSerializer(serializers.Serializer):
    """A request that was parted."""

    revision = RevisionSerializer(help_text="What stays in the request. It needs approvals of its own.")
    follow_up = serializers.CharField(source="follow_up.cr_id", help_text="The new draft of the author.")
