"""Rules as forms: written, changed and left out without JSON, and tried on the table before they are saved."""

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from hypothesis import given
from hypothesis import strategies as st

from datasets import suites, trials
from datasets.models import Dataset, SuiteTrial
from datasets.roles import Role
from tests.factories import expect_of, expectation, person_with
from tests.web.conftest import SignedIn
from tests.web.test_expectation_pages import text_of
from web.rule_forms import OFFERED, RuleForm, has_form

pytestmark = pytest.mark.django_db

SEATS = expectation("column_values_to_be_between", column="seats", min_value=10, max_value=150)
MAKERS = expectation(
    "column_values_to_be_in_set", "warning", column="manufacturer", value_set=["AIRBUS", "BOEING"]
)
SET_TYPE = "expect_column_values_to_be_in_set"


@pytest.fixture
def address(dataset: Dataset) -> str:
    return f"/datasets/{dataset.project.slug}/planes/expectations/"


def document(*expected: dict[str, Any]) -> str:
    return json.dumps({"name": "planes", "expectations": list(expected)})


def fields(**typed: Any) -> dict[str, Any]:
    return {f"rule-{name}": value for name, value in typed.items()}


def test_a_rule_is_written_in_a_form_and_saved(
    dataset: Dataset, owner: User, signed_in: SignedIn, address: str
) -> None:
    client = signed_in(owner)
    sent = {"document": suites.EMPTY_SUITE, "edited_number": "0", "note": "Makers"}
    opened = client.post(f"{address}rules/", {**sent, "action": "new", "type": SET_TYPE})
    said = text_of(opened)
    assert "A new rule is one of a list of values" in said
    assert [name for name, _ in opened.context["rule_form"].fields["column"].choices]

    filled = fields(column="manufacturer", value_set="AIRBUS\r\nBOEING\r\n", mostly="95", severity="warning")
    kept = client.post(
        f"{address}rules/", {**sent, **filled, "rule_type": SET_TYPE, "rule_number": "", "action": "keep"}
    )
    said = text_of(kept)
    assert "Rule 1 stands below. Nothing holds by it before you save." in said
    assert "In at least 95 % of the rows, each manufacturer is AIRBUS or BOEING." in said
    assert "not saved yet" in said
    assert kept.context["form"]["note"].value() == "Makers"
    assert not dataset.suite_versions.exists()

    written = kept.context["form"]["document"].value()
    client.post(address, {**sent, "document": written, "action": "save"})
    assert dataset.suite_versions.get().content["expectations"] == [
        {
            "type": SET_TYPE,
            "kwargs": {"column": "manufacturer", "value_set": ["AIRBUS", "BOEING"], "mostly": 0.95},
            "severity": "warning",
        }
    ]


def test_a_rule_is_changed_and_what_forms_do_not_ask_for_stays(
    dataset: Dataset, owner: User, signed_in: SignedIn, address: str
) -> None:
    rule = {**SEATS, "meta": {"asked": "by Carl"}}
    rule["kwargs"] = {**SEATS["kwargs"], "strict_max": True}
    client = signed_in(owner)
    sent = {"document": document(MAKERS, rule), "edited_number": "0"}
    opened = client.post(f"{address}rules/", {**sent, "action": "open:1"})
    form = opened.context["rule_form"]
    assert {name: form[name].value() for name in ("column", "min_value", "max_value", "severity")} == {
        "column": "seats",
        "min_value": "10",
        "max_value": "150",
        "severity": "critical",
    }
    wrong = fields(column="seats", min_value="500", max_value="many", severity="critical")
    kept = {**sent, "rule_type": SEATS["type"], "rule_number": "1", "action": "keep"}
    refused = client.post(f"{address}rules/", {**kept, **wrong})
    assert refused.status_code == 422
    assert refused.context["rule_form"].errors == {"max_value": ["'many' is no number."]}
    assert refused.context["rule_form"]["min_value"].value() == "500"

    right = fields(column="seats", min_value="", max_value="400", severity="info")
    taken = client.post(f"{address}rules/", {**kept, **right})
    assert json.loads(taken.context["form"]["document"].value())["expectations"] == [
        MAKERS,
        {
            "type": SEATS["type"],
            "kwargs": {"column": "seats", "max_value": 400, "strict_max": True},
            "severity": "info",
            "meta": {"asked": "by Carl"},
        },
    ]


def test_a_rule_is_left_out(dataset: Dataset, owner: User, signed_in: SignedIn, address: str) -> None:
    sent = {"document": document(SEATS, MAKERS), "edited_number": "0"}
    left = signed_in(owner).post(f"{address}rules/", {**sent, "action": "drop:0"})
    assert json.loads(left.context["form"]["document"].value())["expectations"] == [MAKERS]
    assert "Rule 1 is left out. Nothing holds by it before you save." in text_of(left)
    gone = signed_in(owner).post(f"{address}rules/", {**sent, "action": "drop:7"})
    assert (gone.status_code, "There is no rule 8 any more." in text_of(gone)) == (422, True)
    assert gone.context["form"]["document"].value() == sent["document"]
    broken = signed_in(owner).post(f"{address}rules/", {"document": "{", "action": "open:0"})
    assert (broken.status_code, "cannot be read as it is" in text_of(broken)) == (422, True)


