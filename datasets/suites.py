"""The expectations of a dataset: save, compare and restore suites, and propose a first one from the table's own data.

Reading a suite and saying it in words is quick and needs no Great Expectations; profiling a table may take long and
is a worker's work (``make_proposal``).
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import structlog
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import QuerySet

import merging
from audit import bells
from audit.row_locks import locked
from audit.services import dataset_stream, record
from datasets import outages, table_work, work
from datasets.durable_work import WorkStatus
from datasets.errors import InvalidInput, NotFound, SuiteChanged
from datasets.evidence import SUITE_VERSION
from datasets.models import Dataset, SuiteProposal, SuiteVersion
from datasets.roles import require_owner
from datasets.rows import column_types

logger = structlog.get_logger(__name__)

#: What ``save_suite`` raises for a suite that cannot be checked; faces catch it without knowing the engine.
SuiteRejected = merging.SuiteRejected
SuiteProblem = merging.SuiteProblem
#: What a type of expectation asks for, and what somebody typed as a value of it; for forms.
ExpectationShape = merging.ExpectationShape
suite_value = merging.suite_value

#: What only owners do, as they are told who are none.
CHANGE_EXPECTATIONS = "change its expectations"
#: Characters of a suite at most.
LONGEST_DOCUMENT = 1_000_000
#: What the form of a dataset without a suite begins with.
EMPTY_SUITE = '{\n  "name": "",\n  "expectations": []\n}'
#: For how many proposals one sweep rings.
RUNG_AT_ONCE = 100
_LINE = 100
_PLACE = re.compile(r"expectations\[(\d+)\]")


# --- Reading ------------------------------------------------------------------------------------------------


def active_suite(dataset: Dataset) -> SuiteVersion | None:
    """The version that holds now; None where there never was one, or where it expects nothing."""
    version = current_version(dataset)
    return version if version is not None and version.expectation_count else None


def current_version(dataset: Dataset) -> SuiteVersion | None:
    """The newest version, even one that expects nothing; None where there never was one."""
    if not dataset.suite_number:
        return None
    return SuiteVersion.objects.select_related("created_by").get(dataset=dataset, number=dataset.suite_number)


def suite_history(dataset: Dataset) -> QuerySet[SuiteVersion]:
    """Every version, newest first."""
    return SuiteVersion.objects.filter(dataset=dataset).select_related("created_by").order_by("-number")


def suite_version(dataset: Dataset, number: int) -> SuiteVersion:
    """One version by its number. Raises ``NotFound``."""
    found = suite_history(dataset).filter(number=number).first()
    if found is None:
        raise NotFound(f"{dataset.name} has no version {number} of its expectations.")
    return found


@dataclass(frozen=True)
class ReadExpectation:
    """One expectation as people read it: its sentence where it can be understood, else what is wrong with it."""

    number: int
    type: str
    severity: str
    sentence: str
    columns: tuple[str, ...]
    problems: tuple[SuiteProblem, ...]


@dataclass(frozen=True)
class SuiteReading:
    """A suite in words, with every problem at its place; ``problems`` are those of no single expectation."""

    expectations: tuple[ReadExpectation, ...]
    problems: tuple[SuiteProblem, ...]

    @property
    def problem_count(self) -> int:
        """How many problems there are in all."""
        return len(self.problems) + sum(len(one.problems) for one in self.expectations)


def columns_of(dataset: Dataset) -> list[merging.Column]:
    """The table's columns as last known."""
    return [
        merging.Column(name, type_name) for name, type_name in column_types(dataset.meta.schema_json).items()
    ]


def shapes_for(dataset: Dataset) -> dict[str, merging.ExpectationShape]:
    """Every type of expectation, with the columns of the table that it can judge."""
    return merging.expectation_shapes(columns_of(dataset))


def too_long() -> SuiteRejected:
    """What somebody is told whose suite has more than ``LONGEST_DOCUMENT`` characters."""
    return SuiteRejected(
        [SuiteProblem("$", "too_long", f"A suite has {LONGEST_DOCUMENT:,} characters at most.")]
    )


