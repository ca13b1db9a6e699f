"""Rows edited in place: one long path by keyboard and clipboard, and that nothing but the edits reaches the table."""

import re
import uuid
from typing import Any

from playwright.sync_api import Locator, Page, Route, expect

from tests.e2e.conftest import Person, SignIn
from tests.e2e.test_accessibility import violations

COLUMNS = [
    {"name": "id", "type": "long"}, {"name": "name", "type": "string"}, {"name": "seats", "type": "long"},
    {"name": "price", "type": "decimal(20,2)"}, {"name": "day", "type": "date"}, {"name": "active", "type": "boolean"},
    {"name": "note", "type": "string"}, {"name": "city", "type": "string"}, {"name": "score", "type": "double"},
]  # fmt: skip
ROWS = 260
#: Milliseconds for what takes the server more than a moment, on a busy machine.
SLOW = 30_000


def call(person: Person, method: str, path: str, body: Any = None) -> Any:
    """An operation of the API, as the page itself would call it."""
    status, told = person.page.evaluate(
        """async ([method, path, body]) => {
          const token = document.querySelector("[name=csrfmiddlewaretoken]").value;
          const headers = { "X-CSRFToken": token, "Content-Type": "application/json", Prefer: "wait=30" };
          const answer = await fetch("/api/v1/" + path, { method, headers, body: body && JSON.stringify(body) });
          return [answer.status, await answer.json()];
        }""",
        [method, path, body],
    )
    assert status < 300, told
    return told


def first_rows() -> list[dict[str, Any]]:
    return [
        {
            "id": number, "name": f"Plane {number}", "seats": number, "price": f"{number}.50", "day": "2024-02-01",
            "active": number % 2 == 0, "note": None, "city": "New York" if number % 3 else "Newark",
            "score": number / 4,
        }
        for number in range(1, ROWS + 1)
    ]  # fmt: skip


def make_dataset(olivia: Person) -> tuple[int, str]:
    """A dataset of the test's own, with rows; its number and the address of its pages."""
    slug = f"grid-{uuid.uuid4().hex[:8]}"
    made = call(
        olivia, "POST", "datasets",
        {
            "project": "new-york-2013", "slug": slug, "name": slug, "primary_keys": ["id"], "required_approvals": 0,
            "schema": {"columns": COLUMNS},
        },
    )  # fmt: skip
    merged(olivia, made["id"], {"title": "First rows", "rows": first_rows()})
    return made["id"], f"/datasets/new-york-2013/{slug}/"


def merged(olivia: Person, dataset: int, proposal: dict[str, Any]) -> None:
    told = call(olivia, "POST", f"datasets/{dataset}/proposals", {**proposal, "submit": True})
    call(olivia, "POST", f"change_requests/{told['change_request']['cr_id']}/merge", {})


def table_of(person: Person, dataset: int) -> dict[int, dict[str, Any]]:
    page = call(person, "GET", f"datasets/{dataset}/rows?limit=1000")
    return {row["id"]: row for row in page["results"]}


def cell(page: Page, row: int, column: str) -> Locator:
    """A cell by the row's place and the column's name."""
    number = [one["name"] for one in COLUMNS].index(column)
    return page.locator(".grid .tabulator-row").nth(row).locator(f"[tabulator-field=c{number}]")


def status(page: Page) -> Locator:
    return page.locator("[data-grid-status]")


def paste(page: Page, text: str) -> None:
    page.evaluate("text => navigator.clipboard.writeText(text)", text)
    page.keyboard.press("Control+V")


