"""Every kind of blocker: what the merge box says, that its link leads to where it is mended, and that it clears."""

import json
import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e.conftest import Person, SignIn, run_in_shell
from tests.e2e.programs import Caller

#: Milliseconds for what a worker does, on a busy machine.
PATIENT = 30_000
COLUMNS = [
    {"name": "id", "type": "long"}, {"name": "name", "type": "string"}, {"name": "price", "type": "long"},
]  # fmt: skip
DIFFERS = "Version 2 holds one row more than was planned."
NOTE_DIFFERENCE = """
from django.db import transaction
from datasets.models import Dataset
from datasets.services.differences import note_difference
with transaction.atomic():
    note_difference(Dataset.objects.get(pk={dataset}), {sentence!r})
"""
#: What the demo's machine does, with a request in hand.
BEFORE = """
from datetime import timedelta
from django.db import transaction
from django.utils import timezone
from changerequests import selectors
from changerequests.models import ChangeRequest, MergeRun, PlanCheck
from changerequests.services import runs
request = selectors.change_request_called({cr_id!r})
"""
FORGET_CHECK = BEFORE + "PlanCheck.objects.filter(change_request=request).delete()"
LEAVE_UNSETTLED = BEFORE + "ChangeRequest.objects.filter(pk=request.pk).update(unsettled_version={version})"
QUEUE_FOR_LATER = (
    BEFORE
    + """
with transaction.atomic():
    runs.request_merge(change_request_id=request.pk, actor=request.author)
    MergeRun.objects.filter(change_request=request).update(not_before=timezone.now() + timedelta(hours=1))
"""
)
CHECK = (
    BEFORE
    + """
from changerequests.services import plans
plans.check(change_request_id=request.pk)
"""
)


class Table:
    """A table of ten rows and requests to it, made by programs of Carl and Olivia."""

    def __init__(self, address: str, **settings: Any) -> None:
        self.carl, self.olivia = Caller(address, "carl"), Caller(address, "olivia")
        self.slug = f"blocked-{uuid.uuid4().hex[:6]}"
        made = self.olivia.post(
            "datasets", project="new-york-2013", slug=self.slug, name="blocked", primary_keys=["id"],
            schema={"columns": COLUMNS}, **{"required_approvals": 0, **settings},
        )  # fmt: skip
        self.pk, self.folder = made["id"], Path(made["table_uri"])
        rows = [{"id": number, "name": f"Row {number}", "price": number} for number in range(1, 11)]
        self.olivia.merge(self.pk, rows)

    @property
    def path(self) -> str:
        return f"/datasets/new-york-2013/{self.slug}/"

    def propose(self, title: str, *rows: dict[str, Any], submit: bool = True) -> str:
        """A request of Carl's that waits for review, or is a draft: its name."""
        made = self.carl.post(f"datasets/{self.pk}/proposals", title=title, rows=[*rows], submit=submit)
        return str(made["change_request"]["cr_id"])

    def commit(self, *actions: dict[str, Any]) -> None:
        """A commit of somebody else."""
        log = self.folder / "_delta_log"
        version = max(int(one.stem) for one in log.glob("*.json")) + 1
        text = "\n".join(json.dumps(action) for action in actions)
        (log / f"{version:020}.json").write_text(text, encoding="utf-8")

    def action(self, name: str) -> dict[str, Any]:
        """The newest action of a kind in the log."""
        found: dict[str, Any] = {}
        for file in sorted((self.folder / "_delta_log").glob("*.json")):
            for line in file.read_text(encoding="utf-8").splitlines():
                found = json.loads(line) if name in json.loads(line) else found
        return found


@pytest.fixture
def table(demo: str) -> Callable[..., Table]:
    """Make a table: ``table(required_approvals=1)``."""
    return lambda **settings: Table(demo, **settings)


def gate(page: Page, sentence: str) -> Locator:
    """A gate of the merge box that stands in the way."""
    return page.locator("#merge-box > .gates > li").filter(has_text=sentence)


def follow(page: Page, sentence: str, link: str) -> None:
    """Follow the link of a gate to where it is mended."""
    gate(page, sentence).get_by_role("link", name=link).click()


