"""By keyboard alone: everything is reached, and after each swap the focus is where the person goes on."""

import uuid

from playwright.sync_api import Locator, Page, expect

from tests.e2e.conftest import SignIn
from tests.e2e.programs import Caller

PATIENT = 30_000
#: Steps of the Tab key from wherever one is to whatever is on the page.
MOST_STEPS = 150


def reach(page: Page, wanted: Locator) -> None:
    """Tab on until the focus is there."""
    wanted.wait_for()
    for _ in range(MOST_STEPS):
        if wanted.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"The Tab key does not reach {wanted}.")


def test_the_focus_goes_along(sign_in: SignIn, demo: str) -> None:
    caller = Caller(demo, "olivia")
    made = caller.post(
        "datasets", project="new-york-2013", slug=f"by-keyboard-{uuid.uuid4().hex[:6]}", name="by keyboard",
        primary_keys=["id"], required_approvals=0,
        schema={"columns": [{"name": "id", "type": "long"}, {"name": "name", "type": "string"}]},
    )  # fmt: skip
    told = caller.post(
        f"datasets/{made['id']}/proposals", title="By keyboard", submit=True,
        rows=[{"id": number, "name": f"Row {number % 2}"} for number in range(1, 5)],
    )  # fmt: skip
    path = f"/change-requests/{told['change_request']['cr_id']}/"
    olivia = sign_in("olivia")
    page = olivia.page

    # A dialog begins at its heading, and leaves the focus where it was opened; what was written is there again.
    olivia.go(path)
    merge = page.locator("#merge-box").get_by_role("link", name="Merge…")
    reach(page, merge)
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading").first).to_be_focused()
    reach(page, dialog.get_by_label("Message"))
    page.keyboard.type("Begun")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(merge).to_be_focused()
    page.keyboard.press("Enter")
    expect(dialog.get_by_label("Message")).to_have_value("Begun")
    page.keyboard.press("Escape")

    # A remark begins in its field and ends at the row; another cell of the row takes along what was begun.
    olivia.go(f"{path}changes/")
    row = page.locator("tr[id^='row-']").first
    of_row, of_cell = row.locator(".talk-link").first, row.locator("td[data-label='name'] .talk-link")
    reach(page, of_row)
    page.keyboard.press("Enter")
    field = page.locator(".talk__form [data-focus]")
    expect(field).to_be_focused()
    page.keyboard.type("Is this")
    of_cell.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".talk__cell")).to_be_visible()
    expect(field).to_be_focused()
    expect(field).to_have_value("Is this")
    page.keyboard.press("End")
    page.keyboard.type(" right?")
    reach(page, page.locator(".talk__form").get_by_role("button", name="Comment"))
    page.keyboard.press("Enter")
    expect(page.locator(".talk__thread")).to_contain_text("Is this right?")
    expect(of_row).to_be_focused()

    # A group that is ticked off keeps the focus.
    olivia.go(f"{path}changes/?view=groups")
    viewed = page.get_by_role("button", name="Viewed").first
    reach(page, viewed)
    page.keyboard.press("Enter")
    expect(viewed).to_have_attribute("aria-pressed", "true")
    expect(viewed).to_be_focused()

    # Progress is told anew each second, and takes the focus from no button.
    olivia.go(path)
    reach(page, merge)
    page.keyboard.press("Enter")
    reach(page, dialog.get_by_role("button", name="Merge 4 row changes"))
    page.keyboard.press("Enter")
    close = page.locator("#close-dialog")
    reach(page, close)
    expect(dialog.locator(".notice--good")).to_be_visible(timeout=PATIENT)
    expect(close).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Merged as version")).to_be_visible()

    # The grid: nobody is caught in it, and its dialog gives the focus back.
    olivia.go(f"/datasets/new-york-2013/{made['slug']}/edit/")
    cells = page.locator(".grid .tabulator-tableholder")
    reach(page, cells)
    page.keyboard.press("Control+H")
    replace = page.get_by_role("dialog", name="Find and replace")
    expect(replace).to_be_visible()
    page.keyboard.press("Escape")
    expect(cells).to_be_focused()
    reach(page, page.get_by_role("link", name="Look at your changes"))