def test_rows_are_edited_pasted_replaced_kept_and_proposed(sign_in: SignIn) -> None:
    olivia = sign_in("olivia", permissions=["clipboard-read", "clipboard-write"])
    page = olivia.page
    dataset, place = make_dataset(olivia)
    before = table_of(olivia, dataset)
    olivia.go(place)
    assert page.evaluate("document.querySelector('script[src*=tabulator]')") is None
    page.get_by_role("link", name="Edit rows here").click()

    # One cell, by keyboard alone; NULL and empty text are two.
    cell(page, 0, "name").click()
    page.keyboard.type("Zeppelin")
    page.keyboard.press("Enter")
    expect(cell(page, 0, "name")).to_have_text("Zeppelin")
    expect(status(page)).to_have_text("1 change in 1 row")
    page.keyboard.press("Delete")  # Enter led down
    expect(cell(page, 1, "name")).to_have_text("empty text")
    page.get_by_role("button", name="Set NULL").click()
    expect(cell(page, 1, "name")).to_have_text("NULL")
    expect(status(page)).to_have_text("2 changes in 2 rows")
    page.get_by_role("button", name="Undo").click()
    expect(cell(page, 1, "name")).to_have_text("empty text")

    # What does not fit is told at the cell, and kept.
    cell(page, 2, "seats").click()
    page.keyboard.press("F2")
    page.keyboard.press("Control+A")
    page.keyboard.type("many")
    page.keyboard.press("Tab")
    expect(cell(page, 2, "seats")).to_contain_text("expected a number")
    expect(cell(page, 2, "seats")).to_contain_text("many")
    page.keyboard.press("Control+Z")
    expect(cell(page, 2, "seats")).to_have_text("3")
    page.keyboard.press("Control+Y")
    expect(cell(page, 2, "seats")).to_contain_text("many")
    page.keyboard.press("Control+Z")

    # A key stays, and the focus is where it was.
    cell(page, 0, "id").click()
    page.keyboard.type("7")
    expect(page.locator("[data-grid-said]")).to_contain_text("Keys of existing rows stay")

    # A block of 200 × 8 from a spreadsheet, as one step.
    pasted = [
        [
            f"Pasted {n}",
            str(1000 + n),
            f"{n}.25",
            "2024-03-31",
            "true",
            'two\nlines, "quoted"',
            "Boston",
            "7.125",
        ]
        for n in range(200)
    ]
    lines = [
        "\t".join(f'"{one.replace(chr(34), chr(34) * 2)}"' if "\n" in one else one for one in row)
        for row in pasted
    ]
    cell(page, 0, "name").click()
    paste(page, "\r\n".join(lines) + "\r\n")
    # Whoever was active already has one cell less to change.
    expect(status(page)).to_have_text("1,500 changes in 200 rows", timeout=SLOW)
    expect(cell(page, 0, "note")).to_contain_text('two↵lines, "quoted"')
    page.keyboard.press("Control+Z")
    expect(status(page)).to_have_text("2 changes in 2 rows")
    page.keyboard.press("Control+Y")
    expect(status(page)).to_have_text("1,500 changes in 200 rows")

    # Fill down, and a block copied within the grid.
    cell(page, 0, "seats").click()
    page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("Control+D")
    expect(cell(page, 2, "seats")).to_have_text("1000")
    page.keyboard.press("Control+C")
    page.wait_for_function("async () => (await navigator.clipboard.readText()) === '1000\\n1000\\n1000'")

    # Find and replace over the whole table: counted, shown, done.
    page.get_by_role("button", name="Find and replace").click()
    dialog = page.get_by_role("dialog", name="Find and replace")
    expect(dialog.get_by_role("checkbox", name="seats")).to_be_checked()  # what was chosen in the grid
    dialog.get_by_role("checkbox", name="city").check()
    dialog.get_by_label("Find").fill("newark")
    dialog.get_by_label("Replace with").fill("Newark, NJ")
    dialog.get_by_role("button", name="Look").click()
    expect(dialog.get_by_role("status")).to_contain_text("20 cells in 20 rows.")
    dialog.get_by_role("button", name="Replace 20 cells").click()
    expect(status(page)).to_have_text("1,520 changes in 220 rows")

    # A row that comes and a row that goes.
    page.get_by_role("button", name="Add a row").click()
    expect(cell(page, 0, "id")).to_contain_text("is part of the key")
    page.keyboard.type("9001")
    page.keyboard.press("Tab")
    page.keyboard.type("New one")
    page.keyboard.press("Enter")
    expect(cell(page, 0, "name")).to_have_text("New one")
    cell(page, 5, "name").click()
    page.get_by_role("button", name="Delete rows").click()
    expect(page.locator(".grid .tabulator-row").nth(5)).to_have_class(re.compile("is-deleted"))
    expect(status(page)).to_have_text(re.compile(r"1,51\d changes in 221 rows"))
    expect(page.locator("[data-grid-said]")).to_have_text("")
    told = status(page).inner_text()
    assert violations(page) == []

    # It survives a reload, and signing out.
    page.reload()
    expect(status(page)).to_have_text(told)
    expect(cell(page, 0, "name")).to_have_text("New one", timeout=SLOW)
    page.context.clear_cookies()
    cell(page, 1, "note").click()
    page.keyboard.type("typed without a session")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Add a row").click()
    page.keyboard.type("9002")
    page.keyboard.press("Tab")
    page.keyboard.type("Another")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="Sign in and go on").click()
    page.get_by_label("User name").fill("olivia")
    page.get_by_label("Password").fill("headgate-demo")
    page.get_by_role("button", name="Sign in").click()
    expect(cell(page, 2, "note")).to_have_text("typed without a session", timeout=SLOW)
    expect(cell(page, 0, "name")).to_have_text("Another")
    expect(status(page)).to_contain_text("in 222 rows")
    told = status(page).inner_text()
    olivia.go(place)
    expect(page.locator(".tray-line")).to_contain_text(told)

    # Proposed: exactly the edits, and after the merge every other row is as it was.
    page.get_by_role("link", name=re.compile("^Propose")).click()
    page.get_by_label("Title").fill("Edited here")
    page.get_by_role("button", name=re.compile("^Propose")).click()
    page.get_by_role("heading", name="Edited here").wait_for()
    cr_id = page.url.rstrip("/").rpartition("/")[2]

    # The same grid edits what is staged: saved as a new revision, here taken back again.
    olivia.go(f"/change-requests/{cr_id}/rows/")
    cell(page, 0, "name").click(timeout=SLOW)
    page.keyboard.type("Staged anew")
    page.keyboard.press("Enter")
    expect(status(page)).to_have_text("1 change in 1 row")
    page.reload()
    expect(cell(page, 0, "name")).to_have_text("Staged anew", timeout=SLOW)
    assert violations(page) == []
    # What the server refuses is told at the cell, and nothing of it is lost.
    cell(page, 0, "seats").click()
    page.keyboard.type("many")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Save 2 changes").click()
    expect(cell(page, 0, "seats").locator(".grid-problem")).not_to_be_empty(timeout=SLOW)
    expect(page.locator("[data-grid-said]")).to_contain_text("Nothing was saved")
    cell(page, 0, "seats").click()
    page.keyboard.type("1000")
    page.keyboard.press("Enter")
    expect(cell(page, 0, "seats").locator(".grid-problem")).to_have_count(0)
    page.get_by_role("button", name="Save 2 changes").click()
    page.wait_for_url("**/changes/", timeout=SLOW)
    revisions = call(olivia, "GET", f"change_requests/{cr_id}/revisions")["results"]
    assert [one["number"] for one in revisions] == [1, 2]

    changes = call(olivia, "GET", f"change_requests/{cr_id}/diff?limit=1000")["results"]
    assert {kind: sum(one["operation"] == kind for one in changes) for kind in ("insert", "update", "delete")} == {
        "insert": 2, "update": 219, "delete": 1,
    }  # fmt: skip
    call(olivia, "POST", f"change_requests/{cr_id}/merge", {})
    after = table_of(olivia, dataset)
    added = {9001: "New one", 9002: "Another"}
    expected = {
        **before,
        **{key: {**dict.fromkeys(before[1], None), "id": key, "name": name} for key, name in added.items()},
    }
    for number, row in enumerate(pasted, start=1):
        values = {
            "name": row[0], "seats": int(row[1]), "price": row[2], "day": row[3], "active": True, "note": row[5],
            "city": row[6], "score": 7.125,
        }  # fmt: skip
        expected[number] = {**before[number], **values}
    for number in (1, 2, 3):
        expected[number]["seats"] = 1000
    expected[1]["name"] = "Staged anew"
    expected[1]["note"] = "typed without a session"
    for number in range(201, ROWS + 1):
        if before[number]["city"] == "Newark":
            expected[number] = {**before[number], "city": "Newark, NJ"}
    del expected[5]
    assert after == expected


