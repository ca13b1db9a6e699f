"""The expectations of a dataset: who saves them, what is refused, what the history keeps."""

import json
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.test import Client

import merging
from audit.models import Event
from audit.services import dataset_stream, verify_chains
from datasets import suites, tasks
from datasets.errors import Forbidden, NotFound, SuiteChanged
from datasets.models import Dataset, SuiteProposal, SuiteVersion
from datasets.operators import make_operator
from datasets.roles import Role
from datasets.services import change_settings
from tests.factories import DatasetFactory, UserFactory, person_with

pytestmark = pytest.mark.django_db

SEATS = {
    "type": "expect_column_values_to_be_between",
    "severity": "critical",
    "kwargs": {"column": "seats", "min_value": 1, "max_value": 500},
}
MAKERS = {
    "type": "expect_column_values_to_be_in_set",
    "severity": "warning",
    "kwargs": {"column": "manufacturer", "value_set": ["AIRBUS", "BOEING", "EMBRAER"]},
}


def suite(*expectations: dict[str, Any], name: str = "planes") -> str:
    return json.dumps({"name": name, "expectations": list(expectations)})


@pytest.fixture
def dataset() -> Dataset:
    return DatasetFactory(slug="planes", name="planes")


@pytest.fixture
def save(dataset: Dataset, owner: User) -> Callable[..., SuiteVersion]:
    def saved(*expectations: dict[str, Any], edited_number: int = 0, **options: Any) -> SuiteVersion:
        return suites.save_suite(
            dataset_id=dataset.pk,
            actor=options.pop("actor", owner),
            document=suite(*expectations),
            edited_number=edited_number,
            **options,
        )

    return saved


Save = Callable[..., SuiteVersion]


def test_a_suite_is_saved_with_its_history_and_an_event(dataset: Dataset, save: Save) -> None:
    assert suites.active_suite(dataset) is None

    first = save(SEATS, note=" Planes have seats. ")
    second = save(SEATS, MAKERS, edited_number=1)

    dataset.refresh_from_db()
    assert suites.active_suite(dataset) == second
    assert [
        (one.number, one.expectation_count, one.note, str(one.created_by))
        for one in suites.suite_history(dataset)
    ] == [(2, 2, "", "olivia"), (1, 1, "Planes have seats.", "olivia")]
    assert first.content["expectations"] == [SEATS]
    events = Event.objects.filter(stream=dataset_stream(dataset.pk), action="dataset.suite_saved")
    assert [
        (one.actor, one.data["number"], one.data["expectations"], one.data["note"]) for one in events
    ] == [
        ("olivia", 1, 1, "Planes have seats."),
        ("olivia", 2, 2, ""),
    ]
    assert list(verify_chains()) == []


def test_nothing_expected_is_a_version_too(dataset: Dataset, save: Save) -> None:
    save(SEATS)
    save(edited_number=1)
    dataset.refresh_from_db()
    assert (dataset.suite_number, suites.active_suite(dataset)) == (2, None)
    current = suites.current_version(dataset)
    assert current is not None
    assert current.expectation_count == 0


def test_the_same_suite_again_makes_no_version(dataset: Dataset, save: Save) -> None:
    first = save(SEATS)
    again = save(SEATS, edited_number=1, note="spaces moved")
    assert again == first
    assert dataset.suite_versions.count() == 1
    assert Event.objects.filter(action="dataset.suite_saved").count() == 1


def test_every_problem_is_named_with_its_place_and_nothing_is_saved(dataset: Dataset, save: Save) -> None:
    with pytest.raises(suites.SuiteRejected) as refused:
        save(
            {"type": "expect_column_values_to_be_prime", "kwargs": {"column": "seats"}},
            {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "wings"}},
            {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "seats", "color": 1}},
        )
    assert [(one.place, one.code) for one in refused.value.problems] == [
        ("expectations[0].type", "unknown_expectation"),
        ("expectations[1].kwargs.column", "unknown_column"),
        ("expectations[2].kwargs.color", "unknown_kwarg"),
    ]
    dataset.refresh_from_db()
    assert (dataset.suite_number, SuiteVersion.objects.count()) == (0, 0)
    assert not Event.objects.filter(action="dataset.suite_saved").exists()


def test_a_suite_is_judged_against_the_columns_that_the_table_has_now(
    dataset: Dataset, save: Save, owner: User
) -> None:
    wings = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "seats"}}
    dataset.meta.schema_json = {"fields": []}  # what is remembered may be old
    dataset.meta.save()
    assert save(wings).number == 1


