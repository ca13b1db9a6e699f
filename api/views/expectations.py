"""A dataset's expectations and their history, and what they say of a change request."""

import re

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse
from rest_framework.viewsets import GenericViewSet, ViewSet

from accounts.scopes import Scope
from api.pagination import NewestFirst, page_of
from api.schema import CR_ID, DATASET_ID, IF_MATCH
from api.serializers.expectations import (
    ExpectationCheckSerializer,
    ExpectationOverrideSerializer,
    FailingRowsPageSerializer,
    OverrideSerializer,
    SaveSuiteSerializer,
    SuiteDetailSerializer,
    SuiteProposalSerializer,
    SuiteTrialSerializer,
    SuiteVersionSerializer,
    TrySuiteSerializer,
)
from api.views.shared import Documented, actor_of, created, validated
from changerequests import selectors
from changerequests.facts import Facts, expectation_check_to_show, visible_facts
from changerequests.models import ExpectationCheck
from changerequests.services import expectations
from datasets import suites, trials
from datasets.addressing import DatasetAddress
from datasets.errors import InvalidInput, NotFound
from datasets.models import SuiteVersion
from datasets.roles import visible_dataset

NUMBER = OpenApiParameter("number", int, OpenApiParameter.PATH)
PROPOSAL_ID = OpenApiParameter("proposal_id", int, OpenApiParameter.PATH)
TRIAL_ID = OpenApiParameter("trial_id", int, OpenApiParameter.PATH)


class NewestVersions(NewestFirst):
    """Versions, newest first."""

    ordering = "-number"


@extend_schema(tags=["expectations"])
class SuiteViewSet(Documented, GenericViewSet):
    """What is expected of a dataset."""

    tagged = ("retrieve", "version", "proposal", "trial")
    scopes = {
        "retrieve": Scope.READ,
        "update": Scope.ADMIN,
        "versions": Scope.READ,
        "version": Scope.READ,
        "propose": Scope.ADMIN,
        "proposal": Scope.READ,
        "try_on": Scope.ADMIN,
        "trial": Scope.READ,
    }
    queryset = SuiteVersion.objects.none()
    serializer_class = SuiteVersionSerializer
    pagination_class = NewestVersions
    body_limit = "LONG_LIST_LIMIT_BYTES"

    @extend_schema(parameters=[DATASET_ID], responses=SuiteDetailSerializer, operation_id="suite")
    def retrieve(self, request: Request, dataset_id: DatasetAddress) -> Response:
        """The suite that holds, with its version in `ETag`; 404 where there never was one."""
        dataset = visible_dataset(actor_of(request), dataset_id)
        version = suites.current_version(dataset)
        if version is None:
            raise NotFound(f"Nothing was ever expected of {dataset.name}.")
        return _suite(version)

    @extend_schema(
        parameters=[DATASET_ID, IF_MATCH],
        request=SaveSuiteSerializer,
        responses=SuiteDetailSerializer,
        operation_id="save_suite",
    )
    def update(self, request: Request, dataset_id: DatasetAddress) -> Response:
        """Replace the suite by a new version. For owners; `suite_rejected` names every problem at its place."""
        dataset = visible_dataset(actor_of(request), dataset_id)
        wanted = validated(SaveSuiteSerializer, request.data)
        version = expectations.save_suite(
            dataset_id=dataset.pk,
            actor=actor_of(request),
            document=wanted["document"],
            edited_number=_edited_version(request, wanted.get("version")),
            note=wanted["note"],
        )
        return _suite(version)

    @extend_schema(
        parameters=[DATASET_ID], responses=SuiteVersionSerializer(many=True), operation_id="suite_versions"
    )
    def versions(self, request: Request, dataset_id: DatasetAddress) -> Response:
        """Every version: who saved it, when and why."""
        history: QuerySet[SuiteVersion] = suites.suite_history(visible_dataset(actor_of(request), dataset_id))
        return self.get_paginated_response(
            SuiteVersionSerializer(self.paginate_queryset(history), many=True).data
        )

    @extend_schema(
        parameters=[DATASET_ID, NUMBER], responses=SuiteDetailSerializer, operation_id="suite_version"
    )
    def version(self, request: Request, dataset_id: DatasetAddress, number: int) -> Response:
        """One version with its suite. To restore it, save its document again."""
        return _suite(suites.suite_version(visible_dataset(actor_of(request), dataset_id), number))

    @extend_schema(
        parameters=[DATASET_ID],
        request=None,
        responses={202: OpenApiResponse(SuiteProposalSerializer, description="Asked for; poll `Location`.")},
        operation_id="propose_suite",
    )
    def propose(self, request: Request, dataset_id: DatasetAddress) -> Response:
        """Ask a worker for a suite from the table's own data. For owners; nothing is saved."""
        dataset = visible_dataset(actor_of(request), dataset_id)
        proposal = suites.ask_for_proposal(dataset_id=dataset.pk, actor=actor_of(request))
        address = reverse("api:suite-proposal", args=[dataset.pk, proposal.pk], request=request)
        return Response(
            SuiteProposalSerializer(proposal).data, status=202, headers={"Location": str(address)}
        )

    @extend_schema(
        parameters=[DATASET_ID, PROPOSAL_ID],
        responses=SuiteProposalSerializer,
        operation_id="suite_proposal",
    )
    def proposal(self, request: Request, dataset_id: DatasetAddress, proposal_id: int) -> Response:
        """A proposal: `document` once a worker has made it, or the `problem` that hindered it."""
        dataset = visible_dataset(actor_of(request), dataset_id)
        return Response(SuiteProposalSerializer(suites.proposal_of(dataset, proposal_id)).data)

    @extend_schema(
        parameters=[DATASET_ID],
        request=TrySuiteSerializer,
        responses={202: OpenApiResponse(SuiteTrialSerializer, description="Asked for; poll `Location`.")},
        operation_id="try_suite",
    )
    def try_on(self, request: Request, dataset_id: DatasetAddress) -> Response:
        """Ask a worker whether the table satisfies a suite as it is now. For owners; nothing is saved.

        What you still try on the table gives way. What was found is forgotten after a day.
        """
        dataset = visible_dataset(actor_of(request), dataset_id)
        wanted = validated(TrySuiteSerializer, request.data)
        trial = trials.ask_for_trial(
            dataset_id=dataset.pk, actor=actor_of(request), document=suites.suite_text(wanted["document"])
        )
        address = reverse("api:suite-trial", args=[dataset.pk, trial.pk], request=request)
        return Response(SuiteTrialSerializer(trial).data, status=202, headers={"Location": str(address)})

    @extend_schema(
        parameters=[DATASET_ID, TRIAL_ID], responses=SuiteTrialSerializer, operation_id="suite_trial"
    )
    def trial(self, request: Request, dataset_id: DatasetAddress, trial_id: int) -> Response:
        """A suite that you tried: `results` once a worker has looked, or the `problem` that hindered it."""
        dataset = visible_dataset(actor_of(request), dataset_id)
        return Response(SuiteTrialSerializer(trials.trial_of(dataset, trial_id, actor_of(request))).data)


