"""The ways in: a file that is dropped, pasted cells and a statement, each looked at before it is proposed."""

import re

from playwright.sync_api import Page, expect

from tests.e2e.conftest import SignIn
from tests.e2e.test_accessibility import violations

NEW = "/datasets/new-york-2013/airports/new/"


def drop(page: Page, name: str, content: str) -> None:
    """Drop a file of text onto the place for files."""
    carried = page.evaluate_handle(
        """([name, content]) => {
          const carried = new DataTransfer();
          carried.items.add(new File([content], name, { type: "text/csv" }));
          return carried;
        }""",
        [name, content],
    )
    page.locator("[data-drop-zone]").dispatch_event("drop", {"dataTransfer": carried})


def test_a_dropped_file_is_decided_about_and_proposed(sign_in: SignIn) -> None:
    carl = sign_in("carl")
    page = carl.page
    carl.go(NEW)
    assert violations(page) == []
    drop(page, "heights.csv", "faa,atl,nmae,note\nJFK,14,,1\nLGA,,La Guardia,2\n")
    page.locator("section", has=page.get_by_role("heading", name="Upload a file")).get_by_role(
        "button", name="Look at it first"
    ).click()
    page.get_by_role("heading", name="What heights.csv would change").wait_for()
    expect(
        page.get_by_role("heading", name="Nothing to change in the columns that are known")
    ).to_be_visible()
    expect(page.get_by_role("button", name="Propose")).to_be_disabled()
    assert violations(page) == []

    meant = {"atl": "alt", "nmae": "name"}
    for name, column in meant.items():
        asked = page.get_by_role("group", name=re.compile(f"Column {name} is not in the table"))
        expect(asked).to_contain_text(f"did you mean {column}?")
        asked.get_by_label("Rename to").check()
    note = page.get_by_role("group", name=re.compile("Column note is not in the table"))
    note.get_by_label("Leave out").check()
    page.get_by_role("button", name="Look again").first.click()

    expect(page.get_by_role("heading", name="2 row changes")).to_be_visible()
    expect(page.get_by_text("2 cells would become NULL")).to_be_visible()
    page.get_by_label("leave the value as it is").click()  # looks again by itself
    expect(page.get_by_text("would become NULL")).to_have_count(0)
    rows = page.get_by_role("region", name="First changed rows")
    expect(rows.get_by_role("row").filter(has_text="JFK").locator("ins")).to_have_text("14")
    assert violations(page) == []

    page.get_by_label("Title").fill("Heights and names")
    page.get_by_role("button", name="Propose 1 change").click()
    page.get_by_role("heading", name="Heights and names").wait_for()
    expect(page.locator(".strip .chip").first).to_have_text("Needs review")
    assert carl.complaints == []


def test_pasted_cells_and_a_statement_are_looked_at(sign_in: SignIn) -> None:
    carl = sign_in("carl")
    page = carl.page
    carl.look_at_rows(NEW, "faa\talt\r\nJFK\t15\r\nZZ9\t3\r\n")
    expect(page.locator(".tally")).to_contain_text("+1 new")
    page.get_by_role("button", name="Back").click()
    expect(page.get_by_label("Rows from a spreadsheet, or CSV")).to_have_value(re.compile("ZZ9"))

    page.get_by_text("SQL", exact=True).click()
    page.get_by_label("Statement").fill("UPDATE dataset SET alt = alt + 1 WHERE faa IN ('JFK', 'LGA')")
    page.locator("details", has=page.get_by_label("Statement")).get_by_role(
        "button", name="Look at it first"
    ).click()
    page.get_by_role("heading", name="What a statement would change").wait_for()
    page.get_by_label("Title").fill("One higher")
    page.get_by_role("button", name="Save as draft").click()
    page.get_by_role("heading", name="One higher").wait_for()
    for width in (360, 1920):
        page.set_viewport_size({"width": width, "height": 900})
        carl.go(NEW)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert carl.complaints == []
