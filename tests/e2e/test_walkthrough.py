"""The tasks of docs/walkthrough.md, done as they are written there: each click is one of the page's steps."""

import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from config.env import BASE_DIR
from tests.e2e.conftest import Person, SignIn
from tests.e2e.programs import Caller

WALKTHROUGH = BASE_DIR / "docs" / "walkthrough.md"
MOST_CLICKS = 6
#: Milliseconds for what a worker does, on a busy machine.
PATIENT = 30_000
Picture = Callable[[str], Path]

COLUMNS = [
    {"name": "supplier", "type": "long"}, {"name": "name", "type": "string"}, {"name": "city", "type": "string"},
    {"name": "price", "type": "decimal(10,2)"}, {"name": "active", "type": "boolean"},
    {"name": "note", "type": "string"},
]  # fmt: skip
NAMES = (
    *("Halden Bakery", "Nordby Dairys", "Fjord & Feld Fish Co", "Astoria Coffee Roasters", "Brightwater Juices"),
    *("Casa Verde Produce", "Dune Road Catering", "Elm Street Deli", "Five Boroughs Pasta", "Greenpoint Cheese"),
    *("Harbor Ice", "Island Rice and Grain"),
)  # fmt: skip
CITIES = ("New York", "Newark", "Jersey City")


def suppliers() -> list[dict[str, Any]]:
    """The rows that the table begins with."""
    return [
        {
            "supplier": number, "name": name, "city": CITIES[number % 3], "price": f"{8 + number * 0.75:.2f}",
            "active": number % 5 > 0, "note": "Delivers before six" if number % 4 == 0 else None,
        }
        for number, name in enumerate(NAMES, start=1)
    ]  # fmt: skip


class Steward:
    """Somebody who does a task of the walkthrough: what is clicked is read there, and each click is counted."""

    def __init__(self, person: Person) -> None:
        self.person, self.page = person, person.page
        self.left: list[str] = []
        self.clicks = 0
        person.context.expose_function("countClick", self._count)
        person.context.add_init_script("addEventListener('pointerdown', () => countClick(), true)")

    def _count(self) -> None:
        self.clicks += 1

    def begin(self, number: int, path: str) -> None:
        """Begin a task where it begins."""
        sections = re.split(r"^## ", WALKTHROUGH.read_text(encoding="utf-8"), flags=re.MULTILINE)
        self.left = re.findall(r"^\d\. Click \*\*(.+?)\*\*", sections[number], flags=re.MULTILINE)
        assert 0 < len(self.left) <= MOST_CLICKS
        self.steps = len(self.left)
        self.person.go(path)
        self.clicks = 0

    def click(self, role: Any, place: Page | Locator | None = None) -> None:
        """Click what the next step names: something with a role, or a text."""
        words = self.left.pop(0)
        scope = place or self.page
        if role == "text":
            found = scope.get_by_text(words, exact=True)
        elif role == "field":
            found = scope.get_by_label(words, exact=True)
        else:
            found = scope.get_by_role(role, name=words, exact=True)
        found.first.click(timeout=PATIENT)

    def done(self) -> None:
        """The task is done with the clicks that it has."""
        assert self.left == []
        assert self.clicks == self.steps


@pytest.fixture
def table(demo: str) -> Callable[..., tuple[str, str]]:
    """Make a table of suppliers: its number, and the path of its pages."""

    def make(approvals: int = 0) -> tuple[str, str]:
        slug = f"suppliers-{uuid.uuid4().hex[:6]}"
        made = Caller(demo, "olivia").post(
            "datasets",
            project="new-york-2013",
            slug=slug,
            name="suppliers",
            primary_keys=["supplier"],
            required_approvals=approvals,
            schema={"columns": COLUMNS},
        )
        Caller(demo, "olivia").merge(str(made["id"]), suppliers())
        return str(made["id"]), f"/datasets/new-york-2013/{slug}/"

    return make


