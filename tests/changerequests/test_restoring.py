"""The drill: back up, merge, restore, go on (FD3). On SQLite by a copy of the file, on PostgreSQL of the database."""

import contextlib
import re
import shutil
import sqlite3
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection, connections
from django.urls import reverse

import merging
from accounts.tokens import make_token
from audit.models import Event
from audit.services import anchor_chains, dataset_stream, verify
from changerequests.models import ChangeRequest, Comment, MergeRun
from changerequests.selectors import expectation_check_of_merge
from changerequests.services import agreement, plans, proposals, restoring, reviews, runs, storage
from changerequests.states import RunStatus, Status
from datasets.models import Dataset
from datasets.roles import Role
from notifications.documents import document_of
from notifications.last_read import LastRead
from notifications.models import Notification
from notifications.news import news_of
from notifications.services.dispatching import dispatch
from notifications.streams.callers import TokenCaller
from notifications.streams.hub import Listener, look_for
from notifications.streams.news import (
    DatasetNews,
    InboxNews,
    RequestNews,
    StreamNews,
    entries_of,
    frames,
    heads_of,
)
from tests import kept
from tests.factories import (
    ChangeRequestFactory,
    DatasetFactory,
    drain,
    expect_of,
    expectation,
    merge,
    person_with,
    rows_of,
    stage_csv,
)
from tests.kept import audit_root

pytestmark = pytest.mark.django_db(transaction=True)


