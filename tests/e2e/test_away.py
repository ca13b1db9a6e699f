"""Pages while the store of a table is away: what a run that waits says, and what stands where the table would."""

import json
import uuid

from playwright.sync_api import expect

from tests.e2e.conftest import SignIn, run_in_shell
from tests.e2e.programs import Caller, connection_to_nothing
from tests.e2e.test_accessibility import too_wide, unfold, violations


def moved_away(address: str) -> dict[str, str]:
    """A dataset whose table lies from now on where nobody listens, with a merge that waits; where its pages are."""
    olivia = Caller(address, "olivia")
    connection_to_nothing(address)
    made = olivia.post(
        "datasets", project="new-york-2013", slug=f"away-{uuid.uuid4().hex[:8]}", name="Gates of the airport",
        primary_keys=["id"], required_approvals=0,
        schema={"columns": [{"name": "id", "type": "long"}, {"name": "name", "type": "string"}]},
    )  # fmt: skip
    names = []
    for key, name in ((1, "Gate A"), (1, "Gate B"), (2, "Gate C")):
        rows = [{"id": key, "name": name}]
        told = olivia.post(f"datasets/{made['id']}/proposals", title=f"Name {name}", submit=True, rows=rows)
        names.append(told["change_request"]["cr_id"])
    merged, conflicting, waiting = names
    olivia.post(f"change_requests/{merged}/merge")
    for one in (conflicting, waiting):
        olivia.post(f"change_requests/{one}/plan")
    run_in_shell(
        address,
        "from datasets.models import Connection, Dataset; "
        f"Dataset.objects.filter(pk={made['id']}).update(connection=Connection.objects.get(name='looked-at'), "
        f"table_uri='s3://looked-at/tables/{made['slug']}')",
    )  # fmt: skip
    run = olivia.send("POST", f"change_requests/{waiting}/merge", {}, prefer="respond-async")
    place = f"/datasets/new-york-2013/{made['slug']}/"
    return {
        "run": f"/merge-runs/{run['id']}/",
        "rows": place,
        "row history": f"{place}rows/history/?key-id=1",
        "history": f"{place}history/",
        "schema": f"{place}schema/",
        "conversation": f"/change-requests/{waiting}/",
        "conflicts": f"/change-requests/{conflicting}/conflicts/",
        "changes": f"/change-requests/{waiting}/changes/",
    }


def test_no_page_of_a_table_that_is_away_violates_a_rule(sign_in: SignIn) -> None:
    olivia = sign_in("olivia")
    page, found = olivia.page, {}
    for name, path in moved_away(olivia.address).items():
        page.set_viewport_size({"width": 1280, "height": 900})
        page.emulate_media(color_scheme="light")
        olivia.go(path)
        if name == "run":
            expect(page.get_by_text("The store of the table does not answer.")).to_be_visible(timeout=60_000)
        else:
            expect(page.get_by_text("cannot be reached: noticed")).to_be_visible()
        unfold(page)
        complaints = violations(page) + too_wide(page)
        page.emulate_media(color_scheme="dark")
        complaints += violations(page, "dark")
        if complaints:
            found[name] = complaints
    assert found == {}, json.dumps(found, indent=2)
