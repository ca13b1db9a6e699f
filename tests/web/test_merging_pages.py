"""The merge dialog, what comes back when something moved, and the progress of a run."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from changerequests import services
from changerequests.models import ChangeRequest, MergeRun
from changerequests.services import plans
from changerequests.states import RunPhase, RunStatus, Status
from datasets.models import Dataset
from tests.factories import ChangeRequestFactory, drain, merge, rows_of, stage_csv
from tests.web.conftest import SignedIn
from tests.web.test_conflicts_beside import line
from web.view_models.timeline import KNOWN_ACTIONS

HTMX = {"HX-Request": "true"}


def text(response: Any) -> str:
    return " ".join(response.content.decode().split())


def hidden_fields(response: Any) -> dict[str, str]:
    """What the dialog sends back unseen."""
    inputs = re.findall(
        r'<input type="hidden"\s+name="([a-z_]+)"\s+value="([^"]*)">', response.content.decode()
    )
    return {name: value for name, value in inputs if name not in ("csrfmiddlewaretoken", "next")}


def confirm(client: Client, change_request: ChangeRequest, **fields: str) -> Any:
    """Open the dialog and confirm it."""
    url = reverse("merge", args=[change_request.cr_id])
    return client.post(url, {**hidden_fields(client.get(url)), **fields}, headers=HTMX)


def test_the_dialog_says_where_what_and_which_gates(
    change_request: ChangeRequest, owner: User, signed_in: SignedIn
) -> None:
    url = reverse("merge", args=[change_request.cr_id])
    page, fragment = signed_in(owner).get(url), signed_in(owner).get(url, headers=HTMX)
    for words in (text(page), text(fragment)):
        assert f"Merge {change_request.cr_id} into planes" in words
        assert "It has not moved since the changes were uploaded." in words
        assert "<strong>4</strong> → <strong>5</strong>" in words
        assert "Merge 2 row changes</button>" in words
        assert "No conflict with the table as it is now." in words
    assert ("<html" in text(page), "<html" in text(fragment)) == (True, False)
    assert set(hidden_fields(page)) - {"typed_by"} == {
        *("revision_digest", "plan_digest", "table_version", "idempotency_key"),
    }


def test_confirming_queues_one_run_and_shows_its_progress(
    change_request: ChangeRequest, owner: User, signed_in: SignedIn
) -> None:
    client = signed_in(owner)
    url = reverse("merge", args=[change_request.cr_id])
    fields = {**hidden_fields(client.get(url)), "message": "As agreed."}
    first, second = client.post(url, fields, headers=HTMX), client.post(url, fields, headers=HTMX)
    run = MergeRun.objects.get()
    assert (run.status, run.message, run.requested_by) == (RunStatus.QUEUED, "As agreed.", owner)
    for response in (first, second):
        assert f"Merging {change_request.cr_id} into planes" in text(response)
        assert 'hx-trigger="every 1s"' in text(response)
    drain()
    ended = client.get(reverse("merge_run", args=[run.pk]), headers=HTMX)
    assert "Merged as v1: 2 rows changed in planes." in text(ended)
    assert "hx-trigger" not in text(ended)
    assert "data-toast=" in text(ended)


def test_without_javascript_the_page_of_the_run_refreshes_itself(
    change_request: ChangeRequest, owner: User, signed_in: SignedIn
) -> None:
    client = signed_in(owner)
    url = reverse("merge", args=[change_request.cr_id])
    response = client.post(url, hidden_fields(client.get(url)))
    run = MergeRun.objects.get()
    assert (response.status_code, response["Location"]) == (302, reverse("merge_run", args=[run.pk]))
    refresh = '<noscript> <meta http-equiv="refresh" content="2"> </noscript>'
    assert refresh in text(client.get(response["Location"]))
    assert client.get(url)["Location"] == reverse("merge_run", args=[run.pk])
    drain()
    assert refresh not in text(client.get(response["Location"]))


def test_when_the_table_moved_the_dialog_comes_back_and_says_so(
    dataset: Dataset, change_request: ChangeRequest, author: User, owner: User, signed_in: SignedIn
) -> None:
    client = signed_in(owner)
    url = reverse("merge", args=[change_request.cr_id])
    seen = hidden_fields(client.get(url))
    merge(ChangeRequestFactory(dataset=dataset, author=author, csv="tailnum,seats\nN1,150\n"), owner)
    response = client.post(url, seen, headers=HTMX)
    assert response.status_code == 409
    assert "Nothing was merged." in text(response)
    assert hidden_fields(response)["table_version"] == "1"
    assert change_request.runs.count() == 0
    assert client.post(url, hidden_fields(response), headers=HTMX).status_code == 200


def test_new_content_is_noticed(
    change_request: ChangeRequest, author: User, owner: User, signed_in: SignedIn
) -> None:
    client = signed_in(owner)
    url = reverse("merge", args=[change_request.cr_id])
    seen = hidden_fields(client.get(url))
    stage_csv(change_request, "tailnum,seats\nN4,378\n", actor=author)
    response = client.post(url, seen, headers=HTMX)
    assert (response.status_code, "New content was uploaded" in text(response)) == (409, True)
    assert MergeRun.objects.count() == 0


def test_a_gate_that_does_not_hold_keeps_the_button_closed(
    dataset: Dataset, change_request: ChangeRequest, owner: User, signed_in: SignedIn
) -> None:
    Dataset.objects.update(required_approvals=1)
    client = signed_in(owner)
    url = reverse("merge", args=[change_request.cr_id])
    words = text(client.get(url))
    assert "1 more approval of this content needed" in words
    assert ("Merge when ready" in words, "Merge 2 row changes" in words) == (True, False)
    refused = confirm(client, change_request)
    assert (refused.status_code, MergeRun.objects.count()) == (409, 0)


def test_owners_override_with_a_reason_and_nobody_else(
    dataset: Dataset, change_request: ChangeRequest, author: User, owner: User, signed_in: SignedIn
) -> None:
    Dataset.objects.update(required_approvals=1)
    assert "Override the gates" not in text(
        signed_in(author).get(reverse("merge", args=[change_request.cr_id]))
    )
    forged = confirm(signed_in(author), change_request, override="true", override_reason="Because.")
    assert (forged.status_code, MergeRun.objects.count()) == (403, 0)
    silent = confirm(signed_in(owner), change_request, override="true", override_reason=" ")
    assert (silent.status_code, "Give a reason" in text(silent), MergeRun.objects.count()) == (422, True, 0)
    assert (
        confirm(signed_in(owner), change_request, override="true", override_reason="Incident 7.").status_code
        == 200
    )
    drain()
    words = text(signed_in(author).get(reverse("change_request", args=[change_request.cr_id])))
    assert "over 1 gate that did not hold" in words
    assert "Incident 7." in words


def test_deleting_too_much_asks_for_the_name(
    dataset: Dataset, author: User, owner: User, signed_in: SignedIn
) -> None:
    deleting = ChangeRequestFactory(dataset=dataset, author=author, csv="tailnum,_op\nN1,delete\nN2,delete\n")
    client = signed_in(owner)
    assert "Type <strong>planes</strong> to go on" in text(
        client.get(reverse("merge", args=[deleting.cr_id]))
    )
    wrong = confirm(client, deleting, dataset_name="plane")
    assert (wrong.status_code, MergeRun.objects.count()) == (409, 0)
    assert confirm(client, deleting, dataset_name="planes").status_code == 200
    drain()
    assert [row["tailnum"] for row in rows_of(dataset)] == ["N3", "N4"]


def test_viewers_see_the_dialog_without_a_button(
    change_request: ChangeRequest, viewer: User, signed_in: SignedIn
) -> None:
    words = text(signed_in(viewer).get(reverse("merge", args=[change_request.cr_id])))
    assert "Your role on planes does not include merging." in words
    assert confirm(signed_in(viewer), change_request).status_code == 403
    assert MergeRun.objects.count() == 0


def test_a_run_is_cancelled_while_it_waits(
    change_request: ChangeRequest, owner: User, signed_in: SignedIn
) -> None:
    client = signed_in(owner)
    confirm(client, change_request)
    run = MergeRun.objects.get()
    response = client.post(reverse("cancel_run", args=[run.pk]), headers=HTMX)
    assert "was cancelled" in text(response)
    run.refresh_from_db()
    change_request.refresh_from_db()
    assert (run.status, change_request.status) == (RunStatus.CANCELLED, Status.PENDING)


@pytest.mark.parametrize("phase", [RunPhase.COMMITTING, RunPhase.RECORDING])
def test_no_cancel_once_the_commit_began(
    phase: RunPhase, change_request: ChangeRequest, owner: User, signed_in: SignedIn
) -> None:
    client = signed_in(owner)
    confirm(client, change_request)
    MergeRun.objects.update(status=RunStatus.RUNNING, phase=phase)
    run = MergeRun.objects.get()
    words = text(client.get(reverse("merge_run", args=[run.pk])))
    assert "Cancel the merge" not in words
    assert 'aria-current="step"' in words
    assert client.post(reverse("cancel_run", args=[run.pk])).status_code == 409


def test_the_merge_box_watches_a_run_and_shows_its_end(
    change_request: ChangeRequest, owner: User, signed_in: SignedIn
) -> None:
    client = signed_in(owner)
    confirm(client, change_request)
    page = text(client.get(reverse("change_request", args=[change_request.cr_id])))
    assert "The merge is under way" in page
    assert '<meta http-equiv="refresh" content="3">' in page
    watching = client.get(reverse("merge_box", args=[change_request.cr_id]), headers=HTMX)
    assert 'data-live-every="1"' in text(watching)
    drain()
    ended = text(client.get(reverse("merge_box", args=[change_request.cr_id])))
    assert ("Merged as version 1" in ended, "data-live-every" in ended) == (True, False)


def test_a_run_that_conflicts_says_what_to_do(
    dataset: Dataset, author: User, owner: User, signed_in: SignedIn
) -> None:
    theirs = ChangeRequestFactory(dataset=dataset, author=author, csv="tailnum,seats\nN1,150\n")
    ours = ChangeRequestFactory(dataset=dataset, author=author, csv="tailnum,seats\nN1,151\n")
    client = signed_in(owner)
    confirm(client, ours)
    confirm(client, theirs)
    drain()
    conflicted = MergeRun.objects.get(status=RunStatus.CONFLICTED)
    words = text(client.get(reverse("merge_run", args=[conflicted.pk])))
    assert "was not merged" in words
    assert "Choose a value for each conflict, then merge again." in words
    conflicts = reverse("conflicts", args=[conflicted.change_request.cr_id])
    assert conflicts in words
    page = client.get(conflicts).content.decode()
    assert "0 of 1 resolved" in page
    name, fields = line(page, "N1", "seats")
    resolve = reverse("resolve", args=[conflicted.change_request.cr_id])
    own = {**fields, f"choice-{name}": "custom", f"value-{name}": "152"}
    wrong = client.post(resolve, {**own, f"value-{name}": "many"})
    assert (wrong.status_code, "Not saved." in text(wrong)) == (422, True)
    stale = client.post(resolve, {**own, f"inputs-{name}": "other"})
    assert (stale.status_code, "Not saved." in text(stale)) == (409, True)
    assert client.post(resolve, own).status_code == 302
    assert "1 of 1 resolved" in text(client.get(conflicts))
    assert confirm(client, conflicted.change_request).status_code == 200
    drain()
    assert {row["tailnum"]: row["seats"] for row in rows_of(dataset)}["N1"] == 152


def test_every_event_of_the_services_has_its_sentence() -> None:
    """A new event must not reach the timeline as a machine's word."""
    told = set()
    for path in Path(services.__file__).parent.rglob("*.py"):
        told |= set(
            re.findall(
                r'"((?:change_request|revision|review|comment|thread|conflicts|merge|staging)\.[a-z_]+)"',
                path.read_text(),
            )
        )
    told.discard("conflicts.json")  # a file of the audit
    assert len(told) > 15
    assert sorted(told - KNOWN_ACTIONS) == []


