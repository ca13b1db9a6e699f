"""Where a request stands: its chip, the strip on top of its pages, the timeline, and what an open page follows."""

import gzip
import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import override_settings
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from changerequests.facts import facts_of
from changerequests.models import ChangeRequest, MergeRun
from changerequests.services import proposals, reviews, runs
from changerequests.services.trail import record_event
from config.env import BASE_DIR
from datasets.models import Dataset
from datasets.roles import Role
from tests.factories import ChangeRequestFactory, approve, fresh, merge, person_with
from tests.web.conftest import SignedIn
from tests.web.test_pages import text
from web.view_models.requests import readiness_chip
from web.view_models.strip import strip
from web.view_models.timeline import Fold, Gap, TimelineEntry, folded

pytestmark = pytest.mark.django_db


def says(
    change_request: ChangeRequest, reader: User, page: str = "conversation"
) -> tuple[str, list[str], str]:
    """The chip, what is in the way, and the next step of a request as somebody sees it."""
    found = ChangeRequest.objects.select_related("dataset__project", "dataset__meta", "author").get(
        pk=change_request.pk
    )
    shown = strip(facts_of(found, fresh(reader)), page)
    return (
        shown.chip.word,
        [obstacle.words for obstacle in shown.obstacles],
        shown.step.words if shown.step else "",
    )


def test_the_strip_says_state_obstacles_and_the_next_step_of_each_reader(
    change_request: ChangeRequest, author: User, owner: User, viewer: User
) -> None:
    Dataset.objects.update(required_approvals=1)
    needs = "Needs review", ["Needs 1 approval"]
    assert says(change_request, owner) == (*needs, "Review")
    assert says(change_request, author) == (*needs, "")
    assert says(change_request, viewer) == (*needs, "")
    digest = change_request.revisions.get().digest
    reviews.review(
        change_request_id=change_request.pk,
        actor=owner,
        verdict="request_changes",
        body="Why?",
        revision_digest=digest,
    )
    asked = "Changes requested", ["Olivia Okafor asked for changes", "Needs 1 approval"]
    assert says(change_request, author) == (*asked, "Replace the content")
    assert says(change_request, owner) == (*asked, "")
    approve(change_request, owner)
    assert says(change_request, owner) == ("Ready", [], "Merge…")
    assert says(change_request, viewer) == ("Ready", [], "")
    merge(change_request, owner)
    assert says(change_request, viewer) == ("Merged as v1", [], "See the table")


def test_a_draft_and_a_closed_request_say_who_goes_on(
    change_request: ChangeRequest, author: User, viewer: User
) -> None:
    proposals.return_to_draft(change_request_id=change_request.pk, actor=author)
    assert says(change_request, author) == ("Draft", [], "Ask for review")
    assert says(change_request, viewer) == ("Draft", [], "")
    proposals.close(change_request_id=change_request.pk, actor=author, reason="")
    assert says(change_request, author) == ("Closed", [], "Reopen")
    empty = ChangeRequestFactory(dataset=change_request.dataset, author=author, csv=None, status="draft")
    assert says(empty, author) == ("Draft", [], "Upload changes")
    assert says(empty, author, "upload") == ("Draft", [], "")


def test_a_queued_request_says_its_place(
    dataset: Dataset, change_request: ChangeRequest, owner: User, deaf_worker: None
) -> None:
    second = ChangeRequestFactory(dataset=dataset)
    for one in (change_request, second):
        approve(one, owner)
        runs.request_merge(change_request_id=one.pk, actor=owner)
    assert [readiness_chip(facts_of(one)).word for one in (change_request, second)] == [
        "Queued",
        "Queued 2nd",
    ]
    assert says(second, owner) == ("Queued 2nd", [], "Watch the merge")


def test_every_page_of_a_request_has_the_strip_and_follows_its_dataset(
    change_request: ChangeRequest, owner: User, signed_in: SignedIn
) -> None:
    client = signed_in(owner)
    for page in ("change_request", "changes", "conflicts", "checks", "upload"):
        words = text(client.get(reverse(page, args=[change_request.cr_id])))
        assert words.count('data-live="strip"') == 1, page
        assert f'data-news="/news/?dataset={change_request.dataset_id}"' in words, page
    assert 'data-news="/news/"' in text(client.get(reverse("inbox")))


def test_quiet_lines_are_folded_and_what_people_said_is_not(
    change_request: ChangeRequest, author: User, owner: User, signed_in: SignedIn
) -> None:
    for _ in range(3):
        record_event(change_request, "merge.brought_forward", author)
    reviews.comment(change_request_id=change_request.pk, actor=owner, body="**Why** CR-1?")
    entries = signed_in(owner).get(reverse("change_request", args=[change_request.cr_id])).context["entries"]
    shown = folded(entries)
    assert [type(one) for one in shown] == [Fold, TimelineEntry, TimelineEntry]
    fold = shown[0]
    assert isinstance(fold, Fold)
    assert [*fold.entries, shown[1], shown[2]] == entries
    assert folded([Gap(1, 2, []), *entries[:2]]) == [Gap(1, 2, []), *entries[:2]]


def test_texts_are_markdown_and_name_only_what_the_reader_may_see(
    change_request: ChangeRequest,
    owner: User,
    author: User,
    viewer: User,
    stranger: User,
    signed_in: SignedIn,
) -> None:
    hidden = ChangeRequestFactory()
    body = f"**Why**? See {change_request.cr_id} and {hidden.cr_id}, @vera and @sam. <i>x</i>"
    said = reviews.comment(change_request_id=change_request.pk, actor=owner, body=body)
    reviews.comment(change_request_id=change_request.pk, actor=author, body="*So*", parent_id=said.pk)
    page = text(signed_in(viewer).get(reverse("change_request", args=[change_request.cr_id])))
    assert "<strong>Why</strong>" in page
    assert "<em>So</em>" in page
    assert "&lt;i&gt;x&lt;/i&gt;" in page
    assert f'<a href="/change-requests/{change_request.cr_id}/" title="Correct two planes"' in page
    assert f"/change-requests/{hidden.cr_id}/" not in page
    assert hidden.title not in page
    assert ("/?q=vera" in page, "/?q=sam" in page) == (True, False)