def cleared(person: Person, path: str, sentence: str, timeout: float = PATIENT) -> None:
    """On the request's page the gate is gone; the page may be there since before."""
    if person.page.url.removeprefix(person.address).partition("#")[0] != path:
        person.go(path)
    expect(person.page.locator("#merge-box")).to_be_visible()
    expect(gate(person.page, sentence)).to_have_count(0, timeout=timeout)


def test_six_gates_of_one_request_are_mended_where_their_links_lead(
    sign_in: SignIn, table: Callable[..., Table]
) -> None:
    to = table(required_approvals=1, threads_must_be_resolved=True, delete_limit="0.01")
    suite = {"type": "expect_column_values_to_be_between", "severity": "critical",
             "kwargs": {"column": "price", "max_value": 100}}  # fmt: skip
    document = {"name": "blocked", "expectations": [suite]}
    to.olivia.send("PUT", f"datasets/{to.pk}/suite", {"document": document, "version": 0})
    cr_id = to.propose(
        "Everything is in its way",
        {"id": 1, "name": "One"},
        {"id": 2, "price": 999},
        {"id": 3, "_op": "delete"},
    )
    to.olivia.merge(to.pk, [{"id": 1, "name": "First"}])
    to.olivia.post(f"change_requests/{cr_id}/comments", body="Why 999?")
    to.olivia.post(f"change_requests/{cr_id}/reviews", verdict="request_changes", body="Not so.")

    olivia, carl, path = sign_in("olivia"), sign_in("carl"), f"/change-requests/{cr_id}/"
    page = olivia.page
    olivia.go(path)
    expect(page.get_by_role("heading", name="Not ready: 4 things to fix")).to_be_visible(timeout=PATIENT)
    expect(page.locator("#merge-box > .gates > li")).to_have_count(6)

    # Who made the content is led to whom they may ask, everybody else to their own verdict.
    carl.go(path)
    follow(carl.page, "1 more approval of this content needed", "Ask somebody for a review")
    expect(carl.page.get_by_role("heading", name=re.compile("Ask"))).to_be_visible()
    follow(page, "1 more approval of this content needed", "Give your verdict")
    expect(page.locator("#composer")).to_be_in_viewport()

    # The author chooses: an approval of whoever chose values would not count.
    carl.go(path)
    follow(carl.page, "1 conflict needs a choice.", "Choose values")
    carl.page.locator("tr.conflict").get_by_label(re.compile("^Proposed")).check()
    expect(carl.page.locator("#conflict-summary")).to_contain_text("1 of 1 resolved", timeout=PATIENT)
    cleared(olivia, path, "1 conflict needs a choice.")

    follow(page, "An expectation would be broken.", "See the check")
    page.get_by_text("Override 1 broken expectation…").click()
    page.get_by_label("Reason").fill("It is worth that much.")
    page.get_by_role("button", name="Answer for it").click()
    cleared(olivia, path, "An expectation would be broken.")

    follow(page, "1 discussion is still open.", "Read the conversation")
    expect(page).to_have_url(re.compile("#timeline-title$"))
    page.get_by_role("button", name="Resolve").click()
    cleared(olivia, path, "1 discussion is still open.")

    follow(page, "Olivia Okafor asked for changes.", "Read the conversation")
    page.get_by_role("button", name="Approve").click()
    cleared(olivia, path, "Olivia Okafor asked for changes.")
    cleared(olivia, path, "1 more approval of this content needed")

    follow(page, "type the dataset's name, blocked, to go on", "Open the merge")
    page.get_by_label("Type blocked to go on").fill("blocked")
    page.get_by_role("button", name=re.compile("^Merge 3 row changes")).click()
    expect(page.locator(".notice--good")).to_contain_text("3 rows changed in blocked", timeout=PATIENT)


