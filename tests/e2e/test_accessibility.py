"""Every page and dialog by axe-core in light and dark, and no page wider than its window but for data tables."""

import json
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests import options
from tests.e2e.conftest import Person, SignIn

#: In the dark only the colours differ, so only they are judged again.
RULES = {
    "light": {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]},
    "dark": {"runOnly": ["color-contrast"]},
    # With forced colours the person's own palette is what shows; axe-core reads the colours of the style sheet.
    "forced": {"rules": {"color-contrast": {"enabled": False}}},
}
WIDTHS = (320, 360, 768, 1440, 1920)
PAGES = (
    "/",
    "/?state=all&q=nothing+at+all",
    "/inbox/",
    "/account/",
    "/account/notifications/",
    "/datasets/",
    "/projects/new-york-2013/",
    "/datasets/new-york-2013/flights/",
    "/datasets/new-york-2013/flights/versions/0/",
    "/datasets/new-york-2013/flights/schema/",
    "/datasets/new-york-2013/flights/history/",
    "/datasets/new-york-2013/flights/change-requests/",
    "/datasets/new-york-2013/flights/expectations/",
    "/datasets/new-york-2013/flights/expectations/history/",
    "/datasets/new-york-2013/flights/expectations/versions/1/",
    "/datasets/new-york-2013/flights/members/",
    "/datasets/new-york-2013/flights/settings/",
    "/datasets/new-york-2013/flights/maintenance/",
    "/datasets/new-york-2013/planes/rows/history/",
    "/datasets/new-york-2013/planes/rows/history/?key-tailnum=N10156",
    "/datasets/new-york-2013/flights/new/",
    "/no-such-page/",
)
REQUEST_PAGES = ("", "changes/?view=groups", "conflicts/", "checks/", "moved/", "upload/", "merge/")
DIFFS = ("changes/", "changes/?columns=all")
CONFLICTING = "Count midnight to the day before: 2400 becomes 2359"
DELETING = "Drop the flights that never left"
BREAKING = "Compute the air time of Virgin America in July from the clock"
BROKEN = ("checks/", "checks/expectations/7/", "merge/")


def violations(page: Page, colour_scheme: str = "light") -> list[str]:
    """What axe-core finds, one line each."""
    results: dict[str, Any] = Axe().run(page, options=RULES[colour_scheme]).response
    return [
        f"{found['id']}: {node['target']} {node['failureSummary']}"
        for found in results["violations"]
        for node in found["nodes"]
    ]


def paths(person: Person, part: int | None = None) -> list[str]:
    """Every page; of two parts one, where a run takes a sample: which pages are in which follows from its seed."""
    found = _every_path(person)
    if part is None or options.SAMPLE_SEED is None:
        return found
    return [path for number, path in enumerate(found) if (number + options.SAMPLE_SEED) % 2 == part]


def _every_path(person: Person) -> list[str]:
    conflicting, deleting, breaking = (
        person.open_request(title) for title in (CONFLICTING, DELETING, BREAKING)
    )
    return [
        *PAGES,
        *(conflicting + rest for rest in REQUEST_PAGES),
        *(deleting + rest for rest in DIFFS),
        *(breaking + rest for rest in BROKEN),
    ]


@pytest.mark.parametrize("colour_scheme", ["light", "dark"])
def test_no_page_violates_a_rule(sign_in: SignIn, colour_scheme: str) -> None:
    olivia = sign_in("olivia", color_scheme=colour_scheme)
    found = {}
    for path in paths(olivia, ("light", "dark").index(colour_scheme)):
        olivia.go(path)
        if complaints := violations(olivia.page, colour_scheme):
            found[path] = complaints
    olivia.open_request(DELETING)
    olivia.page.locator("#merge-box").get_by_role("link", name="Merge…").click()
    expect(olivia.page.get_by_role("dialog")).to_be_visible()
    if complaints := violations(olivia.page, colour_scheme):
        found["merge dialog"] = complaints
    olivia.page.get_by_role("button", name="Close").click()
    olivia.page.get_by_role("button", name="Sign out").click()
    expect(olivia.page.get_by_role("heading", name="Sign in to Headgate")).to_be_visible()
    if complaints := violations(olivia.page, colour_scheme):
        found["sign in"] = complaints
    assert found == {}, json.dumps(found, indent=2)


def test_no_page_is_wider_than_its_window(sign_in: SignIn) -> None:
    olivia = sign_in("olivia")
    page, too_wide = olivia.page, []
    for path in paths(olivia, 0):
        olivia.go(path)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 800})
            needed = page.evaluate("document.documentElement.scrollWidth")
            if needed > width:
                too_wide.append(f"{path} needs {needed} of {width} px")
    assert too_wide == []


def test_forced_colours_keep_every_state_readable(sign_in: SignIn) -> None:
    olivia = sign_in("olivia", forced_colors="active")
    for path in ("/", "/inbox/", "/datasets/new-york-2013/flights/expectations/"):
        olivia.go(path)
        assert violations(olivia.page, "forced") == [], path
    olivia.open_request(CONFLICTING)
    assert violations(olivia.page, "forced") == []
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