def test_a_suite_has_an_end(dataset: Dataset, owner: User) -> None:
    with pytest.raises(suites.SuiteRejected, match="characters at most"):
        suites.save_suite(
            dataset_id=dataset.pk,
            actor=owner,
            document=" " * (suites.LONGEST_DOCUMENT + 1),
            edited_number=0,
        )


def test_two_owners_who_edit_at_once_are_told(dataset: Dataset, save: Save) -> None:
    save(SEATS)
    save(SEATS, MAKERS, edited_number=1)
    other = person_with(Role.OWNER, dataset, username="oscar")

    with pytest.raises(SuiteChanged) as refused:
        save(MAKERS, edited_number=1, actor=other)

    assert refused.value.message == (
        "The expectations are at version 2, saved by Olivia Okafor, and you edited version 1. "
        "Look at what holds now, then save again."
    )
    assert refused.value.data == {"number": 2, "edited": 1}
    dataset.refresh_from_db()
    assert dataset.suite_number == 2


@pytest.mark.parametrize("role", [Role.CONTRIBUTOR, Role.VIEWER, None])
def test_only_owners_change_expectations(dataset: Dataset, save: Save, role: Role | None) -> None:
    actor = person_with(role, dataset)
    save(SEATS)
    with pytest.raises(Forbidden):
        save(MAKERS, edited_number=1, actor=actor)
    with pytest.raises(Forbidden):
        suites.restore_suite(dataset_id=dataset.pk, actor=actor, number=1, edited_number=1)
    with pytest.raises(Forbidden):
        suites.ask_for_proposal(dataset_id=dataset.pk, actor=actor)
    assert SuiteVersion.objects.count() == 1
    assert not SuiteProposal.objects.exists()


def test_an_earlier_version_is_restored_as_a_new_one(dataset: Dataset, save: Save, owner: User) -> None:
    save(SEATS)
    save(MAKERS, edited_number=1)
    restored = suites.restore_suite(dataset_id=dataset.pk, actor=owner, number=1, edited_number=2)
    assert (restored.number, restored.restored_from, restored.note) == (3, 1, "Version 1 again.")
    assert restored.content["expectations"] == [SEATS]
    with pytest.raises(NotFound):
        suites.restore_suite(dataset_id=dataset.pk, actor=owner, number=9, edited_number=3)


def test_history_is_append_only(dataset: Dataset, save: Save) -> None:
    version = save(SEATS)
    version.note = "rewritten"
    with pytest.raises(TypeError):
        version.save()
    with pytest.raises(TypeError):
        version.delete()
    with pytest.raises(TypeError):
        SuiteVersion.objects.update(note="rewritten")
    with pytest.raises(TypeError):
        SuiteVersion.objects.all().delete()
    with pytest.raises(IntegrityError), transaction.atomic():
        SuiteVersion.objects.create(
            dataset=dataset, number=1, document="{}", expectation_count=0, created_by=version.created_by
        )
    version.refresh_from_db()
    assert version.note == ""


def test_whether_old_failures_block_is_a_setting(dataset: Dataset, owner: User) -> None:
    changed = change_settings(dataset_id=dataset.pk, actor=owner, changes={"block_pre_existing": True})
    assert changed.block_pre_existing
    event = Event.objects.get(action="dataset.settings_changed")
    assert event.data == {"block_pre_existing": {"before": False, "after": True}}


# --- Reading ------------------------------------------------------------------------------------------------


def test_a_suite_is_read_in_words_with_problems_at_their_place(dataset: Dataset) -> None:
    reading = suites.read_suite(
        dataset,
        suite(SEATS, {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "wings"}}),
    )
    good, bad = reading.expectations
    assert (good.sentence, good.severity, good.columns, good.problems) == (
        "Each seats is between 1 and 500.",
        "critical",
        ("seats",),
        (),
    )
    assert (bad.number, bad.type, bad.sentence) == (1, "expect_column_values_to_not_be_null", "")
    assert [one.place for one in bad.problems] == ["expectations[1].kwargs.column"]
    assert reading.problem_count == 1


@pytest.mark.parametrize(
    "text", ["{", "[]", '"suite"', '{"expectations": 3}', "", '{"expectations": [3]}', '{"a": 1}']
)
def test_whatever_is_typed_is_read(dataset: Dataset, text: str) -> None:
    assert suites.read_suite(dataset, text).problem_count >= 1


