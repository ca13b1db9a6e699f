"""Every page: who sees it, what it says, how many queries it costs."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from changerequests.models import ChangeRequest, Comment, MergeRun, Review
from changerequests.services.trail import record_event
from changerequests.states import Status
from datasets.models import Dataset, DatasetMeta
from datasets.roles import Role, role_on
from tests.factories import ChangeRequestFactory, GroupFactory, approve, fresh, give_role, merge, person_with
from tests.web.conftest import SignedIn
from web.view_models import home
from web.view_models.datasets import UploadColumn, computed_columns, upload_columns
from web.view_models.runs import checks_of

DATASET_PAGES = (
    "dataset",
    "dataset_schema",
    "dataset_history",
    "dataset_change_requests",
    "members",
    "dataset_settings",
    "row_history",
    "maintenance",
)
REQUEST_PAGES = ("change_request", "changes", "conflicts", "checks", "moved", "upload", "merge")
HTMX = {"HX-Request": "true"}


def text(response: Any) -> str:
    """The answer's words, with single spaces."""
    return " ".join(response.content.decode().split())


def address(dataset: Dataset) -> list[str]:
    return [dataset.project.slug, dataset.slug]


def test_nobody_sees_anything_without_signing_in(dataset: Dataset, client: Client) -> None:
    url = reverse("dataset", args=address(dataset))
    response = client.get(url)
    assert (response.status_code, response["Location"]) == (302, f"/sign-in/?next={url}")
    fragment = client.get(url, headers=HTMX)
    assert (fragment.status_code, fragment["HX-Redirect"]) == (401, "/sign-in/")


def test_a_wrong_password_is_said_plainly(owner: User, client: Client) -> None:
    response = client.post(reverse("login"), {"username": "olivia", "password": "wrong"})
    assert "The user name or the password is wrong." in text(response)


@pytest.mark.parametrize("page", DATASET_PAGES)
def test_members_see_a_dataset_and_others_do_not(
    page: str, dataset: Dataset, viewer: User, stranger: User, signed_in: SignedIn
) -> None:
    url = reverse(page, args=address(dataset))
    seen = signed_in(viewer).get(url)
    assert seen.status_code == 200
    assert "<h1" in text(seen)
    assert signed_in(stranger).get(url).status_code == 404


def test_fd1_a_constraint_and_a_property_may_be_named_like_a_method(
    dataset: Dataset, viewer: User, signed_in: SignedIn
) -> None:
    log = Path(dataset.table_uri) / "_delta_log" / f"{0:020d}.json"
    actions = [json.loads(line) for line in log.read_text().splitlines()]
    for action in actions:
        if "metaData" in action:
            action["metaData"]["configuration"] |= {
                "delta.constraints.items": "1 = 1",
                "items": "i",
                "keys": "k",
            }
    log.write_text("".join(json.dumps(action) + "\n" for action in actions))
    page = signed_in(viewer).get(reverse("dataset_schema", args=address(dataset)))
    assert page.status_code == 200
    for said in ("<strong>items</strong>", "items = i", "keys = k"):
        assert said in text(page)


@pytest.mark.parametrize("page", REQUEST_PAGES)
def test_members_see_a_request_and_others_do_not(
    page: str, change_request: ChangeRequest, viewer: User, stranger: User, signed_in: SignedIn
) -> None:
    url = reverse(page, args=[change_request.cr_id])
    seen = signed_in(viewer).get(url)
    assert seen.status_code == 200
    assert change_request.cr_id in text(seen)
    unseen = signed_in(stranger).get(url)
    assert unseen.status_code == 404
    assert change_request.title not in text(unseen)


