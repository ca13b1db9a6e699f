"""The Python client against the server itself: propose, wait, look, choose, merge; the same awaited."""

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import headgate
import pandas
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from django.contrib.auth.models import User

from accounts.scopes import Scope
from changerequests.models import ChangeRequest, Upload
from datasets.models import Dataset
from datasets.roles import Role
from notifications.services.dispatching import dispatch
from tests.api.clients import token_of
from tests.factories import ChangeRequestFactory, DatasetFactory, person_with, rows_of
from tests.live.server import Door

pytestmark = pytest.mark.usefixtures("merging_worker")

KINDS = pa.table(
    {
        "id": pa.array([1, 2, 3], pa.int64()),
        "price": pa.array([Decimal("0.10"), None, Decimal("-7.00")], pa.decimal128(12, 2)),
        "ratio": pa.array([float("nan"), 0.1, None]),
        "day": pa.array([date(2024, 2, 1), None, date(1, 1, 1)]),
        "at": pa.array(
            [datetime(2024, 2, 1, 13, 45, 0, 1, tzinfo=UTC), None, None], pa.timestamp("us", "UTC")
        ),
        "raw": pa.array([b"\0\xff", b"", None]),
        "text": pa.array(["<script>alert(1)</script>", "", None]),
        "flag": pa.array([True, None, False]),
    }
)


@pytest.fixture
def planes(delta_data_root: Path) -> Dataset:
    """A dataset of one's own."""
    made: Dataset = DatasetFactory.create()
    return made


@pytest.fixture
def kinds(delta_data_root: Path) -> Dataset:
    """A dataset with values of every kind."""
    made: Dataset = DatasetFactory.create(data=KINDS, primary_keys=("id",))
    return made


def client_for(server: str, dataset: Dataset, *scopes: Scope) -> headgate.Client:
    """A client of a new owner of the dataset."""
    return headgate.Client(server, token_of(person_with(Role.OWNER, dataset), *scopes), progress=False)


@pytest.fixture
def hg(server: str, planes: Dataset) -> Iterator[headgate.Client]:
    """The client, as an owner of the planes."""
    with client_for(server, planes) as client:
        yield client


def name_of(dataset: Dataset) -> str:
    return f"{dataset.project.slug}/{dataset.slug}"


def test_from_frame_to_merge(hg: headgate.Client, planes: Dataset) -> None:
    frame = pandas.DataFrame({"tailnum": ["N1", "N9"], "seats": [56, 7]})
    change_request = hg.dataset(name_of(planes)).propose(frame, title="Two planes")
    assert change_request.wait().status == "draft"
    update, insert = change_request.diff()
    assert update["key"] == {"tailnum": "N1"}
    assert update["cells"] == [{"column": "seats", "base": 149, "proposed": 56}]
    assert (insert["operation"], insert["key"]) == ("insert", {"tailnum": "N9"})
    assert change_request.diff(operation="insert").to_pandas()["seats.proposed"].to_list() == [7]
    run = change_request.merge()
    assert run["result"] is not None
    assert (run["status"], run["result"]["rows_affected"]) == ("succeeded", 2)
    assert change_request.status == "merged"
    assert {row["tailnum"]: row["seats"] for row in rows_of(planes)}["N9"] == 7
    history = hg.dataset(name_of(planes)).blame({"tailnum": "N9"})
    assert history["changes"][0]["change_request"] == change_request.cr_id


def test_every_kind_of_value_comes_back_as_it_was(server: str, kinds: Dataset) -> None:
    with client_for(server, kinds) as hg:
        dataset = hg.dataset(name_of(kinds))
        rows = dataset.rows()
        found = rows.to_arrow().sort_by("id")
        assert rows.version == 0
        assert [str(row) for row in found.to_pylist()] == [str(row) for row in KINDS.to_pylist()]
        assert rows.to_polars().height == 3
        assert str(rows.to_pandas()["id"].dtype) == "int64[pyarrow]"

        for whole in (found, rows.to_polars(), found.to_pylist(), iter(found.to_batches())):
            with pytest.raises(headgate.NothingToChange):
                dataset.propose(whole, title="The same", only_changes=True)
        changed = found.set_column(1, "price", pa.array([Decimal("0.11"), None, None], pa.decimal128(12, 2)))
        small = dataset.propose(changed, title="Prices", only_changes=True).wait()
        revision = small.data["revision"]
        assert revision is not None
        assert revision["rows"] == 2
        assert Upload.objects.latest("pk").rows_read in (0, 2)
        assert small.diff().to_arrow().column_names == ["_op", "id", "price.base", "price.proposed"]


