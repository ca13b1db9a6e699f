"""A store that does not answer is a state: the merge waits and is tried again, the dataset says since when."""

import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

import merging
from audit.selectors import events_of
from changerequests.models import ChangeRequest, MergeRun
from changerequests.services import execution, operations, runs
from changerequests.services.execution import running
from changerequests.states import RunPhase, RunStatus, Status
from config.problems import problem_of
from datasets import leases, outages, services, table_work
from datasets.models import Connection, Dataset, DatasetLease, DatasetMeta, StorePlace
from datasets.roles import Role
from datasets.services import connections, reconcile
from datasets.services.creation import NewTable, create_dataset
from merging.store.client import ObjectClient
from tests.factories import ChangeRequestFactory, DatasetFactory, ProjectFactory, person_with
from tests.merging.stores import s3_server

pytestmark = pytest.mark.django_db

WHY = "It did not answer in time."


@pytest.fixture
def pending() -> ChangeRequest:
    made: ChangeRequest = ChangeRequestFactory.create()
    return made


@pytest.fixture
def run(pending: ChangeRequest) -> MergeRun:
    return runs.request_merge(change_request_id=pending.pk, actor=pending.author)


def unreachable(pending: ChangeRequest, *, retriable: bool = True) -> merging.TableUnreachable:
    return merging.TableUnreachable(pending.dataset.table_uri, WHY, retriable=retriable)


def down(monkeypatch: pytest.MonkeyPatch, error: merging.TableUnreachable) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(running, "merge", fails)


def work(pending: ChangeRequest) -> MergeRun | None:
    return execution.merge_next(dataset_id=pending.dataset_id, worker="here")


def due(run: MergeRun) -> None:
    MergeRun.objects.filter(pk=run.pk).update(not_before=timezone.now() - timedelta(seconds=1))


