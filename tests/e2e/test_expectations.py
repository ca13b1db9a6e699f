"""An owner says what the data must satisfy, a request breaks it, its author reads why, the owner answers for it."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import SignIn
from tests.e2e.test_accessibility import violations

SUITE = "/datasets/new-york-2013/airports/expectations/"
ALTITUDES = '{"column": "alt", "min_value": -1300, "max_value": 15000}'
LOWER = '{"column": "alt", "min_value": -1300, "max_value": 9000}'
TITLE = "Correct two altitudes and mistype one"


def edited(page: Page, old: str, new: str) -> None:
    """Replace a part of the suite in JSON, which is behind a fold."""
    editor = page.get_by_label("Suite in JSON")
    if not editor.is_visible():
        page.get_by_text("The suite in JSON").click()
    text = editor.input_value()
    assert old in text
    editor.fill(text.replace(old, new))


@pytest.mark.parametrize("java_script_enabled", [True, False], ids=["with-javascript", "without-javascript"])
def test_a_suite_is_proposed_and_read_but_not_saved(sign_in: SignIn, java_script_enabled: bool) -> None:
    olivia = sign_in("olivia", java_script_enabled=java_script_enabled)
    page = olivia.page
    olivia.go("/datasets/new-york-2013/weather/expectations/")
    page.get_by_role("button", name="Propose a suite").click()
    expect(page.get_by_text("A proposal, not saved yet.")).to_be_visible(timeout=20_000)
    assert "expect_compound_columns_to_be_unique" in page.get_by_label("Suite in JSON").input_value()
    edited(page, '"humid"', '"humidity"')
    page.get_by_role("button", name="Read it without saving").click()
    expect(page.get_by_role("status").filter(has_text="each named at its place")).to_be_visible()
    expect(page.locator(".is-wrong").first).to_contain_text("The table has no column humidity")
    olivia.go("/datasets/new-york-2013/weather/expectations/")
    expect(page.get_by_role("link", name="Version 1")).to_be_visible()


def test_a_broken_expectation_is_told_mended_and_answered_for(sign_in: SignIn) -> None:
    olivia, carl = sign_in("olivia"), sign_in("carl")

    # The owner narrows what is expected, and a slip is named at its place.
    page = olivia.page
    olivia.go(SUITE)
    edited(page, ALTITUDES, LOWER.replace('"alt"', '"altitude"'))
    page.get_by_role("button", name="Save expectations").click()
    expect(page.get_by_role("alert")).to_contain_text("Not saved. 1 problem must be mended first")
    expect(page.locator(".is-wrong")).to_contain_text("The table has no column altitude")
    assert violations(page) == []
    edited(page, '"altitude"', '"alt"')
    page.get_by_label("Why").fill("No airport of ours lies above 9,000 feet.")
    page.get_by_role("button", name="Save expectations").click()
    expect(page.get_by_text(re.compile(r"Version \d+ holds now: 7 expectations"))).to_be_visible()
    page.get_by_role("link", name="History").last.click()
    page.get_by_role("link", name=re.compile("^Version")).first.click()
    expect(page.locator(".is-removed")).to_contain_text('"max_value": 15000')
    expect(page.locator(".is-added")).to_contain_text('"max_value": 9000')
    assert violations(page) == []

    # A contributor proposes what breaks it, and reads which row and why.
    page = carl.page
    carl.save_as_draft(TITLE, "faa,alt\nTEX,8990\nJFK,9500\n")
    page.get_by_role("button", name="Ask for review").click()
    path = page.url.removeprefix(carl.address)
    carl.go(f"{path}merge/")
    expect(page.locator("main")).to_contain_text("An expectation would be broken.")
    expect(page.locator("main")).to_contain_text(
        "1 row does not satisfy: Each alt is between -1300 and 9000."
    )
    expect(page.get_by_role("button", name="Merge 2 row changes")).to_be_disabled()
    expect(page.get_by_text("Override the gates")).to_have_count(0)
    carl.go(f"{path}checks/")
    row = page.get_by_role("region", name="Failing rows").get_by_role("row").filter(has_text="JFK")
    expect(row.locator("del")).to_have_text("13")
    expect(row.locator("ins")).to_have_text("9500")
    assert violations(page) == []

    # The owner answers for it in the dialog, and the merge goes through; the report stays readable.
    page = olivia.page
    olivia.go(path)
    page.locator("#merge-box").get_by_role("link", name="Merge…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading", name="Expectations")).to_be_visible()
    assert violations(page) == []
    dialog.get_by_text("Override the gates…").click()
    dialog.get_by_label("Merge although not every gate holds").check()
    dialog.get_by_label("Reason").fill("JFK is the test of our alarm.")
    dialog.get_by_role("button", name="Override and merge").click()
    expect(dialog.locator(".notice--good")).to_contain_text("changed in airports", timeout=20_000)
    page.locator("#leave-run").click()
    expect(page.get_by_text("answered for 1 broken expectation")).to_be_visible()
    olivia.go(f"{path}checks/")
    expect(page.locator("#expectations")).to_contain_text("Olivia Okafor answers for 1 broken expectation")
    expect(page.locator("#expectations")).to_contain_text("Judged on the whole result: 1 overridden")
    assert violations(page) == []


def test_a_rule_is_written_in_a_form_and_tried_on_the_table_before_it_is_saved(sign_in: SignIn) -> None:
    olivia = sign_in("olivia")
    page = olivia.page
    olivia.go(SUITE)
    page.get_by_label("Add a rule").select_option(label="lies between two bounds")
    page.get_by_role("button", name="Write the rule").click()
    page.get_by_label("Column", exact=True).select_option("alt")
    page.get_by_label("At most").fill("many")
    page.get_by_role("button", name="Try it on the table").click()
    expect(page.get_by_text("'many' is no number.")).to_be_visible()
    page.get_by_label("At most").fill("1000")
    page.get_by_role("button", name="Try it on the table").click()
    expect(page.locator("#trial")).to_contain_text(
        re.compile(r"Fails for [\d,]+ of [\d,]+ rows"), timeout=30_000
    )
    expect(page.locator("#trial").get_by_role("row")).to_have_count(11)
    assert page.get_by_label("At most").input_value() == "1000"
    assert violations(page) == []
    page.get_by_role("button", name="Add the rule").click()
    expect(page.get_by_text("not saved yet")).to_be_visible()
    expect(page.locator(".said li").last).to_contain_text("Each alt is at most 1000.")
    assert violations(page) == []
    olivia.go(SUITE)
    expect(page.locator(".said")).not_to_contain_text("Each alt is at most 1000.")