def test_what_keeps_every_request_to_a_table_is_told_and_clears(
    sign_in: SignIn, table: Callable[..., Table], demo: str
) -> None:
    carl, adam = sign_in("carl"), sign_in("adam")
    page, to = carl.page, table()
    path = f"/change-requests/{to.propose('Mend one name', {'id': 1, 'name': 'One'})}/"
    carl.go(path)
    expect(page.get_by_role("heading", name="Ready to merge")).to_be_visible(timeout=PATIENT)

    # The table has a feature that nobody here can write: the dataset's page says so, and looks again.
    protocol = to.action("protocol")
    features = protocol["protocol"]
    to.commit(
        {"protocol": {**features, "minReaderVersion": 3, "minWriterVersion": 7,
                      "readerFeatures": [*features.get("readerFeatures", ()), "tomorrow"],
                      "writerFeatures": [*features.get("writerFeatures", ()), "tomorrow"]}}
    )  # fmt: skip
    to.carl.post(f"datasets/{to.pk}/reconcile")
    carl.go(path)
    follow(page, "tomorrow", "Open the dataset")
    expect(page.get_by_role("alert").filter(has_text="The table cannot be used now.")).to_be_visible()
    to.commit(protocol)
    page.get_by_text("More", exact=True).click()
    page.get_by_role("button", name="Look for outside changes").click()
    expect(page.get_by_text("The table cannot be used now.")).to_have_count(0)
    cleared(carl, path, "tomorrow")

    # The table is not where it was: the check says so, and checks again.
    away = to.folder.with_name(f"{to.folder.name}-away")
    to.folder.rename(away)
    carl.go(f"{path}checks/")
    page.get_by_role("button", name="Check", exact=True).click()
    expect(page.get_by_text("It cannot be merged as it is.")).to_be_visible(timeout=PATIENT)
    carl.go(path)
    links = page.locator("#merge-box > .gates > li").get_by_role("link", name="See the check")
    links.first.click()
    away.rename(to.folder)
    page.get_by_role("button", name="Check", exact=True).click()
    expect(page.get_by_text("It cannot be merged as it is.")).to_have_count(0, timeout=PATIENT)
    to.carl.post(f"datasets/{to.pk}/reconcile")
    carl.go(path)
    expect(page.get_by_role("heading", name="Ready to merge")).to_be_visible(timeout=PATIENT)

    # A commit that is not what was planned: its table waits for an operator, who is led to where they say so.
    run_in_shell(demo, NOTE_DIFFERENCE.format(dataset=to.pk, sentence=DIFFERS))
    carl.go(path)
    follow(page, DIFFERS, "Open the dataset")
    expect(page.get_by_role("alert").filter(has_text="Nothing is merged until an operator")).to_be_visible()
    adam.go(path)
    follow(adam.page, DIFFERS, "Open the operations")
    stuck = adam.page.get_by_role("listitem").filter(has_text=DIFFERS)
    stuck.get_by_label(re.compile("^Reason")).fill("Looked: the row is right.")
    stuck.get_by_role("button", name="Acknowledge").click()
    cleared(carl, path, DIFFERS)
    expect(page.get_by_role("heading", name="Ready to merge")).to_be_visible(timeout=PATIENT)


def test_a_page_that_grew_old_says_why_its_button_is_none_any_more(
    sign_in: SignIn, table: Callable[..., Table]
) -> None:
    # Without scripts no page keeps itself up to date.
    carl, unmoved, to = sign_in("carl"), sign_in("carl", java_script_enabled=False), table()
    page, old = carl.page, unmoved.page

    # A draft without content is led to the ways in; one that got content is not deleted.
    draft = to.carl.post("change_requests", dataset=to.pk, title="Nothing yet")["cr_id"]
    path = f"/change-requests/{draft}/"
    carl.go(path)
    delete = page.get_by_role("button", name="Delete the empty draft")
    unmoved.go(path)
    follow(page, "No changes were uploaded yet.", "Upload changes")
    carl.look_at_rows(f"{path}upload/", "id,name\n1,One\n")
    page.get_by_role("button", name="Make it the content").click()
    cleared(carl, path, "No changes were uploaded yet.")
    expect(delete).to_have_count(0)
    old.get_by_role("button", name="Delete the empty draft").click()
    expect(old.get_by_role("paragraph").filter(has_text="It has content. Close it instead.")).to_be_visible()

    # Its author takes back what somebody closed meanwhile.
    to.carl.post(f"change_requests/{draft}/submit")
    unmoved.go(path)
    to.olivia.post(f"change_requests/{draft}/close", reason="Not needed.")
    old.get_by_role("button", name="Take back to draft").click()
    expect(old.get_by_text(re.compile("The change request is closed; only a pending one"))).to_be_visible()

    # A revert is taken up again while another one is open.
    merged = to.propose("To be taken back", {"id": 4, "name": "Four"})
    to.carl.post(f"change_requests/{merged}/merge")
    first = to.olivia.post(f"change_requests/{merged}/revert")["cr_id"]
    to.olivia.post(f"change_requests/{first}/close", reason="Later.")
    olivia = sign_in("olivia", java_script_enabled=False)
    olivia.go(f"/change-requests/{first}/")
    second = to.olivia.post(f"change_requests/{merged}/revert")["cr_id"]
    olivia.page.get_by_role("button", name="Reopen").first.click()
    expect(olivia.page.get_by_role("paragraph").filter(has_text=f"{second} is a revert")).to_be_visible()