def test_a_rule_is_tried_on_the_table_and_what_is_typed_stays(
    dataset: Dataset, owner: User, signed_in: SignedIn, address: str
) -> None:
    client = signed_in(owner)
    sent = {
        "document": document(MAKERS),
        "edited_number": "0",
        "note": "Small ones",
        "rule_type": SEATS["type"],
        "rule_number": "",
        **fields(column="seats", max_value="150", severity="critical"),
    }
    asked = client.post(f"{address}try/", sent)
    trial = SuiteTrial.objects.get()
    assert asked.headers["Location"] == f"{address}trials/{trial.pk}/"
    waiting = client.get(asked.headers["Location"])
    assert "A worker looks at every row." in text_of(waiting)
    assert b"every 1s" in waiting.content
    assert b'http-equiv="refresh"' in waiting.content

    trials.make_trial(trial_id=trial.pk, worker="test")
    shown = client.get(asked.headers["Location"])
    said = text_of(shown)
    trial.refresh_from_db()
    assert trial.report is not None
    total = trial.report["results"][0]["failing_rows_total"]
    assert total > 0
    assert f"Fails for {total} of" in said
    assert "Each seats is at most 150." in said
    assert shown.context["rule_form"]["max_value"].value() == "150"
    assert shown.context["form"]["note"].value() == "Small ones"
    assert json.loads(shown.context["form"]["document"].value())["expectations"] == [MAKERS]
    fragment = client.get(asked.headers["Location"], headers={"HX-Request": "true"})
    assert b"every 1s" not in fragment.content
    assert not dataset.suite_versions.exists()


def test_all_rules_are_tried_together(
    dataset: Dataset, owner: User, signed_in: SignedIn, address: str
) -> None:
    expect_of(dataset, MAKERS)
    client = signed_in(owner)
    here = expectation("column_values_to_not_be_null", column="tailnum")
    asked = client.post(f"{address}try/", {"document": document(SEATS, here), "edited_number": "1"})
    trials.make_trial(trial_id=SuiteTrial.objects.get().pk, worker="test")
    said = text_of(client.get(asked.headers["Location"]))
    assert "does not satisfy 1 rule." in said
    assert "1 rule that the table satisfies" in said
    refused = client.post(f"{address}try/", {"document": "{", "edited_number": "1"})
    assert (refused.status_code, "This is no JSON" in text_of(refused)) == (422, True)


@pytest.mark.parametrize("role", [Role.CONTRIBUTOR, Role.VIEWER])
def test_others_write_no_rules(dataset: Dataset, signed_in: SignedIn, address: str, role: Role) -> None:
    client = signed_in(person_with(role, dataset))
    for place in ("rules/", "try/"):
        sent = {"document": document(SEATS), "action": "new", "type": SET_TYPE}
        assert client.post(f"{address}{place}", sent).status_code == 403
    assert not SuiteTrial.objects.exists()


def test_every_rule_that_is_offered_has_a_form(dataset: Dataset) -> None:
    shapes = suites.shapes_for(dataset)
    for kinds in OFFERED.values():
        for name in kinds:
            form = RuleForm(shapes[name], {"type": name})
            assert form.as_p()
            assert has_form(shapes, {"type": name, "kwargs": {}})


@pytest.mark.parametrize(
    ("rule", "has_one"),
    [
        (SEATS, True),
        ({"type": SET_TYPE, "kwargs": {"column": "manufacturer", "value_set": ["", "A"]}}, False),
        ({"type": SET_TYPE, "kwargs": {"column": "manufacturer", "value_set": ["A\nB"]}}, False),
        ({"type": SET_TYPE, "kwargs": {"column": "manufacturer", "value_set": [None]}}, False),
        ({"type": SET_TYPE, "kwargs": {"column": "seats", "value_set": [1, 2]}}, True),
        ({"type": SET_TYPE, "kwargs": {"column": "seats", "value_set": 7}}, False),
        ({"type": SET_TYPE, "kwargs": {"column": "seats", "mostly": "most"}}, False),
        ({"type": SET_TYPE, "kwargs": {"column": ["seats"]}}, True),
        ({"type": SET_TYPE, "kwargs": []}, False),
        ({"type": "hope", "kwargs": {}}, False),
        ({"type": ["hope"], "kwargs": {}}, False),
        ("hope", False),
    ],
)
def test_a_form_is_offered_where_it_says_all_of_a_rule(dataset: Dataset, rule: Any, has_one: bool) -> None:
    assert has_form(suites.shapes_for(dataset), rule) is has_one


@given(st.text(max_size=30))
def test_whatever_is_typed_is_a_value_of_a_suite(text: str) -> None:
    json.dumps(suites.suite_value(text, "long"))
    assert suites.suite_value(text, "string") == text
