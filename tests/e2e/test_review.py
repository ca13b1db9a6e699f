"""Reviewing where the data is: a cell is talked about, a value taken, groups looked at, a part accepted."""

from playwright.sync_api import expect

from tests.e2e.conftest import SignIn
from tests.e2e.test_accessibility import violations

TITLE = "Three altitudes and a new airport"
CSV = "faa,alt\nJFK,14\nLGA,23\nEWR,19\nZZZ,7\n"


def test_a_request_is_reviewed_on_its_changes(sign_in: SignIn) -> None:
    carl = sign_in("carl")
    carl.save_as_draft(TITLE, CSV)
    carl.page.get_by_role("button", name="Ask for review").click()
    expect(carl.page.get_by_role("button", name="Ask for review")).to_have_count(0)

    olivia = sign_in("olivia")
    page = olivia.page
    changes = f"{olivia.open_request(TITLE)}changes/"
    olivia.go(changes)
    rows = page.locator("tr[id^='row-']")
    expect(rows).to_have_count(4)

    # A click on the cell opens the form under its row; the field has the focus.
    jfk = rows.filter(has=page.get_by_role("rowheader", name="JFK"))
    jfk.locator("td[data-label='alt']").click()
    expect(page.get_by_label("Your comment")).to_be_focused()
    page.get_by_label("Your comment").fill("The chart says 13.5")
    page.get_by_label("Another value").fill("15")
    page.get_by_role("button", name="Comment or suggest").click()
    thread = page.locator(".talk__thread")
    expect(thread).to_contain_text("The chart says 13.5")
    expect(thread).to_contain_text("Suggests")
    expect(page.locator("tr.talk form.talk__form")).to_have_count(0)
    assert violations(page) == []

    # Its author takes the value with one click: a new revision.
    carl.go(changes)
    carl.page.get_by_role("button", name="Take this value").click()
    expect(carl.page.get_by_text("Taken over, in revision 2.")).to_be_visible()
    taken = carl.page.locator("tr[id^='row-']").filter(has=carl.page.get_by_role("rowheader", name="JFK"))
    expect(taken.locator("td[data-label='alt'] ins")).to_have_text("15")

    # Groups are looked at one by one, and lead to their rows.
    olivia.go(f"{changes}?view=groups")
    viewed = page.get_by_role("button", name="Viewed").first
    viewed.click()
    expect(page.get_by_role("status").filter(has_text="viewed")).to_contain_text("1 of")
    expect(page.get_by_role("button", name="Viewed").first).to_be_focused()
    assert violations(page) == []
    page.locator("#groups").get_by_role("link", name="15", exact=False).first.click()
    expect(rows).to_have_count(1)
    expect(page.get_by_text("Rows 1 to 1 of 1 that match, of 4 changed")).to_be_visible()

    # A part is accepted: what is left out becomes a draft of its author.
    olivia.go(changes)
    page.get_by_role("checkbox", name="Choose faa ZZZ").check()
    page.get_by_role("button", name="Leave out…").click()
    expect(page.get_by_text("1 row goes to a new draft of Carl Castillo, 3 stay.")).to_be_visible()
    page.get_by_label("Why").fill("No such airport.")
    page.get_by_role("button", name="Leave it out").click()
    expect(rows).to_have_count(3)
    expect(page.get_by_text("Left out.")).to_be_visible()
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("Your review is in the timeline.")).to_be_visible()

    carl.open_request(f"Left out of {changes.split('/')[2]}: {TITLE}")
    expect(carl.page.get_by_text("No such airport.").first).to_be_visible()
    assert carl.page.locator(".strip .chip").inner_text() == "Draft"
