"""The core paths where no script runs: edited, reviewed, taken over, merged, taken back."""

import re

from playwright.sync_api import expect

from tests.e2e.conftest import SignIn

AIRPORT = "/datasets/new-york-2013/airports/"
TITLE = "Lansing lies higher"
PATIENT = 30_000


def test_a_row_is_edited_reviewed_merged_and_taken_back(sign_in: SignIn) -> None:
    carl, olivia = (sign_in(name, java_script_enabled=False) for name in ("carl", "olivia"))

    # Edited in the form of its row, and proposed from the tray.
    page = carl.page
    carl.go(f"{AIRPORT}edit/?column=faa&value=LAN")
    page.get_by_role("link", name=re.compile("^Edit row")).click()
    altitude = page.get_by_role("textbox", name=re.compile("^alt "))
    altitude.fill("high")
    page.get_by_role("button", name="Keep these changes").click()
    expect(page.get_by_text("cannot be proposed yet")).to_be_visible()
    expect(altitude).to_have_value("high")
    altitude.fill("870")
    page.get_by_role("button", name="Keep these changes").click()
    carl.go(AIRPORT)
    page.get_by_role("link", name="Propose 1 change").click()
    page.get_by_label("Title").fill(TITLE)
    page.get_by_role("button", name="Propose 1 change").click()
    page.get_by_role("heading", name=TITLE).wait_for()
    path = page.url.removeprefix(carl.address)

    # Talked about at its cell, with another value, which its author takes.
    page = olivia.page
    olivia.go(f"{path}changes/")
    page.get_by_role("link", name=re.compile("^Comment on alt of")).click()
    page.get_by_label("Your comment").fill("The chart says 865.")
    page.get_by_label("Another value").fill("865")
    page.get_by_role("button", name="Comment or suggest").click()
    expect(page.get_by_text("Said. It stands under the row.")).to_be_visible()
    carl.go(f"{path}changes/")
    carl.page.get_by_role("button", name="Take this value").click()
    expect(carl.page.get_by_text("Taken over, in revision 2.")).to_be_visible(timeout=PATIENT)
    olivia.go(path)
    page.get_by_label("Your comment").fill("As the chart has it.")
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("Your review is in the timeline.")).to_be_visible()

    # Merged on pages that refresh themselves, and taken back by a request.
    page = carl.page
    carl.go(path)
    page.locator("#merge-box").get_by_role("link", name="Merge…").click()
    button = page.get_by_role("button", name="Merge 1 row change")
    for _ in range(20):  # the new revision is checked by a worker; a page without scripts is loaded again
        if button.is_visible() and button.is_enabled():
            break
        page.wait_for_timeout(1_000)
        page.reload()
    button.click()
    expect(page.locator(".notice--good")).to_contain_text("1 row changed in airports", timeout=PATIENT)
    carl.go("/inbox/")
    expect(page.get_by_role("link", name=re.compile(TITLE)).first).to_be_visible()
    olivia.go(path)
    olivia.page.get_by_role("button", name="Revert as a new request").click()
    expect(olivia.page.get_by_text(f"proposes what was there before {path.split('/')[2]}")).to_be_visible(
        timeout=PATIENT
    )
    expect(olivia.page.locator(".strip .chip")).to_have_text("Draft")
