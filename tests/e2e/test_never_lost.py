"""What is refused has the focus at its field, filters keep their page, views are kept, news comes without a stream."""

import re

from playwright.sync_api import expect

from tests.e2e.conftest import SignIn
from tests.e2e.test_accessibility import violations
from tests.e2e.test_beside import PATIENT, propose

LOOKS = 20


def test_nothing_leads_to_a_dead_end(sign_in: SignIn) -> None:
    carl, olivia = sign_in("carl"), sign_in("olivia")
    path = propose(carl, "Call an airport by its first name")
    page = carl.page

    # What is refused stands at its field, which has the focus.
    carl.go(path)
    page.get_by_role("button", name="Comment", exact=True).click()
    expect(page.get_by_text("Write a comment first.")).to_be_visible()
    expect(page.get_by_label("Your comment")).to_be_focused()

    # A value that does not fit its column keeps the page.
    carl.go("/datasets/new-york-2013/airports/?column=lat&value=north")
    expect(page.locator("#filter-value")).to_be_focused()
    expect(page.get_by_text("All rows are shown.")).to_be_visible()
    assert violations(page) == []

    # Filters are kept under a name, by the keyboard alone.
    carl.go("/?state=merged")
    page.get_by_text("Save this view…").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type("What was merged")
    page.keyboard.press("Enter")
    kept = page.get_by_role("link", name="What was merged")
    expect(kept).to_have_attribute("aria-current", "true")
    assert violations(page) == []
    page.get_by_role("button", name="Remove the view What was merged").click()
    expect(kept).to_have_count(0)

    # Where streams are refused the end of a merge is told all the same.
    page.route("**/news/**", lambda route: route.fulfill(status=204))
    carl.go("/datasets/")
    olivia.go(path)
    olivia.page.get_by_role("button", name="Approve").click()
    olivia.page.get_by_text("Your review is in the timeline.").wait_for()
    olivia.page.locator("#merge-box").get_by_role("link", name="Merge…").click()
    olivia.page.get_by_role("button", name="Merge 1 row change").click()
    expect(olivia.page.get_by_role("dialog")).to_contain_text(re.compile(r"Merged as v\d+"), timeout=PATIENT)
    toast = page.locator(".toast-message").filter(has_text="merged")
    for _ in range(LOOKS):  # sooner than it would look by itself
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        page.wait_for_timeout(1_500)
        if toast.count():
            break
    expect(toast).to_have_count(1)
    expect(toast.get_by_role("link")).to_have_attribute("href", path)
