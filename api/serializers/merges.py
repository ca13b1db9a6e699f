"""Conflicts, choices, merges and their runs."""

from typing import Any, get_args

from drf_spectacular.utils import extend_schema_field, extend_schema_serializer
from rest_framework import serializers

from api.serializers.shared import (
    ENGINES,
    AnyValue,
    EngineReadSerializer,
    StrictSerializer,
    TableWorkSerializer,
    TypedSerializer,
    UserField,
)
from changerequests import selectors
from changerequests.models import ConflictResolution, MergeRun
from datasets.rows import ConflictKind

ENGINE_WORK = [("rewrite", "rewrite"), ("write", "write")]
#: First what became of it in the table, then in the request.
CONFLICT_KINDS = [(kind, kind) for kind in get_args(ConflictKind)]


class ConflictSerializer(serializers.Serializer):
    """A cell (or, with ``column`` null, a row) that Current and Proposed both changed."""

    key = serializers.DictField(child=AnyValue(allow_null=True))
    column = serializers.CharField(allow_null=True)
    kind = serializers.CharField(help_text="For example modify/delete: first Current, then Proposed.")
    base = AnyValue(allow_null=True)
    current = AnyValue(allow_null=True)
    proposed = AnyValue(allow_null=True)
    inputs_digest = serializers.CharField(
        help_text="Stands for the three values; send it back with the choice."
    )
    legal_choices = serializers.ListField(child=serializers.CharField())
    message = serializers.CharField(allow_blank=True)
    choice = serializers.CharField(allow_null=True, help_text="The choice that stands.")
    value = AnyValue(allow_null=True, help_text="The value of a custom choice.")
    beside = serializers.IntegerField(
        help_text="How many other cells of the row the request changes and that merge without a conflict."
    )


class StandingChoiceSerializer(serializers.Serializer):
    """A choice that stands for a conflict: what was chosen, by whom and when."""

    key = serializers.DictField(child=AnyValue(allow_null=True))
    column = serializers.CharField(allow_null=True)
    choice = serializers.ChoiceField(ConflictResolution.Choice.choices)
    value = AnyValue(allow_null=True, help_text="The value of a custom choice.")
    chosen_by = serializers.CharField(help_text="User name.")
    chosen_at = serializers.DateTimeField()
    digest = serializers.CharField(
        help_text="Send it back as `seen` with another choice for the same conflict."
    )


@extend_schema_serializer(many=False)
class ConflictsPageSerializer(serializers.Serializer):
    """A page of conflicts with the exact counts of all of them."""

    next = serializers.URLField(allow_null=True)
    total = serializers.IntegerField()
    unresolved = serializers.IntegerField()
    matching = serializers.IntegerField(help_text="How many conflicts the parameters let through.")
    table_version = serializers.IntegerField()
    offered = serializers.DictField(
        child=serializers.IntegerField(),
        help_text="For how many of those that match and are open each choice can be made.",
    )
    selection = serializers.CharField(
        allow_blank=True,
        help_text="What stands for those that match and their choices; send it back as `seen` with a choice for all of "
        "them.",
    )
    selections = serializers.DictField(
        child=serializers.CharField(),
        help_text="Of every column with conflicts (empty name: whole rows) what stands for them and their choices; "
        "send it back as `seen` with a choice for the whole column.",
    )
    choices = StandingChoiceSerializer(
        many=True, help_text="Those that stand for the conflicts of this page."
    )
    results = ConflictSerializer(many=True)


class ChoiceSerializer(StrictSerializer):
    """One choice: which conflict, what is taken, and the digest of the values that were judged."""

    key = serializers.DictField(child=AnyValue(allow_null=True))
    column = serializers.CharField(allow_null=True, default=None)
    choice = serializers.ChoiceField(ConflictResolution.Choice.choices)
    value = AnyValue(allow_null=True, default=None, help_text="For the choice custom; null is NULL.")
    inputs_digest = serializers.CharField()
    seen = serializers.CharField(
        allow_blank=True,
        allow_null=True,
        default=None,
        help_text="The digest of the choice that was read, empty for none; 409 `plan_changed` with who chose what, "
        "where another choice stands by now. Left out, a choice of somebody else is not replaced.",
    )


class ChoicesSerializer(StrictSerializer):
    """Choices that are stored together or not at all."""

    resolutions = ChoiceSerializer(many=True, allow_empty=False)