def read_suite(dataset: Dataset, text: str) -> SuiteReading:
    """Say a suite in words for the table's columns as last known; never raises for what is in the text."""
    columns = columns_of(dataset)
    by_place: dict[int | None, list[SuiteProblem]] = {}
    for problem in merging.validate_suite(text, columns):
        found = _PLACE.match(problem.place)
        by_place.setdefault(int(found[1]) if found else None, []).append(problem)
    return SuiteReading(
        tuple(
            _read(number, one, columns, tuple(by_place.get(number, ())))
            for number, one in enumerate(rules_as_given(text))
        ),
        tuple(by_place.get(None, ())),
    )


def _read(
    number: int, given: Any, columns: Sequence[merging.Column], problems: tuple[SuiteProblem, ...]
) -> ReadExpectation:
    if problems:
        kind = given.get("type") if isinstance(given, Mapping) else None
        return ReadExpectation(number, kind if isinstance(kind, str) else "", "", "", (), problems)
    [parsed] = merging.parse_suite({"expectations": [given]}, columns).expectations
    return ReadExpectation(
        number, parsed.type, parsed.severity, merging.explain(parsed), parsed.columns, problems
    )


def rules_as_given(text: str) -> list[Any]:
    """The expectations of a suite as they stand in its JSON, whatever they are; none where it cannot be read."""
    listed = (_parsed(text) or {}).get("expectations")
    return listed if isinstance(listed, list) else []


def problems_of_rule(dataset: Dataset, rule: Mapping[str, Any]) -> tuple[SuiteProblem, ...]:
    """What is wrong with one rule, for the table's columns as last known."""
    return merging.validate_suite({"expectations": [rule]}, columns_of(dataset))


def rules_in(text: str) -> list[Mapping[str, Any]]:
    """The expectations of a suite that is being edited. Raises ``InvalidInput`` for what is no suite at all."""
    listed = rules_as_given(text)
    if _parsed(text) is None or not all(isinstance(one, Mapping) for one in listed):
        raise InvalidInput("The suite in JSON cannot be read as it is. Mend it first, or begin anew.")
    return listed


def with_rule(text: str, rule: Mapping[str, Any], number: int | None) -> str:
    """A suite with a rule in the place of that of the number, or after all others. Raises ``InvalidInput``."""
    listed = rules_in(text)
    if number is None:
        return _with_expectations(text, [*listed, rule])
    _require_rule(listed, number)
    return _with_expectations(text, [*listed[:number], rule, *listed[number + 1 :]])


def without_rule(text: str, number: int) -> str:
    """A suite without the rule of the number. Raises ``InvalidInput``."""
    listed = rules_in(text)
    _require_rule(listed, number)
    return _with_expectations(text, [*listed[:number], *listed[number + 1 :]])


def rule_at(text: str, number: int) -> Mapping[str, Any]:
    """The rule of a number. Raises ``InvalidInput``."""
    listed = rules_in(text)
    _require_rule(listed, number)
    return listed[number]


def _require_rule(listed: Sequence[Any], number: int) -> None:
    if not 0 <= number < len(listed):
        raise InvalidInput(f"There is no rule {number + 1} any more.")


def _with_expectations(text: str, listed: Sequence[Mapping[str, Any]]) -> str:
    return suite_text({**(_parsed(text) or {}), "expectations": list(listed)})


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        document = merging.read_json(text)
    except ValueError:
        return None
    return dict(document) if isinstance(document, Mapping) else None


def suite_text(document: Any) -> str:
    """JSON as people edit it: indented, with what is short on one line, so that versions compare well."""
    return _written(document, "")


def _written(value: Any, indent: str) -> str:
    flat = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or not value:
        return flat
    nested = isinstance(value, dict) and any(isinstance(item, dict | list) for item in value.values())
    if not nested and len(indent) + len(flat) <= _LINE:
        return flat
    inner = indent + "  "
    if isinstance(value, dict):
        parts = [
            f"{inner}{json.dumps(name, ensure_ascii=False)}: {_written(item, inner)}"
            for name, item in value.items()
        ]
        return "{\n" + ",\n".join(parts) + f"\n{indent}}}"
    if any(isinstance(item, dict | list) for item in value):
        return "[\n" + ",\n".join(inner + _written(item, inner) for item in value) + f"\n{indent}]"
    return "[\n" + _wrapped(value, inner) + f"\n{indent}]"


