"""Change requests: what they are, say and change."""

from collections.abc import Iterable
from functools import cached_property
from typing import Any

from django.db.models import prefetch_related_objects
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.reverse import reverse

from api.addresses import DatasetField
from api.schema import EMPTY_CELLS, FOLLOW_UPS, OUTCOMES, READINESS, UPLOAD_KINDS, UPLOAD_STATES
from api.serializers.shared import (
    AnyValue,
    EngineReadSerializer,
    KeyField,
    StrictSerializer,
    TableWorkSerializer,
    UserField,
)
from changerequests.facts import Facts
from changerequests.models import ChangeRequest, Comment, PlanCheck, Review, Revision, Upload
from changerequests.policies import blockers, readiness
from changerequests.services.rebasing import is_edited
from changerequests.states import Action
from datasets.errors import InvalidInput
from datasets.rows import json_value, kept, parse_json

#: What people do; the rest is the system's.
PEOPLES_ACTIONS = (
    Action.EDIT,
    Action.REMOVE,
    Action.STAGE,
    Action.REBASE,
    Action.SUBMIT,
    Action.RETURN_TO_DRAFT,
    Action.REVIEW,
    Action.SPLIT,
    Action.RESOLVE,
    Action.REQUEST_MERGE,
    Action.CLOSE,
    Action.REOPEN,
    Action.REVERT,
)


class NewColumnSerializer(serializers.Serializer):
    """A column that the table does not have yet."""

    name = serializers.CharField()
    type = serializers.CharField(
        help_text="As Delta names it; chosen by the uploader, or by what the values are."
    )


class RevisionSerializer(serializers.ModelSerializer):
    """One immutable staged content."""

    new_columns = NewColumnSerializer(many=True)
    warnings = serializers.ListField(
        child=serializers.CharField(),
        help_text="What was read otherwise than somebody may expect: repeated rows, cut timestamps, rows left out.",
    )

    columns = serializers.ListField(child=serializers.CharField())
    cells_updated = serializers.DictField(
        child=serializers.IntegerField(), help_text="Changed cells per column."
    )
    created_by = UserField(read_only=True)

    class Meta:
        model = Revision
        fields = [
            "number",
            "digest",
            "base_version",
            "rows",
            "rows_inserted",
            "rows_updated",
            "rows_deleted",
            "noop_rows",
            "columns",
            "cells_updated",
            "new_columns",
            "warnings",
            "file_name",
            "created_by",
            "created_at",
        ]


class RevisionSummarySerializer(serializers.ModelSerializer):
    """The current content in numbers."""

    class Meta:
        model = Revision
        fields = ["number", "digest", "base_version", "rows", "rows_inserted", "rows_updated", "rows_deleted"]


class SchemaChangeSerializer(serializers.Serializer):
    """A change of the table's schema that the merge makes."""

    kind = serializers.CharField()
    column = serializers.CharField()
    type = serializers.CharField()


class PlanSerializer(serializers.ModelSerializer):
    """What a merge would do on ``table_version``; ``problem`` says why no plan could be made."""

    revision: Any = serializers.SlugRelatedField(slug_field="number", read_only=True)
    revision_digest = serializers.CharField(source="revision.digest", read_only=True)
    cells_updated = serializers.DictField(child=serializers.IntegerField())
    schema_changes = SchemaChangeSerializer(many=True)
    reads = EngineReadSerializer(
        many=True, help_text="Empty where no row of the request moved since its base."
    )

    class Meta:
        model = PlanCheck
        fields = [
            "revision",
            "revision_digest",
            "resolutions_digest",
            "plan_digest",
            "table_version",
            "strategy",
            "rows_added",
            "rows_updated",
            "rows_deleted",
            "rows_agreed",
            "cells_updated",
            "schema_changes",
            "conflicts",
            "unresolved",
            "row_count_before",
            "row_count_after",
            "deleted_share",
            "reads",
            "problem_code",
            "problem",
            "checked_at",
        ]


class MovedCellSerializer(serializers.Serializer):
    """A cell that moved in the table; where the request changes it too (``edited``), ``proposed`` says to what."""

    column = serializers.CharField()
    base = AnyValue(allow_null=True)
    current = AnyValue(allow_null=True)
    edited = serializers.BooleanField()
    proposed = AnyValue(allow_null=True)


