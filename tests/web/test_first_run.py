"""The pages of the first run, without a browser: what they say, and that nothing typed is lost."""

import html
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pyarrow as pa
import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

import merging
from accounts import invitations
from accounts.models import Invitation
from datasets import suites
from datasets.errors import RegistrationRejected
from datasets.models import Dataset, Project, SuiteProposal, SuiteVersion
from datasets.operators import make_operator
from datasets.roles import Role, role_on
from datasets.services.registration import KEY_CHECK_SECONDS, look_at_table
from tests.factories import ChangeRequestFactory, UserFactory, fresh, merge, person_with
from tests.web.conftest import SignedIn
from web.view_models.first_run import first_run

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator() -> User:
    adam = UserFactory.create(username="adam")
    make_operator(adam)
    return fresh(adam)


@pytest.fixture
def table(delta_data_root: Path) -> str:
    """A table with NULLs and doubles, and with names that addresses and pages must not take for their own."""
    rows = {
        "id": pa.array([1, 2, 3, 4], pa.int64()),
        "a&b=<i>c</i>": ["x", "x", None, "y"],
        "weight": [1.5, 2.5, 3.5, 4.5],
    }
    address = str((delta_data_root / "names & ümläuts").resolve())
    merging.create_table(address, pa.table(rows), name="Names")
    return address


def words(answer: Any) -> str:
    return " ".join(answer.content.decode().split())


def at(page: str, **chosen: Any) -> str:
    return f"{reverse(page)}?{urlencode(chosen, doseq=True)}"