def test_nothing_is_left_of_what_changes_nothing(hg: headgate.Client, planes: Dataset) -> None:
    dataset = hg.dataset(name_of(planes))
    whole = dataset.rows().to_arrow()
    before = ChangeRequest.objects.count()
    assert dataset.propose(whole, title="Nightly", on_nothing_to_change="ignore") is None
    assert dataset.propose(whole, title="Nightly", only_changes=True, on_nothing_to_change="ignore") is None
    with pytest.raises(headgate.NothingToChange):
        dataset.propose(whole, title="Nightly 2").wait()
    assert ChangeRequest.objects.count() == before


def test_the_same_content_is_the_same_proposal_until_it_has_ended(
    hg: headgate.Client, planes: Dataset
) -> None:
    dataset = hg.dataset(name_of(planes))
    rows = [{"tailnum": "N1", "seats": 7}]
    first = dataset.propose(rows, title="Seven").wait()
    again = dataset.propose(rows, title="Seven").wait()
    other = dataset.propose(rows, title="Seven seats").wait()
    assert (first.cr_id == again.cr_id, first.cr_id == other.cr_id) == (True, False)
    first.close()
    third = dataset.propose(rows, title="Seven").wait()
    fourth = dataset.propose(rows, title="Seven").wait()
    assert third.cr_id not in (first.cr_id, other.cr_id)
    assert fourth.cr_id == third.cr_id