def test_text_is_laid_out_for_people_and_means_the_same() -> None:
    document = {
        "name": "é",
        "expectations": [SEATS, {"type": "x", "kwargs": {"value_set": [f"code-{n}" for n in range(40)]}}],
        "meta": {},
    }
    text = suites.suite_text(document)
    assert json.loads(text) == document
    assert all(len(line) <= 104 for line in text.splitlines())
    assert '"kwargs": {"column": "seats", "min_value": 1, "max_value": 500}' in text
    assert suites.suite_text(json.loads(text)) == text


def test_versions_are_compared_line_by_line(dataset: Dataset, save: Save) -> None:
    first = save(SEATS)
    wider = {**SEATS, "kwargs": {**SEATS["kwargs"], "max_value": 600}}  # type: ignore[dict-item]  # a JSON object
    second = save(wider, edited_number=1)
    lines = suites.compare_versions(first, second)
    assert [(one.kind, one.text.strip()) for one in lines if one.kind != "same"] == [
        ("removed", '"kwargs": {"column": "seats", "min_value": 1, "max_value": 500}'),
        ("added", '"kwargs": {"column": "seats", "min_value": 1, "max_value": 600}'),
    ]
    assert suites.compare_versions(first, first) == ()
    assert {one.kind for one in suites.compare_versions(None, first)} == {"added"}


# --- Proposing ----------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_a_worker_proposes_a_suite_that_the_table_satisfies(dataset: Dataset, owner: User) -> None:
    rung: list[int] = []
    with patch.object(suites, "ring_for_proposal", rung.append):
        asked = suites.ask_for_proposal(dataset_id=dataset.pk, actor=owner)
        again = suites.ask_for_proposal(dataset_id=dataset.pk, actor=owner)
    assert (again, rung) == (asked, [asked.pk, asked.pk])
    assert asked.finished_at is None

    tasks.propose_suite(asked.pk)

    made = suites.proposal_of(dataset, asked.pk)
    assert (made.error_message, made.finished_at is not None) == ("", True)
    report = merging.check_table(dataset.table_uri, made.document, ["tailnum"])
    assert {one.state for one in report.results} == {"passed"}
    assert "expect_column_values_to_be_unique" in {one.type for one in report.results}
    assert suites.save_suite(dataset_id=dataset.pk, actor=owner, document=made.document, edited_number=0)
    finished_at = made.finished_at
    tasks.propose_suite(asked.pk)
    made.refresh_from_db()
    assert made.finished_at == finished_at
    with patch.object(suites, "ring_for_proposal", rung.append):
        assert suites.ask_for_proposal(dataset_id=dataset.pk, actor=owner) != asked


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (merging.TableNotFound("The table is gone."), "The table is gone."),
        (RuntimeError("boom"), "Profiling the table failed unexpectedly. The worker's log says more."),
    ],
)
def test_a_proposal_that_cannot_be_made_says_why(
    dataset: Dataset, owner: User, error: Exception, sentence: str
) -> None:
    asked = suites.ask_for_proposal(dataset_id=dataset.pk, actor=owner)
    with patch.object(merging, "propose_expectations", side_effect=error):
        suites.make_proposal(proposal_id=asked.pk, worker="test")
    asked.refresh_from_db()
    assert (asked.error_message, asked.document) == (sentence, "")
    assert asked.finished_at is not None
    assert suites.make_proposal(proposal_id=asked.pk + 1, worker="test") is None
    with pytest.raises(NotFound):
        suites.proposal_of(DatasetFactory(), asked.pk)


# --- Admin --------------------------------------------------------------------------------------------------


def test_operators_read_suites_and_write_none(save: Save) -> None:
    version = save(SEATS)
    operator = UserFactory.create(username="adam")
    make_operator(operator)
    client = Client()
    client.force_login(User.objects.get(pk=operator.pk))

    for name in ("suiteversion", "suiteproposal"):
        assert client.get(f"/admin/datasets/{name}/").status_code == 200
        assert client.get(f"/admin/datasets/{name}/add/").status_code == 403
    page = f"/admin/datasets/suiteversion/{version.pk}/change/"
    shown = client.get(page).content.decode()
    assert "created by" in shown.lower()
    assert "expect_column_values_to_be_between" not in shown  # it may quote values of the table
    assert client.post(page, {"note": "rewritten"}).status_code == 403
    assert client.post(page.replace("change", "delete"), {"post": "yes"}).status_code == 403
    version.refresh_from_db()
    assert version.note == ""