def _wrapped(values: Sequence[Any], indent: str) -> str:
    """Plain values, as many on a line as fit."""
    lines = [indent]
    for place, item in enumerate(values):
        part = json.dumps(item, ensure_ascii=False) + ("," if place < len(values) - 1 else "")
        if lines[-1] != indent and len(lines[-1]) + len(part) > _LINE:
            lines.append(indent)
        lines[-1] += f"{part} "
    return "\n".join(line.rstrip() for line in lines)


@dataclass(frozen=True)
class DiffLine:
    """One line of a comparison; ``gap`` stands for lines that are left out."""

    kind: Literal["same", "added", "removed", "gap"]
    text: str


_KINDS: Mapping[str, Literal["same", "added", "removed"]] = {" ": "same", "+": "added", "-": "removed"}


def compare_versions(old: SuiteVersion | None, new: SuiteVersion) -> tuple[DiffLine, ...]:
    """What changed between two versions, line by line with some context; empty where they are the same."""
    before = old.document.splitlines() if old is not None else []
    lines: list[DiffLine] = []
    for place, line in enumerate(difflib.unified_diff(before, new.document.splitlines(), lineterm="", n=4)):
        if place < 2:
            continue  # the names of the files, which there are none of
        if not line.startswith("@@"):
            lines.append(DiffLine(_KINDS[line[0]], line[1:]))
        elif lines:
            lines.append(DiffLine("gap", ""))
    return tuple(lines)


# --- Saving -------------------------------------------------------------------------------------------------


def save_suite(
    *,
    dataset_id: int,
    actor: User,
    document: str | Mapping[str, Any],
    edited_number: int,
    note: str = "",
    restored_from: int | None = None,
) -> SuiteVersion:
    """Make a suite the one that holds, as a new version of the history. For owners.

    ``edited_number`` is the version that the actor saw (0 where there was none): ``SuiteChanged`` if somebody else
    saved meanwhile. ``SuiteRejected`` names every problem, judged against the table's columns as they are now; nothing
    is saved then. A suite that equals the one that holds makes no new version.
    """
    dataset = Dataset.objects.select_related("project", "meta").get(pk=dataset_id)
    require_owner(actor, dataset, CHANGE_EXPECTATIONS)
    text = document if isinstance(document, str) else json.dumps(document, ensure_ascii=False)
    if len(text) > LONGEST_DOCUMENT:
        raise too_long()
    with outages.asking(dataset):
        columns = merging.inspect_table(dataset.table_uri).columns
    suite = merging.parse_suite(text, columns)
    text = suite_text(json.loads(text))
    with transaction.atomic():
        dataset = locked(Dataset.objects.all()).get(pk=dataset_id)
        require_owner(actor, dataset, CHANGE_EXPECTATIONS)
        before = current_version(dataset)
        if dataset.suite_number != edited_number:
            raise _changed(dataset, before, edited_number)
        if before is not None and before.document == text:
            return before
        version = SuiteVersion.objects.create(
            dataset=dataset,
            number=edited_number + 1,
            document=text,
            expectation_count=len(suite.expectations),
            note=note.strip(),
            restored_from=restored_from,
            created_by=actor,
        )
        dataset.suite_number = version.number
        dataset.save(update_fields=["suite_number"])
        record(
            stream=dataset_stream(dataset.pk),
            action="dataset.suite_saved",
            subject_type="dataset",
            subject_id=str(dataset.pk),
            actor=actor.get_username(),
            data={
                "number": version.number,
                "expectations": version.expectation_count,
                "note": version.note,
                "restored_from": restored_from,
                "sha256": hashlib.sha256(text.encode()).hexdigest(),
            },
            rows=SUITE_VERSION.seal(version),
        )
    return version


def _changed(dataset: Dataset, holds: SuiteVersion | None, edited_number: int) -> SuiteChanged:
    who = f", saved by {holds.created_by.get_full_name() or holds.created_by}" if holds is not None else ""
    edited = f"you edited version {edited_number}" if edited_number else "you began before there were any"
    return SuiteChanged(
        f"The expectations are at version {dataset.suite_number}{who}, and {edited}. "
        "Look at what holds now, then save again.",
        number=dataset.suite_number,
        edited=edited_number,
    )


