"""Going back to a version: looked at in the history, proposed, merged, and the table is as it was."""

import re

from playwright.sync_api import expect

from tests.e2e.conftest import SignIn
from tests.e2e.programs import Caller

PATIENT = 30_000


def test_a_version_is_restored_by_a_request(sign_in: SignIn, demo: str) -> None:
    caller = Caller(demo, "olivia")
    columns = [{"name": "id", "type": "long"}, {"name": "name", "type": "string"}]
    made = caller.post(
        "datasets",
        project="new-york-2013",
        slug="going-back",
        name="Going back",
        primary_keys=["id"],
        schema={"columns": columns, "partition_by": []},
    )
    dataset = str(made["id"])
    caller.merge(dataset, [{"id": n, "name": f"First {n}"} for n in range(1, 6)])
    caller.merge(dataset, [{"id": 1, "name": "Other"}, {"id": 2, "_op": "delete"}, {"id": 9, "name": "New"}])
    olivia = sign_in("olivia")
    page = olivia.page
    olivia.go("/datasets/new-york-2013/going-back/history/")
    page.get_by_role("link", name="Compare version 1 with the newest").click()
    expect(page.get_by_text("What version 2 has otherwise than version 1")).to_be_visible()
    page.get_by_role("button", name="Go back to version 1 by a change request").click()
    page.get_by_role("heading", name=re.compile("Go back to version 1")).wait_for()
    cr_id = re.findall(r"CR-\d+", page.url)[0]
    caller.post(f"change_requests/{cr_id}/submit")
    caller.post(f"change_requests/{cr_id}/merge", force_merge=True, reason="As agreed")
    olivia.go("/datasets/new-york-2013/going-back/compare/?from=1")
    expect(page.get_by_text("Nothing differs")).to_be_visible(timeout=PATIENT)