def test_it_merges_by_itself_once_the_waiting_is_over(
    dataset: Dataset, change_request: ChangeRequest, author: User, owner: User, signed_in: SignedIn
) -> None:
    Dataset.objects.update(required_approvals=1)
    client = signed_in(author)
    assert "Merge when ready" in text(client.get(reverse("merge", args=[change_request.cr_id])))
    url = reverse("merge_when_ready", args=[change_request.cr_id])
    asked = client.post(url, {"message": "As agreed."}, headers=HTMX)
    assert asked["HX-Redirect"] == reverse("change_request", args=[change_request.cr_id])
    words = text(client.get(asked["HX-Redirect"]))
    assert "Carl Castillo asked to merge it as soon as it is ready." in words
    client.post(url, {"stop": "true"})
    assert "took back the wish" in text(client.get(asked["HX-Redirect"]))
    change_request.refresh_from_db()
    assert change_request.merge_when_ready_by is None


def test_a_merge_is_reverted_by_a_new_request(
    dataset: Dataset, change_request: ChangeRequest, author: User, owner: User, signed_in: SignedIn
) -> None:
    before = rows_of(dataset)
    merge(change_request, owner)
    url = reverse("revert", args=[change_request.cr_id])
    assert signed_in(author).post(url).status_code == 403
    opened = signed_in(owner).post(url, follow=True)
    revert = ChangeRequest.objects.get(reverts=change_request)
    assert f"{revert.cr_id} proposes what was there before {change_request.cr_id}." in text(opened)
    signed_in(owner).post(reverse("submit", args=[revert.cr_id]))
    revert.refresh_from_db()
    merge(revert, owner, dataset_name_typed="planes")
    assert rows_of(dataset) == before
    words = text(signed_in(owner).get(reverse("change_request", args=[change_request.cr_id])))
    assert "reverted this by merging another request" in words


