"""From an empty installation to the first merged change, by two people in browsers and a real worker."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import deltalake
import pyarrow as pa
import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.conftest import Person, running_demo

CUSTOMERS = pa.table(
    {
        "customer_id": pa.array([1, 2, 3, 4], pa.int64()),
        "name": ["Ada", "Ben", "Ben", "Cleo"],
        "city": ["Bern", None, "Basel", "Bern"],
    }
)


@pytest.fixture
def empty(chromium: Path, tmp_path: Path) -> Iterator[str]:
    """The address of an installation with people and no dataset, beside a table that somebody else wrote."""
    deltalake.write_deltalake(str(tmp_path / "delta" / "sales" / "customers"), CUSTOMERS)
    with running_demo(tmp_path, "--people-only") as address:
        yield address


def test_first_run_to_first_merge_in_an_empty_installation(
    browser: Browser, empty: str, tmp_path: Path
) -> None:
    adam = Person(browser.new_context(reduced_motion="reduce"), empty)
    adam.sign_in("adam")
    page = adam.page

    # One: add a table. It is found by looking, its key is checked, somebody else's table is not changed by it.
    first_run = page.get_by_role("region", name="Three steps to your first merged change")
    first_run.get_by_role("link", name="Add a table").click()
    page.get_by_role("link", name="sales").click()
    page.get_by_role("link", name="customers").click()
    expect(page.get_by_text("Can be added")).to_be_visible()
    page.get_by_role("button", name="Choose its key").click()
    expect(page.get_by_role("checkbox", name="customer_id")).to_be_checked()
    page.get_by_role("checkbox", name="customer_id").uncheck()
    page.get_by_role("checkbox", name="name").check()
    page.get_by_role("button", name="Check this key").click()
    expect(page.get_by_role("alert")).to_contain_text("1 key occurs more than once.")
    expect(page.get_by_role("region", name="The first that are in the way")).to_contain_text("Ben")
    page.get_by_role("checkbox", name="name").uncheck()
    page.get_by_role("checkbox", name="customer_id").check()
    page.get_by_role("button", name="Check this key").click()
    page.get_by_role("link", name="Go on with this key").click()
    page.get_by_label("Name", exact=True).fill("Customers")
    page.get_by_label("Name of the new project").fill("Sales")
    page.get_by_role("button", name="Add this table").click()
    page.get_by_role("heading", name="What must stay true of Customers?").wait_for()
    page.get_by_role("button", name="Expect what is ticked").click()
    expect(first_run.get_by_role("listitem").first).to_contain_text("1 table is a dataset.")

    # Two: invite somebody, who chooses a password of their own.
    first_run.get_by_role("link", name="Invite people").click()
    page.get_by_label("E-mail address").fill("ida@example.org")
    page.get_by_label("Project").select_option("Sales")
    page.get_by_role("button", name="Invite", exact=True).click()
    invitation = urlsplit(page.locator("#invitation-address").inner_text()).path

    ida = Person(browser.new_context(reduced_motion="reduce"), empty)
    ida.go(invitation)
    ida.page.get_by_label("Password", exact=True).fill("a passphrase of her own")
    ida.page.get_by_label("The password again").fill("a passphrase of her own")
    ida.page.get_by_role("button", name="Make my account").click()
    ida.page.get_by_role("heading", name="Change requests", exact=True).wait_for()

    # Three: the first change, approved by her and merged.
    adam.go("/")
    first_run.get_by_role("link", name="Change Customers").click()
    adam.look_at_rows(urlsplit(page.url).path, "customer_id,city\n2,Zug\n")
    page.get_by_label("Title").fill("Ben lives in Zug")
    page.get_by_role("button", name="Propose 1 change").click()
    page.get_by_role("heading", name="Ben lives in Zug").wait_for()
    path = urlsplit(page.url).path
    adam.go("/")
    expect(first_run).to_contain_text("CR-1 is under way")

    ida.go(path)
    ida.page.get_by_role("button", name="Approve").click()
    ida.page.get_by_text("approved").first.wait_for()

    adam.go(path)
    page.locator("#merge-box").get_by_role("link", name="Merge…").click()
    page.get_by_role("dialog").get_by_role("button", name="Merge 1 row change").click()
    merged = "Merged as v1: 1 row changed in Customers."
    expect(page.get_by_role("dialog").locator(".notice--good")).to_contain_text(merged, timeout=20_000)
    adam.go("/")
    page.get_by_role("heading", name="Change requests", exact=True).wait_for()
    expect(first_run).to_have_count(0)

    rows = (
        deltalake.DeltaTable(str(tmp_path / "delta" / "sales" / "customers")).to_pyarrow_table().to_pylist()
    )
    assert {row["customer_id"]: row["city"] for row in rows} == {1: "Bern", 2: "Zug", 3: "Basel", 4: "Bern"}
    assert [*adam.complaints, *ida.complaints] == []
