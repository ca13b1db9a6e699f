"""Pages that follow what others do: two browsers, nothing loaded again, no focus and no word lost; and how quick."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.conftest import Person, SignIn, run_in_shell
from tests.e2e.programs import Caller
from tests.e2e.test_beside import PATIENT, propose

#: Kept from the moment that a page begins: how it moved.
OBSERVE = """
window.seen = { shift: 0, paint: 0 };
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.seen.shift += entry.value;
}).observe({ type: "layout-shift", buffered: true });
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) window.seen.paint = entry.startTime;
}).observe({ type: "largest-contentful-paint", buffered: true });
"""


def stays(page: Page) -> None:
    """Mark the document: the mark is gone once the page is loaded again."""
    page.evaluate("document.documentElement.dataset.stays = 'yes'")


def test_a_page_follows_what_others_do(sign_in: SignIn) -> None:
    carl, olivia = sign_in("carl"), sign_in("olivia")
    path = propose(carl, "Follow what others do")
    for one in (carl, olivia):
        one.go(path)
        stays(one.page)
    chip, unread = carl.page.locator(".strip .chip"), carl.page.locator(".bell__count")
    before = int(unread.inner_text())
    carl.page.get_by_label("Your comment").fill("I am still writing")
    carl.page.get_by_label("Your comment").focus()

    olivia.page.get_by_label("Your comment").fill("Looks **right**.")
    olivia.page.get_by_role("button", name="Approve").click()
    expect(chip).to_have_text("Ready", timeout=PATIENT)
    expect(carl.page.locator(".timeline").get_by_text("Looks right.")).to_be_visible(timeout=PATIENT)
    expect(carl.page.locator("#merge-box-title")).to_contain_text("Ready to merge", timeout=PATIENT)
    expect(unread).not_to_have_text(str(before), timeout=PATIENT)
    expect(carl.page.get_by_label("Your comment")).to_be_focused()
    expect(carl.page.get_by_label("Your comment")).to_have_value("I am still writing")
    assert carl.page.evaluate("document.documentElement.dataset.stays") == "yes"

    # The end of a merge is told on whatever page one is.
    carl.page.locator("#merge-box").get_by_role("link", name="Merge…").click()
    carl.page.get_by_role("button", name="Merge 1 row change").click()
    carl.page.get_by_role("heading", name=re.compile("^Merging|is merged")).wait_for()
    carl.go("/datasets/")
    stays(carl.page)
    toast = carl.page.locator(".toast-message").filter(has_text="merged")
    expect(toast).to_be_visible(timeout=PATIENT)
    expect(toast.get_by_role("link")).to_have_attribute("href", path)
    assert carl.page.evaluate("document.documentElement.dataset.stays") == "yes"
    olivia.page.get_by_role("link", name="Conversation").wait_for()
    expect(olivia.page.locator(".strip .chip")).to_have_text(re.compile("Merged as v"), timeout=PATIENT)


#: What a restored backup does to news: the newest are gone, and their numbers are given again.
GO_BACK = """
from django.db import connection
from notifications.models import Notification
Notification.objects.filter(pk__gt={newest}).delete()
with connection.cursor() as cursor:
    cursor.execute("UPDATE sqlite_sequence SET seq = {newest} WHERE name = 'notifications_notification'")
"""
#: A server whose streams are refused, without the browser's complaint.
REFUSED = """
window.EventSource = class extends EventTarget {
  static CLOSED = 2;
  readyState = 2;
  constructor() { super(); setTimeout(() => this.dispatchEvent(new Event("error"))); }
  close() {}
};
"""
MARK = """
import pathlib
from django.db import connection
from django.db.models import Max
from notifications.models import Notification
newest = Notification.objects.aggregate(newest=Max("pk"))["newest"] or 0
pathlib.Path({path!r}).write_text(str(newest))
with connection.cursor() as cursor:
    cursor.execute("UPDATE sqlite_sequence SET seq = seq + 1000 WHERE name = 'notifications_notification'")
"""


@pytest.mark.parametrize("streams", [True, False], ids=["streams", "asks"])
def test_a_page_that_stays_open_across_a_restore_tells_what_happens_after(
    sign_in: SignIn, tmp_path: Path, streams: bool
) -> None:
    carl, olivia = sign_in("carl"), sign_in("olivia")
    if not streams:
        carl.page.add_init_script(REFUSED)
    path = propose(carl, f"Stay across a restore {streams}")
    mark = tmp_path / "newest"
    run_in_shell(carl.address, MARK.format(path=str(mark)))
    olivia.go(path)
    olivia.page.get_by_label("Your comment").fill("Looks right.")
    olivia.page.get_by_role("button", name="Approve").click()
    expect(olivia.page.get_by_text("Your review is in the timeline.")).to_be_visible()
    carl.page.wait_for_timeout(2000)
    carl.go("/datasets/")
    stays(carl.page)
    expect(carl.page.locator("[data-newest]")).to_have_attribute(
        "data-newest", re.compile(f"^{int(mark.read_text()) // 1000 + 1}[0-9]{{3}}\\b")
    )
    run_in_shell(carl.address, GO_BACK.format(newest=mark.read_text()))
    carl.page.wait_for_timeout(3000)

    Caller(olivia.address, "olivia").post(f"change_requests/{path.strip('/').split('/')[-1]}/merge")
    toast = carl.page.locator(".toast-message").filter(has_text="merged")
    expect(toast).to_be_visible(timeout=40_000)
    assert carl.page.evaluate("document.documentElement.dataset.stays") == "yes"


def moved(page: Page, address: str) -> tuple[float, list[float]]:
    """How far things moved after they were drawn, and what worked for more than 50 ms: the least of a dozen visits, for
    the machine may be busy with others."""
    shifts, tasks = [], []
    browser = page.context.browser
    assert browser is not None
    for _ in range(12):
        browser.start_tracing(page=page, categories=["disabled-by-default-devtools.timeline"])
        page.goto(address)
        page.wait_for_load_state("load")
        page.wait_for_timeout(300)
        found: dict[str, Any] = page.evaluate("window.seen")
        worked = milliseconds_of_tasks(json.loads(browser.stop_tracing()))
        if not found["paint"]:
            continue  # not drawn yet, on a busy machine
        assert worked, "the browser told of no task"
        shifts.append(found["shift"])
        tasks.append([duration for duration in worked if duration > 50])
        if min(shifts) == 0 and min(tasks) == []:
            break
    assert shifts, "nothing was drawn in any of the visits"
    return min(shifts), min(tasks)


def milliseconds_of_tasks(trace: Any) -> list[float]:
    """How long each task of a page's main thread worked, without the time in which others had the processor."""
    events = trace["traceEvents"]
    mains = {
        (event["pid"], event["tid"])
        for event in events
        if event["name"] == "thread_name" and event["args"]["name"] == "CrRendererMain"
    }
    return [
        event["tdur"] / 1000
        for event in events
        if event["name"] == "RunTask" and "tdur" in event and (event["pid"], event["tid"]) in mains
    ]


def test_pages_do_not_move_and_do_not_keep_the_browser_busy(sign_in: SignIn) -> None:
    vera: Person = sign_in("vera")
    path = vera.open_request("Count midnight to the day before: 2400 becomes 2359")
    fresh = vera.context.new_page()
    fresh.add_init_script(OBSERVE)
    places = ["/", "/inbox/", path, f"{path}changes/", f"{path}checks/"]
    assert {place: moved(fresh, vera.address + place) for place in places} == dict.fromkeys(places, (0, []))