def test_what_moved_is_said_beside_the_base_and_in_the_dialog(
    dataset: Dataset,
    change_request: ChangeRequest,
    author: User,
    owner: User,
    viewer: User,
    signed_in: SignedIn,
) -> None:
    client, page = signed_in(owner), reverse("moved", args=[change_request.cr_id])
    places = [reverse(name, args=[change_request.cr_id]) for name in ("checks", "merge")]
    loaded = f'hx-get="{page}" hx-trigger="load"'
    for place in places:
        assert loaded not in text(client.get(place)), "nothing can have moved"
    assert text(client.get(page, headers=HTMX)) == "The table has not moved since the base."

    merge(ChangeRequestFactory(dataset=dataset, author=author, csv="tailnum,seats\nN3,56\n"), owner)
    plans.check(change_request_id=change_request.pk)

    for place in places:
        assert loaded in text(client.get(place))
        assert f'<a href="{page}">See what moved under your rows</a>' in text(client.get(place))
    fragment, whole = text(client.get(page, headers=HTMX)), text(client.get(page))
    sentence = "1 of your rows moved, none in a cell you change."
    assert fragment == f'{sentence} <a href="{page}">See what moved</a>'
    assert sentence in whole
    assert "The base is version 0, the table is at version 1." in whole
    assert '<th scope="row">seats</th> <td class="num">1 cell</td>' in whole
    assert "Update to version " in whole
    assert "Update to version " not in text(signed_in(viewer).get(page))


