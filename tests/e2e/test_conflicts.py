"""Choosing values for 300 conflicts: by keys, for many, beside somebody else, by a file; and without JavaScript."""

import csv
import io
import itertools
import re
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from tests.e2e.conftest import Person, SignIn
from tests.e2e.programs import Caller

ROWS = 150
#: Choosing plans the merge anew, on whatever machine this runs.
PATIENT = 30_000
_numbers = itertools.count(1)


def three_hundred_conflicts(address: str) -> str:
    """A request of carl's in conflict in ``ROWS`` rows, in two cells each; answers the path of its conflicts."""
    olivia, carl = Caller(address, "olivia"), Caller(address, "carl")
    slug = f"conflicts-{next(_numbers)}"
    columns = [{"name": "id", "type": "long"}, *({"name": name, "type": "long"} for name in ("a", "b", "c"))]
    columns.append({"name": "note", "type": "string"})
    made = olivia.post(
        "datasets",
        project="new-york-2013",
        slug=slug,
        name=slug,
        primary_keys=["id"],
        schema={"columns": columns, "partition_by": []},
    )
    numbers = range(1, ROWS + 1)
    dataset = str(made["id"])
    olivia.merge(dataset, [{"id": n, "a": 0, "b": 0, "c": 0, "note": "from the start"} for n in numbers])
    proposed = carl.post(
        f"datasets/{dataset}/proposals",
        title=f"Count {slug} anew",
        rows=[{"id": n, "a": 1, "b": 1, "c": 1} for n in numbers],
        submit=True,
    )
    olivia.merge(dataset, [{"id": n, "a": 2, "b": 3 if n % 3 else 4} for n in numbers])
    return f"/change-requests/{proposed['change_request']['cr_id']}/conflicts/"


def line(page: Page, number: int) -> Locator:
    return page.locator("tr.conflict").nth(number)


def saved(page: Page, number: int) -> None:
    expect(page.locator("#conflict-summary")).to_contain_text(
        f"{number} of {2 * ROWS} resolved", timeout=PATIENT
    )


def focused_line(page: Page) -> str:
    found: str = page.evaluate(
        "document.activeElement.closest('tr.conflict')?.id ?? document.activeElement.id"
    )
    return found


def test_three_hundred_conflicts(sign_in: SignIn, demo: str, tmp_path: Path) -> None:
    path = three_hundred_conflicts(demo)
    carl, olivia = sign_in("carl"), sign_in("olivia")
    page = carl.page
    carl.go(path)
    expect(line(page, 0)).to_contain_text("1 other cell of this row merges without conflict")
    expect(line(page, 0).locator(".conflict__origin")).to_contain_text(
        re.compile(r"v\d+ · Olivia Okafor · .* · CR-\d+")
    )

    by_keys(page)
    beside(carl, olivia, path)
    by_filter(page)
    by_file(page, tmp_path)


def by_keys(page: Page) -> None:
    """Twenty lines without the mouse: fast, each saved as it is made, the focus where it was."""
    page.keyboard.press("n")
    expect(line(page, 0).get_by_role("radio", name="Base")).to_be_focused()
    for number, key in zip(range(20), itertools.cycle("123"), strict=False):
        page.keyboard.press(key)
        page.keyboard.press("j" if number % 2 else "ArrowDown")
    saved(page, 20)
    here = line(page, 20)
    assert focused_line(page) == here.get_attribute("id")
    expect(line(page, 0)).to_contain_text("Carl Castillo chose Base just now")
    expect(line(page, 2)).to_have_class(re.compile("is-resolved"))

    page.keyboard.press("4")
    own = here.get_by_label(re.compile("^Own value for"))
    expect(own).to_be_focused()
    own.press_sequentially("many")
    own.press("Enter")
    expect(here.get_by_role("alert")).to_contain_text("Not saved.", timeout=PATIENT)
    expect(own).to_be_focused()
    expect(own).to_have_value("many")
    own.fill("7")
    own.press("Enter")
    saved(page, 21)
    expect(own).to_be_focused()
    own.press("Escape")
    page.keyboard.press("k")
    assert focused_line(page) == line(page, 19).get_attribute("id")


