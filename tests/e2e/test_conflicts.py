"""Choosing values for conflicts, with and without JavaScript."""

import re

from playwright.sync_api import expect

from tests.e2e.conftest import SignIn

MIDNIGHT = "Count midnight to the day before: 2400 becomes 2359"


def test_choices_are_saved_as_they_are_made(sign_in: SignIn) -> None:
    carl = sign_in("carl")
    page = carl.page
    carl.go(f"{carl.open_request(MIDNIGHT)}conflicts/")
    first, second = page.locator(".conflict").nth(0), page.locator(".conflict").nth(1)
    assert first.locator(".choice__value").all_inner_texts() == [
        "2400",
        "0",
        "2359",
    ]  # base, current, proposed

    first.get_by_label("Take proposed").check()
    expect(page.get_by_role("status").filter(has_text="Saved.")).to_be_visible()
    expect(first.get_by_text("Resolved", exact=True)).to_be_visible()
    expect(first.get_by_label("Take proposed")).to_be_checked()
    expect(first.get_by_label("Take proposed")).to_be_focused()

    second.get_by_label("Another value for dep_time").fill("midnight")
    second.get_by_role("button", name="Save this row").click()
    expect(page.get_by_role("alert")).to_contain_text("Not saved.")

    page.get_by_role("button", name="Keep current in every open conflict of dep_time").click()
    expect(page.get_by_role("heading", name="29 of 29 resolved")).to_be_visible()
    expect(page.get_by_role("status").filter(has_text="Every conflict has a choice.")).to_be_visible()


def test_choices_are_saved_without_javascript(sign_in: SignIn) -> None:
    carl = sign_in("carl", java_script_enabled=False)
    page = carl.page
    carl.go(f"{carl.open_request(MIDNIGHT)}conflicts/")
    third = page.locator(".conflict").nth(2)
    third.get_by_label("Back to base").check()
    third.get_by_role("button", name="Save this row").click()
    expect(page.get_by_text(re.compile(r"^Saved\."))).to_be_visible()
    expect(third.get_by_label("Back to base")).to_be_checked()
    expect(third.get_by_text("Resolved", exact=True)).to_be_visible()