def restore_suite(
    *, dataset_id: int, actor: User, number: int, edited_number: int, note: str = ""
) -> SuiteVersion:
    """Make an earlier version hold again, as a new one. For owners. Raises as ``save_suite`` does, and ``NotFound``."""
    earlier = suite_version(Dataset.objects.get(pk=dataset_id), number)
    return save_suite(
        dataset_id=dataset_id,
        actor=actor,
        document=earlier.document,
        edited_number=edited_number,
        note=note or f"Version {number} again.",
        restored_from=number,
    )


# --- Proposing ----------------------------------------------------------------------------------------------


def ask_for_proposal(*, dataset_id: int, actor: User) -> SuiteProposal:
    """Ask a worker to profile the table and write a first suite from it. For owners.

    While one is under way it is answered again, and the bell rung again.
    """
    with transaction.atomic():
        dataset = locked(Dataset.objects.all()).get(pk=dataset_id)
        require_owner(actor, dataset, CHANGE_EXPECTATIONS)
        proposal = SuiteProposal.objects.filter(dataset=dataset, status__in=SuiteProposal.ACTIVE).first()
        if proposal is None:
            proposal = SuiteProposal.objects.create(dataset=dataset, asked_by=actor)
        proposal_id = proposal.pk
        transaction.on_commit(lambda: ring_for_proposal(proposal_id), robust=True)
    return proposal


def ring_for_proposal(proposal_id: int) -> None:
    """Ask a worker to make a proposal. A broker that is down is logged; the sweep rings again."""
    bells.ring("datasets.propose_suite", proposal_id)


def proposal_of(dataset: Dataset, proposal_id: int) -> SuiteProposal:
    """A proposal for the dataset. Raises ``NotFound``."""
    found = SuiteProposal.objects.filter(dataset=dataset, pk=proposal_id).first()
    if found is None:
        raise NotFound("There is no such proposal.")
    return found


def latest_proposal(dataset: Dataset) -> SuiteProposal | None:
    """The newest proposal for the dataset, made or under way."""
    return SuiteProposal.objects.filter(dataset=dataset).order_by("-pk").first()


def make_proposal(*, proposal_id: int, worker: str) -> SuiteProposal | None:
    """Profile the table and store what was found. Called by workers, safe to call again.

    None if it is gone, has ended, waits for the table's store or is in other hands.
    """
    proposal = SuiteProposal.objects.select_related("dataset__meta").filter(pk=proposal_id).first()
    hold = table_work.claim(proposal, worker=worker) if proposal is not None else None
    if hold is None:
        return None
    with table_work.kept_alive(hold):
        _propose(hold)
    return hold.work


def _propose(hold: work.Hold[SuiteProposal]) -> None:
    dataset = hold.work.dataset
    if hold.is_worn_out:
        message = f"Given up after {work.MOST_ATTEMPTS} interrupted attempts. The worker's log says more."
        work.end(hold, WorkStatus.FAILED, error_code="given_up", error_message=message)
        return
    try:
        table_work.require_store(hold)
        suite = merging.propose_expectations(
            dataset.table_uri, tuple(dataset.primary_keys), name=dataset.slug
        )
    except merging.MergeError as error:
        if not table_work.waits_on(hold, error):
            message = table_work.message_of(error)
            work.end(hold, WorkStatus.FAILED, error_code=error.code, error_message=message)
    except Exception as error:  # the boundary: whoever waits must hear of it
        logger.error("proposal_failed", proposal_id=hold.work.pk, exc_info=error)
        message = "Profiling the table failed unexpectedly. The worker's log says more."
        work.end(hold, WorkStatus.FAILED, error_code="proposal_failed", error_message=message)
    else:
        work.end(hold, WorkStatus.SUCCEEDED, document=suite_text(suite))


def sweep_proposals() -> int:
    """Ring again for proposals that wait or whose worker died; returns how many."""
    waiting = table_work.unattended(SuiteProposal.objects.order_by("pk")).values_list("pk", flat=True)[
        :RUNG_AT_ONCE
    ]
    for proposal_id in waiting:
        ring_for_proposal(proposal_id)
    return len(waiting)
