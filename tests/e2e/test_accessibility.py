"""Every page and dialog by axe-core in light and dark, and no page wider than its window but for data tables."""

import json
import re
import uuid
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests import options
from tests.e2e.conftest import Person, SignIn
from tests.e2e.places import BREAKING, CONFLICTING, DELETING, OF_OPERATORS, PLACES
from tests.e2e.programs import Caller, connection_to_nothing

#: In the dark only the colours differ, so only they are judged again.
RULES: dict[str, dict[str, Any]] = {
    "light": {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]},
    "dark": {"runOnly": ["color-contrast"]},
    # With forced colours the person's own palette is what shows; axe-core reads the colours of the style sheet.
    "forced": {"rules": {"color-contrast": {"enabled": False}}},
}
WIDTHS = (320, 360, 768, 1440, 1920)
#: Of so many parts of the pages a run that takes samples looks at one in each way.
PARTS = 8
#: Marks lines that two before them are like, but for their words: axe-core takes seconds for a table of a page's rows.
MARK_REPEATED = """
  () => {
    const seen = new Map();
    const shows = /^(class|role|style|hidden|type|tabindex)$/;
    const says = ({ name, value }) => (shows.test(name) ? `${name}=${value}` : name);
    const shape = (one) => `${one.tagName}[${[...one.attributes].map(says)}](${[...one.children].map(shape)})`;
    for (const one of document.querySelectorAll("tbody > tr, .tabulator-row")) {
      const like = shape(one);
      seen.set(like, (seen.get(like) ?? 0) + 1);
      if (seen.get(like) > 2) one.dataset.repeated = "";
    }
  }
"""
#: What stands in addresses, by the demo and the person for whom it was made.
_made: dict[tuple[str, str], dict[str, str]] = {}


def violations(page: Page, colour_scheme: str = "light") -> list[str]:
    """What axe-core finds, one line each; it is asked for nothing else, and of lines that are alike for two."""
    page.evaluate(MARK_REPEATED)
    asked = {**RULES[colour_scheme], "resultTypes": ["violations"]}
    context = {"exclude": [["[data-repeated]"]]}
    results: dict[str, Any] = Axe().run(page, context=context, options=asked).response
    page.evaluate(
        "for (const one of document.querySelectorAll('[data-repeated]')) delete one.dataset.repeated"
    )
    return [
        f"{found['id']}: {node['target']} {node['failureSummary']}"
        for found in results["violations"]
        for node in found["nodes"]
    ]


def paths(person: Person, part: int = 0) -> list[str]:
    """Every page; a part of them where a run takes a sample: which pages are in which follows from its seed."""
    found = _every_path(person)
    if options.SAMPLE_SEED is None:
        return found
    return [path for number, path in enumerate(found) if (number + options.SAMPLE_SEED + part) % PARTS == 0]


def _every_path(person: Person) -> list[str]:
    parts = _parts(person)
    return [path.format(**parts) for addresses in PLACES.values() for path in addresses]


def _parts(person: Person) -> dict[str, str]:
    """What stands in addresses for things of the person's own, which are made once for all tests."""
    person.parts = _made.setdefault((person.address, person.user_name), {})
    if person.parts:
        return person.parts
    page = person.page
    for name, title in (("conflicting", CONFLICTING), ("deleting", DELETING), ("breaking", BREAKING)):
        person.parts[name] = person.open_request(title)
    new = "/datasets/new-york-2013/airports/new/"
    person.look_at_rows(new, "faa,name,hight\nLGA,,9\nZQ1,Nowhere,\n")
    person.parts["preview"] = page.url.removeprefix(person.address)
    person.look_at_rows(new, "faa,alt\nLGA,high\n,12\n")
    person.parts["refused"] = page.url.removeprefix(person.address)
    caller = Caller(person.address, person.user_name)
    made = caller.post(
        "datasets", project="new-york-2013", slug=f"looked-at-{uuid.uuid4().hex[:8]}", name="looked at",
        primary_keys=["id"], required_approvals=0,
        schema={"columns": [{"name": "id", "type": "long"}, {"name": "name", "type": "string"}]},
    )  # fmt: skip
    ids = {}
    for name, submit in (("merged", True), ("draft", False)):
        told = caller.post(
            f"datasets/{made['id']}/proposals", title=f"Looked at, {name}", submit=submit,
            rows=[{"id": number, "name": f"{name} {number}"} for number in range(1, 4)],
        )  # fmt: skip
        ids[name] = told["change_request"]["cr_id"]
        person.parts[name] = f"/change-requests/{ids[name]}/"
        if submit:
            run = caller.post(f"change_requests/{ids[name]}/merge")
            person.parts["run"] = f"/merge-runs/{run['id']}/"
    return person.parts