def beside(carl: Person, olivia: Person, path: str) -> None:
    """What a second person chooses comes in by itself; who chose what is told where both chose."""
    olivia.go(f"{path}?show=all")
    theirs = line(olivia.page, 30)
    mine = line(carl.page, 30)
    theirs.get_by_role("radio", name="Proposed").check()
    saved(olivia.page, 22)
    expect(mine).to_contain_text("Olivia Okafor chose Proposed", timeout=PATIENT)
    assert focused_line(carl.page) == line(carl.page, 19).get_attribute("id")

    carl.page.route(
        "**/conflicts/lines/*", lambda route: route.fulfill(status=204)
    )  # carl is not told in time
    line(olivia.page, 31).get_by_role("radio", name="Proposed").check()
    saved(olivia.page, 23)
    contested = line(carl.page, 31)
    contested.get_by_role("radio", name="Base").check()
    expect(contested.get_by_role("alert")).to_contain_text("Olivia Okafor chose Proposed", timeout=PATIENT)
    expect(contested.get_by_role("radio", name="Base")).to_be_checked()
    expect(contested.get_by_role("radio", name="Base")).to_be_focused()
    carl.page.keyboard.press("3")
    expect(contested.get_by_role("alert")).to_have_count(0, timeout=PATIENT)
    carl.page.unroute("**/conflicts/lines/*")


def by_filter(page: Page) -> None:
    """A part of the rest by what Current is, undone, and made again."""
    page.get_by_label("Column", exact=True).select_option("b")
    page.get_by_label("Current is").fill("4")
    page.get_by_role("button", name="Filter").click()
    many = page.get_by_role("button", name=re.compile(r"^Current for \d+ conflicts$"))
    number = int(re.sub(r"\D", "", many.inner_text()))
    assert 0 < number <= ROWS // 3
    many.click()
    undo = page.get_by_role("button", name="Undo")
    expect(undo).to_be_focused(timeout=PATIENT)
    saved(page, 23 + number)
    undo.press("Enter")
    expect(
        page.get_by_role("status").filter(has_text=f"Undone: {number} conflicts as before.")
    ).to_be_visible(timeout=PATIENT)
    saved(page, 23)
    assert focused_line(page) == line(page, 0).get_attribute("id")
    many.click()
    saved(page, 23 + number)


def by_file(page: Page, folder: Path) -> None:
    """The rest in a spreadsheet: downloaded, filled in, looked at, stored."""
    page.get_by_role("link", name="Show all columns").click()
    page.get_by_text("Choose in a spreadsheet").click()
    with page.expect_download() as downloaded:
        page.get_by_role("link", name="Download 300 conflicts as CSV").click()
    rows = list(csv.DictReader(io.StringIO(Path(downloaded.value.path()).read_text())))
    assert len(rows) == 2 * ROWS
    waiting = [row for row in rows if not row["choice"]]
    for row in waiting:
        row["choice"] = "proposed"
    filled = folder / "choices.csv"
    with filled.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    page.get_by_label("The file with the choices").set_input_files(filled)
    page.get_by_role("button", name="Look at it first").click()
    expect(page.get_by_role("heading", name=f"What the file chooses: {len(waiting)} choices")).to_be_visible(
        timeout=PATIENT
    )
    page.get_by_role("button", name=f"Store {len(waiting)} choices").click()
    saved(page, 2 * ROWS)
    expect(page.get_by_text("Every conflict has a choice").first).to_be_visible()


def test_choices_are_saved_without_javascript(sign_in: SignIn) -> None:
    carl = sign_in("carl", java_script_enabled=False)
    page = carl.page
    carl.go(f"{carl.open_request('Count midnight to the day before: 2400 becomes 2359')}conflicts/?show=all")
    line(page, 2).get_by_role("radio", name="Base").check()
    line(page, 3).get_by_role("radio", name="Current").check()
    page.get_by_role("button", name="Save the choices of this page").click()
    expect(page.get_by_text(re.compile(r"^Saved\."))).to_be_visible()
    expect(line(page, 2).get_by_role("radio", name="Base")).to_be_checked()
    expect(line(page, 3)).to_contain_text("Carl Castillo chose Current")
    page.get_by_role("button", name=re.compile("^Current for 27 conflicts")).click()
    expect(page.get_by_role("heading", name="29 of 29 resolved")).to_be_visible()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("heading", name="2 of 29 resolved")).to_be_visible()