class MovedRowSerializer(serializers.Serializer):
    """A row of the request that is not as it was: updated in the table, or inserted or deleted as a whole."""

    key = serializers.DictField(child=AnyValue(allow_null=True))
    operation = serializers.ChoiceField([(name, name) for name in ("insert", "update", "delete")])
    cells = serializers.SerializerMethodField(help_text="The cells that moved; none of a whole row.")

    @extend_schema_field(MovedCellSerializer(many=True))
    def get_cells(self, row: Any) -> Any:
        cells = [
            {
                "column": column,
                "base": row.base[column],
                "current": row.current[column],
                "edited": is_edited(row, column),
                "proposed": row.proposed[column] if row.proposed and is_edited(row, column) else None,
            }
            for column in (row.changed if row.operation == "update" else ())
        ]
        return MovedCellSerializer(cells, many=True).data


class MovedSerializer(serializers.Serializer):
    """What happened in the table to the rows of an open request since its base version."""

    base_version = serializers.IntegerField(help_text="Version that the request's base images are from.")
    version = serializers.IntegerField(help_text="Version of the table that they were compared with.")
    rows_moved = serializers.IntegerField(help_text="Rows of the request that are not as they were.")
    rows_settled = serializers.IntegerField(help_text="Rows that are in the table as proposed already.")
    conflicts = serializers.IntegerField()
    cells_moved = serializers.DictField(
        child=serializers.IntegerField(), help_text="Column to the number of cells that moved."
    )
    cells_edited = serializers.DictField(
        child=serializers.IntegerField(),
        help_text="Of the moved cells those that the request changes too, by column.",
    )
    columns_gained = serializers.ListField(
        child=serializers.CharField(), help_text="Columns that the table has now and the base has not."
    )
    rows = MovedRowSerializer(many=True, help_text="The first that moved, in key order.")


class PlanSummarySerializer(serializers.ModelSerializer):
    """The last check in the numbers that lists show."""

    outdated = serializers.SerializerMethodField(
        help_text="Whether the table moved since: the numbers are of `table_version` and may not hold any more."
    )

    class Meta:
        model = PlanCheck
        fields = ["table_version", "outdated", "conflicts", "unresolved", "problem_code", "checked_at"]

    def get_outdated(self, check: PlanCheck) -> bool:
        return bool(self.context.get("outdated", {}).get(check.pk, False))


class DatasetReferenceSerializer(serializers.Serializer):
    """Which dataset a change request is for."""

    id = serializers.IntegerField()
    project = serializers.CharField(source="project.slug")
    slug = serializers.CharField()
    name = serializers.CharField()


class ChangeRequestSerializer(serializers.ModelSerializer):
    """A proposal of row changes to one dataset, as lists show it."""

    cr_id = serializers.CharField(read_only=True, help_text="The public id, for example CR-128.")
    dataset = DatasetReferenceSerializer(read_only=True)
    author = UserField(read_only=True)
    revision = serializers.SerializerMethodField()
    plan = serializers.SerializerMethodField(help_text="The last check on the table, if it still holds.")
    readiness = serializers.SerializerMethodField(
        help_text="Where a submitted request stands, in one word; null for drafts and what is finished."
    )
    open_threads = serializers.SerializerMethodField()
    active_run = serializers.SerializerMethodField(help_text="Id of the queued or running merge.")

    @classmethod
    def of(cls, facts: Facts) -> dict[str, Any]:
        """A change request from its facts."""
        return cls.of_many([facts])[0]

    @classmethod
    def of_many(cls, found: Iterable[Facts]) -> list[dict[str, Any]]:
        """Change requests from their facts, in this order."""
        facts = {one.change_request.pk: one for one in found}
        requests = [one.change_request for one in facts.values()]
        prefetch_related_objects(requests, "author")
        return [*cls(requests, many=True, context={"facts": facts}).data]

    @cached_property
    def revision_summary(self) -> RevisionSummarySerializer:
        """One for all rows of a list: to make a serializer costs more than to use it."""
        return RevisionSummarySerializer()

    @cached_property
    def plan_summary(self) -> PlanSummarySerializer:
        """The same for plans."""
        facts = self.context["facts"]
        return PlanSummarySerializer(
            context={"outdated": {pk: one.plan_is_outdated for pk, one in facts.items()}}
        )

    def facts(self, change_request: ChangeRequest) -> Facts:
        found: Facts = self.context["facts"][change_request.pk]
        return found

    class Meta:
        model = ChangeRequest
        fields = [
            "cr_id",
            "title",
            "status",
            "readiness",
            "dataset",
            "author",
            "revision",
            "plan",
            "open_threads",
            "active_run",
            "merged_version",
            "merged_at",
            "created_at",
            "updated_at",
        ]

    @extend_schema_field(RevisionSummarySerializer(allow_null=True))
    def get_revision(self, change_request: ChangeRequest) -> Any:
        revision = self.facts(change_request).revision
        return self.revision_summary.to_representation(revision) if revision else None

    @extend_schema_field(PlanSummarySerializer(allow_null=True))
    def get_plan(self, change_request: ChangeRequest) -> Any:
        check = self.facts(change_request).plan_check
        return self.plan_summary.to_representation(check) if check else None

    @extend_schema_field(serializers.ChoiceField(READINESS, allow_null=True))
    def get_readiness(self, change_request: ChangeRequest) -> str | None:
        return readiness(self.facts(change_request))

    def get_open_threads(self, change_request: ChangeRequest) -> int:
        return self.facts(change_request).open_threads

    @extend_schema_field(serializers.IntegerField(allow_null=True))
    def get_active_run(self, change_request: ChangeRequest) -> int | None:
        run = self.facts(change_request).run
        return run.pk if run else None