def test_the_content_security_policy_allows_this_site_alone(
    dataset: Dataset, viewer: User, signed_in: SignedIn
) -> None:
    response = signed_in(viewer).get(reverse("home"))
    policy = response["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy


class TestHome:
    @staticmethod
    def groups(response: Any) -> dict[str, list[str]]:
        """Which requests stand in which group."""
        return {str(group.name): [row.cr_id for row in group.rows] for group in response.context["groups"]}

    def test_each_request_stands_once_in_the_group_that_it_is_to_the_reader(
        self, change_request: ChangeRequest, author: User, owner: User, viewer: User, signed_in: SignedIn
    ) -> None:
        Dataset.objects.update(required_approvals=1)
        page, own = reverse("home"), [change_request.cr_id]
        assert self.groups(signed_in(owner).get(page)) == {"for_you": own}
        assert "Needs 1 approval" in text(signed_in(owner).get(page))
        assert self.groups(signed_in(author).get(page)) == {"yours": own}
        assert self.groups(signed_in(viewer).get(page)) == {"others": own}
        approve(change_request, owner)
        words = text(signed_in(owner).get(page))
        assert self.groups(signed_in(owner).get(page)) == {"others": own}
        assert ("Ready" in words, "Needs 1 approval" in words) == (True, False)

    def test_search_and_filter_are_in_the_address(
        self, change_request: ChangeRequest, owner: User, signed_in: SignedIn
    ) -> None:
        client, own = signed_in(owner), {"for_you": [change_request.cr_id]}
        for found in (
            "q=two+planes",
            f"q={change_request.cr_id.lower()}",
            "stands=ready",
            "state=all",
            "q=carl",
        ):
            assert self.groups(client.get(f"/?{found}")) == own, found
        for nothing in (
            "q=nothing",
            "stands=conflicts",
            "state=merged",
            f"dataset={change_request.dataset_id + 1}",
        ):
            response = client.get(f"/?{nothing}")
            assert (self.groups(response), "No change request matches" in text(response)) == ({}, True)
        merge(change_request, owner)
        assert self.groups(client.get("/")) == {}
        assert "No change request is open" in text(client.get("/"))
        assert self.groups(client.get("/?q=planes")) == {
            "others": [change_request.cr_id]
        }  # a search looks at all

    def test_a_long_group_has_pages_of_its_own(
        self, change_request: ChangeRequest, owner: User, signed_in: SignedIn, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("web.view_models.home.PAGE_ROWS", 1)
        monkeypatch.setitem(home._GROUPS, home.RequestGroup.FOR_YOU, ("For you", "eye", 1))
        newer = ChangeRequestFactory(dataset=change_request.dataset)
        client = signed_in(owner)
        assert "Show all 2" in text(client.get("/"))
        assert self.groups(client.get("/?group=for_you")) == {"for_you": [newer.cr_id]}
        assert self.groups(client.get("/?group=for_you&page=2")) == {"for_you": [change_request.cr_id]}

    def test_its_queries_do_not_grow_with_the_requests(
        self,
        change_request: ChangeRequest,
        author: User,
        owner: User,
        signed_in: SignedIn,
        django_assert_num_queries: DjangoAssertNumQueries,
    ) -> None:
        client = signed_in(owner)
        client.get(reverse("home"))  # the content types of roles are looked up once in a process
        with django_assert_num_queries(20):  # two for the first run, one of them gone after the first merge
            client.get(reverse("home"))
        for _ in range(4):
            approve(ChangeRequestFactory(dataset=change_request.dataset, author=fresh(author)), owner)
        with django_assert_num_queries(20):
            client.get(reverse("home"))


class TestDataset:
    def test_rows_are_sorted_filtered_and_shown_at_a_version(
        self, dataset: Dataset, change_request: ChangeRequest, owner: User, viewer: User, signed_in: SignedIn
    ) -> None:
        merge(change_request, owner)
        client = signed_in(viewer)
        now = text(client.get(reverse("dataset", args=address(dataset))))
        assert "N5" in now
        before = text(client.get(reverse("dataset_at_version", args=[*address(dataset), 0])))
        assert "N5" not in before
        assert "You look at version 0. The table is at version 1 now." in before
        found = text(client.get(reverse("dataset", args=address(dataset)) + "?column=tailnum&value=N2"))
        assert ("AIRBUS" in found, "BOEING" in found) == (True, False)
        assert 'aria-sort="descending"' in text(
            client.get(reverse("dataset", args=address(dataset)) + "?sort=-seats")
        )

    def test_history_names_the_request_behind_a_version(
        self, dataset: Dataset, change_request: ChangeRequest, owner: User, viewer: User, signed_in: SignedIn
    ) -> None:
        merge(change_request, owner)
        words = text(signed_in(viewer).get(reverse("dataset_history", args=address(dataset))))
        assert change_request.title in words
        assert "Olivia Okafor" in words

    def test_owners_change_settings_and_others_may_not(
        self, dataset: Dataset, owner: User, viewer: User, signed_in: SignedIn
    ) -> None:
        url = reverse("dataset_settings", args=address(dataset))
        wanted = {
            "name": "planes",
            "required_approvals": "2",
            "delete_limit": "0.5",
            "conflict_policy": "cell",
            "staging_cleanup": "remove",
            "keep_files_days": "7",
            "engine": "auto",
        }
        for posted in (wanted, {"delete_limit": "7"}):
            assert signed_in(viewer).post(url, posted).status_code == 403
        dataset.refresh_from_db()
        assert dataset.required_approvals == 0
        assert signed_in(owner).post(url, wanted).status_code == 302
        dataset.refresh_from_db()
        assert (dataset.required_approvals, dataset.contributors_may_merge) == (2, False)
        refused = signed_in(owner).post(url, {**wanted, "delete_limit": "7"})
        assert refused.status_code == 422
        assert 'aria-invalid="true"' in text(refused)

    def test_owners_give_and_take_roles(
        self, dataset: Dataset, owner: User, viewer: User, stranger: User, signed_in: SignedIn
    ) -> None:
        url = reverse("members", args=address(dataset))
        given = {"kind": "user", "member": "sam", "role": "contributor"}
        assert signed_in(viewer).post(url, given).status_code == 403
        assert signed_in(owner).post(url, given).status_code == 302
        assert role_on(fresh(stranger), dataset) is Role.CONTRIBUTOR
        nobody = signed_in(owner).post(url, {"kind": "user", "member": "nobody", "role": "viewer"})
        assert (nobody.status_code, "Nobody is called “nobody”" in text(nobody)) == (422, True)
        taken = {"kind": "user", "id": stranger.pk}
        assert (
            signed_in(owner).post(reverse("remove_member", args=address(dataset)), taken).status_code == 302
        )
        assert role_on(fresh(stranger), dataset) is None

    def test_many_members_come_in_pages_and_are_found_by_name(
        self,
        dataset: Dataset,
        owner: User,
        signed_in: SignedIn,
        django_assert_num_queries: DjangoAssertNumQueries,
    ) -> None:
        for n in range(55):
            person_with(Role.VIEWER, dataset, username=f"reader-{n:02}", first_name=f"Rita{n}")
        group = GroupFactory.create(name="Analysts")
        give_role(group, dataset, Role.CONTRIBUTOR)
        for n in range(53):
            person_with(Role.VIEWER, dataset.project, username=f"fellow-{n:02}")
        url, browser = reverse("members", args=address(dataset)), signed_in(owner)
        browser.get(url)

        with django_assert_num_queries(15):  # one for edits of one's own that wait, one for what one is told
            first = browser.get(url)
        second = text(browser.get(url, {"page": "2"}))
        found = text(browser.get(url, {"q": "ANALYST"}))
        nobody = text(browser.get(url, {"q": "nobody"}))

        members, more = len(first.context["page"]), text(first).count("Remove ")
        assert (members, more) == (50, 50)
        assert "Page 1 of 2" in text(first)
        assert "reader-54" not in text(first)
        assert "reader-54" in second
        assert "And 3 more: search for them by name." in text(first)
        assert "Analysts" in found
        assert "reader-" not in found
        assert "Nobody of this name has a role of their own here." in nobody
        assert "Nobody of this name has a role on the project." in nobody

    def test_few_members_need_no_search(self, dataset: Dataset, owner: User, signed_in: SignedIn) -> None:
        words = text(signed_in(owner).get(reverse("members", args=address(dataset))))
        assert 'role="search"' not in words
        assert "Page 1" not in words

    def test_reconciling_says_what_moved(
        self, dataset: Dataset, author: User, viewer: User, signed_in: SignedIn
    ) -> None:
        url, page = reverse("reconcile", args=address(dataset)), reverse("dataset", args=address(dataset))
        assert signed_in(viewer).post(url).status_code == 403
        assert "Look for outside changes" not in text(signed_in(viewer).get(page))
        response = signed_in(author).post(url, follow=True)
        assert "Nothing moved: the table is at version 0, as known." in text(response)


class TestProposing:
    def test_viewers_do_not_propose(self, dataset: Dataset, viewer: User, signed_in: SignedIn) -> None:
        response = signed_in(viewer).get(reverse("new_change_request", args=address(dataset)))
        assert (response.status_code, "An owner of the dataset can let you." in text(response)) == (403, True)


class TestChanges:
    def test_cells_show_the_old_value_above_the_new_one(
        self, change_request: ChangeRequest, viewer: User, signed_in: SignedIn
    ) -> None:
        words = text(signed_in(viewer).get(reverse("changes", args=[change_request.cr_id])))
        assert '<del><span class="null">NULL</span></del><ins><span class="cell">2002</span></ins>' in words
        assert '<ins><span class="cell">200</span></ins>' in words

    def test_they_are_filtered_and_grouped(
        self, change_request: ChangeRequest, viewer: User, signed_in: SignedIn
    ) -> None:
        client, url = signed_in(viewer), reverse("changes", args=[change_request.cr_id])
        inserted = text(client.get(f"{url}?kind=insert"))
        assert ("N5" in inserted, "N3" in inserted) == (True, False)
        assert "column without a change" not in inserted
        updated = text(client.get(f"{url}?kind=update"))
        assert "2 columns without a change are hidden." in updated
        assert "No change matches" in text(client.get(f"{url}?kind=delete"))
        assert "Equal changes of one column" in text(client.get(f"{url}?view=groups"))

    def test_they_stay_readable_after_the_merge(
        self, change_request: ChangeRequest, owner: User, viewer: User, signed_in: SignedIn
    ) -> None:
        merge(change_request, owner)
        words = text(signed_in(viewer).get(reverse("changes", args=[change_request.cr_id])))
        assert '<ins><span class="cell">2002</span></ins>' in words


class TestConversation:
    def test_comments_answers_and_settled_discussions(
        self, change_request: ChangeRequest, owner: User, author: User, signed_in: SignedIn
    ) -> None:
        url = reverse("comment", args=[change_request.cr_id])
        signed_in(owner).post(url, {"body": "Where is this from?"})
        thread = Comment.objects.get()
        signed_in(author).post(url, {"body": "The registry.", "parent": thread.pk})
        signed_in(owner).post(reverse("settle", args=[change_request.cr_id, thread.pk]), {"resolved": "true"})
        words = text(signed_in(author).get(reverse("change_request", args=[change_request.cr_id])))
        for expected in ("Where is this from?", "The registry.", "Resolved by Olivia Okafor", "Open again"):
            assert expected in words

    def test_an_empty_comment_is_refused(
        self, change_request: ChangeRequest, owner: User, signed_in: SignedIn
    ) -> None:
        response = signed_in(owner).post(reverse("comment", args=[change_request.cr_id]), {"body": " "})
        assert (response.status_code, "Write a comment first." in text(response)) == (422, True)

    def test_a_review_is_bound_to_what_was_shown(
        self, change_request: ChangeRequest, owner: User, signed_in: SignedIn
    ) -> None:
        url = reverse("review", args=[change_request.cr_id])
        stale = signed_in(owner).post(url, {"verdict": "approve", "revision_digest": "another"})
        assert (stale.status_code, Review.objects.count()) == (409, 0)
        silent = signed_in(owner).post(url, {"verdict": "request_changes"})
        assert (silent.status_code, Review.objects.count()) == (422, 0)
        digest = change_request.revisions.get().digest
        given = signed_in(owner).post(url, {"verdict": "approve", "revision_digest": digest}, follow=True)
        assert "Approved by Olivia Okafor." in text(given)

    def test_authors_are_not_offered_to_approve(
        self, change_request: ChangeRequest, author: User, signed_in: SignedIn
    ) -> None:
        words = text(signed_in(author).get(reverse("change_request", args=[change_request.cr_id])))
        assert "You cannot approve: these are your own changes." in words
        assert 'value="approve"' not in words

    def test_a_rejection_needs_a_reason(
        self, change_request: ChangeRequest, owner: User, signed_in: SignedIn
    ) -> None:
        url = reverse("close", args=[change_request.cr_id])
        refused = signed_in(owner).post(url, {"reason": ""})
        assert (refused.status_code, "Say why you reject the change request" in text(refused)) == (422, True)
        closed = signed_in(owner).post(url, {"reason": "Out of date."}, follow=True)
        assert "Olivia Okafor</strong> rejected it" in text(closed)
        assert "Out of date." in text(closed)

    def test_a_request_goes_to_draft_and_back(
        self, change_request: ChangeRequest, author: User, signed_in: SignedIn
    ) -> None:
        client = signed_in(author)
        client.post(reverse("return_to_draft", args=[change_request.cr_id]))
        change_request.refresh_from_db()
        assert change_request.status == Status.DRAFT
        client.post(reverse("submit", args=[change_request.cr_id]))
        change_request.refresh_from_db()
        assert change_request.status == Status.PENDING
        twice = client.post(reverse("submit", args=[change_request.cr_id]))
        assert (twice.status_code, "Nothing was changed." in text(twice)) == (409, True)

    @pytest.mark.parametrize(
        ("page", "statements"),
        [
            ("change_request", 14),
            ("changes", 11),
            ("conflicts", 15),
            ("checks", 10),
            ("upload", 9),
            ("standing", 8),
            ("merge_box", 8),
        ],
    )
    def test_its_queries_do_not_grow_with_the_conversation(
        self,
        page: str,
        statements: int,
        change_request: ChangeRequest,
        owner: User,
        signed_in: SignedIn,
        django_assert_num_queries: DjangoAssertNumQueries,
    ) -> None:
        client, url = signed_in(owner), reverse(page, args=[change_request.cr_id])
        client.get(url)
        with django_assert_num_queries(statements):
            client.get(url)
        for number in range(5):
            client.post(reverse("comment", args=[change_request.cr_id]), {"body": f"Remark {number}"})
        with django_assert_num_queries(statements):
            client.get(url)


class TestLongConversation:
    """500 events and 250 comments: the first and the newest are shown, and what is between on demand."""

    @pytest.fixture
    def long(self, change_request: ChangeRequest, author: User) -> ChangeRequest:
        """After three entries 500 more: four lines and a remark by turns. Every second remark is answered thrice."""
        threads = Comment.objects.bulk_create(
            Comment(change_request=change_request, author=author, body=f"Remark {n}.") for n in range(100)
        )
        answers = Comment.objects.bulk_create(
            Comment(change_request=change_request, author=author, body="Yes.", parent=thread)
            for thread in threads[::2]
            for _ in range(3)
        )
        with transaction.atomic():
            for thread in threads:
                for _ in range(4):
                    record_event(change_request, "merge.brought_forward", author)
                record_event(change_request, "comment.added", author, {"comment": thread.pk})
            for answer in answers:
                record_event(change_request, "comment.added", author, {"comment": answer.pk})
        return change_request

    @staticmethod
    def lines(response: Any) -> int:
        return response.content.decode().count('class="timeline__mark')

    def remarks(self, response: Any) -> list[int]:
        return [int(n) for n in re.findall(r"Remark (\d+)\.", response.content.decode())]

    def test_fc11_the_first_and_the_newest_are_shown(
        self,
        long: ChangeRequest,
        author: User,
        signed_in: SignedIn,
        django_assert_num_queries: DjangoAssertNumQueries,
    ) -> None:
        client, url = signed_in(author), reverse("change_request", args=[long.cr_id])
        client.get(url)
        with django_assert_num_queries(14):
            page = client.get(url)
        entries = page.context["entries"]
        number = len(entries) - 1 + entries[5].hidden
        assert number == 503
        assert [type(entry).__name__ for entry in entries] == ["TimelineEntry"] * 5 + ["Gap"] + [
            "TimelineEntry"
        ] * 25
        assert (entries[5].start, entries[5].end) == (5, number - 25)
        assert self.remarks(page) == [95, 96, 97, 98, 99]
        assert f"{number - 30} entries are folded away" in text(page)
        assert "Show the last 40 of them" in text(page)
        assert len(page.content) < 80_000
        hidden = Comment.objects.get(body="Remark 50.")
        assert f'<span id="comment-{hidden.pk}" data-thread="{hidden.pk}"></span>' in text(page)

    def test_fc11_the_link_leads_on_without_javascript(
        self, long: ChangeRequest, author: User, signed_in: SignedIn
    ) -> None:
        client, url = signed_in(author), reverse("change_request", args=[long.cr_id])
        end = client.get(url).context["entries"][5].end
        seen: list[int] = []
        while end > 5:
            page = client.get(url, {"until": end})
            gaps = [entry for entry in page.context["entries"] if hasattr(entry, "hidden")]
            seen = [*self.remarks(page)[:-5], *seen]
            assert len(page.content) < 130_000
            before = [gap for gap in gaps if gap.end < end]
            end = before[0].end if before else 5
        assert seen == list(range(95))
        for other in ("0", "3", "999999", "-1", "x"):
            assert client.get(url, {"until": other}).status_code == 200

    def test_fc11_with_htmx_a_part_takes_the_place_of_its_gap(
        self, long: ChangeRequest, author: User, signed_in: SignedIn
    ) -> None:
        client, url = signed_in(author), reverse("change_request", args=[long.cr_id])
        gap = client.get(url).context["entries"][5]
        part = client.get(url, {"start": gap.start, "until": gap.end}, headers=HTMX)
        assert "<html" not in text(part)
        assert "40 more entries are shown." in text(part)
        left = part.context["entries"][0]
        assert (left.start, left.end, len(part.context["entries"])) == (5, gap.end - 40, 41)
        assert self.remarks(part) == list(range(87, 95))
        assert f"?start=5&amp;until={gap.end - 40}" in text(part)
        last = client.get(url, {"start": 5, "until": 20}, headers=HTMX)
        assert [type(entry).__name__ for entry in last.context["entries"]] == ["TimelineEntry"] * 15

    def test_fc11_a_link_to_a_discussion_shows_it(
        self, long: ChangeRequest, author: User, signed_in: SignedIn
    ) -> None:
        client, url = signed_in(author), reverse("change_request", args=[long.cr_id])
        thread = Comment.objects.get(body="Remark 50.")
        page = client.get(url, {"comment": thread.pk})
        assert [type(entry).__name__ for entry in page.context["entries"]] == (
            ["TimelineEntry"] * 5 + ["Gap"] + ["TimelineEntry"] * 40 + ["Gap"] + ["TimelineEntry"] * 25
        )
        assert f'<li id="comment-{thread.pk}" data-live="comment-{thread.pk}">' in text(page)
        assert page.content.decode().count(f'id="comment-{thread.pk}"') == 1
        answered = client.post(
            reverse("comment", args=[long.cr_id]), {"body": "So it is.", "parent": thread.pk}
        )
        assert answered["Location"] == f"{url}?comment={thread.pk}#comment-{thread.pk}"
        settled = client.post(reverse("settle", args=[long.cr_id, thread.pk]), {"resolved": "true"})
        assert settled["Location"] == answered["Location"]
        assert "So it is." in text(client.get(answered["Location"]))
        newest = Comment.objects.get(body="Remark 99.")
        for shown_or_unknown in (newest.pk, 10**9):
            assert len(client.get(url, {"comment": shown_or_unknown}).context["entries"]) == 31

    def test_fc11_what_is_short_is_shown_whole(
        self, change_request: ChangeRequest, author: User, signed_in: SignedIn
    ) -> None:
        client, url = signed_in(author), reverse("change_request", args=[change_request.cr_id])
        there = len(client.get(url).context["entries"])
        with transaction.atomic():
            for _ in range(70 - there):
                record_event(change_request, "merge.brought_forward", author)
        assert [hasattr(entry, "hidden") for entry in client.get(url).context["entries"]] == [False] * 70
        with transaction.atomic():
            record_event(change_request, "merge.brought_forward", author)
        folded = client.get(url).context["entries"]
        assert [entry.hidden for entry in folded if hasattr(entry, "hidden")] == [41]


def test_fp6_checks_name_the_rows_that_break_a_rule() -> None:
    keys = [{"id": number, "part": None} for number in range(7)]
    rule = {"name": "check:positive", "ok": False, "message": "9 merged rows break it.", "failures": 9}
    whole = {"name": "unique_key", "ok": True, "message": "Every key is one row's."}
    expectation = {"name": "expectation:1", "ok": False, "message": "stands in a report of its own"}
    found = checks_of(MergeRun(error_data={"checks": [whole, rule | {"examples": keys}, expectation]}))
    assert [(check.name, check.ok, check.message, check.rows) for check in found] == [
        ("unique_key", True, "Every key is one row's.", ""),
        (
            "check:positive",
            False,
            "9 merged rows break it.",
            "Rows id = 0, part = NULL; id = 1, part = NULL; id = 2, part = NULL; id = 3, part = NULL; "
            "id = 4, part = NULL; and 4 more",
        ),
    ]


def test_fp6_columns_that_the_table_computes_are_told() -> None:
    fields: list[dict[str, Any]] = [
        {"name": "id", "type": "long", "metadata": {}},
        {"name": "year", "type": "integer", "metadata": {"delta.generationExpression": "year(day)"}},
        {"name": "plain", "type": "long"},
        {"name": "kind", "type": "string", "metadata": {"CURRENT_DEFAULT": "'new'"}},
    ]
    assert computed_columns(fields) == {"year": "year(day)"}
    nested = {"name": "s", "type": {"type": "struct", "fields": []}, "metadata": {}}
    dataset = DatasetMeta(dataset=Dataset(), schema_json={"fields": [*fields, nested]}).dataset
    assert upload_columns(dataset) == [
        UploadColumn("id", "long", "", ""),
        UploadColumn("year", "integer", "year(day)", ""),
        UploadColumn("plain", "long", "", ""),
        UploadColumn("kind", "string", "", "DEFAULT 'new'"),
        UploadColumn("s", "struct", "", ""),
    ]