def test_a_merge_waits_for_its_store_and_then_merges(
    pending: ChangeRequest, run: MergeRun, client: Client
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        down(patch, unreachable(pending))
        work(pending)
        run.refresh_from_db()
        pending.refresh_from_db()
        assert (run.status, run.phase, run.waits, run.attempts) == (RunStatus.QUEUED, RunPhase.QUEUED, 1, 0)
        assert (run.error_code, run.error_message) == ("table_unreachable", WHY)
        assert run.not_before is not None
        assert pending.status == Status.PENDING
        assert work(pending) is None, "it is not due"
        assert operations.stuck_work() == []
        assert operations.stuck_runs(timezone.now())["not_taken"] == 0
        due(run)
        work(pending)
    run.refresh_from_db()
    assert (run.waits, run.attempts) == (2, 0)
    meta = DatasetMeta.objects.get(dataset=pending.dataset)
    assert meta.unreachable_since is not None
    assert (meta.unreachable_reason, meta.problem) == (WHY, "")

    client.force_login(pending.author)
    conversation = client.get(reverse("change_request", args=[pending.cr_id])).content.decode()
    assert f"The table of {pending.dataset.name} cannot be reached: noticed" in conversation
    assert WHY in conversation
    assert "The merge waits for its table" in conversation
    assert "did not go through" not in conversation
    assert f"next at {run.not_before:%H:%M} UTC, try 3." in conversation
    page = client.get(reverse("merge_run", args=[run.pk])).content.decode()
    assert f"next at {run.not_before:%H:%M} UTC, try 3. Nothing is lost." in page

    # A page that reads the table hears that it is back, and lets go on what waits.
    rows = client.get(reverse("dataset", args=[pending.dataset.project.slug, pending.dataset.slug]))
    assert "cannot be reached" not in rows.content.decode()
    run.refresh_from_db()
    assert (run.not_before, run.error_code) == (None, "")
    meta.refresh_from_db()
    assert meta.unreachable_since is None
    work(pending)
    run.refresh_from_db()
    assert (run.status, run.merged_version, run.error_code) == (RunStatus.SUCCEEDED, 1, "")
    meta.refresh_from_db()
    assert (meta.unreachable_since, meta.unreachable_reason) == (None, "")


def test_a_run_that_is_put_off_again_and_again_is_one_line_that_counts(
    pending: ChangeRequest, run: MergeRun, client: Client
) -> None:
    client.force_login(pending.author)
    address = reverse("change_request", args=[pending.cr_id])
    with pytest.MonkeyPatch.context() as patch:
        down(patch, unreachable(pending))
        work(pending)
        once = client.get(address).content.decode()
        assert "put the merge off: the store of the table does not answer" in once
        for _ in range(3):
            due(run)
            work(pending)
    often = client.get(address).content.decode()
    assert often.count("put the merge off") == 1
    assert "put the merge off 4 times: the store of the table does not answer" in often
    events = events_of("change_request", pending.cr_id)
    tries = [event for event in events if event.action in ("merge.started", "merge.put_off")]
    assert [event.action for event in tries] == ["merge.started", "merge.put_off"] * 4
    [first, *between, last] = tries
    # An open page takes the lines away that the last stands for.
    for event in between:
        assert f'data-live-was="event-{event.pk}"' in often
        assert f'data-live="event-{event.pk}"' not in often
    for event in (first, last):
        assert f'data-live="event-{event.pk}"' in often
    due(run)
    work(pending)
    merged = client.get(address).content.decode()
    assert "put the merge off 4 times" in merged
    assert merged.count("began the merge") == 2


def test_what_does_not_pass_by_itself_ends_the_run_with_the_reason(
    pending: ChangeRequest, run: MergeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    down(monkeypatch, unreachable(pending, retriable=False))
    work(pending)
    run.refresh_from_db()
    assert (run.status, run.error_code) == (RunStatus.FAILED, "table_unreachable")
    assert WHY in run.error_message


def test_waiting_ends_after_a_while(
    pending: ChangeRequest, run: MergeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    down(monkeypatch, unreachable(pending))
    MergeRun.objects.filter(pk=run.pk).update(waits=table_work.MOST_WAITS)
    work(pending)
    run.refresh_from_db()
    pending.refresh_from_db()
    assert (run.status, run.error_code, pending.status) == (
        RunStatus.FAILED,
        "table_unreachable",
        Status.PENDING,
    )
    assert "tried for hours" in run.error_message


def at(address: str, connection: Connection | None = None) -> Dataset:
    """A dataset whose table is said to be somewhere."""
    dataset = DatasetFactory.create()
    dataset.table_uri, dataset.connection = address, connection
    dataset.save()
    return dataset


def fail(dataset: Dataset, *, retriable: bool = True) -> None:
    outages.note_outage(merging.TableUnreachable(dataset.table_uri, WHY, retriable=retriable))


def place_is_due() -> None:
    StorePlace.objects.update(shut_until=timezone.now() - timedelta(seconds=1))


def test_a_place_is_asked_by_one_for_all_and_opens_with_an_answer() -> None:
    one, other = at("s3://lake/one"), at("s3://lake/other")
    elsewhere, local = at("s3://sea/one"), DatasetFactory.create()
    assert outages.turn_of(one) == outages.Turn()
    fail(one)
    off = outages.turn_of(other).off
    assert off is not None
    assert off.reason == WHY
    assert outages.turn_of(elsewhere) == outages.turn_of(local) == outages.Turn()

    place_is_due()
    assert outages.turn_of(other) == outages.Turn(is_probe=True), "the first asks for all"
    assert outages.turn_of(one).off is not None, "the others wait for what it hears"
    for _ in range(3):  # whoever was at work there meanwhile notes the same
        fail(one)
    assert StorePlace.objects.get().failures == 2
    outages.note_answer(other)
    assert outages.turn_of(one) == outages.Turn()
    assert not StorePlace.objects.exists()
    assert DatasetMeta.objects.get(dataset=one).unreachable_since is None, "it was asked for all"


def test_two_stores_with_a_bucket_of_one_name_do_not_shut_each_other_off() -> None:
    """At other endpoints, or with other credentials: a connection fails by itself."""
    first, second = (
        Connection.objects.create(name=name, kind="s3", root=f"s3://lake/{name}") for name in ("one", "two")
    )
    one, sibling = at("s3://lake/one/a", first), at("s3://lake/one/b", first)
    two, ambient = at("s3://lake/two/a", second), at("s3://lake/three")
    fail(one)
    assert outages.turn_of(sibling).off is not None
    assert outages.turn_of(two) == outages.turn_of(ambient) == outages.Turn()
    fail(ambient)
    assert outages.turn_of(two) == outages.Turn()
    place_is_due()
    outages.note_answer(two)
    assert StorePlace.objects.count() == 2, "whoever answers speaks for nobody else"

    operator = User.objects.create_superuser("root")
    connections.change_connection(
        actor=operator, name="one", changes={"options": {"aws_region": "eu-west-1"}}
    )
    assert outages.turn_of(one) == outages.Turn(), "it is opened in another way now"


def test_an_answer_lets_go_on_what_waits_for_the_place_and_nothing_else() -> None:
    waiting, other = ChangeRequestFactory.create(), ChangeRequestFactory.create()
    put_off = [runs.request_merge(change_request_id=one.pk, actor=one.author) for one in (waiting, other)]
    later = timezone.now() + timedelta(hours=1)
    MergeRun.objects.update(not_before=later)
    for request, address in ((waiting, "s3://lake/one"), (other, "s3://sea/one")):
        Dataset.objects.filter(pk=request.dataset_id).update(table_uri=address)
    sibling = at("s3://lake/other")
    fail(sibling)
    outages.note_answer(sibling)
    for run in put_off:
        run.refresh_from_db()
    assert [run.not_before for run in put_off] == [None, later]


def test_what_somebody_has_to_mend_stays_until_the_dataset_itself_is_heard() -> None:
    one, other = at("s3://lake/one"), at("s3://lake/other")
    fail(one)
    fail(other, retriable=False)
    outages.note_answer(one)
    meta = DatasetMeta.objects.get(dataset=other)
    assert meta.unreachable_for_good
    assert meta.unreachable_since is not None
    outages.note_answer(other)
    meta.refresh_from_db()
    assert (meta.unreachable_since, meta.unreachable_for_good) == (None, False)


def test_asking_costs_no_statement_while_the_store_answers(
    django_assert_num_queries: Any, pending: ChangeRequest
) -> None:
    dataset = Dataset.objects.select_related("meta").get(pk=pending.dataset_id)
    with django_assert_num_queries(0), outages.asking(dataset):
        pass


def test_reconciling_all_asks_a_store_that_is_away_once_for_all_of_its_tables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dead = [at(f"s3://dead/{number}") for number in range(3)]
    here = DatasetFactory.create()
    asked: list[str] = []
    is_away = True
    look = merging.inspect_table

    def inspect(address: str, **options: Any) -> merging.TableInfo:
        asked.append(address)
        if address.startswith("s3://") and is_away:
            raise merging.TableUnreachable(address, WHY, retriable=True)
        return look(here.table_uri, **options)

    monkeypatch.setattr(merging, "inspect_table", inspect)
    assert services.reconcile_all() == 0
    assert asked == [dead[0].table_uri, here.table_uri]
    assert StorePlace.objects.get().failures == 1
    asked.clear()
    assert services.reconcile_all() == 0
    assert asked == [here.table_uri], "nobody is to ask the store now"
    asked.clear()

    place_is_due()
    services.reconcile_all()
    assert asked == [dead[0].table_uri, here.table_uri], "one has asked for all, in vain"
    assert StorePlace.objects.get().failures == 2
    asked.clear()

    place_is_due()
    is_away = False
    services.reconcile_all()
    assert {one.table_uri for one in dead} <= set(asked)
    assert not StorePlace.objects.exists()
    assert not DatasetMeta.objects.filter(unreachable_since__isnull=False).exists()


def test_who_looks_at_the_table_alone_opens_no_data_root(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = at("s3://lake/planes")
    monkeypatch.setattr(outages, "local_data_root", lambda: None)
    StorePlace.objects.create(place=outages.DATA_ROOT, failing_since=timezone.now())
    fail(dataset)
    place_is_due()
    dataset.meta.refresh_from_db()
    with outages.asking(dataset):
        pass
    assert [one.place for one in StorePlace.objects.all()] == [outages.DATA_ROOT]


@pytest.fixture
def in_store() -> Iterator[ChangeRequest]:
    """A request for a table that a connection leads to."""
    with s3_server() as options:
        root = f"s3://tables/changed-{uuid.uuid4().hex}"
        connections.create_connection(
            actor=None,
            name="lake",
            root=root,
            options={
                "aws_endpoint_url": options["AWS_ENDPOINT_URL"],
                "aws_region": "us-east-1",
                "allow_http": "true",
            },
            secrets={"aws_access_key_id": "key", "aws_secret_access_key": "secret"},
        )
        dataset = create_dataset(
            project=ProjectFactory.create(),
            slug="planes",
            name="planes",
            table_uri=f"{root}/planes",
            table=NewTable(
                [
                    merging.Column("tailnum", "string"),
                    merging.Column("year", "long"),
                    merging.Column("manufacturer", "string"),
                    merging.Column("seats", "long"),
                ]
            ),
            primary_keys=["tailnum"],
            actor=User.objects.create_superuser("root"),
            required_approvals=0,
        )
        yield ChangeRequestFactory.create(dataset=dataset)


def new_key() -> None:
    connections.change_connection(
        actor=None,
        name="lake",
        changes={"secrets": {"aws_secret_access_key": "new", "aws_access_key_id": "new"}},
    )


@pytest.mark.parametrize("is_revoked", [False, True])
def test_a_connection_that_is_changed_under_a_merge_lets_it_begin_anew(
    is_revoked: bool, in_store: ChangeRequest, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key of before is refused from then on, or not: either way the run goes on, and merges once."""
    owner = person_with(Role.OWNER, in_store.dataset)
    made = runs.request_merge(change_request_id=in_store.pk, actor=owner)
    put, puts = ObjectClient.put, list[str]()

    def changing(self: ObjectClient, path: str, data: bytes | Path) -> None:
        puts.append(path)
        if len(puts) == 1:
            new_key()
            if is_revoked:
                raise merging.TableUnreachable(self.uri, "Its store refuses the key.", retriable=False)
        put(self, path, data)

    monkeypatch.setattr(ObjectClient, "put", changing)
    assert work(in_store) is not None
    made.refresh_from_db()
    in_store.refresh_from_db()
    assert (made.status, made.waits, made.attempts, made.not_before) == (RunStatus.QUEUED, 1, 0, None)
    assert in_store.status == Status.PENDING
    meta = DatasetMeta.objects.get(dataset=in_store.dataset)
    assert (meta.unreachable_since, meta.delta_version) == (None, 0)
    assert not StorePlace.objects.exists()
    client.force_login(owner)
    told = client.get(reverse("change_request", args=[in_store.cr_id])).content.decode()
    assert "put the merge off: the connection of the table was changed, and it begins anew" in told

    work(in_store)
    made.refresh_from_db()
    assert (made.status, made.merged_version) == (RunStatus.SUCCEEDED, 1)
    assert merging.inspect_table(in_store.dataset.table_uri).version == 1


def test_a_key_in_a_file_that_is_replaced_under_a_merge_lets_it_begin_anew(
    in_store: ChangeRequest, monkeypatch: pytest.MonkeyPatch, settings: Settings, tmp_path: Path
) -> None:
    settings.CONNECTION_SECRETS_FOLDER = str(tmp_path)
    file = tmp_path / "connection-lake"
    file.write_text("before")
    referring = {
        "secrets": {"aws_secret_access_key": ""},
        "references": {"aws_secret_access_key": f"file:{file}"},
    }
    connections.change_connection(actor=None, name="lake", changes=referring)
    made = runs.request_merge(change_request_id=in_store.pk, actor=person_with(Role.OWNER, in_store.dataset))
    put, puts = ObjectClient.put, list[str]()

    def changing(self: ObjectClient, path: str, data: bytes | Path) -> None:
        puts.append(path)
        if len(puts) == 1:
            file.write_text("after")
            raise merging.TableUnreachable(self.uri, "Its store refuses the key.", retriable=False)
        put(self, path, data)

    monkeypatch.setattr(ObjectClient, "put", changing)
    work(in_store)
    made.refresh_from_db()
    assert (made.status, made.waits, made.not_before) == (RunStatus.QUEUED, 1, None)

    work(in_store)
    made.refresh_from_db()
    assert (made.status, made.merged_version) == (RunStatus.SUCCEEDED, 1)


def test_a_key_that_is_refused_without_a_change_ends_the_run(
    in_store: ChangeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = runs.request_merge(change_request_id=in_store.pk, actor=person_with(Role.OWNER, in_store.dataset))

    def refused(self: ObjectClient, *_: Any) -> None:
        raise merging.TableUnreachable(self.uri, "Its store refuses the key.", retriable=False)

    monkeypatch.setattr(ObjectClient, "put", refused)
    work(in_store)
    made.refresh_from_db()
    assert (made.status, made.error_code) == (RunStatus.FAILED, "table_unreachable")


@pytest.mark.parametrize("may_pass", [True, False])
def test_a_data_root_that_is_away_is_said_on_every_page_and_asked_again_by_the_sweep(
    may_pass: bool, client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key that is refused is an outage of it as good as any, though nobody but people can end it."""
    pending = ChangeRequestFactory.create()
    client.force_login(pending.author)
    pages = [reverse("home"), reverse("change_request", args=[pending.cr_id]), reverse("account")]
    said = "What Headgate keeps beside the tables cannot be reached: noticed"
    settings.DELTA_DATA_ROOT = "s3://gone/root"
    settings.DELTA_DATA_ROOT_OPTIONS = NOBODY_LISTENS
    assert not any(said in client.get(page).content.decode() for page in pages)
    outages.ask_data_root()  # which is nobody's business while nothing is wrong
    assert not StorePlace.objects.exists()

    outages.note_outage(merging.TableUnreachable("s3://gone/root", WHY, retriable=may_pass))
    for page in pages:
        body = client.get(page).content.decode()
        assert said in body, page
        assert WHY in body, page
    assert said not in Client().get(reverse("login")).content.decode()
    outages.ask_data_root()
    assert StorePlace.objects.get().failures == 1, "it was asked a moment ago"

    place_is_due()
    outages.ask_data_root()
    place = StorePlace.objects.get()
    assert (place.place, place.failures) == (outages.DATA_ROOT, 2)
    assert "connected" in place.reason

    place_is_due()
    monkeypatch.setattr(outages, "data_root", lambda: Answering())
    outages.ask_data_root()
    assert not StorePlace.objects.exists()
    assert said not in client.get(pages[0]).content.decode()


class Answering:
    """A data root that answers."""

    def files(self, _: str) -> list[Any]:
        return []


NOBODY_LISTENS = {
    "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
    "AWS_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "one",
    "AWS_SECRET_ACCESS_KEY": "two",
    "AWS_ALLOW_HTTP": "true",
    "MAX_RETRIES": "0",
}


def test_who_asks_notes_what_was_heard_and_nobody_asks_a_store_that_is_shut_off() -> None:
    one = at("s3://lake/one")
    with pytest.raises(merging.TableUnreachable), outages.asking(one):
        raise merging.TableUnreachable(one.table_uri, WHY, retriable=True)
    one = Dataset.objects.select_related("meta").get(pk=one.pk)
    with pytest.raises(merging.TableUnreachable, match=WHY), outages.asking(one):
        pytest.fail("nobody is to ask now")
    place_is_due()
    with outages.asking(one):
        pass
    assert DatasetMeta.objects.get(dataset=one).unreachable_since is None
    assert not StorePlace.objects.exists()


def test_a_run_of_a_place_that_is_shut_off_waits_without_an_attempt(
    pending: ChangeRequest, run: MergeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    until = timezone.now() + timedelta(minutes=1)
    off = outages.ShutOff(timezone.now(), until, WHY)
    monkeypatch.setattr(outages, "turn_of", lambda _: outages.Turn(off))
    assert work(pending) is None
    run.refresh_from_db()
    assert (run.status, run.attempts, run.not_before) == (RunStatus.QUEUED, 0, until)
    assert leases.acquire(pending.dataset_id, "somebody") is not None

    operations.retry(run_id=run.pk, actor=User.objects.create_superuser("root"), reason="It is back.")
    run.refresh_from_db()
    assert run.not_before is None


def test_a_run_that_waited_behind_others_for_hours_ends_without_asking_once_more(
    pending: ChangeRequest, run: MergeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    long_ago = timezone.now() - table_work.LONGEST_WAIT - timedelta(minutes=1)
    off = outages.ShutOff(long_ago, timezone.now() + timedelta(minutes=1), WHY)
    monkeypatch.setattr(outages, "turn_of", lambda _: outages.Turn(off))
    monkeypatch.setattr(running, "merge", lambda *_, **__: pytest.fail("its store is shut off"))
    MergeRun.objects.filter(pk=run.pk).update(queued_at=long_ago)
    work(pending)
    run.refresh_from_db()
    pending.refresh_from_db()
    assert (run.status, run.error_code, pending.status) == (
        RunStatus.FAILED,
        "table_unreachable",
        Status.PENDING,
    )
    assert "tried for hours" in run.error_message


def test_pauses_grow_and_end() -> None:
    assert [outages.pause_after(number).total_seconds() for number in (1, 2, 3, 100)] == [15, 30, 60, 600]


def test_reconciling_keeps_what_is_known(pending: ChangeRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    before = DatasetMeta.objects.get(dataset=pending.dataset)
    with monkeypatch.context() as patch:

        def fails(*_: Any, **__: Any) -> None:
            raise unreachable(pending)

        patch.setattr(merging, "inspect_table", fails)
        meta = reconcile(dataset_id=pending.dataset_id)
    assert (meta.delta_version, meta.problem) == (before.delta_version, "")
    assert meta.unreachable_since is not None
    assert reconcile(dataset_id=pending.dataset_id).unreachable_since is None


def test_callers_read_which_dataset_since_when_and_when_to_ask_again(pending: ChangeRequest) -> None:
    problem = problem_of(unreachable(pending))
    assert problem is not None
    assert (problem["code"], problem["dataset"]) == ("table_unreachable", str(pending.dataset))
    assert problem["retry_after"] == 30
    assert problem["unreachable_since"]
    assert "retry_after" not in (problem_of(unreachable(pending, retriable=False)) or {})


def test_fo8_a_run_that_is_taken_up_again_and_again_is_cancelled_by_the_next_worker(
    pending: ChangeRequest, run: MergeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its workers die before they look whether somebody cancelled it, and one died while it committed."""
    leases.acquire(pending.dataset_id, "who died")
    now = timezone.now()
    DatasetLease.objects.update(acquired_at=now - timedelta(minutes=2), expires_at=now - timedelta(minutes=1))
    MergeRun.objects.filter(pk=run.pk).update(
        status=RunStatus.RUNNING, phase=RunPhase.COMMITTING, attempts=2, fence=1, heartbeat_at=timezone.now()
    )
    ChangeRequest.objects.filter(pk=pending.pk).update(status=Status.MERGING)
    monkeypatch.setattr(running, "merge", lambda *_, **__: pytest.fail("it is cancelled"))
    operations.cancel(run_id=run.pk, actor=User.objects.create_superuser("root"), reason="It kills workers.")
    work(pending)
    run.refresh_from_db()
    pending.refresh_from_db()
    assert (run.status, pending.status) == (RunStatus.CANCELLED, Status.PENDING)