def test_a_key_that_takes_too_long_to_look_at_says_the_way_out(
    operator: User, table: str, signed_in: SignedIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    granted: list[float | None] = []

    def look(*_: Any, seconds: float | None, **__: Any) -> merging.KeyReport:
        granted.append(seconds)
        raise merging.CutShort("Looking at id in every row takes longer than 20 s.")

    monkeypatch.setattr(merging, "check_keys", look)
    answer = signed_in(operator).get(at("choose_key", where=table, key="id"))
    assert (answer.status_code, granted) == (422, [KEY_CHECK_SECONDS])
    assert "longer than 20 s. An operator adds such a table with manage.py register_dataset" in words(answer)
    with pytest.raises(RegistrationRejected):
        look_at_table(table_uri=table, actor=None, primary_keys=["id"])
    assert granted[1] is None  # the command takes its time


def test_a_key_is_checked_with_what_is_in_its_way_counted_and_shown(
    operator: User, table: str, signed_in: SignedIn
) -> None:
    client = signed_in(operator)
    first = client.get(at("choose_key", where=table))
    assert 'value="id" id="key-1" checked' in words(first)
    assert "disabled" in words(first).partition('value="weight"')[2].partition(">")[0]
    bad = words(client.get(at("choose_key", where=table, key="a&b=<i>c</i>")))
    assert "<strong>1 row</strong> has NULL in it. <strong>1 key</strong> occurs more than once." in bad
    assert "Go on with this key" not in bad
    assert "<i>c</i>" not in bad
    good = words(client.get(at("choose_key", where=table, key=["id", "a&b=<i>c</i>"])))
    assert "holds NULL" in good
    no_such = client.get(at("choose_key", where=table, key="nothing"))
    assert (no_such.status_code, "The table has no column nothing" in words(no_such)) == (422, True)
    refused = client.get(at("choose_key", where=table, key="weight"))
    assert (refused.status_code, "floating point numbers cannot be keys" in words(refused)) == (422, True)


def test_an_address_that_is_no_table_is_said_at_its_field(
    operator: User, table: str, delta_data_root: Path, signed_in: SignedIn
) -> None:
    client = signed_in(operator)
    for where in (
        str(delta_data_root),
        "/nowhere",
        "s3://",
        "s3://[",
        "what://ever",
        "",
        "x" * 900,
        "x" * 1001,
        "a\x00b",
    ):
        answer = client.get(at("look_at_table", where=where), follow=True)
        assert answer.status_code == (422 if where else 200), where
        assert ('aria-invalid="true"' in words(answer)) == bool(where), where
    folder = client.get(at("add_table", inside="/etc"))
    assert (folder.status_code, "Folders are shown below" in words(folder)) == (200, True)
    assert "names &amp; ümläuts" in words(folder)  # the data folder is shown all the same
    assert "Everything that Headgate does works with this table" in words(
        client.get(at("look_at_table", where=table))
    )


def test_a_table_is_added_with_project_people_and_ticked_expectations(
    operator: User, table: str, signed_in: SignedIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suites, "ring_for_proposal", lambda _: None)
    carl = UserFactory.create(username="carl", email="carl@example.org")
    client = signed_in(operator)
    sent = {"where": table, "key": ["id"], "name": "Names", "required_approvals": "1", "reviewer-1": "nobody"}
    refused = client.post(reverse("name_table"), sent)
    assert refused.status_code == 422
    assert "Name the new project" in words(refused)
    assert "Nobody is called “nobody”" in words(refused)
    assert not Dataset.objects.exists()
    assert not Project.objects.exists()

    added = client.post(
        reverse("name_table"), {**sent, "new_project": "Über alles", "reviewer-1": "CARL@example.org"}
    )
    dataset = Dataset.objects.get()
    page = reverse("first_suite", args=["uber-alles", "names"])
    assert (added.status_code, added["Location"]) == (302, page)
    assert (dataset.table_uri, dataset.primary_keys, dataset.project.name) == (table, ["id"], "Über alles")
    assert role_on(fresh(operator), dataset.project) is Role.OWNER
    assert role_on(carl, dataset) is Role.CONTRIBUTOR
    again = client.post(reverse("name_table"), {**sent, "project": "uber-alles", "reviewer-1": ""})
    assert (again.status_code, "is a dataset already" in words(again)) == (422, True)

    assert "A worker reads Names" in words(client.get(page))
    proposal = SuiteProposal.objects.get()
    suites.make_proposal(proposal_id=proposal.pk, worker="test")
    assert client.get(page, headers={"HX-Request": "true"})["HX-Redirect"] == page
    shown = words(client.get(page))
    proposed = SuiteProposal.objects.get().content or {}
    severities = [one["severity"] for one in proposed["expectations"]]
    assert shown.count(" checked>") == severities.count("critical") > 0
    assert shown.count('name="keep"') == len(severities)
    client.post(page, {"proposal": proposal.pk, "keep": ["0", "999", "x"]})
    saved = SuiteVersion.objects.get()
    assert saved.content["expectations"] == proposed["expectations"][:1]
    assert client.get(page)["Location"] == reverse("suite", args=["uber-alles", "names"])


def test_a_copy_of_a_registered_table_is_added_as_one_by_operators(
    operator: User, dataset: Dataset, signed_in: SignedIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suites, "ring_for_proposal", lambda _: None)
    copy = f"{dataset.table_uri}-copy"
    shutil.copytree(dataset.table_uri, copy)
    manager = person_with(Role.OWNER, dataset.project)
    said = "A dataset's table has the same identity: this is that table at another address, or a copy"
    sent = {
        "where": copy,
        "key": dataset.primary_keys,
        "name": "Copy",
        "project": dataset.project.slug,
        "required_approvals": "1",
    }

    seen = {who: words(signed_in(who).get(at("look_at_table", where=copy))) for who in (operator, manager)}
    assert f"{said} of its folder. Say so when you name it" in html.unescape(seen[operator])
    assert f"{said} of its folder. If it is a copy, an operator adds it" in html.unescape(seen[manager])
    asked = words(signed_in(manager).get(at("name_table", where=copy, key=dataset.primary_keys)))
    assert "This folder is a copy" not in asked
    by_manager = signed_in(manager).post(reverse("name_table"), {**sent, "is_copy": "on"})
    assert (by_manager.status_code, "under another address" in words(by_manager)) == (422, True)

    client = signed_in(operator)
    asked = words(client.get(at("name_table", where=copy, key=dataset.primary_keys)))
    assert "This folder is a copy of that table" in asked
    refused = client.post(reverse("name_table"), sent)
    assert refused.status_code == 422
    assert "under another address" in words(refused).partition("This folder is a copy of that table")[2]
    assert Dataset.objects.count() == 1

    added = client.post(reverse("name_table"), {**sent, "is_copy": "on"})
    assert added.status_code == 302
    assert Dataset.objects.select_related("meta").get(slug="copy").meta.is_copy
    ordinary = words(client.get(at("name_table", where=f"{copy}/nothing", key="id")))
    assert "This folder is a copy" not in ordinary


def test_the_steps_show_themselves_done_and_go_with_the_first_merge(
    operator: User, dataset: Dataset, owner: User, viewer: User, settings: Settings
) -> None:
    shown = first_run(fresh(owner))
    assert shown is None  # an owner of one dataset adds no tables
    shown = first_run(operator)
    assert shown is not None
    assert [step.is_done for step in shown.steps] == [True, True, False]
    assert shown.steps[2].url == ""  # the operator has no role on the dataset
    manager = person_with(Role.OWNER, dataset.project, username="rosa")
    request = ChangeRequestFactory.create(dataset=dataset)
    shown = first_run(manager)
    assert shown is not None
    assert shown.steps[2].action == f"Open {request.cr_id}"
    merge(request, owner)
    assert first_run(operator) is first_run(manager) is None


def test_sample_tables_are_offered_in_demos_alone(operator: User, settings: Settings) -> None:
    shown = first_run(operator)
    assert shown is not None
    assert (shown.sample_data, [step.is_next for step in shown.steps]) == ("", [True, False, False])


def test_an_invitation_is_made_and_taken_up_on_pages(operator: User, signed_in: SignedIn) -> None:
    client = signed_in(operator)
    made = client.post(reverse("invite"), {"email": "ida@example.org", "first_name": "Ida", "role": "viewer"})
    assert made.status_code == 200
    assert "no mail was sent" in words(made)
    key = words(made).partition("/invitation/")[2].partition("/")[0]
    page = reverse("accept_invitation", args=[key])
    visitor = Client()
    assert 'value="ida"' in words(visitor.get(page))
    sent = {"username": "adam", "password": "a passphrase of hers", "password_again": "another"}
    refused = visitor.post(page, sent)
    assert (refused.status_code, "The two passwords are not the same" in words(refused)) == (422, True)
    refused = visitor.post(page, {**sent, "password_again": sent["password"]})
    assert (refused.status_code, "Somebody has this user name already" in words(refused)) == (422, True)
    assert "a passphrase of hers" not in words(refused)
    taken = visitor.post(page, {**sent, "username": "ida", "password_again": sent["password"]})
    assert (taken.status_code, taken["Location"]) == (302, reverse("home"))
    assert visitor.get(reverse("home")).status_code == 200
    over = Client().get(page)
    assert (over.status_code, "This invitation is over" in words(over)) == (410, True)


def test_an_invitation_is_sent_again_or_withdrawn(operator: User, signed_in: SignedIn) -> None:
    client = signed_in(operator)
    client.post(reverse("invite"), {"email": "ida@example.org"})
    before = Invitation.objects.get()
    client.post(reverse("invite"), {"email": "ida@example.org"})
    after = Invitation.objects.get()
    assert after.digest != before.digest
    client.post(reverse("withdraw_invitation", args=[after.pk]))
    assert not invitations.open_invitations().exists()
    wrong = client.post(reverse("invite"), {"email": "no address"})
    assert (wrong.status_code, 'value="no address"' in words(wrong)) == (422, True)


def test_names_are_suggested_and_a_session_that_ended_takes_nothing_away(
    dataset: Dataset, owner: User, author: User, signed_in: SignedIn
) -> None:
    page, fragment = reverse("people_found"), {"HX-Request": "true"}
    client = signed_in(owner)
    shown = words(client.get(page, {"of": "member", "member": "cast"}, headers=fragment))
    assert '<option value="carl">Carl Castillo</option>' in shown
    assert "olivia" not in shown
    groups = client.get(page, {"of": "member", "member": "", "kind": "group"}, headers=fragment)
    assert groups.status_code == 200
    assert client.get(page)["Location"] == reverse("people")
    ended = Client().get(f"{page}?of=member", headers=fragment)
    assert (ended.status_code, ended.content) == (204, b"")


def test_members_of_a_project_are_given_roles_by_name_and_mail(
    dataset: Dataset, operator: User, author: User, signed_in: SignedIn
) -> None:
    client = signed_in(operator)
    page = reverse("project_members", args=[dataset.project.slug])
    unknown = client.post(page, {"kind": "user", "member": "castil", "role": "viewer"})
    assert (unknown.status_code, "Did you mean carl?" in words(unknown)) == (422, True)
    assert 'value="castil"' in words(unknown)
    client.post(page, {"kind": "user", "member": "Carl Castillo", "role": "owner"})
    assert role_on(fresh(author), dataset.project) is Role.OWNER
    client.post(
        reverse("remove_project_member", args=[dataset.project.slug]), {"kind": "user", "id": author.pk}
    )
    assert role_on(fresh(author), dataset.project) is Role.OWNER  # the last owner stays