def test_what_passes_by_itself_is_told_until_it_has(
    sign_in: SignIn, table: Callable[..., Table], demo: str
) -> None:
    carl, to = sign_in("carl"), table()
    page, cr_id = carl.page, to.propose("Waits", {"id": 5, "name": "Five"})
    path = f"/change-requests/{cr_id}/"
    ready = page.get_by_role("heading", name="Ready to merge")
    carl.go(path)
    expect(ready).to_be_visible(timeout=PATIENT)

    # Nobody has checked it yet.
    checking = "The content is being checked against the table."
    run_in_shell(demo, FORGET_CHECK.format(cr_id=cr_id))
    carl.go(path)
    follow(page, checking, "See the check")
    page.get_by_role("button", name="Check", exact=True).click()
    cleared(carl, path, checking)
    expect(ready).to_be_visible(timeout=PATIENT)

    # A merge may have been committed, as far as anybody knows.
    run_in_shell(demo, LEAVE_UNSETTLED.format(cr_id=cr_id, version=99))
    carl.go(path)
    expect(gate(page, "The last merge may have been committed")).to_be_visible()
    run_in_shell(demo, LEAVE_UNSETTLED.format(cr_id=cr_id, version=None))
    carl.go(path)
    cleared(carl, path, "The last merge may have been committed")
    expect(ready).to_be_visible(timeout=PATIENT)

    # A merge waits for its turn.
    run_in_shell(demo, QUEUE_FOR_LATER.format(cr_id=cr_id))
    carl.go(path)
    expect(page.get_by_role("heading", name="The merge waits for its table")).to_be_visible()
    page.get_by_role("link", name="Watch the merge").first.click()
    page.get_by_role("button", name="Cancel the merge").click()
    expect(page.get_by_text(re.compile("was cancelled", re.IGNORECASE)).first).to_be_visible(timeout=PATIENT)
    carl.go(path)
    expect(ready).to_be_visible(timeout=PATIENT)


@pytest.mark.parametrize("submit", [True, False], ids=["pending", "draft"])
def test_a_page_that_was_opened_before_the_check_ended_shows_how_it_did(
    sign_in: SignIn, table: Callable[..., Table], demo: str, submit: bool
) -> None:
    """Nobody hears of the end of a check: the strip asks, and what ends in it concerns the whole page."""
    carl, to = sign_in("carl"), table()
    page, cr_id = carl.page, to.propose("Opened early", {"id": 6, "name": "Six"}, submit=submit)
    run_in_shell(demo, FORGET_CHECK.format(cr_id=cr_id))
    carl.go(f"/change-requests/{cr_id}/")
    checking = "The content is being checked against the table."
    expect(gate(page, checking)).to_be_visible()
    run_in_shell(demo, CHECK.format(cr_id=cr_id))
    expect(gate(page, checking)).to_have_count(0, timeout=PATIENT)
    if submit:
        expect(page.get_by_role("heading", name="Ready to merge")).to_be_visible()
        expect(page.locator("#live-said")).to_have_text(f"{cr_id}: Ready")
