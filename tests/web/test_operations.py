"""The pages of operators: what they show, whom they let in, and that what they do goes through the services."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from audit.models import Event
from changerequests.models import MergeRun, Preview, Upload
from changerequests.services import operations, runs
from datasets.leases import acquire
from datasets.models import Dataset, DatasetLease
from datasets.operators import make_operator
from notifications.models import Delivery
from tests.factories import ChangeRequestFactory, UserFactory, approve
from tests.web.conftest import SignedIn
from tests.web.test_expectation_pages import text_of

pytestmark = pytest.mark.django_db

PAGES = ("", "uploads/", "deliveries/", "audit/", "stores/", "retention/")


@pytest.fixture
def operator(db: None) -> User:
    made = UserFactory.create(username="adam", first_name="Adam", last_name="Adeyemi")
    make_operator(made)
    return User.objects.get(pk=made.pk)


@pytest.fixture
def queued(dataset: Dataset, owner: User, author: User, deaf_worker: None) -> MergeRun:
    change_request = ChangeRequestFactory.create(dataset=dataset, author=author, csv="tailnum,seats\nN1,5\n")
    approve(change_request, owner)
    return runs.request_merge(change_request_id=change_request.pk, actor=owner)


def test_operators_see_them_in_the_bar_and_nobody_else_does(
    operator: User, owner: User, signed_in: SignedIn
) -> None:
    assert 'href="/operations/"' in signed_in(operator).get("/").content.decode()
    assert 'href="/operations/"' not in signed_in(owner).get("/").content.decode()
    for page in PAGES:
        assert signed_in(operator).get(f"/operations/{page}").status_code == 200, page
        assert signed_in(owner).get(f"/operations/{page}").status_code == 404, page


def test_what_is_stuck_is_told_and_acted_on(queued: MergeRun, operator: User, signed_in: SignedIn) -> None:
    MergeRun.objects.update(queued_at=timezone.now() - operations.UNHEARD - timedelta(seconds=5))
    client = signed_in(operator)
    said = text_of(client.get("/operations/"))
    assert f"Run {queued.pk} of {queued.change_request.cr_id}" in said
    assert "No worker has taken it for" in said

    sent = {"action": "cancel", "number": str(queued.pk), "reason": ""}
    refused = client.post("/operations/act/", sent)
    assert refused.status_code == 422
    assert refused.context["form"].errors == {"reason": ["Give a reason: it is kept in the audit trail."]}
    gone = client.post("/operations/act/", {**sent, "number": "999", "reason": "So."})
    assert (gone.status_code, "There is no merge run 999." in text_of(gone)) == (409, True)
    assert gone.context["form"]["reason"].value() == "So."
    queued.refresh_from_db()
    assert queued.status == "queued"

    done = client.post("/operations/act/", {**sent, "reason": "Nobody wants it."}, follow=True)
    assert f"Run {queued.pk} is cancelled" in text_of(done)
    queued.refresh_from_db()
    assert queued.status == "cancelled"
    assert Event.objects.filter(action="operator.cancelled", actor="adam").exists()
    assert "Nothing is stuck." in text_of(client.get("/operations/"))


def test_a_dead_holder_loses_its_lease_and_a_living_one_keeps_it(
    dataset: Dataset, operator: User, signed_in: SignedIn
) -> None:
    assert acquire(dataset.pk, "run 7") is not None
    client = signed_in(operator)
    sent = {"action": "release", "number": str(dataset.pk), "reason": "It stands still."}
    assert "run 7" in text_of(client.get("/operations/"))
    assert client.post("/operations/act/", sent).status_code == 409
    assert DatasetLease.objects.get(dataset=dataset).holder == "run 7"
    past = timezone.now() - timedelta(hours=1)
    DatasetLease.objects.update(acquired_at=past, heartbeat_at=past, expires_at=past + timedelta(minutes=1))
    assert "no sign of life in time" in text_of(client.get("/operations/"))
    assert client.post("/operations/act/", sent).status_code == 302
    assert DatasetLease.objects.get(dataset=dataset).holder == ""


def test_the_sweep_is_done_at_once(queued: MergeRun, operator: User, signed_in: SignedIn) -> None:
    said = text_of(signed_in(operator).post("/operations/sweep/", follow=True))
    assert "Swept: a worker was rung for 1 dataset." in said
    assert Event.objects.filter(action="operator.swept", actor="adam").exists()


def test_uploads_and_deliveries_are_listed_without_what_they_hold(
    dataset: Dataset, owner: User, operator: User, signed_in: SignedIn
) -> None:
    change_request = ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN1,5\n")
    Upload.objects.create(
        dataset=dataset,
        change_request=change_request,
        uploaded_by=owner,
        kind="file",
        status="refused",
        error_code="staging_rejected",
        error_message="Row SECRET-ROW",
        pasted="SECRET-ROW",
    )
    client = signed_in(operator)
    said = text_of(client.get("/operations/uploads/?status=refused"))
    assert (change_request.cr_id in said, "staging_rejected" in said) == (True, True)
    assert "SECRET-ROW" not in client.get("/operations/uploads/").content.decode()
    assert "There is no such upload." in text_of(client.get("/operations/uploads/?status=queued"))
    assert "this was left aside" in text_of(client.get("/operations/uploads/?status=hope"))
    Preview.objects.create(
        dataset=change_request.dataset, asked_by=change_request.author, pasted="SECRET-ROW"
    )
    looks = client.get("/operations/uploads/?of=previews&status=queued")
    assert f"{change_request.author} 0 B" in text_of(looks)
    assert "SECRET-ROW" not in looks.content.decode()
    assert "There is no such look." in text_of(client.get("/operations/uploads/?of=previews&status=failed"))

    for number in range(60):
        Delivery.objects.create(receiver=f"mail:{number}", status="failed", error_message="550 no such box")
    first = client.get("/operations/deliveries/?q=mail")
    assert len(first.context["rows"]) == 50
    rest = client.get(f"/operations/deliveries/?q=mail&before={first.context['following']}")
    assert (len(rest.context["rows"]), rest.context["following"]) == (10, None)
    assert "550 no such box" in text_of(rest)


def test_the_trail_is_searched_and_nothing_else(
    dataset: Dataset, owner: User, operator: User, signed_in: SignedIn
) -> None:
    change_request = ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN1,5\n")
    client = signed_in(operator)
    found = client.get(f"/operations/audit/?q={change_request.cr_id}&action=change_request.*").context["rows"]
    assert {one.event.subject_id for one in found} == {change_request.cr_id}
    assert {one.event.action.partition(".")[0] for one in found} == {"change_request"}
    assert client.get("/operations/audit/?since=2999-01-01").context["rows"] == []
    wrong = client.get("/operations/audit/?since=yesterday")
    assert wrong.status_code == 200
    assert "'yesterday' is no time" in text_of(wrong)
    assert wrong.context["rows"]
    assert client.post("/operations/audit/").status_code == 405


def test_stores_are_looked_at_again(dataset: Dataset, operator: User, signed_in: SignedIn) -> None:
    dataset.meta.problem = "It was away."
    dataset.meta.save()
    client = signed_in(operator)
    said = text_of(client.get("/operations/stores/"))
    assert (dataset.table_uri in said, "It was away." in said) == (True, True)
    again = client.post("/operations/stores/reconcile/", {"dataset": dataset.pk}, follow=True)
    assert "planes is at version 0 with" in text_of(again)
    assert "It was away." not in text_of(client.get("/operations/stores/"))
    assert client.post("/operations/stores/reconcile/", {"dataset": "999"}).status_code == 404


def test_retention_says_what_would_go_and_removes_it_on_demand(
    dataset: Dataset, owner: User, operator: User, signed_in: SignedIn
) -> None:
    long_ago = timezone.now() - timedelta(days=900)
    upload = Upload.objects.create(
        dataset=dataset,
        uploaded_by=owner,
        title="Old",
        made_request=True,
        kind="file",
        status="refused",
        finished_at=long_ago,
    )
    client = signed_in(operator)
    said = text_of(client.get("/operations/retention/"))
    assert "it ended refused" in said
    assert Upload.objects.filter(pk=upload.pk).exists()
    done = text_of(client.post("/operations/retention/", follow=True))
    assert "1 thing went." in done
    assert not Upload.objects.filter(pk=upload.pk).exists()
    assert Event.objects.get(action="retention.applied").actor == "adam"