def _suite(version: SuiteVersion) -> Response:
    return Response(SuiteDetailSerializer(version).data, headers={"ETag": f'"{version.number}"'})


def _edited_version(request: Request, given: int | None) -> int:
    """The version that the caller edited, from ``If-Match`` or the body; it must be said."""
    header = request.headers.get("If-Match", "").strip()
    found = re.fullmatch(r'"?(\d{1,9})(?:\.[0-9a-f]+)?"?', header)
    if header and found is None:
        sentence = 'If-Match names one version, for example "3".'
        raise InvalidInput(sentence, errors={"If-Match": [sentence]})
    if found is not None:
        return int(found[1])
    if given is None:
        sentence = "Say which version you edited: as version, or as If-Match; 0 where there is none yet."
        raise InvalidInput(sentence, errors={"version": [sentence]})
    return given


class RunParameter(serializers.Serializer):
    """Whose report is meant."""

    run = serializers.IntegerField(
        required=False,
        min_value=1,
        max_value=2**63 - 1,
        help_text="That of a merge run, instead of what counts now.",
    )


class FailingRowParameters(RunParameter):
    """Which failing rows."""

    start = serializers.IntegerField(min_value=0, default=0, help_text="From the address in `next`.")
    limit = serializers.IntegerField(min_value=1, max_value=200, default=50)


@extend_schema(tags=["expectations"], parameters=[CR_ID])
class ExpectationCheckViewSet(Documented, ViewSet):
    """What the dataset's expectations say of a change request."""

    scopes = {"retrieve": Scope.READ, "override": Scope.MERGE, "rows": Scope.READ}

    @extend_schema(
        parameters=[RunParameter], responses=ExpectationCheckSerializer, operation_id="expectation_check"
    )
    def retrieve(self, request: Request, cr_id: str) -> Response:
        """The check that counts now, that of the merge once it is merged, or that of a run; else 404."""
        facts = visible_facts(actor_of(request), cr_id)
        wanted = validated(RunParameter, request.query_params)
        check = _check(facts, wanted.get("run"))
        return Response(ExpectationCheckSerializer(check, context={"facts": facts}).data)

    @extend_schema(
        parameters=[NUMBER, FailingRowParameters],
        responses=FailingRowsPageSerializer,
        operation_id="expectation_rows",
    )
    def rows(self, request: Request, cr_id: str, number: int) -> Response:
        """The failing rows of one expectation."""
        facts = visible_facts(actor_of(request), cr_id)
        wanted = validated(FailingRowParameters, request.query_params)
        page = expectations.failing_rows(
            _check(facts, wanted.get("run")), number, start=wanted["start"], limit=wanted["limit"]
        )
        following = None if page.next is None else str(page.next)
        answer = page_of(request, page.rows, following, parameter="start", total=page.total, kept=page.kept)
        return Response(FailingRowsPageSerializer(answer).data)

    @extend_schema(
        request=OverrideSerializer,
        responses={201: ExpectationOverrideSerializer},
        operation_id="override_expectations",
    )
    def override(self, request: Request, cr_id: str) -> Response:
        """Answer for everything that the request is known to break now. For owners; a later edit voids it."""
        change_request = selectors.visible_change_request(actor_of(request), cr_id)
        wanted = validated(OverrideSerializer, request.data)
        given = expectations.override_expectations(
            change_request_id=change_request.pk,
            actor=actor_of(request),
            reason=wanted["reason"],
            suite_number=wanted["suite_version"],
            revision_digest=wanted["revision_digest"],
        )
        data = ExpectationOverrideSerializer(given).data
        return created(data, "expectation-check", cr_id, request=request)


def _check(facts: Facts, run: int | None) -> ExpectationCheck:
    change_request = facts.change_request
    check = (
        expectation_check_to_show(facts)
        if run is None
        else selectors.expectation_check_of_run(change_request, run)
    )
    if check is None:
        raise NotFound(f"The expectations did not judge {change_request.cr_id} yet, or there are none.")
    return check