def test_what_cannot_be_said_is_a_notice_in_the_part_and_a_page_by_itself(
    dataset: Dataset, author: User, owner: User, signed_in: SignedIn
) -> None:
    mine = ChangeRequestFactory(dataset=dataset, author=author, csv="tailnum,engines\nN1,2\n")
    merge(ChangeRequestFactory(dataset=dataset, author=author, csv="tailnum,engines\nN1,two\n"), owner)
    page = reverse("moved", args=[mine.cr_id])
    part, whole = signed_in(author).get(page, headers=HTMX), signed_in(author).get(page)
    assert (part.status_code, whole.status_code) == (409, 409)
    assert ("<html" in text(part), "<html" in text(whole)) == (False, True)
    assert 'role="alert"' in text(part)
    assert part.context["message"] == whole.context["message"]
    assert part.context["message"] in text(part)


def test_what_moved_is_not_said_of_a_finished_request(
    change_request: ChangeRequest, owner: User, signed_in: SignedIn
) -> None:
    merge(change_request, owner)
    answer = signed_in(owner).get(reverse("moved", args=[change_request.cr_id]))
    assert (answer.status_code, "nothing moves under it any more" in text(answer)) == (404, True)
    assert "hx-trigger" not in text(signed_in(owner).get(reverse("checks", args=[change_request.cr_id])))


def test_the_base_is_refreshed(
    dataset: Dataset, change_request: ChangeRequest, author: User, owner: User, signed_in: SignedIn
) -> None:
    merge(ChangeRequestFactory(dataset=dataset, author=author, csv="tailnum,seats\nN1,150\n"), owner)
    client, url = signed_in(author), reverse("rebase", args=[change_request.cr_id])
    client.post(reverse("check_again", args=[change_request.cr_id]))
    assert "Update to version " in text(client.get(reverse("checks", args=[change_request.cr_id])))
    rebased = text(client.post(url, follow=True))
    assert "The base is version 1 now. No row moved, so approvals stay." in rebased
    assert "The base is version 1 already." in text(client.post(url, follow=True))