def unfold(page: Page) -> None:
    """Open everything that is folded away on the page."""
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")


def complaints_of(page: Page, colour_scheme: str) -> list[str]:
    """What is wrong with the page as it opens, and with all that is folded away in it."""
    unfold(page)
    return violations(page, colour_scheme)


@pytest.mark.parametrize("colour_scheme", ["light", "dark"])
def test_no_page_violates_a_rule(sign_in: SignIn, colour_scheme: str) -> None:
    olivia = sign_in("olivia", color_scheme=colour_scheme)
    found = {}
    for path in paths(olivia, ("light", "dark").index(colour_scheme)):
        olivia.go(path)
        if complaints := complaints_of(olivia.page, colour_scheme):
            found[path] = complaints
    olivia.go("/")
    olivia.page.get_by_role("button", name="Sign out").click()
    expect(olivia.page.get_by_role("heading", name="Sign in to Headgate")).to_be_visible()
    if complaints := violations(olivia.page, colour_scheme):
        found["sign in"] = complaints
    assert found == {}, json.dumps(found, indent=2)


@pytest.mark.parametrize("colour_scheme", ["light", "dark"])
def test_no_page_of_operators_violates_a_rule(sign_in: SignIn, colour_scheme: str) -> None:
    adam = sign_in("adam", color_scheme=colour_scheme)
    connection_to_nothing(adam.address)
    every = [path for addresses in OF_OPERATORS.values() for path in addresses]
    found = {}
    for path in every if options.SAMPLE_SEED is None else every[options.SAMPLE_SEED % 2 :: 2]:
        adam.go(path)
        if complaints := complaints_of(adam.page, colour_scheme):
            found[path] = complaints
    assert found == {}, json.dumps(found, indent=2)


def test_a_connection_that_was_tried_violates_no_rule_and_no_page_of_operators_is_too_wide(
    sign_in: SignIn,
) -> None:
    adam = sign_in("adam")
    connection_to_nothing(adam.address)
    page, found = adam.page, {}
    for path in [path for addresses in OF_OPERATORS.values() for path in addresses] + ["tried"]:
        if path == "tried":
            adam.go("/operations/connections/looked-at/")
            page.get_by_role("button", name="Test the connection").click()
            expect(page.get_by_role("heading", name="Tried just now")).to_be_visible(timeout=30_000)
            found["tried"] = violations(page)
            page.emulate_media(color_scheme="dark")
            found["tried, dark"] = violations(page, "dark")
        else:
            page.set_viewport_size({"width": 1280, "height": 900})
            adam.go(path)
        unfold(page)
        found[path] = found.get(path, []) + too_wide(page)
    assert {path: complaints for path, complaints in found.items() if complaints} == {}


@pytest.mark.parametrize("colour_scheme", ["light", "dark"])
def test_no_list_of_the_admin_violates_a_rule_or_is_wider_than_its_window(
    sign_in: SignIn, colour_scheme: str
) -> None:
    adam = sign_in("adam", color_scheme=colour_scheme)
    adam.go("/admin/")
    links = adam.page.locator("#content-main th a[href^='/admin/']")
    lists = links.evaluate_all("links => links.map((link) => link.getAttribute('href'))")
    assert len(lists) > PARTS
    found = {}
    for number, path in enumerate(lists):
        if options.SAMPLE_SEED is not None and (number + options.SAMPLE_SEED) % PARTS:
            continue
        adam.page.set_viewport_size({"width": 1280, "height": 900})
        adam.go(path)
        complaints = complaints_of(adam.page, colour_scheme)
        complaints += too_low(adam.page)
        for width in WIDTHS if colour_scheme == "light" else ():
            adam.page.set_viewport_size({"width": width, "height": 800})
            needed = adam.page.evaluate("document.documentElement.scrollWidth")
            complaints += [f"needs {needed} of {width} px"] if needed > width else []
        if complaints:
            found[path] = complaints
    assert found == {}, json.dumps(found, indent=2)