class Backup:
    """A copy of the whole database, taken and put back as an operator would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def take(self) -> None:
        connections.close_all()
        if connection.vendor == "sqlite":
            with contextlib.closing(sqlite3.connect(self._path)) as live:
                live.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            shutil.copy(self._path, self.folder / "backup.sqlite3")
        else:
            self._statements(
                'DROP DATABASE IF EXISTS "{name}-backup"', 'CREATE DATABASE "{name}-backup" TEMPLATE "{name}"'
            )

    def restore(self) -> None:
        connections.close_all()
        if connection.vendor == "sqlite":
            for suffix in ("-wal", "-shm"):
                Path(f"{self._path}{suffix}").unlink(missing_ok=True)
            shutil.copy(self.folder / "backup.sqlite3", self._path)
        else:
            self._statements('DROP DATABASE "{name}"', 'CREATE DATABASE "{name}" TEMPLATE "{name}-backup"')

    def forget(self) -> None:
        if connection.vendor != "sqlite":
            self._statements('DROP DATABASE IF EXISTS "{name}-backup"')

    @property
    def _path(self) -> str:
        return str(connection.settings_dict["NAME"])

    def _statements(self, *statements: str) -> None:
        database = connection.settings_dict
        with psycopg.connect(
            host=database["HOST"],
            port=database["PORT"],
            user=database["USER"],
            password=database["PASSWORD"],
            dbname="postgres",
            autocommit=True,
        ) as server:
            for statement in statements:
                server.execute(statement.format(name=database["NAME"]))


@pytest.fixture
def backup(tmp_path: Path) -> Iterator[Backup]:
    made = Backup(tmp_path)
    yield made
    made.forget()


@pytest.fixture(params=[True, False], ids=["merge-on-read", "copy-on-write"])
def dataset(request: pytest.FixtureRequest) -> Dataset:
    return DatasetFactory.create(table_options={"deletion_vectors": request.param})


def seats(dataset: Dataset) -> dict[str, int]:
    return {row["tailnum"]: row["seats"] for row in rows_of(dataset)}


def said(command: str, *arguments: str) -> str:
    """What a command prints, its complaints included."""
    out = StringIO()
    try:
        call_command(command, *arguments, stdout=out, stderr=out)
    except CommandError as error:
        out.write(str(error))
    return out.getvalue()


def again(change_request: ChangeRequest) -> ChangeRequest:
    return ChangeRequest.objects.select_related("dataset__meta", "dataset__project", "author").get(
        pk=change_request.pk
    )


def state() -> tuple[Any, ...]:
    """All that a dry run must leave alone."""
    return (
        list(ChangeRequest.objects.order_by("pk").values()),
        MergeRun.objects.count(),
        Event.objects.count(),
        restoring._last_number(),
        [merging.inspect_table(one.table_uri).version for one in Dataset.objects.order_by("pk")],
    )


def test_fd3_the_drill(
    dataset: Dataset, owner: User, backup: Backup, client: Any, delta_data_root: Path
) -> None:
    """Back up, merge, restore, a new request with the number of a merged one, merge, mend."""
    first = ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN1,1\n")
    anchor_chains()
    backup.take()
    lost = ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN2,2\n")
    assert [merge(one, owner).merged_version for one in (first, lost)] == [1, 2]
    assert not kept.staging_folder(first).exists()
    anchor_chains()
    assert said("verify_audit").startswith("The audit trail is whole")

    backup.restore()
    first = again(first)
    assert (first.status, ChangeRequest.objects.count()) == (Status.PENDING, 1)

    # The request that is pending again answers, and says what to do.
    client.force_login(owner)
    page = client.get(reverse("changes", args=[first.cr_id]))
    assert page.status_code == 200
    assert "after_restore" in page.content.decode()
    answer = client.get(f"/api/v1/change_requests/{first.cr_id}/diff")
    assert (answer.status_code, answer.json()["code"]) == (409, "content_missing")

    # A new request gets the number of one that was merged, and is merged.
    new = ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN3,3\n")
    assert (new.cr_id, new.identity == lost.identity) == (lost.cr_id, False)
    run = merge(new, owner)
    assert (run.status, run.merged_version, run.rows_affected) == (RunStatus.SUCCEEDED, 3, 1)
    assert seats(dataset) == {"N1": 1, "N2": 2, "N3": 3, "N4": 377}
    assert plans.changes_page(change_request=again(new)).items[0].key == {"tailnum": "N3"}
    assert storage.audit_folder_name(again(new)) == f"change_requests/{new.cr_id}-{new.identity[:8]}"
    assert (audit_root() / "change_requests" / lost.cr_id / "merge_result.json").is_file()

    found = said("verify_audit")
    for named in (
        f"version 1: it merged {first.cr_id}, which is pending",
        f"version 2: it merged {lost.cr_id}, which the database does not know",
        f"change_requests/{first.cr_id}: no event names these audit files",
        f"change_requests/{lost.cr_id}: no event names these audit files",
        "anchored",
    ):
        assert named in found

    before = state()
    dry = said("after_restore", "--dry-run")
    assert f"would be done (adopted) {first.cr_id}: It was pending here and is merged as version 1." in dry
    assert (
        f"TO LOOK AT (unknown) {lost.cr_id}: It was merged into {dataset} as version 2, asked for by olivia"
        in dry
    )
    assert state() == before

    done = said("after_restore")
    assert f"done (adopted) {first.cr_id}: It was pending here and is merged as version 1." in done
    first = again(first)
    assert (first.status, first.merged_version, first.merged_by) == (Status.MERGED, 1, owner)
    assert first.merge_record is not None
    assert first.merge_record["result"]["diff"]["rows_updated"] == 1
    assert [run.status for run in first.runs.all()] == [RunStatus.SUCCEEDED]
    [row] = plans.changes_page(change_request=first).items
    assert (row.key, row.changed) == ({"tailnum": "N1"}, ("seats",))
    assert seats(dataset) == {"N1": 1, "N2": 2, "N3": 3, "N4": 377}
    assert merging.inspect_table(dataset.table_uri).version == 3

    assert dry.endswith("Nothing was written. Run it again without --dry-run to do this.\n")
    assert done.endswith("Run manage.py verify_audit now, then start web, workers and schedule.\n")
    assert found.rstrip().endswith(
        "If the database was restored from a backup, run manage.py after_restore --dry-run first."
    )

    whole = said("verify_audit")
    assert whole.startswith("The audit trail is whole")
    assert "It says itself that 1 merged request was lost in restores of the database;" in whole
    settled = state()
    assert said("after_restore") == "0 mended, 0 to look at.\n"
    assert state() == settled
    assert runs.request_merge(change_request_id=first.pk, actor=owner).merged_version == 1


def test_fd3_what_receivers_remember_an_event_by_is_given_once(
    dataset: Dataset, owner: User, backup: Backup
) -> None:
    def ids() -> set[str]:
        return {document_of(news_of(event))["id"] for event in Event.objects.all()}

    backup.take()
    before = ids()
    ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN1,1\n")
    lost, numbers = ids() - before, set(Event.objects.values_list("pk", flat=True))
    backup.restore()
    ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN1,1\n")
    assert set(Event.objects.values_list("pk", flat=True)) == numbers
    assert len(ids() - before) == len(lost)
    assert (ids() - before).isdisjoint(lost)


def test_fd3_a_listener_who_returns_hears_what_happened_since(
    dataset: Dataset, owner: User, backup: Backup
) -> None:
    """However much happened before and after the restore, under the same numbers."""

    def happens(*bodies: str) -> None:
        for body in bodies:
            reviews.comment(change_request_id=request.pk, actor=writer, body=body)
        dispatch()

    def heard(news: RequestNews | InboxNews, last: LastRead | None) -> tuple[list[Any], LastRead | None]:
        """The texts that a listener is told after what it read last, and what that is then."""
        seen: dict[StreamNews, int] = {news: news.heard_until(last) if last else 0}
        told, _ = entries_of(seen, heads_of(seen)).get(news, ([], 0))
        numbers = [
            entry.document.get("sequence") or Notification.objects.get(pk=entry.number).event.sequence
            for entry in told
        ]
        texts = [text for text in (text_at(number) for number in numbers) if text]
        return texts, LastRead.named(re.findall(r"id: (\S+)", frames(told).decode())[-1]) if told else last

    def text_at(sequence: int) -> str | None:
        event = Event.objects.get(stream=dataset_stream(dataset.pk), sequence=sequence)
        return Comment.objects.filter(pk=event.data.get("comment")).values_list("body", flat=True).first()

    writer = person_with(Role.CONTRIBUTOR, dataset)
    request = ChangeRequestFactory.create(dataset=dataset, author=owner, csv="tailnum,seats\nN1,1\n")
    happens("before")
    backup.take()
    everything: tuple[RequestNews | InboxNews, ...] = (
        RequestNews(dataset.pk, request.cr_id),
        InboxNews(owner.pk),
    )
    for before, after in (
        (("lost",), ("new", "newer")),
        (("lost", "lost, too"), ("new",)),
        (("lost",), ("new",)),
    ):
        happens(*before)
        last = {}
        for news in everything:
            texts, last[news] = heard(news, None)
            assert texts == ["before", *before]
        backup.restore()
        assert [heard(news, last[news])[0] for news in everything] == [[], []]
        happens(*after)
        for news in everything:
            texts, last[news] = heard(news, last[news])
            assert texts == list(after)
            assert heard(news, last[news])[0] == []
        backup.restore()


def test_fd3_a_listener_who_stays_hears_what_happens_after(
    dataset: Dataset, owner: User, backup: Backup
) -> None:
    def happens(body: str) -> None:
        reviews.comment(change_request_id=request.pk, actor=writer, body=body)
        dispatch()

    def hears() -> list[str]:
        heard = look_for({listener: (listener.told, now)}, now=now).get(listener)
        if heard is None:
            return []
        listener.told = heard.told
        return re.findall(r"event: (\S+)", heard.content.decode())

    writer = person_with(Role.CONTRIBUTOR, dataset)
    request = ChangeRequestFactory.create(dataset=dataset, author=owner, csv="tailnum,seats\nN1,1\n")
    happens("before")
    backup.take()
    news = (DatasetNews(dataset.pk), InboxNews(owner.pk), RequestNews(dataset.pk, request.cr_id))
    caller, now = TokenCaller(owner.pk, make_token(owner=owner)[0].pk), 0.0
    listener = Listener(caller, {one: one.newest() for one in news})
    for body in ("lost", "lost, too"):
        happens(body)
    assert set(hears()) == {"dataset", "notification", "change_request"}
    backup.restore()
    caller = TokenCaller(owner.pk, make_token(owner=owner)[0].pk)
    listener = Listener(caller, listener.told)
    assert hears() == []
    happens("new")
    assert set(hears()) == {"dataset", "notification", "change_request"}
    assert hears() == []


def test_fd3_numbers_are_moved_past_those_that_were_given(
    dataset: Dataset, owner: User, backup: Backup
) -> None:
    backup.take()
    given = [ChangeRequestFactory.create(dataset=dataset, csv=f"tailnum,seats\nN1,{n}\n") for n in (1, 2, 3)]
    merge(given[0], owner)
    shutil.rmtree(kept.staging_folder(given[2]))  # a number that nothing tells of any more but its upload
    backup.restore()
    assert f"the next request is CR-{given[1].pk + 1}." in said("after_restore", "--dry-run")
    assert f"done (numbers) CR-{given[1].pk + 1}" in said("after_restore")
    assert ChangeRequestFactory.create(dataset=dataset).pk == given[1].pk + 1
    assert "numbers" not in said("after_restore")


def test_fd3_a_request_that_holds_other_content_is_reported_and_never_merged(
    dataset: Dataset, owner: User, backup: Backup
) -> None:
    first = ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN1,1\n")
    backup.take()
    stage_csv(first, "tailnum,seats\nN1,7\n")
    assert merge(first, owner).merged_version == 1
    stolen = kept.staging_folder(first)
    backup.restore()
    stage_csv(again(first), "tailnum,seats\nN2,2\n")  # the content of the backup is gone with its files
    plans.check(change_request_id=first.pk)
    other = ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN4,4\n")
    run = runs.request_merge(change_request_id=first.pk, actor=owner)
    behind = runs.request_merge(change_request_id=other.pk, actor=owner)
    assert [ended.pk for ended in drain()] == [run.pk, behind.pk]  # the queue goes on, and each ran once
    run.refresh_from_db()
    behind.refresh_from_db()
    assert (run.status, run.error_code, run.attempts) == (RunStatus.FAILED, "merged_otherwise", 1)
    assert "merged with other content as version 1" in run.error_message
    assert "after_restore" in run.error_message
    assert behind.status == RunStatus.SUCCEEDED
    assert seats(dataset) == {"N1": 7, "N2": 182, "N3": 55, "N4": 4}
    found = said("after_restore")
    assert f"TO LOOK AT (differs) {first.cr_id}: It was merged as version 1 with other content" in found
    assert again(first).status == Status.PENDING
    assert f"it merged {first.cr_id}, which is pending" in said("verify_audit")
    proposals.close(change_request_id=first.pk, actor=owner, reason="It was merged before the restore.")
    assert said("verify_audit").startswith("The audit trail is whole")
    assert stolen is not None


def test_fd3_a_merge_asked_for_again_after_the_restore_is_recorded_and_not_repeated(
    dataset: Dataset, owner: User, backup: Backup
) -> None:
    """Without after_restore: the marker is the request's own and of the same content."""
    first = ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN1,1\n")
    other = person_with(Role.OWNER, dataset, username="otto")
    backup.take()
    merge(first, owner)
    merge(ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN1,9\n"), owner)
    backup.restore()
    run = MergeRun.objects.create(
        change_request=first,
        dataset=dataset,
        revision=first.revisions.get(),
        revision_digest=first.revisions.get().digest,
        requested_by=other,
    )
    [ended] = drain()
    assert (ended.pk, ended.status, ended.merged_version) == (run.pk, RunStatus.SUCCEEDED, 1)
    assert seats(dataset)["N1"] == 9
    assert list(verify()) == []
    told = {
        one.place: one.reason for one in agreement.disagreements() if first.cr_id in one.reason + one.place
    }
    assert told == {f"run {run.pk} of {first.cr_id}": "no entry vouches for it"}  # it was put there above


@pytest.mark.parametrize("status", [Status.DRAFT, Status.CLOSED, Status.MERGING])
def test_fd3_a_merge_is_adopted_whatever_the_request_was(
    dataset: Dataset, owner: User, backup: Backup, status: Status
) -> None:
    first = ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN1,1\n")
    if status == Status.DRAFT:
        proposals.return_to_draft(change_request_id=first.pk, actor=first.author)
    elif status == Status.CLOSED:
        proposals.close(change_request_id=first.pk, actor=first.author)
    else:
        run = runs.request_merge(change_request_id=first.pk, actor=owner)
        MergeRun.objects.filter(pk=run.pk).update(status=RunStatus.RUNNING)
        ChangeRequest.objects.filter(pk=first.pk).update(status=Status.MERGING)
    backup.take()
    ChangeRequest.objects.filter(pk=first.pk).update(status=Status.PENDING)
    MergeRun.objects.filter(change_request=first).update(status=RunStatus.CANCELLED)
    merge(first, owner)
    backup.restore()
    assert f"done (adopted) {first.cr_id}: It was {status} here" in said("after_restore")
    assert again(first).status == Status.MERGED
    assert [one.status for one in first.runs.all()] == [RunStatus.SUCCEEDED]
    assert said("verify_audit").startswith("The audit trail is whole")


def test_fd3_a_request_is_adopted_without_its_audit_files(
    dataset: Dataset, owner: User, backup: Backup, client: Any
) -> None:
    first = ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN1,1\n")
    backup.take()
    merge(first, owner)
    backup.restore()
    shutil.rmtree(audit_root() / "change_requests")  # the data root was restored too
    done = said("after_restore")
    assert "Its audit files are gone; they are written anew, without the single cells." in done
    assert again(first).status == Status.MERGED
    client.force_login(owner)
    page = client.get(reverse("changes", args=[first.cr_id]))
    assert page.status_code == 200
    assert "cannot be shown" in page.content.decode()
    assert said("verify_audit").startswith("The audit trail is whole")


def test_fd3_what_was_superseded_after_the_backup_is_brought_forward(
    dataset: Dataset, owner: User, backup: Backup
) -> None:
    first = ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN1,1\n")
    backup.take()
    backup.restore()
    merging.supersede(plans.bare_request_for(first, first.revisions.get()))
    assert merge(first, owner).error_code == "table_changed"
    assert f"done (brought_forward) {first.cr_id}" in said("after_restore")
    assert again(first).merge_generation == 3
    assert merge(first, owner).status == RunStatus.SUCCEEDED
    assert seats(dataset)["N1"] == 1
    assert said("after_restore") == "0 mended, 0 to look at.\n"


def test_fp11_a_merge_that_only_the_audit_files_know_is_not_repeated(
    dataset: Dataset, owner: User, backup: Backup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table forgot the marker, and the database was restored: asked for again, and by after_restore."""
    requests = [
        ChangeRequestFactory.create(dataset=dataset, csv=f"tailnum,seats\n{plane},1\n")
        for plane in ("N1", "N2")
    ]
    backup.take()
    for one in requests:
        merge(one, owner)
    backup.restore()
    _forget_markers(dataset)
    merge(ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN1,9\n"), owner)
    version = merging.inspect_table(dataset.table_uri).version
    first, second = requests
    run = MergeRun.objects.create(
        change_request=first,
        dataset=dataset,
        revision=first.revisions.get(),
        revision_digest=first.revisions.get().digest,
        requested_by=owner,
    )
    [ended] = drain()
    assert (ended.pk, ended.status, ended.merged_version, ended.rows_affected) == (run.pk, "succeeded", 1, 1)
    done = said("after_restore")
    assert f"done (adopted) {second.cr_id}" in done
    assert "Its audit files tell of it; the log does not any more." in done
    assert (again(second).status, again(second).merged_version) == (Status.MERGED, 2)
    assert merging.inspect_table(dataset.table_uri).version == version
    assert seats(dataset)["N1"] == 9
    assert list(verify()) == []


def test_fp11_what_the_suite_said_of_a_merge_is_taken_from_its_audit_files(
    dataset: Dataset, owner: User, backup: Backup, caplog: pytest.LogCaptureFixture
) -> None:
    expect_of(dataset, expectation("column_values_to_be_between", column="seats", max_value=400))
    request = ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN1,1\n")
    run = runs.request_merge(change_request_id=request.pk, actor=owner)
    backup.take()
    drain()
    said_then = expectation_check_of_merge(request)
    assert said_then is not None
    backup.restore()
    _forget_markers(dataset)
    assert expectation_check_of_merge(request) is None
    [ended] = drain()
    assert (ended.pk, ended.status, ended.merged_version) == (run.pk, "succeeded", 1)
    said_again = expectation_check_of_merge(request)
    assert said_again is not None
    assert (said_again.report, said_again.run_id) == (said_then.report, run.pk)
    assert "merge_known_from_audit_files" in [
        r.msg["event"] for r in caplog.records if isinstance(r.msg, dict)
    ]
    assert list(verify()) == []


def _forget_markers(dataset: Dataset) -> None:
    """What writers leave of a log once markers have expired and old entries were cleaned up."""
    import deltalake
    import pyarrow.parquet as pq

    table = deltalake.DeltaTable(dataset.table_uri)
    table.alter.set_table_properties(
        {"delta.setTransactionRetentionDuration": "interval 1 days"}, raise_if_not_exists=False
    )
    table.create_checkpoint()
    log = Path(dataset.table_uri) / "_delta_log"
    [path] = log.glob("*.checkpoint.parquet")
    content = pq.read_table(path)
    pq.write_table(content.filter(content["txn"].is_null()), path)
    for commit in log.glob("*.json"):
        commit.unlink()


def test_fp11_a_merged_request_needs_no_marker(dataset: Dataset, owner: User) -> None:
    first = ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN1,1\n")
    run = merge(first, owner)
    _forget_markers(dataset)
    assert runs.request_merge(change_request_id=first.pk, actor=owner).pk == run.pk
    assert drain() == []
    assert said("verify_audit").startswith("The audit trail is whole")


def test_fd3_a_dataset_that_somebody_works_on_is_named(dataset: Dataset, backup: Backup) -> None:
    from datasets import leases

    held = leases.acquire(dataset.pk, "worker one")
    assert held is not None
    assert "TO LOOK AT (busy)" in said("after_restore")
    leases.release(held)
    assert said("after_restore") == "0 mended, 0 to look at.\n"


def test_fd3_verify_audit_names_every_difference(dataset: Dataset, owner: User) -> None:
    """Logs, requests, events and folders, both ways, and the digests in them."""
    requests = [
        ChangeRequestFactory.create(dataset=dataset, csv=f"tailnum,seats\n{plane},1\n")
        for plane in ("N1", "N2")
    ]
    for one in requests:
        merge(one, owner)
    first, second = (again(one) for one in requests)
    assert list(agreement.disagreements()) == []
    assert first.merge_record is not None

    def found() -> set[str]:
        return {f"{one.place}: {one.reason}" for one in agreement.disagreements()}

    record = first.merge_record
    ChangeRequest.objects.filter(pk=first.pk).update(merge_record={**record, "revision_digest": "other"})
    assert any("version 1: it merged other content" in one for one in found())
    assert any("it tells of other content" in one for one in found())
    ChangeRequest.objects.filter(pk=first.pk).update(merge_record=record, merged_version=2)
    assert any("which is recorded as version 2" in one for one in found())
    ChangeRequest.objects.filter(pk=first.pk).update(merged_version=1, identity="renamed")
    assert any("which the database does not know" in one for one in found())
    assert (
        f"{first.cr_id}: it is recorded as merged as version 1, and that version has no marker of it"
        in found()
    )
    ChangeRequest.objects.filter(pk=first.pk).update(identity=first.identity)
    assert found() == set()
    folder = kept.audit_folder(second)
    moved = folder.with_name("CR-777")
    shutil.copytree(folder, moved)
    assert found() == {"change_requests/CR-777: no event names these audit files"}
    shutil.rmtree(moved)
    told = (folder / "merge_result.json").read_text()
    digest = second.revisions.get().digest
    (folder / "merge_result.json").chmod(0o644)
    (folder / "merge_result.json").write_text(told.replace(digest, "other"))
    assert any("its revision_digest is not that of the event" in one for one in found())
    (folder / "merge_result.json").write_text(told)
    extra = ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN4,1\n")
    ChangeRequest.objects.filter(pk=extra.pk).update(
        status=Status.MERGED, merged_version=2, merged_at="2026-01-01T00:00Z", merge_record={}
    )
    assert f"{extra.cr_id}: it is recorded as merged, and no event tells of it" in found()