def lose_answers(page: Page, times: int) -> None:
    """The server does what the next edits ask for, and the answer never arrives."""
    left = [times]

    def lose(route: Route) -> None:
        if route.request.method != "PATCH" or not left[0]:
            route.fallback()
            return
        left[0] -= 1
        route.fetch()
        route.abort()

    page.route("**/edits", lose)


def test_two_windows_lost_answers_and_a_wide_table(sign_in: SignIn) -> None:
    carl, olivia = sign_in("carl"), sign_in("olivia")
    slug = f"wide-{uuid.uuid4().hex[:8]}"
    columns = [{"name": "id", "type": "long"}, *({"name": f"c{n}", "type": "string"} for n in range(1, 300))]
    made = call(
        olivia, "POST", "datasets",
        {"project": "new-york-2013", "slug": slug, "name": slug, "primary_keys": ["id"], "required_approvals": 0,
         "schema": {"columns": columns}},
    )  # fmt: skip
    rows = [{"id": n, **{f"c{m}": f"{n}-{m}" for m in range(1, 300)}} for n in range(1, 21)]
    merged(olivia, made["id"], {"title": "First rows", "rows": rows})
    place = f"/datasets/new-york-2013/{slug}/edit/"
    page, other = carl.page, carl.context.new_page()
    carl.go(place)

    def at(window: Page, row: int, column: int) -> Locator:
        return window.locator(".grid .tabulator-row").nth(row).locator(f"[tabulator-field=c{column}]")

    # 300 columns: the last one is reached by one key, and edited.
    at(page, 0, 1).click(timeout=SLOW)
    page.keyboard.press("Control+ArrowRight")
    expect(at(page, 0, 299)).to_be_in_viewport()
    page.keyboard.type("the last column")
    page.keyboard.press("Enter")
    expect(at(page, 0, 299)).to_have_text("the last column")
    expect(status(page)).to_have_text("1 change in 1 row", timeout=SLOW)

    # Only columns near those in sight are drawn. What is typed goes where the chosen cell is, wherever one has
    # scrolled, and is kept where its column is scrolled away.
    holder, first_row = (
        page.locator(".grid .tabulator-tableholder"),
        page.locator(".grid .tabulator-row").first,
    )
    assert first_row.locator(".tabulator-cell").count() < 150
    assert at(page, 0, 299).get_attribute("aria-colindex") == "301"
    holder.evaluate("one => one.scrollLeft = 0")
    expect(at(page, 1, 299)).to_have_count(0)
    page.keyboard.press("F2")
    expect(at(page, 1, 299).locator("textarea")).to_be_focused()
    page.keyboard.type("and scrolled away")
    holder.evaluate("one => one.scrollLeft = 0")
    expect(status(page)).to_have_text("2 changes in 2 rows", timeout=SLOW)
    page.get_by_role("button", name="Undo").click()
    expect(status(page)).to_have_text("1 change in 1 row", timeout=SLOW)

    # Another window of the same person sees it; both set one cell, and the second is told what it held.
    other.goto(carl.address + place)
    expect(status(other)).to_have_text("1 change in 1 row", timeout=SLOW)
    for window, value in ((page, "first window"), (other, "second window")):
        at(window, 1, 1).click()
        window.keyboard.type(value)
        window.keyboard.press("Enter")
        expect(status(window)).to_have_text("2 changes in 2 rows", timeout=SLOW)
    expect(other.locator("[data-grid-said]")).to_contain_text(
        "held first window by then, from another window"
    )
    other.get_by_role("button", name="Undo").click()
    expect(at(other, 1, 1)).to_have_text("first window")

    # An answer that is lost twice: the row is added once, in the tray and on the page.
    lose_answers(other, 2)
    other.get_by_role("button", name="Add a row").click()
    expect(status(other)).to_have_text("3 changes in 3 rows", timeout=SLOW)
    expect(other.locator(".grid .is-added")).to_have_count(1)
    other.keyboard.type("9001")
    other.keyboard.press("Enter")
    expect(other.locator("[data-grid-said]")).to_have_text("", timeout=SLOW)
    # And a row that goes again, whose answer is lost, is gone.
    lose_answers(other, 1)
    at(other, 0, 1).click()
    other.get_by_role("button", name="Delete rows").click()
    expect(other.locator(".grid .is-added")).to_have_count(0, timeout=SLOW)
    expect(status(other)).to_have_text("2 changes in 2 rows", timeout=SLOW)
    other.reload()
    expect(status(other)).to_have_text("2 changes in 2 rows", timeout=SLOW)
    expect(other.locator(".grid .is-added")).to_have_count(0)
    other.close()
