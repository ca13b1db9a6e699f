"""Proposing changes: refused with every problem by line and column, or staged, then sent to review."""

from playwright.sync_api import expect

from tests.e2e.conftest import SignIn


def test_problems_are_listed_and_corrected(sign_in: SignIn) -> None:
    carl = sign_in("carl")
    page = carl.page
    carl.look_at_rows("/datasets/new-york-2013/airports/new/", "faa,alt\nJFK,thirteen\n,40\nLGA,21\n")

    expect(page.get_by_role("heading", name="2 problems to mend first")).to_be_visible()
    problems = page.get_by_role("region", name="Problems by line and column").get_by_role("row")
    expect(problems).to_have_count(3)
    expect(problems.nth(1)).to_contain_text("thirteen")
    expect(problems.nth(1)).to_contain_text("alt")
    page.get_by_label("Title").fill("Correct two altitudes")
    page.get_by_role("button", name="Back").click()
    rows = page.get_by_label("Rows from a spreadsheet, or CSV")
    expect(rows).to_have_value("faa,alt\nJFK,thirteen\n,40\nLGA,21\n")

    rows.fill("faa,alt\nJFK,14\nLGA,21\n")
    page.locator("section", has=page.get_by_role("heading", name="Paste")).get_by_role(
        "button", name="Look at it first"
    ).click()
    expect(page.get_by_label("Title")).to_have_value("Correct two altitudes")
    page.get_by_role("button", name="Save as draft").click()
    expect(page.locator(".strip .chip")).to_have_text("Draft")
    page.get_by_role("button", name="Ask for review").click()
    expect(page.locator(".strip .chip")).to_have_text("Needs review")

    page.get_by_label("Your comment").fill("The charts of 2013 say so.")
    page.get_by_role("button", name="Comment", exact=True).click()
    expect(page.locator(".comment__body").filter(has_text="The charts of 2013 say so.")).to_be_visible()
    expect(page.get_by_role("button", name="Approve")).to_have_count(0)  # one's own changes