def test_what_is_refused_says_where(hg: headgate.Client, planes: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("tailnum,seats\nN1,many\nN2,5\n")
    with pytest.raises(headgate.StagingRejected) as caught:
        hg.dataset(name_of(planes)).propose(path, title="Wrong").wait()
    assert [(one["line"], one["column"]) for one in caught.value.errors] == [(2, "seats")]
    assert caught.value.total == 1
    path.write_text("tailnum,seats\nN1,6\nN2,5\n")
    mended = hg.dataset(name_of(planes)).propose(path, title="Wrong").wait()
    assert len(mended.diff()) == 2


def test_a_file_is_sent_as_it_is_and_submitted(hg: headgate.Client, planes: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "seats.parquet"
    pq.write_table(pa.table({"tailnum": ["N1"], "seats": [1]}), path)
    made = hg.dataset(name_of(planes)).propose(path, title="One seat", submit=True).wait()
    assert made.status == "pending"
    assert Upload.objects.latest("pk").file_name == "seats.parquet"
    more = (
        hg.dataset(name_of(planes)).propose([{"tailnum": "N2", "seats": 2}], change_request=made.cr_id).wait()
    )
    assert more.cr_id == made.cr_id
    assert [change["key"] for change in more.diff()] == [{"tailnum": "N2"}]


def conflicting(hg: headgate.Client, planes: Dataset) -> headgate.ChangeRequest:
    """A request in conflict over the seats of N1 and N2."""
    made = ChangeRequestFactory.create(dataset=planes, csv="tailnum,seats\nN1,1\nN2,2\n")
    other = ChangeRequestFactory.create(dataset=planes, csv="tailnum,seats\nN1,11\nN2,12\n")
    hg.change_request(other.cr_id).merge()
    return hg.change_request(made.cr_id)


def test_conflicts_are_chosen_by_rule_and_in_a_frame(hg: headgate.Client, planes: Dataset) -> None:
    change_request = conflicting(hg, planes)
    with pytest.raises(headgate.Blocked) as caught:
        change_request.merge()
    assert [one["code"] for one in caught.value.blockers] == ["conflicts_unresolved"]
    conflicts = change_request.conflicts()
    assert (len(conflicts), conflicts.unresolved) == (2, 2)
    frame = conflicts.to_pandas()
    assert list(frame["tailnum"]) == ["N1", "N2"]
    frame["choice"] = ["custom", None]
    frame["value"] = ["77", None]
    assert change_request.resolve(frame) == 1
    assert change_request.resolve(lambda one: "current" if one["key"] == {"tailnum": "N2"} else None) == 0
    assert change_request.resolve("proposed") == 0, "what was chosen stays"
    assert [one["choice"] for one in change_request.conflicts()] == ["custom", "current"]
    change_request.merge()
    seats = {row["tailnum"]: row["seats"] for row in rows_of(planes)}
    assert (seats["N1"], seats["N2"]) == (77, 12)


def test_a_choice_for_no_conflict_is_refused_and_nothing_is_stored(
    hg: headgate.Client, planes: Dataset
) -> None:
    change_request = conflicting(hg, planes)
    rows = [
        {"tailnum": "N1", "column": "seats", "choice": "current"},
        {"tailnum": "N7", "column": "seats", "choice": "current"},
    ]
    with pytest.raises(headgate.InvalidResolution, match="Row 2 names no conflict"):
        change_request.resolve(rows)
    with pytest.raises(headgate.HeadgateError):
        change_request.resolve("keep")
    assert change_request.conflicts().unresolved == 2


class Tags(HTMLParser):
    """The names of the tags in HTML."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.names.add(tag)


def test_notebooks_show_what_is_hostile_as_text(server: str, kinds: Dataset) -> None:
    with client_for(server, kinds) as hg:
        hostile = "<img src=x onerror=alert(1)>"
        made = hg.dataset(name_of(kinds)).propose([{"id": 1, "text": hostile}], title=hostile).wait()
        tags = Tags()
        for shown in (made, made.diff(), made.conflicts()):
            html = shown._repr_html_()
            assert hostile not in html
            tags.feed(html)
        assert tags.names & {"img", "script"} == set()
        assert "&lt;img" in made.diff()._repr_html_()


def test_review_and_the_rest_of_its_life(hg: headgate.Client, planes: Dataset) -> None:
    made = hg.dataset(name_of(planes)).propose([{"tailnum": "N1", "seats": 5}], title="Five").wait()
    made.submit()
    assert made.comment("Why?", key={"tailnum": "N1"}, column="seats")["column"] == "seats"
    assert made.review("comment", "Hm.")["verdict"] == "comment"
    assert [one["body"] for one in made.comments()] == ["Why?"]
    assert len(list(made.reviews())) == 1
    assert len(list(made.revisions())) == 1
    assert made.return_to_draft().status == "draft"
    assert made.close("No more.").status == "closed"
    with pytest.raises(headgate.InvalidTransition):
        made.submit()
    assert made.reopen().status == "draft"
    assert len(list(made.events())) > 3
    assert [one.cr_id for one in hg.dataset(name_of(planes)).change_requests(status=["draft"])] == [
        made.cr_id
    ]
    assert [one["slug"] for one in hg.datasets()] == [planes.slug]


def test_views_are_kept_and_forgotten(hg: headgate.Client, planes: Dataset) -> None:
    mine = hg.keep_view("Mine", {"q": "seats"})
    rows = hg.keep_view("New ones", {"column": "year", "value": "2011"}, dataset=planes.pk)
    assert [one["id"] for one in hg.saved_views()] == [mine["id"]]
    assert [one["filters"] for one in hg.saved_views(dataset=planes.pk)] == [rows["filters"]]
    with pytest.raises(headgate.Invalid):
        hg.keep_view("Wrong", {"colour": "red"})
    hg.forget_view(mine["id"])
    assert hg.saved_views() == []


def test_people_are_asked_suggest_and_are_told(server: str, hg: headgate.Client, planes: Dataset) -> None:
    reviewer = person_with(Role.CONTRIBUTOR, planes)
    made = hg.dataset(name_of(planes)).propose([{"tailnum": "N1", "seats": 5}], title="Five").wait()
    made.submit()
    [asked] = made.ask_for_review(reviewer.get_username())
    assert [one["id"] for one in made.review_requests()] == [asked["id"]]
    dispatch()

    with headgate.Client(server, token_of(reviewer), progress=False) as theirs:
        news, *earlier = theirs.notifications(unread=True)
        assert (news["kind"], news["change_request"]) == ("review_requested", made.cr_id)
        assert theirs.mark_read([news["id"]])["unread"] == len(earlier)
        assert theirs.mark_read()["unread"] == 0
        assert list(theirs.notifications(unread=True)) == []
        assert theirs.choose_notifications(merged="off")["merged"] == "off"
        assert theirs.notification_settings()["merged"] == "off"
        seen = theirs.change_request(made.cr_id)
        assert seen.subscribe("mute") == seen.subscription() == {"level": "mute"}
        seen.unsubscribe()
        assert seen.subscription() == {"level": "participating"}
        said = seen.comment("Six?", key={"tailnum": "N1"}, column="seats", suggestion=6)
        assert said["suggestion"] == {"value": 6, "taken": False}
        with pytest.raises(headgate.Forbidden):
            seen.take(said["id"])

    made.take(said["id"])
    assert [cell["proposed"] for change in made.diff() for cell in change["cells"]] == [6]
    assert made.settle(said["id"])["resolved_at"]
    assert made.settle(said["id"], resolved=False)["resolved_at"] is None
    made.withdraw_review_request(asked["id"])
    assert made.review_requests() == []


def test_a_merge_is_reverted_and_a_base_follows(hg: headgate.Client, planes: Dataset) -> None:
    dataset = hg.dataset(name_of(planes))
    other = dataset.propose([{"tailnum": "N2", "seats": 2}], title="Two").wait()
    made = dataset.propose([{"tailnum": "N1", "seats": 5}], title="Five").wait()
    made.merge(reason="It is a test.")
    back = made.revert()
    [change] = back.diff()
    assert (back.status, change["cells"]) == ("draft", [{"column": "seats", "base": 5, "proposed": 149}])
    assert other.rebase()["base_version"] == 1


def test_members_and_webhooks_are_looked_after(hg: headgate.Client, planes: Dataset) -> None:
    reader = person_with(Role.VIEWER, DatasetFactory.create()).get_username()
    owner = person_with(Role.OWNER, planes.project)
    dataset, project = hg.dataset(name_of(planes)), hg.project(planes.project.slug)
    assert reader in [one["name"] for one in dataset.set_member(reader, "contributor")]
    assert owner.get_username() in [one["name"] for one in project.members()]
    dataset.remove_member(reader)
    with pytest.raises(headgate.NotFound):
        dataset.remove_member(reader)

    hook = dataset.make_webhook("https://hooks.example.org/x", name="Pipeline", actions=["merge.*"])
    assert hook.secret
    [listed] = dataset.webhooks()
    assert (listed.number, listed.data["host"], listed.secret) == (
        hook.number,
        "https://hooks.example.org",
        None,
    )
    former = hook.secret
    assert hook.rotate_secret(1) != former
    assert hook.ping()["kind"] == "ping"
    [sent] = hg.webhook(hook.number).deliveries()
    with pytest.raises(headgate.DatasetBusy):
        hook.repeat(sent["id"])
    assert hook.change(is_active=False).data["stopped"] == "by_owner"
    hook.remove()
    assert dataset.webhooks() == []
    with pytest.raises(headgate.NotFound):
        hook.refresh()
    with pytest.raises(headgate.Forbidden):
        project.webhooks()


def test_rights_are_those_of_the_token(server: str, planes: Dataset) -> None:
    with client_for(server, planes, Scope.READ) as hg:
        dataset = hg.dataset(name_of(planes))
        with pytest.raises(headgate.ScopeMissing) as caught:
            dataset.propose([{"tailnum": "N1", "seats": 5}], title="Five")
        assert caught.value.scope == "propose"
        with pytest.raises(headgate.NotFound):
            hg.dataset("no/such").details()
        assert polars.from_arrow(
            dataset.rows(columns=["tailnum"], filter=["tailnum:=:N1"]).to_arrow()
        ).shape == (1, 1)
    with headgate.Client(server, "wrong", progress=False) as hg, pytest.raises(headgate.NotAuthenticated):
        hg.dataset(name_of(planes)).details()
    assert not ChangeRequest.objects.filter(dataset=planes).exists()


def test_waiting_ends_in_time_and_nothing_is_lost(
    hg: headgate.Client, planes: Dataset, staging_worker: threading.Event
) -> None:
    staging_worker.clear()
    made = hg.dataset(name_of(planes)).propose([{"tailnum": "N1", "seats": 3}], title="Slow")
    with pytest.raises(headgate.WaitedTooLong):
        made.wait(timeout=0.2)
    staging_worker.set()
    assert made.wait().data["revision"] is not None


def test_waiting_goes_on_while_the_server_is_away(
    server: str, planes: Dataset, person_token: str, staging_worker: threading.Event
) -> None:
    """Killed amid the waiting, and there again: what was asked for is found, and asked for once."""
    door = Door(server)
    door.open()
    with headgate.Client(door.address, person_token, progress=False) as hg, ThreadPoolExecutor(1) as waiting:
        staging_worker.clear()
        made = hg.dataset(name_of(planes)).propose([{"tailnum": "N1", "seats": 3}], title="Slow")
        waited = waiting.submit(made.wait, timeout=60)
        time.sleep(0.3)
        door.slam()
        staging_worker.set()
        time.sleep(0.7)
        assert not waited.done()
        door.open()
        assert waited.result(30).data["revision"] is not None
    door.slam()
    assert ChangeRequest.objects.filter(dataset=planes).count() == 1


def test_the_same_awaited(server: str, planes: Dataset, person_token: str) -> None:
    async def go() -> tuple[str, list[bool]]:
        async with headgate.AsyncClient(server, person_token, progress=False) as hg:
            dataset = hg.dataset(name_of(planes))
            made = await dataset.propose(polars.DataFrame({"tailnum": ["N1"], "seats": [4]}), title="Awaited")
            await made.wait()
            diff = await made.diff()
            await made.merge()
            nothing = await dataset.propose(
                (await dataset.rows()).to_arrow(),
                title="All",
                only_changes=True,
                on_nothing_to_change="ignore",
            )
            return made.status, [len(diff) == 1, nothing is None]

    assert asyncio.run(go()) == ("merged", [True, True])


@pytest.fixture
def person_token(planes: Dataset) -> str:
    """The token of an owner of the planes."""
    owner: User = person_with(Role.OWNER, planes)
    return token_of(owner)