def too_low(page: Page) -> list[str]:
    """Links and buttons of the content that are lower than 24 px, apart from those within a sentence or a row."""
    low: list[str] = page.evaluate(
        """() => [...document.querySelectorAll("#changelist-filter a, .paginator a, .toplinks a, .object-tools a, "
          + ".object-tools button, .breadcrumbs a, #user-tools a, #user-tools button")]
          .filter((one) => one.offsetParent && one.getBoundingClientRect().height < 24)
          .map((one) => `${one.getBoundingClientRect().height} px: ${one.textContent.trim()}`)"""
    )
    return low


def _merge_dialog(person: Person) -> None:
    person.go(person.parts["deleting"])
    person.page.locator("#merge-box").get_by_role("link", name="Merge…").click()
    expect(person.page.get_by_role("dialog")).to_be_visible()


def _merge_dialog_with_a_problem(person: Person) -> None:
    _merge_dialog(person)
    person.page.get_by_role("dialog").get_by_label("Type flights to go on").fill("planes")
    person.page.get_by_role("dialog").get_by_role("button", name=re.compile(r"^Merge [\d,]+ row")).click()
    expect(person.page.get_by_role("dialog").get_by_role("alert")).to_be_visible()


def _grid(person: Person) -> None:
    """Rows of the planes, one wrong, one added and one that goes."""
    page = person.page
    person.go("/datasets/new-york-2013/planes/edit/")
    rows = page.locator(".grid .tabulator-row")
    rows.first.locator("[tabulator-field=c1]").click()
    page.keyboard.type("long ago")
    page.keyboard.press("Tab")
    expect(page.locator(".grid .is-wrong").first).to_be_visible(timeout=30_000)
    rows.nth(2).locator("[tabulator-field=c2]").click()
    page.get_by_role("button", name="Delete rows").click()
    page.get_by_role("button", name="Add a row").click()
    expect(page.locator(".grid .is-added").first).to_be_visible()
    expect(page.locator("[data-grid-said]")).to_contain_text("marked in red", timeout=30_000)


def _grid_replace(person: Person) -> None:
    person.go("/datasets/new-york-2013/planes/edit/")
    person.page.get_by_role("button", name="Find and replace").click()
    expect(person.page.get_by_role("dialog", name="Find and replace")).to_be_visible()


def _grid_keys(person: Person) -> None:
    person.go("/datasets/new-york-2013/planes/edit/")
    person.page.get_by_role("button", name="Keys", exact=True).click()
    expect(person.page.get_by_role("heading", name="Editing by keyboard")).to_be_visible()


def _talk_about_a_cell(person: Person) -> None:
    person.go(f"{person.parts['conflicting']}changes/")
    person.page.locator("td[data-talk]").first.click()
    expect(person.page.locator(".talk__form")).to_be_visible()


def _messages(person: Person) -> None:
    person.go("/datasets/")
    for level in ("success", "info", "warning", "error"):
        person.page.evaluate(
            "level => document.dispatchEvent(new CustomEvent('headgate:notice', { detail: { text: 'Told.', level } }))",
            level,
        )
    expect(person.page.locator(".toast-message")).to_have_count(4)


def _conflict_of_ones_own_value(person: Person) -> None:
    person.go(f"{person.parts['conflicting']}conflicts/")
    person.page.locator("tr.conflict summary").first.click()
    person.page.locator("tr.conflict [name^='value-']").first.focus()


def _ended_session(person: Person) -> None:
    person.go(person.parts["draft"])
    person.page.get_by_label("Your comment").fill("Typed")
    person.context.clear_cookies(name="sessionid")
    person.page.get_by_role("button", name="Comment", exact=True).click()
    expect(person.page.get_by_text("Your session has ended.")).to_be_visible()


def _no_such_page(person: Person) -> None:
    person.go("/no-such-page/")


def _nothing_allowed(person: Person) -> None:
    person.go("/gallery/")