def test_three_cells_are_corrected_and_a_spreadsheet_comes_in(
    sign_in: SignIn, table: Callable[..., tuple[str, str]], picture: Picture, tmp_path: Path
) -> None:
    carl = Steward(sign_in("carl"))
    page, (_, path) = carl.page, table(approvals=1)

    carl.begin(1, path)
    carl.click("link")
    carl.click("text", page.locator(".grid .tabulator-row"))
    for name in ("Haldén Bakery", "Nordby Dairies", "Fjord & Field Fish"):
        page.keyboard.type(name)
        page.keyboard.press("Enter")
    expect(page.locator("[data-grid-status]")).to_have_text("3 changes in 3 rows", timeout=PATIENT)
    page.screenshot(path=picture("edit-rows.png"))
    carl.click("link")
    page.get_by_label("Title").fill("Names as they sign their bills")
    carl.click("button")
    page.get_by_role("heading", name="Names as they sign their bills").wait_for()
    expect(page.locator(".strip .chip")).to_have_text(re.compile("Needs review|Checking"))
    carl.done()

    file = tmp_path / "suppliers.csv"
    file.write_text("supplier,city,prise\n3,Hoboken,9.95\n5,Yonkers,12.40\n", encoding="utf-8")
    carl.begin(2, path)
    carl.click("link")
    with page.expect_file_chooser() as chooser:
        carl.click("field")
    chooser.value.set_files(file)
    carl.click("button", page.locator("section", has=page.get_by_role("heading", name="Upload a file")))
    page.get_by_role("heading", name="What suppliers.csv would change").wait_for(timeout=PATIENT)
    page.screenshot(path=picture("look-first.png"))
    carl.click("field", page.get_by_role("group", name=re.compile("Column prise")))
    carl.click("button")
    expect(page.get_by_text("price 2")).to_be_visible(timeout=PATIENT)
    page.get_by_label("Title").fill("Prices and cities of October")
    carl.click("button")
    page.get_by_role("heading", name="Prices and cities of October").wait_for(timeout=PATIENT)
    carl.done()


def test_a_request_is_reviewed(
    sign_in: SignIn, table: Callable[..., tuple[str, str]], picture: Picture, demo: str
) -> None:
    dataset, _ = table(approvals=1)
    rows = [
        {"supplier": number, "price": f"{price}.50"} for number, price in ((2, 9), (4, 12), (9, 14), (11, 17))
    ]
    Caller(demo, "carl").post(
        f"datasets/{dataset}/proposals", title="Prices of the new year", rows=rows, submit=True
    )
    olivia = Steward(sign_in("olivia"))
    page = olivia.page

    olivia.begin(3, "/")
    olivia.click("link")
    olivia.click("link", page.locator("#strip"))
    olivia.click("text", page.locator("td[data-label='price'] ins"))
    page.get_by_label("Your comment").fill("Their list says 12.95 from January on.")
    page.get_by_label("Another value").fill("12.95")
    olivia.click("button")
    expect(page.locator(".talk__thread")).to_contain_text("Suggests 12.95")
    page.screenshot(path=picture("review.png"))
    page.get_by_label(re.compile("What you think")).fill("One price to mend, the others are right.")
    olivia.click("button")
    expect(page.locator(".strip .chip")).to_have_text("Changes requested", timeout=PATIENT)
    olivia.done()


def test_conflicts_are_settled(
    sign_in: SignIn, table: Callable[..., tuple[str, str]], picture: Picture, demo: str
) -> None:
    dataset, _ = table()
    proposed = [{"supplier": number, "city": "New York, NY"} for number in range(1, 7)]
    Caller(demo, "carl").post(
        f"datasets/{dataset}/proposals", title="Cities as the post writes them", rows=proposed, submit=True
    )
    Caller(demo, "olivia").merge(dataset, [{"supplier": n, "city": "Manhattan"} for n in range(1, 5)])
    carl = Steward(sign_in("carl"))
    page = carl.page

    carl.begin(4, "/")
    carl.click("link")
    carl.click("link", page.locator("#strip"))
    expect(page.locator("tr.conflict")).to_have_count(4, timeout=PATIENT)
    page.screenshot(path=picture("conflicts.png"))
    carl.click("button")
    expect(page.locator("#conflict-summary")).to_contain_text("4 of 4 resolved", timeout=PATIENT)
    carl.click("link", page.locator("#strip"))
    carl.click("button", page.get_by_role("dialog"))
    expect(page.get_by_role("dialog").locator(".notice--good")).to_contain_text(
        "6 rows changed", timeout=PATIENT
    )
    carl.done()


def test_a_merge_is_taken_back(
    sign_in: SignIn, table: Callable[..., tuple[str, str]], picture: Picture, demo: str
) -> None:
    dataset, path = table()
    caller = Caller(demo, "olivia")
    made = caller.post(
        f"datasets/{dataset}/proposals",
        title="Island Rice closes",
        rows=[{"supplier": 12, "note": "Closes in May"}],
        submit=True,
    )
    cr_id = made["change_request"]["cr_id"]
    caller.post(f"change_requests/{cr_id}/merge")
    olivia = Steward(sign_in("olivia"))
    page = olivia.page

    olivia.begin(5, f"/change-requests/{cr_id}/")
    olivia.click("button")
    olivia.click("button", page.locator("#strip"))
    olivia.click("link", page.locator("#strip"))
    olivia.click("button", page.get_by_role("dialog"))
    expect(page.get_by_role("dialog").locator(".notice--good")).to_contain_text(
        "1 row changed", timeout=PATIENT
    )
    olivia.done()
    olivia.person.go(f"{path}history/")
    page.screenshot(path=picture("history.png"))
    olivia.person.go(f"{path}?column=note&value=Closes+in+May")
    expect(page.get_by_text("No row has this value")).to_be_visible()
