"""Two people at once, each in a browser of their own; and sessions that end while somebody types."""

import re

import pytest
from playwright.sync_api import Page, expect

from demo.users import DEMO_PASSWORD
from tests.e2e.conftest import Person, SignIn

CANCELLED = "Drop the flights that never left"
#: Choosing plans the merge anew, on whatever machine this runs.
PATIENT = 30_000
WORDS = "Where do these come from?\nThe second line."


def propose(author: Person, title: str) -> str:
    """A request of the author's own that waits for review; answers its path. What is merged of one such request must
    not leave the next without a change, so each calls the airport by its own title."""
    author.save_as_draft(title, f"faa,name\nJFK,{title}\n")
    author.page.get_by_role("button", name="Ask for review").click()
    author.page.get_by_text("waits for review now").wait_for()
    return author.page.url.removeprefix(author.address)


def test_a_review_meets_a_new_revision(sign_in: SignIn) -> None:
    carl, olivia = sign_in("carl"), sign_in("olivia")
    path = propose(carl, "Call an airport by its person")
    olivia.go(path)
    carl.look_at_rows(f"{path}upload/", "faa,name\nJFK,John F. Kennedy Int\nLGA,Fiorello\n")
    carl.page.get_by_role("button", name="Make it the content").click()
    carl.page.get_by_text("Uploaded as revision 2").wait_for()

    form = olivia.page.locator("#composer")
    form.get_by_label("Your comment").fill(WORDS)
    form.get_by_role("button", name="Request changes").click()
    expect(form.get_by_role("alert")).to_contain_text("revision 1 became revision 2")
    expect(form.get_by_label("Your comment")).to_have_value(WORDS)
    expect(form.get_by_role("button", name="Approve revision 2 as it is now")).to_be_visible()
    form.get_by_role("button", name="Request changes").click()
    expect(olivia.page.get_by_text("Your review is in the timeline.")).to_be_visible()


def test_both_merge(sign_in: SignIn) -> None:
    carl, olivia = sign_in("carl"), sign_in("olivia")
    path = propose(carl, "Call an airport by its late president")
    olivia.go(path)
    olivia.page.get_by_role("button", name="Approve").click()
    olivia.page.get_by_text("Your review is in the timeline.").wait_for()
    for one in (carl, olivia):
        one.go(path)
        one.page.locator("#merge-box").get_by_role("link", name="Merge…").click()
        one.page.get_by_role("dialog").get_by_label("Message").fill("Asked for in a hurry")
    for one in (carl, olivia):
        one.page.get_by_role("button", name="Merge 1 row change").click()
        dialog = one.page.get_by_role("dialog")
        expect(dialog).to_contain_text(re.compile(r"Merged as v\d+: 1 row"), timeout=PATIENT)
    carl.go(path)
    expect(carl.page.get_by_text("asked for the merge")).to_have_count(1)


def end_session(person: Person) -> None:
    """As when the hours of a session are over: the browser has a cookie that opens nothing."""
    person.context.clear_cookies(name="sessionid")


def sign_in_again(page: Page, user_name: str) -> None:
    expect(page.get_by_text("Your session has ended.")).to_be_visible()
    page.get_by_label("User name").fill(user_name)
    page.get_by_label("Password").fill(DEMO_PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="You are signed in again")).to_be_visible()


@pytest.mark.parametrize("java_script_enabled", [True, False], ids=["with JavaScript", "without"])
def test_a_session_ends_in_each_kind_of_form(sign_in: SignIn, java_script_enabled: bool) -> None:
    olivia = sign_in("olivia", java_script_enabled=java_script_enabled)
    page, path = olivia.page, olivia.open_request(CANCELLED)

    page.get_by_label("Your comment").fill(WORDS)
    end_session(olivia)
    page.get_by_role("button", name="Comment", exact=True).click()
    sign_in_again(page, "olivia")
    expect(page.get_by_label("Your text")).to_have_value(WORDS)
    page.get_by_role("button", name="Send it").click()
    expect(page.locator(".comment__body").filter(has_text="The second line.").last).to_be_visible()

    olivia.go("/datasets/new-york-2013/airports/new/")
    page.get_by_label("Rows from a spreadsheet, or CSV").fill("faa,name\nJFK,Kennedy\n")
    end_session(olivia)
    page.locator("section", has=page.get_by_role("heading", name="Paste")).get_by_role(
        "button", name="Look at it first"
    ).click()
    sign_in_again(page, "olivia")
    expect(page.get_by_label("Pasted rows")).to_have_value("faa,name\nJFK,Kennedy\n")
    page.get_by_role("button", name="Send it").click()
    page.get_by_label("Title").fill("A title")
    end_session(olivia)
    page.get_by_role("button", name="Propose 1 change").click()
    sign_in_again(page, "olivia")
    expect(page.get_by_label("Title")).to_have_value("A title")

    # A dialog that htmx put in place sends its form as a page.
    olivia.go(path)
    page.locator("#merge-box").get_by_role("link", name="Merge…").click()
    page.get_by_label(re.compile("^Message")).fill(WORDS)
    end_session(olivia)
    page.get_by_role("button", name=re.compile(r"^Merge [\d,]+ row changes")).click()
    sign_in_again(page, "olivia")
    expect(page.get_by_label("Message")).to_have_value(WORDS)

    # A part of a page that is asked for without a session takes its page to sign in.
    if java_script_enabled:
        olivia.go(path)
        end_session(olivia)
        page.locator("#merge-box").get_by_role("link", name="Merge…").click()
        expect(page.get_by_role("heading", name="Sign in to Headgate")).to_be_visible()
        expect(page.locator("dialog[open]")).to_have_count(0)
        assert f"next={path.replace('/', '%2F')}" in page.url
