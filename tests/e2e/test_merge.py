"""From the first page to "merged as v…", and the changed cell in the table."""

import re
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.e2e.conftest import SignIn
from tests.e2e.test_accessibility import violations

TAIL_NUMBERS = "Fill in 50 missing tail numbers of Endeavor Air"
CANCELLED = "Drop the flights that never left"
CARIBBEAN = "Add the four Caribbean airports that flights go to"
ROW = "2013-01-04 13:00 UTC"


def row_of(page: Page, text: str) -> str:
    """The words of the first table row that holds a text."""
    row = page.get_by_role("row").filter(has_text=text).first
    shown = row.evaluate(
        "row => { const words = [], texts = document.createTreeWalker(row, NodeFilter.SHOW_TEXT);"
        " while (texts.nextNode())"
        " if (!texts.currentNode.parentElement.closest('.visually-hidden')) words.push(texts.currentNode.data);"
        " return words.join(' '); }"
    )
    return " ".join(str(shown).split())


def test_a_request_is_merged_from_the_dialog(sign_in: SignIn, picture: Callable[[str], Path]) -> None:
    olivia = sign_in("olivia")
    page = olivia.page
    path = olivia.open_request(TAIL_NUMBERS)

    page.get_by_role("navigation", name="Change request").get_by_role("link", name="Changes").click()
    assert row_of(page, ROW) == f"~ changed {ROW} 3405 9E JFK NULL N600LR"
    expect(page.locator("tr", has_text=ROW).locator("del")).to_have_text("NULL")
    expect(page.locator("tr", has_text=ROW).locator("ins")).to_have_text("N600LR")
    page.screenshot(path=picture("diff.png"))

    # Meanwhile, in another window, somebody looks at the merge of another request to the same table.
    other = sign_in("olivia")
    other.open_request(CANCELLED)
    other.page.locator("#merge-box").get_by_role("link", name="Merge…").click()
    other.page.get_by_role("dialog").get_by_label("Type flights to go on").fill("flights")

    olivia.go(path)
    page.locator("#merge-box").get_by_role("link", name="Merge…").click()
    dialog = page.get_by_role("dialog", name=re.compile(r"Merge CR-\d+ into flights"))
    expect(dialog.get_by_role("heading", name=re.compile("^Merge CR-"))).to_be_focused()
    expect(dialog).to_contain_text("336,776 → 336,776")
    page.screenshot(path=picture("merge-dialog.png"))
    dialog.get_by_role("button", name="Merge 50 row changes").dblclick()

    expect(page.get_by_role("heading", name=re.compile("Merging CR-|is merged into flights"))).to_be_visible()
    assert violations(page) == []  # the dialog as it tells of the progress
    expect(page.get_by_role("dialog").locator(".notice--good")).to_contain_text(
        "Merged as v2: 50 rows changed in flights.", timeout=20_000
    )
    expect(page.locator(".toast-message")).to_contain_text("Merged as v2: 50 rows changed in flights.")
    for colour_scheme in ("light", "dark"):
        page.emulate_media(color_scheme="dark" if colour_scheme == "dark" else "light")
        assert violations(page, colour_scheme) == []  # and of the end
    page.emulate_media(color_scheme="light")
    page.locator("#leave-run").click()
    expect(page.get_by_role("heading", name="Merged as version 2")).to_be_visible()
    expect(page.get_by_text("asked for the merge")).to_have_count(1)  # a double click is one run

    olivia.go("/datasets/new-york-2013/flights/?column=flight&value=3405")
    assert row_of(page, ROW).split()[3:6] == ["3405", "9E", "JFK"]
    expect(page.locator("tr", has_text=ROW).get_by_text("N600LR")).to_be_visible()

    # The other window looked at version 1: the same dialog comes back and says that the table moved.
    other.page.get_by_role("button", name=re.compile(r"Merge [\d,]+ row changes")).click()
    alert = other.page.get_by_role("dialog").get_by_role("alert")
    expect(alert).to_contain_text("Nothing was merged.")
    expect(alert).to_contain_text("The table is at version 2")
    expect(other.page.get_by_role("dialog")).to_contain_text("flights at version 2")


def test_a_request_is_merged_without_javascript(sign_in: SignIn) -> None:
    carl = sign_in("carl", java_script_enabled=False)
    page = carl.page
    carl.open_request(CARIBBEAN)
    page.locator("#merge-box").get_by_role("link", name="Merge…").click()
    expect(page.get_by_role("heading", name=re.compile(r"Merge CR-\d+ into airports"))).to_be_visible()
    page.get_by_role("button", name="Merge 4 row changes").click()
    expect(page.locator(".notice--good")).to_contain_text(
        re.compile(r"Merged as v\d+: 4 rows changed in airports\."), timeout=20_000
    )
    page.get_by_role("link", name="See the table").click()
    expect(page.get_by_role("heading", name="airports")).to_be_visible()
    carl.go("/datasets/new-york-2013/airports/?column=faa&value=SJU")
    expect(page.get_by_role("row").filter(has_text="SJU")).to_have_count(1)


def test_deleting_too_much_asks_for_the_name(sign_in: SignIn) -> None:
    carl = sign_in("carl")
    carl.open_request(CANCELLED)
    carl.page.locator("#merge-box").get_by_role("link", name="Merge…").click()
    dialog = carl.page.get_by_role("dialog")
    dialog.get_by_label("Type flights to go on").fill("planes")
    dialog.get_by_role("button", name=re.compile(r"Merge [\d,]+ row changes")).click()
    expect(dialog.get_by_role("alert")).to_contain_text("type the dataset's name, flights, to go on")
    expect(dialog.get_by_label("Type flights to go on")).to_have_value("planes")
    dialog.get_by_role("link", name="Cancel").click()
    expect(dialog).to_be_hidden()
    expect(carl.page.get_by_text("asked for the merge")).to_have_count(0)


def test_a_viewer_sees_the_merge_but_cannot_ask_for_it(sign_in: SignIn) -> None:
    vera = sign_in("vera")
    vera.open_request(CANCELLED)
    expect(vera.page.locator("#merge-box")).to_contain_text("Your role on flights does not include merging.")
    expect(vera.page.get_by_role("link", name="Merge…")).to_have_count(0)
    expect(vera.page.get_by_label("Your comment")).to_have_count(0)