class BlockerSerializer(serializers.Serializer):
    """One reason why an action is not possible now."""

    code = serializers.CharField()
    kind = serializers.ChoiceField([("fix", "fix"), ("wait", "wait")])
    sentence = serializers.CharField()
    link = serializers.CharField(help_text="Part of the change request's page where it is mended.")
    overridable = serializers.BooleanField(
        help_text="Whether an owner may go on in spite of it, with a reason."
    )


class ReviewSerializer(serializers.ModelSerializer):
    """A verdict on one revision together with the choices as they stood then."""

    reviewer = UserField(read_only=True)
    revision: Any = serializers.SlugRelatedField(slug_field="number", read_only=True)

    class Meta:
        model = Review
        fields = [
            "id",
            "reviewer",
            "verdict",
            "body",
            "revision",
            "revision_digest",
            "resolutions_digest",
            "created_at",
        ]


class VerdictSerializer(ReviewSerializer):
    """The same among the facts of a request, where the number of the revision came along."""

    revision = serializers.IntegerField(source="revision_number", read_only=True)


class WaitingMergeSerializer(serializers.Serializer):
    """Who wants the request merged as soon as nothing has to be waited for."""

    asked_by = UserField(source="merge_when_ready_by")
    asked_at = serializers.DateTimeField(source="merge_when_ready_at")
    message = serializers.CharField(source="merge_when_ready_message", allow_blank=True)


class ChangeRequestDetailSerializer(ChangeRequestSerializer):
    """A change request with the blockers of every action for the caller: an empty list means that it is possible."""

    verdicts = serializers.SerializerMethodField(help_text="The newest verdict of each reviewer.")
    approvals = serializers.SerializerMethodField(help_text="How many approvals count for what stands now.")
    awaited_reviews = serializers.SerializerMethodField(
        help_text="Who was asked for a review and has not judged the current content: user and group names."
    )
    blockers = serializers.SerializerMethodField(help_text="Action to what stands in its way.")
    merged_by = UserField(read_only=True, allow_null=True)
    merge_when_ready = serializers.SerializerMethodField(help_text="Null where nobody asked for that.")

    class Meta(ChangeRequestSerializer.Meta):
        fields = [
            *ChangeRequestSerializer.Meta.fields,
            "description",
            "close_reason",
            "merge_schema",
            "merged_by",
            "merge_when_ready",
            "verdicts",
            "approvals",
            "awaited_reviews",
            "blockers",
        ]

    @extend_schema_field(WaitingMergeSerializer(allow_null=True))
    def get_merge_when_ready(self, change_request: ChangeRequest) -> Any:
        waits = change_request.merge_when_ready_by_id is not None
        return WaitingMergeSerializer(change_request).data if waits else None

    @extend_schema_field(ReviewSerializer(many=True))
    def get_verdicts(self, change_request: ChangeRequest) -> Any:
        return VerdictSerializer(self.facts(change_request).verdicts, many=True).data

    def get_approvals(self, change_request: ChangeRequest) -> int:
        return len(self.facts(change_request).approvals)

    @extend_schema_field(serializers.ListField(child=serializers.CharField()))
    def get_awaited_reviews(self, change_request: ChangeRequest) -> list[str]:
        return [one.name for one in self.facts(change_request).owed_reviews]

    @extend_schema_field(serializers.DictField(child=BlockerSerializer(many=True)))
    def get_blockers(self, change_request: ChangeRequest) -> Any:
        facts = self.facts(change_request)
        return {
            action.value: BlockerSerializer(blockers(facts, action), many=True).data
            for action in PEOPLES_ACTIONS
        }