class ManyChoiceSerializer(StrictSerializer):
    """The same choice for every conflict that fits, has none yet and offers it; without a filter for all of them."""

    column = serializers.CharField(
        required=False, allow_blank=True, help_text="Those of a column; empty for conflicts of whole rows."
    )
    kind = serializers.ChoiceField(CONFLICT_KINDS, required=False, help_text="First Current, then Proposed.")
    current = AnyValue(
        required=False,
        allow_null=True,
        help_text="Those whose Current is this value; null is NULL. With `column`.",
    )
    proposed = AnyValue(
        required=False,
        allow_null=True,
        help_text="Those whose Proposed is this value; null is NULL. With `column`.",
    )
    choice = serializers.ChoiceField(
        [pair for pair in ConflictResolution.Choice.choices if pair[0] != ConflictResolution.Choice.CUSTOM]
    )
    seen = serializers.CharField(
        allow_null=True,
        default=None,
        help_text="What `selection` said of this filter, or `selections` of the column; 409 `plan_changed` with who "
        "chose what, where its conflicts or their choices are others by now.",
    )


class ChosenForManySerializer(serializers.Serializer):
    """What a choice for many did."""

    chosen = serializers.IntegerField(help_text="How many conflicts it was made for.")
    unresolved = serializers.IntegerField(help_text="How many conflicts still need a choice.")
    undo = serializers.CharField(help_text="Send it to `conflicts/undo` to take it back.")


class UndoSerializer(StrictSerializer):
    """Which choice for many."""

    undo = serializers.CharField(max_length=80, help_text="As its answer named it.")


class UndoneSerializer(serializers.Serializer):
    """What undoing did."""

    restored = serializers.IntegerField(help_text="How many conflicts are as they were before.")
    kept = serializers.IntegerField(help_text="How many stay, since somebody chose for them meanwhile.")
    unresolved = serializers.IntegerField(help_text="How many conflicts still need a choice.")


class UnresolvedSerializer(serializers.Serializer):
    """How many conflicts still need a choice."""

    unresolved = serializers.IntegerField()


class VersionDiffSerializer(serializers.Serializer):
    """What the merge did to the table, in rows."""

    version_before = serializers.IntegerField()
    version_after = serializers.IntegerField()
    rows_added = serializers.IntegerField()
    rows_updated = serializers.IntegerField()
    rows_deleted = serializers.IntegerField()


class CheckSerializer(serializers.Serializer):
    """The outcome of one check of the merged result."""

    name = serializers.CharField()
    ok = serializers.BooleanField()
    message = serializers.CharField()
    failures = serializers.IntegerField()


class EngineWriteSerializer(serializers.Serializer):
    """What wrote data files for a merge: rows of the table again (``rewrite``) or those that came (``write``)."""

    engine = serializers.ChoiceField(ENGINES)
    work = serializers.ChoiceField(ENGINE_WORK)
    files = serializers.IntegerField()
    bytes = serializers.IntegerField()
    rows = serializers.IntegerField()
    seconds = serializers.FloatField()


class MergeResultSerializer(serializers.Serializer):
    """A merge that stands in the table."""

    merged_version = serializers.IntegerField()
    commit_id = serializers.CharField()
    rows_affected = serializers.IntegerField()
    rows_agreed = serializers.IntegerField()
    diff = VersionDiffSerializer()
    cells_updated = serializers.DictField(child=serializers.IntegerField())
    strategy = serializers.CharField()
    reads = EngineReadSerializer(many=True, default=list)
    writes = EngineWriteSerializer(many=True, default=list)
    conflicts_overridden = serializers.IntegerField()
    validation = CheckSerializer(many=True)


class OverriddenSerializer(serializers.Serializer):
    """A gate that an owner overrode."""

    code = serializers.CharField()
    sentence = serializers.CharField()


class RunErrorSerializer(serializers.Serializer):
    """Why a run ended without a merge; of one that succeeded, how the table differs from what was planned."""

    code = serializers.CharField(source="error_code")
    message = serializers.CharField(source="error_message")


class MergeRunSerializer(TableWorkSerializer):
    """One attempt to merge a change request."""

    change_request = serializers.CharField(source="change_request.cr_id", read_only=True)
    dataset = serializers.IntegerField(source="dataset_id", read_only=True)
    requested_by = UserField(read_only=True)
    suite_version = serializers.IntegerField(
        source="suite_version.number",
        read_only=True,
        allow_null=True,
        default=None,
        help_text="The version of the expectations that judged the merged result.",
    )
    overridden = OverriddenSerializer(source="overridden_blockers", many=True, read_only=True)
    error = serializers.SerializerMethodField()
    result = MergeResultSerializer(read_only=True, allow_null=True)

    class Meta:
        model = MergeRun
        fields = [
            "id",
            "change_request",
            "dataset",
            "status",
            "phase",
            "requested_by",
            "requested_for",
            "message",
            "revision_digest",
            "suite_version",
            "skip_conflict_check",
            "force_merge",
            "override_reason",
            "overridden",
            "attempts",
            "queued_at",
            "started_at",
            "finished_at",
            "waits_for_store",
            "error",
            "result",
        ]

    @extend_schema_field(RunErrorSerializer(allow_null=True))
    def get_error(self, run: MergeRun) -> Any:
        return RunErrorSerializer(run).data if run.error_code and not run.is_active else None