def test_the_history_of_title_and_text_is_shown(
    change_request: ChangeRequest, author: User, viewer: User, signed_in: SignedIn
) -> None:
    change = {"title": "Correct <three> planes", "description": "New"}
    proposals.edit(change_request_id=change_request.pk, actor=author, **change)
    page = text(signed_in(viewer).get(reverse("change_request", args=[change_request.cr_id])))
    assert "changed its title and description" in page
    assert "<del>Correct two planes</del> <ins>Correct &lt;three&gt; planes</ins>" in page


def test_a_merge_links_to_its_audit_files(
    change_request: ChangeRequest, owner: User, viewer: User, signed_in: SignedIn
) -> None:
    merge(change_request, owner)
    client = signed_in(viewer)
    page = text(client.get(reverse("change_request", args=[change_request.cr_id])))
    file = f"/api/v1/change_requests/{change_request.cr_id}/audit/merge_result.json"
    assert f'<a class="nowrap" href="{file}">merge_result.json</a>' in page
    answer = client.get(file)
    assert (answer.status_code, b"merged_version" in answer.getvalue()) == (200, True)


def test_the_dialog_says_who_is_told(
    change_request: ChangeRequest, author: User, owner: User, viewer: User, signed_in: SignedIn
) -> None:
    client, page = signed_in(owner), reverse("merge", args=[change_request.cr_id])
    assert "Told of the merge: Carl Castillo." in text(client.get(page))
    signed_in(viewer).post(reverse("subscribe", args=[change_request.cr_id]), {"level": "watch"})
    assert "Told of the merge: Carl Castillo and vera." in text(client.get(page))
    assert not MergeRun.objects.exists()


def test_the_bell_is_asked_for_alone_and_is_no_page(
    change_request: ChangeRequest,
    viewer: User,
    signed_in: SignedIn,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    client = signed_in(viewer)
    client.get(reverse("bell"))
    with django_assert_num_queries(3):
        bell = client.get(reverse("bell"))
    assert 'data-live="bell"' in text(bell)
    assert "<html" not in text(bell)
    for name in ("bell", "news"):
        assert client.get(reverse(name), headers={"Sec-Fetch-Dest": "document"}).status_code == 302


def test_what_a_page_asks_by_itself_does_not_keep_a_session_alive(viewer: User, signed_in: SignedIn) -> None:
    client = signed_in(viewer)
    client.get(reverse("home"))
    session = client.session
    session["_seen"] -= 600
    session.save()
    client.get(reverse("home"), headers={"X-Headgate-By-Itself": "true"})
    assert client.session["_seen"] == session["_seen"]
    client.get(reverse("home"))
    assert client.session["_seen"] > session["_seen"]


def test_the_gallery_is_for_staff_and_developers(viewer: User, signed_in: SignedIn) -> None:
    client: Any = signed_in(viewer)
    assert client.get(reverse("gallery")).status_code == 404
    with override_settings(DEBUG=True):
        assert "Chips of readiness" in text(client.get(reverse("gallery")))
    viewer.is_staff = True
    viewer.save()
    assert client.get(reverse("gallery")).status_code == 200


def test_one_composer_says_comments_and_verdicts(
    change_request: ChangeRequest, owner: User, author: User, signed_in: SignedIn
) -> None:
    page, address = (
        reverse("change_request", args=[change_request.cr_id]),
        reverse("comment", args=[change_request.cr_id]),
    )
    words = text(signed_in(owner).get(page))
    assert words.count('id="composer"') == 1
    assert [name in words for name in ("Request changes", "Approve")] == [True, True]
    own = text(signed_in(author).get(page))
    assert "You cannot approve: these are your own changes." in own
    assert 'value="approve"' not in own
    nothing = signed_in(owner).post(address, {"body": " "})
    assert (nothing.status_code, "Write a comment first." in text(nothing)) == (422, True)
    bare = signed_in(owner).post(
        reverse("review", args=[change_request.cr_id]), {"verdict": "request_changes"}
    )
    assert (bare.status_code, 'aria-invalid="true"' in text(bare)) == (422, True)
    assert not change_request.reviews.exists()
    reader = person_with(Role.VIEWER, change_request.dataset)
    assert 'id="composer"' not in text(signed_in(reader).get(page))


@pytest.mark.parametrize(
    "page", ["home", "change_request", "changes", "checks", "dataset", "inbox", "account"]
)
def test_a_first_visit_weighs_little(
    page: str, dataset: Dataset, change_request: ChangeRequest, owner: User, signed_in: SignedIn
) -> None:
    where = {"dataset": [dataset.project.slug, dataset.slug], "home": [], "inbox": [], "account": []}
    html = signed_in(owner).get(reverse(page, args=where.get(page, [change_request.cr_id]))).content
    files = set(re.findall(r'(?:href|src)="/static/([^"]+)"', html.decode()))
    assert {"headgate/tokens.css", "vendor/htmx/htmx.min.js"} <= files
    sent = sum(packed_size(BASE_DIR / "static" / file) for file in files) + len(gzip.compress(html))
    assert sent <= 150_000


def packed_size(path: Path) -> int:
    """The bytes of a file as it is sent: fonts are packed already."""
    content = path.read_bytes()
    return len(content) if path.suffix == ".woff2" else len(gzip.compress(content))