class EditChangeRequestSerializer(StrictSerializer):
    """What is to be changed of a request's words; what is left out stays."""

    title = serializers.CharField(required=False, max_length=200)
    description = serializers.CharField(required=False, allow_blank=True)


class CreateChangeRequestSerializer(StrictSerializer):
    """A new draft."""

    dataset = DatasetField(help_text="Number of the dataset, or `project/slug`.")
    title = serializers.CharField(max_length=200)
    description = serializers.CharField(allow_blank=True, default="")
    merge_schema = serializers.BooleanField(
        default=True, help_text="Whether new columns in the uploaded content are added to the table."
    )


@extend_schema_field({"type": "string", "example": '{"price": "decimal(10,2)"}'})
class ColumnTypesField(serializers.CharField):
    """Names and types in a JSON object, as a form can carry it."""

    def to_internal_value(self, data: Any) -> Any:
        try:
            types = parse_json(super().to_internal_value(data), "column_types")
        except InvalidInput as error:
            raise serializers.ValidationError(error.message) from error
        if not isinstance(types, dict) or not all(isinstance(kind, str) for kind in types.values()):
            raise serializers.ValidationError("Expected a JSON object with the name and type of each column.")
        return types


class ColumnActionSerializer(StrictSerializer):
    """What is to become of a column of the content."""

    action = serializers.ChoiceField(
        [(name, name) for name in ("rename", "add", "leave_out")],
        help_text="It is another column of the table, a new column, or nothing.",
    )
    to = serializers.CharField(
        required=False,
        allow_blank=True,
        trim_whitespace=False,
        help_text="With `rename`: the table's column.",
    )
    type = serializers.CharField(
        required=False,
        allow_blank=True,
        help_text="With `add`: its type, as Delta names it; else the type that its values have.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["action"] == "rename" and not attrs.get("to"):
            raise serializers.ValidationError({"to": "Name the column of the table that it is."})
        wrong = {
            name: f"It says nothing of {attrs['action']}."
            for name, action in (("to", "rename"), ("type", "add"))
            if attrs.get(name) and attrs["action"] != action
        }
        if wrong:
            raise serializers.ValidationError(wrong)
        return attrs


class UnknownColumnSerializer(serializers.Serializer):
    """A column of the content that the table lacks, and that nobody has decided about."""

    name = serializers.CharField()
    suggestion = serializers.CharField(
        allow_blank=True, help_text="The column of the table that may be meant; empty where none is near."
    )
    type = serializers.CharField(
        allow_blank=True, help_text="That of a new column for its values; empty where that is not known yet."
    )


@extend_schema_field({"type": "string", "example": '{"nmae": {"action": "rename", "to": "name"}}'})
class ColumnsField(serializers.CharField):
    """Decisions about columns in a JSON object, as a form can carry it."""

    def to_internal_value(self, data: Any) -> Any:
        try:
            given = parse_json(super().to_internal_value(data), "columns")
        except InvalidInput as error:
            raise serializers.ValidationError(error.message) from error
        decided = serializers.DictField(child=ColumnActionSerializer())
        return decided.run_validation(given)


class UploadSerializer(StrictSerializer):
    """A file with the key columns, any of the other columns and optionally ``_op``."""

    file = serializers.FileField(allow_empty_file=True)
    file_format = serializers.ChoiceField(
        [(name, name) for name in ("csv", "parquet", "jsonl", "arrow", "xlsx")],
        required=False,
        help_text="By the file's name unless given.",
    )
    null_token = serializers.CharField(
        allow_blank=True,
        trim_whitespace=False,
        default="",
        help_text="In CSV: the unquoted field that stands for NULL.",
    )
    column_types = ColumnTypesField(
        required=False,
        help_text='Types of new columns by their names, as JSON: `{"price": "decimal(10,2)"}`.',
    )
    columns = ColumnsField(
        required=False,
        help_text="What is to become of columns, by their names in the file, as JSON: "
        '`{"nmae": {"action": "rename", "to": "name"}, "note": {"action": "leave_out"}}`.',
    )
    empty_cells = serializers.ChoiceField(
        EMPTY_CELLS,
        required=False,
        help_text="What an empty cell of a CSV file (without quotes) or a workbook means: the value stays as it is, "
        "NULL, or empty text (in columns of text). Unless given, what `null_token` says. Other formats have none.",
    )


class ContentErrorSerializer(serializers.Serializer):
    """One reason why content was refused, at its place."""

    line = serializers.IntegerField(allow_null=True)
    column = serializers.CharField(allow_null=True)
    code = serializers.CharField()
    message = serializers.CharField()
    value = serializers.CharField(allow_null=True)


class UploadProblemSerializer(serializers.Serializer):
    """What ended an upload that was not staged: as the operation would have answered that waited for it."""

    code = serializers.CharField()
    message = serializers.CharField()
    errors: Any = ContentErrorSerializer(
        many=True, required=False, help_text="Of refused content: problems by line and column, capped."
    )
    total = serializers.IntegerField(required=False, help_text="How many problems there are.")
    unknown_columns: Any = UnknownColumnSerializer(
        many=True, required=False, help_text="Of a look: columns that somebody has yet to decide about."
    )


class FollowedUpSerializer(serializers.Serializer):
    """What was done with a request after its content was staged; why no more where that was not all."""

    outcome = serializers.ChoiceField(OUTCOMES)
    code = serializers.CharField(required=False)
    message = serializers.CharField(required=False)


class ReceivedUploadSerializer(TableWorkSerializer):
    """An upload: where it stands, what came of it, and where to go on."""

    state = serializers.ChoiceField(UPLOAD_STATES)
    dataset = serializers.IntegerField(source="dataset_id")
    change_request: Any = serializers.SerializerMethodField(
        help_text="Its change request; null while none was made for it."
    )
    revision: Any = serializers.SerializerMethodField(help_text="Number of the revision that it became.")
    problem: Any = serializers.SerializerMethodField(
        help_text="Why it was not staged; null where it was not."
    )
    uploaded_by = UserField(read_only=True)
    kind = serializers.ChoiceField(UPLOAD_KINDS)
    source: Any = serializers.CharField(
        help_text="The SQL statement or the address of the table; else empty."
    )
    follow_up = serializers.ChoiceField(
        FOLLOW_UPS, allow_blank=True, help_text="What shall be done with the request once this is staged."
    )
    followed_up: Any = serializers.SerializerMethodField(
        help_text="What came of that; null while it was not done, or nothing shall follow."
    )
    received_at = serializers.DateTimeField(source="queued_at")
    cancel_requested = serializers.SerializerMethodField()
    url: Any = serializers.SerializerMethodField()
    change_request_url: Any = serializers.SerializerMethodField()

    class Meta:
        model = Upload
        fields = [
            "id",
            "state",
            "dataset",
            "change_request",
            "revision",
            "waits_for_store",
            "problem",
            "kind",
            "source",
            "follow_up",
            "followed_up",
            "file_name",
            "size_bytes",
            "rows_read",
            "uploaded_by",
            "received_at",
            "finished_at",
            "cancel_requested",
            "url",
            "change_request_url",
        ]

    @extend_schema_field({"type": ["string", "null"]})
    def get_change_request(self, upload: Upload) -> str | None:
        found = _request_of(upload)
        return found.cr_id if found else None

    @extend_schema_field({"type": ["integer", "null"]})
    def get_revision(self, upload: Upload) -> int | None:
        return upload.revision.number if upload.revision else None

    @extend_schema_field(UploadProblemSerializer(allow_null=True))
    def get_problem(self, upload: Upload) -> Any:
        if upload.is_active or not upload.error_code:
            return None
        return {**upload.error_data, "code": upload.error_code, "message": upload.error_message}

    @extend_schema_field(FollowedUpSerializer(allow_null=True))
    def get_followed_up(self, upload: Upload) -> Any:
        return upload.followed_up if upload.follow_up and upload.is_settled else None

    def get_cancel_requested(self, upload: Upload) -> bool:
        return upload.cancel_requested_by_id is not None

    @extend_schema_field({"type": "string", "format": "uri"})
    def get_url(self, upload: Upload) -> str:
        return reverse("api:received-upload", args=[upload.pk], request=self.context["request"])

    @extend_schema_field({"type": ["string", "null"], "format": "uri"})
    def get_change_request_url(self, upload: Upload) -> str | None:
        found = _request_of(upload)
        if found is None:
            return None
        return reverse("api:change-request", args=[found.cr_id], request=self.context["request"])


def _request_of(upload: Upload) -> ChangeRequest | None:
    return upload.revision.change_request if upload.revision else upload.change_request


class StagedRowsSerializer(serializers.Serializer):
    """A page of staged rows in key order."""

    next = serializers.URLField(allow_null=True, help_text="Address of the following page.")
    previous = serializers.URLField(allow_null=True, help_text="Address of the page before.")
    results = serializers.ListField(child=serializers.DictField(child=AnyValue(allow_null=True)))


class EditRowsSerializer(StrictSerializer):
    """What is to become of single rows."""

    rows = serializers.ListField(
        child=serializers.DictField(child=AnyValue(allow_null=True)),
        default=list,
        help_text="Rows with their keys, the values that change, and optionally `_op`.",
    )
    remove = serializers.ListField(
        child=serializers.DictField(child=AnyValue(allow_null=True)),
        default=list,
        help_text="Keys of rows that the content shall not have any more.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs["rows"] and not attrs["remove"]:
            raise serializers.ValidationError({"rows": "Give rows to edit, or keys to remove."})
        return attrs


class CloseSerializer(StrictSerializer):
    """Why the request is closed; needed to reject somebody else's."""

    reason = serializers.CharField(allow_blank=True, default="")


class WriteReviewSerializer(StrictSerializer):
    """A verdict."""

    verdict = serializers.ChoiceField(Review.Verdict.choices)
    body = serializers.CharField(allow_blank=True, default="")
    revision_digest = serializers.CharField(
        allow_blank=True, default="", help_text="Of the content that was read; 409 if it moved meanwhile."
    )
    resolutions_digest = serializers.CharField(
        allow_blank=True,
        allow_null=True,
        default=None,
        help_text="Of the choices that were read (`resolutions_digest` of the plan), empty for none; 409 if others "
        "stand by now.",
    )


class CommentedCellSerializer(serializers.Serializer):
    """What the content did to the row, or cell, that a remark is about, when it was written."""

    operation = serializers.ChoiceField([(name, name) for name in ("insert", "update", "delete")])
    base = AnyValue(allow_null=True, help_text="Of the column; null where the remark is on a row.")
    proposed = AnyValue(allow_null=True)


class SuggestionSerializer(serializers.Serializer):
    """Another value for the cell."""

    value = AnyValue(allow_null=True)
    taken = serializers.BooleanField(
        help_text="Whether it was taken over into the content, or is about to be."
    )


class CommentSerializer(serializers.ModelSerializer):
    """A remark on the request, a row or a cell; ``thread`` is null for the first of a thread."""

    revision = serializers.IntegerField(
        source="revision.number",
        read_only=True,
        allow_null=True,
        default=None,
        help_text="Of a remark on a row or cell: the content that it was written about.",
    )
    cell = serializers.SerializerMethodField(
        help_text="What that content did there; null where it did nothing, and for other remarks."
    )
    suggestion = serializers.SerializerMethodField(
        help_text="Another value for the cell, if one was offered."
    )

    author = UserField(read_only=True)
    thread = serializers.IntegerField(source="parent_id", allow_null=True, read_only=True)
    row_key = KeyField(allow_null=True, read_only=True)
    resolved_by = UserField(read_only=True, allow_null=True)

    class Meta:
        model = Comment
        fields = [
            "id",
            "thread",
            "author",
            "body",
            "row_key",
            "column",
            "revision",
            "cell",
            "suggestion",
            "resolved_by",
            "resolved_at",
            "created_at",
        ]

    @extend_schema_field(CommentedCellSerializer(allow_null=True))
    def get_cell(self, comment: Comment) -> Any:
        told = {"base": None, "proposed": None, **kept(comment.cell)} if comment.cell else None
        return told and CommentedCellSerializer(told).data

    @extend_schema_field(SuggestionSerializer(allow_null=True))
    def get_suggestion(self, comment: Comment) -> Any:
        if comment.suggestion is None:
            return None
        taken = comment.taken is not None and (
            comment.taken.is_active or comment.taken.revision_id is not None
        )
        return {"value": json_value(kept(comment.suggestion["value"])), "taken": taken}


class WriteSuggestionSerializer(StrictSerializer):
    """A value that the content should propose instead; null is NULL."""

    value = AnyValue(allow_null=True)


class WriteCommentSerializer(StrictSerializer):
    """A remark, or the answer to one."""

    body = serializers.CharField(allow_blank=True, help_text="May be empty with a suggestion.")
    thread = serializers.IntegerField(
        required=False, allow_null=True, help_text="The comment that is answered."
    )
    row_key = serializers.DictField(child=AnyValue(allow_null=True), required=False, allow_null=True)
    column = serializers.CharField(allow_blank=True, default="", max_length=255)
    suggestion = WriteSuggestionSerializer(
        required=False, allow_null=True, help_text="Another value for the cell; needs `row_key` and `column`."
    )
    revision_digest = serializers.CharField(
        allow_blank=True, default="", help_text="Of the content that was read; 409 if it moved meanwhile."
    )


class SettleThreadSerializer(StrictSerializer):
    """Whether the discussion is resolved."""

    resolved = serializers.BooleanField()


class EventSerializer(serializers.Serializer):
    """One entry of the audit trail."""

    sequence = serializers.IntegerField(help_text="Place in the chain of the dataset.")
    occurred_at = serializers.DateTimeField()
    actor = serializers.CharField(allow_blank=True, help_text="User name; empty for the system.")
    action = serializers.CharField()
    data = serializers.DictField(  # type: ignore[assignment]  # declared fields leave the class, .data stays
        child=AnyValue(allow_null=True)
    )
    request_id = serializers.CharField(allow_blank=True)
    hash = serializers.CharField()
    previous_hash = serializers.CharField(allow_blank=True)


class CellSerializer(serializers.Serializer):
    """One changed cell; for inserts ``base`` and for deletes ``proposed`` is null because the row is absent."""

    column = serializers.CharField()
    base = AnyValue(allow_null=True)
    proposed = AnyValue(allow_null=True)


#: What `filled` of a changed row is.
FILLED = (
    "Columns in which the table fills the cells itself when the row is merged, since the content says nothing of them: "
    "with a default, a number, or what it computes."
)


class RowChangeSerializer(serializers.Serializer):
    """One changed row: its key and the cells that change."""

    key = serializers.DictField(child=AnyValue(allow_null=True))
    operation = serializers.ChoiceField([(name, name) for name in ("insert", "update", "delete")])
    cells = serializers.SerializerMethodField()
    #: Files of changes, of which clients make the same, do not tell it.
    filled = serializers.ListField(child=serializers.CharField(), required=False, help_text=FILLED)

    @extend_schema_field(CellSerializer(many=True))
    def get_cells(self, row: Any) -> list[dict[str, Any]]:
        before, after = json_value(row.before or {}), json_value(row.after or {})
        columns = row.changed if row.operation == "update" else [*(after or before)]
        return [
            {"column": column, "base": before.get(column), "proposed": after.get(column)}
            for column in columns
            if column not in row.key or row.operation == "update"
        ]


class DiffPageSerializer(serializers.Serializer):
    """A page of the cell-level diff in key order."""

    next = serializers.URLField(allow_null=True, help_text="Address of the following page.")
    previous = serializers.URLField(allow_null=True, help_text="Address of the page before.")
    total = serializers.IntegerField(help_text="How many rows the filters let through.")
    results = RowChangeSerializer(many=True)


class GroupedChangeSerializer(serializers.Serializer):
    """Equal edits of one column: ``column: old -> new, rows``."""

    column = serializers.CharField()
    old = AnyValue(allow_null=True)
    new = AnyValue(allow_null=True)
    rows = serializers.IntegerField()


class AuditFileSerializer(serializers.Serializer):
    """One audit file of a merged request."""

    name = serializers.CharField()
    sha256 = serializers.CharField(help_text="As recorded in the audit trail at the merge.")
    url = serializers.URLField()