STATES = (
    _merge_dialog, _merge_dialog_with_a_problem, _grid, _grid_replace, _grid_keys, _talk_about_a_cell, _messages,
    _conflict_of_ones_own_value, _no_such_page, _nothing_allowed,
    _ended_session,  # and nothing after it
)  # fmt: skip


def test_no_dialog_and_no_state_violates_a_rule(sign_in: SignIn) -> None:
    olivia = sign_in("olivia")
    _parts(olivia)
    found = {}
    for number, state in enumerate(STATES):
        if options.SAMPLE_SEED is not None and (number + options.SAMPLE_SEED) % PARTS:
            continue
        for colour_scheme in ("light", "dark"):
            olivia.page.emulate_media(color_scheme="dark" if colour_scheme == "dark" else "light")
            if colour_scheme == "light":
                state(olivia)
            if complaints := violations(olivia.page, colour_scheme):
                found[f"{state.__name__} {colour_scheme}"] = complaints
    assert found == {}, json.dumps(found, indent=2)


def too_wide(page: Page) -> list[str]:
    """In which windows the page needs more than there is, and what it has opened begins before them."""
    found = []
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        needed = page.evaluate("document.documentElement.scrollWidth")
        found += [f"needs {needed} of {width} px"] if needed > width else []
        begins = page.evaluate(
            "Math.min(0, ...[...document.querySelectorAll('.menu[open] > div')].map((one) => "
            "one.getBoundingClientRect().left))"
        )
        found += [f"a menu begins at {begins} px of {width}"] if begins < 0 else []
    return found


#: People name projects, datasets and requests, and keys of rows stand in headings.
WITH_LONG_NAMES = """
  for (const place of document.querySelectorAll(".crumbs a, h1, h2")) {
    const texts = [...place.childNodes].filter((one) => one.nodeType === Node.TEXT_NODE && one.data.trim());
    for (const text of texts.slice(0, 1)) text.data = "W".repeat(120);
  }
"""


def test_no_page_is_wider_than_its_window_for_a_name_of_one_long_word(sign_in: SignIn) -> None:
    olivia = sign_in("olivia")
    wide = {}
    for path in paths(olivia, 4):
        olivia.go(path)
        olivia.page.evaluate(WITH_LONG_NAMES)
        if complaints := too_wide(olivia.page):
            wide[path] = complaints
    assert wide == {}


def test_no_page_is_wider_than_its_window(sign_in: SignIn) -> None:
    olivia = sign_in("olivia")
    wide = {}
    for path in paths(olivia, 2):
        olivia.go(path)
        unfold(olivia.page)
        if complaints := too_wide(olivia.page):
            wide[path] = complaints
    assert wide == {}


def test_forced_colours_keep_every_state_readable(sign_in: SignIn) -> None:
    olivia = sign_in("olivia", forced_colors="active")
    for path in paths(olivia, 3):
        olivia.go(path)
        assert complaints_of(olivia.page, "forced") == [], path
    olivia.open_request(CONFLICTING)
    marks = olivia.page.locator("#merge-box .gates .chip")
    assert set(marks.all_inner_texts()) == {"Fix", "Wait"}  # words, not colours alone


@pytest.mark.parametrize("java_script_enabled", [True, False], ids=["with-javascript", "without-javascript"])
def test_the_theme_is_switched_and_kept(sign_in: SignIn, java_script_enabled: bool) -> None:
    vera = sign_in("vera", java_script_enabled=java_script_enabled)
    root = vera.page.locator("html")
    for theme in ("light", "dark"):
        vera.page.get_by_role("button", name="Theme:").click()
        expect(root).to_have_attribute("data-bs-theme", theme)
    vera.go("/datasets/")
    expect(root).to_have_attribute("data-bs-theme", "dark")
    vera.page.get_by_role("button", name="Theme: dark").click()
    expect(vera.page.get_by_role("button", name="Theme: as the system")).to_be_visible()
    assert vera.page.locator("html[data-bs-theme]").count() == 0


def test_the_keyboard_reaches_the_content_first(sign_in: SignIn) -> None:
    vera = sign_in("vera")
    vera.page.keyboard.press("Tab")
    expect(vera.page.get_by_role("link", name="Skip to the content")).to_be_focused()
    vera.page.keyboard.press("Enter")
    expect(vera.page.locator("main")).to_be_focused()
