"""Suites, their versions and proposals, and what checks found."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from api.serializers.shared import AnyValue, StrictSerializer, TableWorkSerializer, UserField
from changerequests.facts import Facts
from changerequests.models import ExpectationCheck, ExpectationOverride
from datasets import suites
from datasets.models import SuiteProposal, SuiteTrial, SuiteVersion


class ReadExpectationSerializer(serializers.Serializer):
    """One expectation in words."""

    number = serializers.IntegerField(help_text="Its place in the suite, from 0.")
    type = serializers.CharField()
    severity = serializers.CharField(help_text="critical stops a merge, warning and info show.")
    explanation = serializers.CharField(source="sentence")
    columns = serializers.ListField(child=serializers.CharField())


class SuiteVersionSerializer(serializers.ModelSerializer):
    """One version of a dataset's expectations: who saved it, when and why."""

    version = serializers.IntegerField(source="number", read_only=True)
    created_by = UserField(read_only=True)

    class Meta:
        model = SuiteVersion
        fields = ["version", "expectation_count", "note", "restored_from", "created_by", "created_at"]
        read_only_fields = fields


class SuiteDetailSerializer(SuiteVersionSerializer):
    """A version with the suite itself, and each expectation in words."""

    document = serializers.SerializerMethodField(help_text="The Great Expectations suite.")
    expectations = serializers.SerializerMethodField(help_text="In words, for the table as last known.")

    class Meta(SuiteVersionSerializer.Meta):
        fields = [*SuiteVersionSerializer.Meta.fields, "document", "expectations"]
        read_only_fields = fields

    @extend_schema_field(serializers.DictField(child=AnyValue(allow_null=True)))
    def get_document(self, version: SuiteVersion) -> dict[str, Any]:
        return version.content

    @extend_schema_field(ReadExpectationSerializer(many=True))
    def get_expectations(self, version: SuiteVersion) -> Any:
        reading = suites.read_suite(version.dataset, version.document)
        return ReadExpectationSerializer(reading.expectations, many=True).data


class SaveSuiteSerializer(StrictSerializer):
    """A suite that replaces the one that holds."""

    document = serializers.DictField(
        child=AnyValue(allow_null=True), help_text="A Great Expectations 1.x suite: name and expectations."
    )
    version = serializers.IntegerField(
        min_value=0,
        required=False,
        help_text="The version that was edited, 0 where there was none; or send it as If-Match.",
    )
    note = serializers.CharField(allow_blank=True, default="", max_length=1000, help_text="Why.")


class SuiteProposalSerializer(TableWorkSerializer):
    """A suite from the table's own data; ``document`` is null until a worker has made it."""

    asked_at = serializers.DateTimeField(source="queued_at", read_only=True)
    document = serializers.SerializerMethodField()
    problem = serializers.SerializerMethodField(help_text="Why no suite could be made; empty if it could.")

    class Meta:
        model = SuiteProposal
        fields = ["id", "asked_at", "finished_at", "waits_for_store", "document", "problem"]
        read_only_fields = fields

    def get_problem(self, proposal: SuiteProposal) -> str:
        return "" if proposal.is_active else proposal.error_message

    @extend_schema_field(serializers.DictField(child=AnyValue(allow_null=True), allow_null=True))
    def get_document(self, proposal: SuiteProposal) -> dict[str, Any] | None:
        return proposal.content


class CountsSerializer(serializers.Serializer):
    """Counts as Great Expectations gives them."""

    element_count = serializers.IntegerField()
    missing_count = serializers.IntegerField(allow_null=True)
    missing_percent = serializers.FloatField(allow_null=True)
    unexpected_count = serializers.IntegerField()
    unexpected_percent = serializers.FloatField(allow_null=True)
    unexpected_percent_total = serializers.FloatField(allow_null=True)


class FailingRowSerializer(serializers.Serializer):
    """A row that fails: its key, what was judged, and what stood there before where the change replaces it."""

    key = serializers.DictField(child=AnyValue(allow_null=True))
    values = serializers.DictField(child=AnyValue(allow_null=True))
    before = serializers.DictField(child=AnyValue(allow_null=True), allow_null=True)
    new = serializers.BooleanField(help_text="Whether the change brings the failure.")


class TrySuiteSerializer(StrictSerializer):
    """A suite that is tried on the table before it is saved."""

    document = serializers.DictField(
        child=AnyValue(allow_null=True), help_text="A Great Expectations 1.x suite: name and expectations."
    )


class TriedExpectationSerializer(serializers.Serializer):
    """What the table as it is says of one expectation."""

    number = serializers.IntegerField(help_text="Its place in the suite, from 0.")
    type = serializers.CharField()
    columns = serializers.ListField(child=serializers.CharField())
    severity = serializers.CharField()
    explanation = serializers.CharField()
    ok = serializers.BooleanField(help_text="Whether the table satisfies it.")
    error = serializers.CharField(allow_null=True, help_text="Why it could not be checked.")
    observed = AnyValue(allow_null=True)
    counts = CountsSerializer(allow_null=True)
    failing_rows = FailingRowSerializer(many=True, help_text="The first of them.")
    failing_rows_total = serializers.IntegerField()