class MergeRunDetailSerializer(MergeRunSerializer):
    """A run with its place in the queue."""

    queue_position = serializers.SerializerMethodField(
        help_text="How many runs of the dataset end before it."
    )

    class Meta(MergeRunSerializer.Meta):
        fields = [*MergeRunSerializer.Meta.fields, "queue_position"]

    def get_queue_position(self, run: MergeRun) -> int | None:
        return selectors.queue_position(run) if run.is_active else None


class RequestMergeSerializer(StrictSerializer):
    """What was looked at, and how to merge. Everything may be left out."""

    message = serializers.CharField(allow_blank=True, default="")
    revision_digest = serializers.CharField(
        allow_blank=True, default="", help_text="409 plan_changed if it moved."
    )
    plan_digest = serializers.CharField(
        allow_blank=True, default="", help_text="409 plan_changed if it moved."
    )
    table_version = serializers.IntegerField(
        required=False, allow_null=True, help_text="409 plan_changed if it moved."
    )
    suite_version = serializers.IntegerField(
        required=False,
        allow_null=True,
        help_text="Number of the expectations that were looked at; 409 plan_changed if others hold by now.",
    )
    dataset_name = serializers.CharField(
        allow_blank=True,
        default="",
        help_text="The dataset's name typed, to delete more rows than its limit.",
    )
    merge_schema = serializers.BooleanField(required=False, allow_null=True, default=None)
    skip_conflict_check = serializers.BooleanField(
        default=False, help_text="Owners only: concurrent changes are not looked for, Proposed wins."
    )
    force_merge = serializers.BooleanField(
        default=False,
        help_text="Owners only: conflicts are recorded, then Proposed wins; gates are overridden.",
    )
    reason = serializers.CharField(
        allow_blank=True,
        default="",
        help_text="Owners only: overrides gates; shown in the timeline and the audit.",
    )
    requested_by = serializers.CharField(
        allow_blank=True,
        default="",
        max_length=150,
        help_text="Recorded beside the caller; only owners may name somebody else.",
    )


class MergeWhenReadySerializer(StrictSerializer):
    """What the merge shall say of itself."""

    message = serializers.CharField(allow_blank=True, default="")


@extend_schema_field({"oneOf": [{"type": "integer"}, {"type": "string"}]})
class IdentityField(serializers.Field):
    """An id as a number, or an id or slug as text."""

    def to_internal_value(self, data: Any) -> str:
        if isinstance(data, bool) or not isinstance(data, int | str):
            raise serializers.ValidationError("Give the id or the slug.")
        return str(data)

    def to_representation(self, value: Any) -> Any:
        return value


class MergeContractSerializer(TypedSerializer):
    """The request of ``POST /delta/merge-cr``. Members that it does not know are ignored."""

    project_id = IdentityField(help_text="Id or slug.")
    dataset_id = IdentityField(help_text="Id, slug, or project/slug.")
    cr_id = serializers.CharField()
    primary_keys = serializers.ListField(
        child=serializers.CharField(), allow_empty=False, help_text="Must be the dataset's key columns."
    )
    delta_version_before = serializers.IntegerField(
        required=False, allow_null=True, default=None, help_text="The base that the client knew."
    )
    current_delta_version = serializers.IntegerField(
        required=False, allow_null=True, default=None, help_text="The table version that the client knew."
    )
    merge_schema = serializers.BooleanField(default=True)
    requested_by = serializers.CharField(allow_blank=True, allow_null=True, default="", max_length=150)
    skip_conflict_check = serializers.BooleanField(default=False)
    force_merge = serializers.BooleanField(default=False)
    reason = serializers.CharField(
        allow_blank=True, default="", help_text="Needed by skip_conflict_check and force_merge."
    )


class MergedContractSerializer(serializers.Serializer):
    """The answer of ``POST /delta/merge-cr`` once the merge stands."""

    status = serializers.ChoiceField([("ok", "ok")])
    merged_version = serializers.IntegerField()
    commit_id = serializers.CharField()
    rows_affected = serializers.IntegerField(help_text="Added, updated and deleted.")
    diff = VersionDiffSerializer()
    cleanup = serializers.BooleanField(help_text="Whether the staged content was removed or archived.")
