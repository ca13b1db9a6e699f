"""What is refused has the focus at its field, filters keep their page, views are kept, news comes without a stream."""

import re
from typing import Any

from playwright.sync_api import Page, expect

from tests.e2e.conftest import SignIn
from tests.e2e.test_accessibility import paths, unfold, violations
from tests.e2e.test_beside import PATIENT, end_session, propose, sign_in_again

LOOKS = 20
#: Forms that are no loss, that hold a password, or that stay on their page (its script says so and keeps the choice).
NOT_CARRIED = re.compile("/(sign-out|theme|password|sign-in|conflicts/resolve|conflicts/matching)/")
#: Fill the n-th form of the page with words and choices as far as somebody could; what it sends then, null for nothing.
FILL = """number => {
  const form = document.forms[number];
  const shown = (one) => !one.disabled && !one.readOnly && one.type !== "hidden";
  const fields = [...form.elements].filter(shown);
  let filled = 0;
  for (const one of fields) {
    const isText = one.tagName === "TEXTAREA" || ["text", "search", "email", "url"].includes(one.type);
    if (isText) one.value = `Words ${one.name}`.slice(0, one.maxLength > 0 ? one.maxLength : undefined);
    else if (one.type === "checkbox" || one.type === "radio") one.checked = true;
    else if (one.tagName === "SELECT") one.selectedIndex = one.options.length - 1;
    else if (one.type !== "number" && one.type !== "date") continue;
    filled += one.name ? 1 : 0;
  }
  form.noValidate = true;
  return filled ? [...new FormData(form)].filter(([name, value]) => typeof value === "string") : null;
}"""
#: Of a sample of the pages there are at least so many kinds of forms.
LEAST_FORMS = 3
OF_FORMS = {"csrfmiddlewaretoken", "typed_by"}


def forms_of(page: Page) -> list[str]:
    """The addresses that the forms of the page send to; empty for those that ask."""
    found: list[str] = page.evaluate(
        """() => [...document.forms].map((form) => form.method === "post"
          ? new URL(form.getAttribute("action") || "", location.href).pathname : "")"""
    )
    return found


def test_what_is_typed_or_chosen_in_any_form_outlives_the_session(sign_in: SignIn) -> None:
    olivia = sign_in("olivia")
    page, seen, lost = olivia.page, set(), {}
    for path in paths(olivia, 1):
        olivia.go(path)
        for number, action in enumerate(forms_of(page)):
            kind = re.sub(r"\d+", "N", action)
            if not action or kind in seen or NOT_CARRIED.search(action):
                continue
            seen.add(kind)
            olivia.go(path)
            unfold(page)
            sent = page.evaluate(FILL, number)
            if sent is None:
                continue
            end_session(olivia)
            page.evaluate("number => document.forms[number].requestSubmit()", number)
            sign_in_again(page, "olivia")
            kept: list[Any] = page.evaluate("() => [...new FormData(document.querySelector('#typed'))]")
            if missing := [one for one in sent if one[0] not in OF_FORMS and one not in kept]:
                lost[f"{path} {kind}"] = missing
    assert lost == {}
    assert len(seen) > LEAST_FORMS


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