class SuiteTrialSerializer(TableWorkSerializer):
    """A suite that was tried on the table; ``results`` are null until a worker has looked."""

    asked_at = serializers.DateTimeField(source="queued_at", read_only=True)
    table_version = serializers.SerializerMethodField(help_text="The version that was judged.")
    results = serializers.SerializerMethodField()
    problem = serializers.SerializerMethodField(help_text="Why it could not be tried; empty if it could.")

    class Meta:
        model = SuiteTrial
        fields = ["id", "asked_at", "finished_at", "waits_for_store", "table_version", "results", "problem"]
        read_only_fields = fields

    def get_problem(self, trial: SuiteTrial) -> str:
        return "" if trial.is_active else trial.error_message

    def get_table_version(self, trial: SuiteTrial) -> int | None:
        return None if trial.report is None else int(trial.report["table_version"])

    @extend_schema_field(TriedExpectationSerializer(many=True, allow_null=True))
    def get_results(self, trial: SuiteTrial) -> Any:
        if trial.report is None:
            return None
        return TriedExpectationSerializer(trial.report["results"], many=True).data


class ExpectationResultSerializer(serializers.Serializer):
    """The verdict on one expectation; its rows have an address of their own."""

    number = serializers.IntegerField()
    type = serializers.CharField()
    columns = serializers.ListField(child=serializers.CharField())
    severity = serializers.CharField()
    state = serializers.CharField(
        help_text="passed, new, pre_existing, error, or deferred: left to the merge."
    )
    scope = serializers.CharField(help_text="What the counts are of: changes or table.")
    blocking = serializers.BooleanField(help_text="Whether it stops the merge.")
    overridden = serializers.BooleanField(help_text="Whether an owner answered for it in this merge.")
    message = serializers.CharField()
    observed = AnyValue(allow_null=True)
    before = AnyValue(allow_null=True)
    counts = CountsSerializer(allow_null=True)
    counts_before = CountsSerializer(allow_null=True)
    new_failures = serializers.IntegerField()
    pre_existing_failures = serializers.IntegerField()
    failing_rows_total = serializers.IntegerField()
    error = serializers.CharField(allow_null=True)


class ExpectationOverrideSerializer(serializers.ModelSerializer):
    """An owner answers for broken expectations, while suite, content and choices stay."""

    suite_version = serializers.IntegerField(source="suite_version.number", read_only=True)
    expectations = serializers.ListField(
        child=serializers.DictField(child=AnyValue()),
        read_only=True,
        help_text="Number and sentence of each.",
    )
    given_by = UserField(read_only=True)

    class Meta:
        model = ExpectationOverride
        fields = ["suite_version", "revision_digest", "expectations", "reason", "given_by", "given_at"]
        read_only_fields = fields


class ExpectationCheckSerializer(serializers.ModelSerializer):
    """What the expectations say of a change request: of its changed rows, or (``full``) of the merged result."""

    suite_version = serializers.IntegerField(source="suite_version.number", read_only=True)
    revision_digest = serializers.CharField(source="revision.digest", read_only=True)
    full = serializers.BooleanField(source="is_full", read_only=True)
    run = serializers.IntegerField(source="run_id", read_only=True, allow_null=True)
    unanswered = serializers.SerializerMethodField(
        help_text="Numbers of what stops a merge now and nobody answers for."
    )
    overrides = serializers.SerializerMethodField(help_text="What owners answer for now.")
    results = serializers.SerializerMethodField()

    class Meta:
        model = ExpectationCheck
        fields = [
            "suite_version",
            "revision_digest",
            "table_version",
            "full",
            "run",
            "checked_at",
            "passed",
            "warnings",
            "pre_existing",
            "deferred",
            "unanswered",
            "overrides",
            "results",
        ]
        read_only_fields = fields

    @extend_schema_field(serializers.ListField(child=serializers.IntegerField()))
    def get_unanswered(self, check: ExpectationCheck) -> list[int]:
        facts: Facts = self.context["facts"]
        return [one["number"] for one in facts.unanswered_failures]

    @extend_schema_field(ExpectationOverrideSerializer(many=True))
    def get_overrides(self, check: ExpectationCheck) -> Any:
        return ExpectationOverrideSerializer(self.context["facts"].overrides, many=True).data

    @extend_schema_field(ExpectationResultSerializer(many=True))
    def get_results(self, check: ExpectationCheck) -> Any:
        return ExpectationResultSerializer(check.report["results"], many=True).data


class FailingRowsPageSerializer(serializers.Serializer):
    """Failing rows of one expectation, the new ones first; ``total`` is exact, ``kept`` of them are listed."""

    next = serializers.URLField(allow_null=True)
    total = serializers.IntegerField()
    kept = serializers.IntegerField()
    results = FailingRowSerializer(many=True)


class OverrideSerializer(StrictSerializer):
    """Why an owner answers for what a request breaks, and what they looked at."""

    reason = serializers.CharField(help_text="Shown in the timeline and kept in the audit trail.")
    suite_version = serializers.IntegerField(
        required=False, allow_null=True, default=None, help_text="409 plan_changed if it moved."
    )
    revision_digest = serializers.CharField(
        allow_blank=True, default="", help_text="409 plan_changed if it moved."
    )
