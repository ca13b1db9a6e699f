"""Choosing values for conflicts, with and without JavaScript."""

import pytest
from playwright.sync_api import expect

from tests.e2e.conftest import SignIn

MIDNIGHT = "Count midnight to the day before: 2400 becomes 2359"


@pytest.mark.parametrize("java_script_enabled", [True, False], ids=["with-javascript", "without-javascript"])
def test_choices_are_saved_one_by_one_and_in_bulk(sign_in: SignIn, java_script_enabled: bool) -> None:
    carl = sign_in("carl", java_script_enabled=java_script_enabled)
    page = carl.page
    path = carl.open_request(MIDNIGHT)
    carl.go(f"{path}conflicts/")
    first = page.locator(".conflict").first
    expect(first).to_contain_text("Back to base")
    values = first.locator(".choice__value").all_inner_texts()
    assert values == ["2400", "0", "2359"]  # base, current, proposed

    first.get_by_label("Take proposed").check()
    if not java_script_enabled:
        first.get_by_role("button", name="Save this row").click()
    expect(page.get_by_text("Resolved", exact=True).first).to_be_visible()
    expect(page.locator(".conflict").first.get_by_label("Take proposed")).to_be_checked()

    second = page.locator(".conflict").nth(1)
    second.get_by_label("Another value for dep_time").fill("midnight")
    second.get_by_label("Another value", exact=True).check()
    second.get_by_role("button", name="Save this row").click()
    expect(page.get_by_role("alert")).to_contain_text("Not saved.")

    if java_script_enabled:
        page.get_by_role("button", name="Keep current in every open conflict of dep_time").click()
        expect(page.get_by_role("heading", name="29 of 29 resolved")).to_be_visible()
        expect(page.get_by_role("status").filter(has_text="Saved.")).to_be_visible()
