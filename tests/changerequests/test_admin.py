"""What operators find and do in the admin."""

import json
import re
from collections.abc import Iterable
from datetime import timedelta

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.contrib.messages import get_messages
from django.db import connection, transaction
from django.http import StreamingHttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from audit import bells
from audit.admin import BoundedPaginator
from audit.selectors import events_of
from audit.services import INSTALLATION_STREAM, Break
from audit.triggers import DROP_TRIGGERS
from changerequests import queue
from changerequests.models import ChangeRequest, ConflictResolution, ExpectationCheck, MergeRun
from changerequests.services import conflicts, plans
from changerequests.services.runs import request_merge
from changerequests.states import RunStatus
from datasets.models import Dataset, MaintenanceRun, Project
from datasets.operators import OPERATORS_GROUP, is_operator, make_operator
from datasets.roles import Role, role_on
from datasets.rows import ConflictFilter
from tests.factories import (
    ChangeRequestFactory,
    DatasetFactory,
    UserFactory,
    expect_of,
    expectation,
    fresh,
    merge,
    person_with,
)

pytestmark = pytest.mark.django_db

OURS = ("audit", "datasets", "changerequests")


@pytest.fixture
def adam() -> User:
    user = UserFactory.create(username="adam")
    make_operator(user)
    return fresh(user)


@pytest.fixture
def staff(adam: User) -> Client:
    client = Client()
    client.force_login(adam)
    return client


@pytest.fixture
def change_request() -> ChangeRequest:
    return ChangeRequestFactory.create()


def act(staff: Client, name: str, action: str, chosen: Iterable[int | str]) -> list[str]:
    """Run an action on rows of a list; the messages it leaves."""
    response = staff.post(
        reverse(f"admin:{name}_changelist"), {"action": action, "_selected_action": list(chosen)}
    )
    assert response.status_code == 302, response.content.decode()
    return [str(message) for message in get_messages(response.wsgi_request)]


def test_every_model_is_there_and_nothing_is_written_by_hand(
    staff: Client, change_request: ChangeRequest
) -> None:
    merge(change_request, person_with(Role.OWNER, change_request.dataset))
    models = [model for label in OURS for model in apps.get_app_config(label).get_models()]
    for model in models:
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        assert model in admin.site._registry, name
        assert staff.get(reverse(f"{name}_changelist")).status_code == 200, name
        row = model._default_manager.first()
        if row is None:
            continue
        page = staff.get(reverse(f"{name}_change", args=[row.pk]))
        assert page.status_code == 200, name
        assert b'name="_save"' not in page.content, name
        assert staff.post(reverse(f"{name}_change", args=[row.pk]), {}).status_code == 403, name
        assert staff.post(reverse(f"{name}_delete", args=[row.pk]), {"post": "yes"}).status_code == 403, name
        if model not in (Project, MaintenanceRun):
            assert staff.get(reverse(f"{name}_add")).status_code == 403, name


def test_lists_are_called_by_words_that_there_are() -> None:
    """Django adds an s to whatever a model is called: operators read of figuress and prefixs."""
    plurals = [str(model._meta.verbose_name_plural) for model in admin.site._registry]
    assert [one for one in plurals if re.search(r"(s|x|z|ch|sh|[^aeiou]y)s$", one)] == []


def test_staff_who_are_no_operators_see_nothing(change_request: ChangeRequest) -> None:
    clerk = UserFactory.create(is_staff=True)
    client = Client()
    client.force_login(clerk)

    assert not is_operator(clerk)
    assert client.get(reverse("admin:changerequests_mergerun_changelist")).status_code == 403
    assert (
        client.get(reverse("admin:datasets_dataset_members", args=[change_request.dataset_id])).status_code
        == 403
    )
    assert client.post(reverse("admin:changerequests_mergerun_sweep")).status_code == 302
    assert not events_of("dataset", str(change_request.dataset_id)).filter(actor=clerk.username).exists()


def test_an_operator_is_staff_in_the_group_and_no_superuser(adam: User) -> None:
    assert (adam.is_staff, adam.is_superuser) == (True, False)
    assert [group.name for group in adam.groups.all()] == [OPERATORS_GROUP]
    assert is_operator(adam)
    assert [event.subject_id for event in events_of("user", "adam").filter(action="operator.made")] == [
        "adam"
    ]
    adam.is_staff = False
    assert not is_operator(adam)


def test_being_an_operator_gives_no_role_on_data(adam: User, change_request: ChangeRequest) -> None:
    assert role_on(adam, change_request.dataset) is None


def test_a_run_is_cancelled_by_the_service(staff: Client, change_request: ChangeRequest) -> None:
    run = request_merge(change_request_id=change_request.pk, actor=change_request.author)

    first = act(staff, "changerequests_mergerun", "cancel", [run.pk])
    second = act(staff, "changerequests_mergerun", "cancel", [run.pk])

    run.refresh_from_db()
    assert (run.status, run.error_message) == (RunStatus.CANCELLED, "Cancelled by adam.")
    assert first == [f"Run {run.pk} is cancelled, or stops before it commits."]
    assert second[-1] == f"Run {run.pk}: The merge has ended already: it is cancelled."
    event = events_of("change_request", change_request.cr_id).get(action="merge.cancelled")
    assert event.actor == "adam"


def test_stuck_work_is_told_with_its_reason_and_acted_on(
    staff: Client, change_request: ChangeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = request_merge(change_request_id=change_request.pk, actor=change_request.author)
    MergeRun.objects.filter(pk=run.pk).update(queued_at=timezone.now() - timedelta(minutes=5))
    rung: list[int] = []
    monkeypatch.setattr(queue, "ring_on_commit", rung.append)
    address = reverse("operate")

    moved = staff.get("/admin/changerequests/mergerun/operations/")
    page = staff.get(moved.headers["Location"])
    unreasoned = staff.post(address, {"action": "retry", "number": run.pk, "reason": ""})
    retried = staff.post(address, {"action": "retry", "number": run.pk, "reason": "It was off."})

    assert "No worker has taken it for" in page.content.decode()
    assert (unreasoned.status_code, retried.status_code, rung) == (422, 302, [change_request.dataset_id])
    event = events_of("change_request", change_request.cr_id).get(action="operator.retried")
    assert (event.actor, event.data["reason"]) == ("adam", "It was off.")
    held = staff.post(address, {"action": "release", "number": change_request.dataset_id, "reason": "x"})
    assert (held.status_code, "Nobody holds the lease" in held.content.decode()) == (409, True)
    staff.post(address, {"action": "cancel", "number": run.pk, "reason": "Not needed."})
    run.refresh_from_db()
    assert run.status == RunStatus.CANCELLED
    assert events_of("change_request", change_request.cr_id).filter(action="operator.cancelled").exists()
    clerk = UserFactory.create(is_staff=True)
    client = Client()
    client.force_login(clerk)
    assert client.get(reverse("operations")).status_code == 404


def test_operators_have_tables_looked_after(
    staff: Client, change_request: ChangeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[tuple[object, ...]] = []
    monkeypatch.setattr(bells, "ring", lambda *message: sent.append(message))
    monkeypatch.setattr(transaction, "on_commit", lambda function, **_: function())
    address = reverse("admin:datasets_maintenancerun_add")
    asked = {"dataset": change_request.dataset_id, "jobs": ["compaction", "vacuum"], "reason": "slow"}

    assert staff.post(address, {**asked, "jobs": []}).status_code == 200
    assert staff.post(address, asked).status_code == 302
    again = staff.post(address, asked)

    run = MaintenanceRun.objects.get()
    assert (run.jobs, run.reason, run.status) == (["compaction", "vacuum"], "slow", "queued")
    assert str(run.requested_by) == "adam"
    assert "being looked after already" in again.content.decode()
    assert sent == [("changerequests.maintain", change_request.dataset_id)]
    event = events_of("dataset", str(change_request.dataset_id)).get(action="maintenance.requested")
    assert event.actor == "adam"


def test_the_trail_is_exported_by_those_who_may_see_it(staff: Client, change_request: ChangeRequest) -> None:
    address = reverse("admin:audit_event_export")

    answer = staff.get(address, {"subject_id": change_request.cr_id})
    wrong = staff.get(address, {"since": "soon"})

    assert isinstance(answer, StreamingHttpResponse)
    lines = [json.loads(line) for line in b"".join(answer).splitlines()]
    assert {line["subject_id"] for line in lines} == {change_request.cr_id}
    assert wrong.status_code == 302
    assert "is no time" in str(next(iter(get_messages(wrong.wsgi_request))))
    clerk = UserFactory.create(is_staff=True)
    client = Client()
    client.force_login(clerk)
    assert client.get(address).status_code == 403


def test_the_sweep_rings_for_what_waits(
    staff: Client, change_request: ChangeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    request_merge(change_request_id=change_request.pk, actor=change_request.author)
    rung: list[int] = []
    monkeypatch.setattr(queue, "ring", rung.append)

    assert staff.get(reverse("admin:changerequests_mergerun_sweep")).status_code == 405
    response = staff.post(reverse("admin:changerequests_mergerun_sweep"))

    assert response.status_code == 302
    assert rung == [change_request.dataset_id]
    assert events_of("installation", "queue").get(action="operator.swept").data == {"datasets": 1}


def test_stuck_runs_are_found(staff: Client, change_request: ChangeRequest) -> None:
    run = request_merge(change_request_id=change_request.pk, actor=change_request.author)
    address = reverse("admin:changerequests_mergerun_changelist")

    unheard = staff.get(f"{address}?stuck=unheard")
    died = staff.get(f"{address}?stuck=died")

    assert [row.pk for row in unheard.context["cl"].queryset] == [run.pk]
    assert list(died.context["cl"].queryset) == []
    MergeRun.objects.filter(pk=run.pk).update(status=RunStatus.RUNNING)
    died = staff.get(f"{address}?stuck=died")
    assert [row.pk for row in died.context["cl"].queryset] == [run.pk]


def test_a_dataset_is_reconciled_by_the_service(staff: Client) -> None:
    dataset: Dataset = DatasetFactory.create(name="Planes")
    dataset.meta.row_count = 99
    dataset.meta.save()

    said = act(staff, "datasets_dataset", "reconcile", [dataset.pk])

    assert said == ["Planes: version 0, 4 rows."]
    dataset.meta.refresh_from_db()
    assert dataset.meta.row_count == 4
    assert events_of("dataset", str(dataset.pk)).get(action="dataset.reconciled").actor == "adam"


def test_chains_are_verified_and_breaks_are_named(
    staff: Client, change_request: ChangeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = f"dataset:{change_request.dataset_id}"

    whole = act(staff, "audit_chain", "verify", [stream])
    found = [Break(stream, 2, "its content was changed"), Break("installation", 1, "not asked for")]
    monkeypatch.setattr("audit.admin.verify_chains", lambda: iter(found))
    broken = act(staff, "audit_chain", "verify", [stream])

    assert whole == ["1 chains are whole: every entry is as it was written."]
    assert broken[-2:] == [
        f"{stream} entry 2: its content was changed",
        "The audit trail is broken in 1 places.",
    ]


def test_roles_are_given_and_taken_as_roles(staff: Client) -> None:
    dataset: Dataset = DatasetFactory.create()
    carl = UserFactory.create(username="carl")
    address = reverse("admin:datasets_dataset_members", args=[dataset.pk])

    assert staff.get(address).status_code == 200
    staff.post(address, {"member": f"user:{carl.pk}", "role": "contributor"})
    assert role_on(fresh(carl), dataset) is Role.CONTRIBUTOR
    assert b"contributor" in staff.get(address).content
    staff.post(address, {"member": f"user:{carl.pk}", "role": "none"})

    assert role_on(fresh(carl), dataset) is None
    given = events_of("dataset", str(dataset.pk)).filter(action="member.role_set")
    assert [(event.actor, event.data["role"]) for event in given] == [
        ("adam", "contributor"),
        ("adam", "none"),
    ]


def test_projects_are_made_by_the_service(staff: Client) -> None:
    address = reverse("admin:datasets_project_add")

    refused = staff.post(address, {"slug": "Not A Slug", "name": "x"})
    made = staff.post(address, {"slug": "flights", "name": "Flights"})

    assert (refused.status_code, made.status_code) == (200, 302)
    project = Project.objects.get()
    assert (project.slug, project.name) == ("flights", "Flights")
    event = events_of("project", str(project.pk)).get()
    assert (event.stream, event.actor) == (INSTALLATION_STREAM, "adam")


def test_operators_manage_accounts_but_give_nobody_rights_over_the_installation(
    staff: Client, adam: User
) -> None:
    root = User.objects.create_superuser("root")
    carl = UserFactory.create(username="carl")
    view = Permission.objects.get(codename="change_installation")
    fields = {
        "username": "carl",
        "email": "carl@example.org",
        "is_active": "on",
        "date_joined_0": "2026-01-01",
        "date_joined_1": "00:00",
    }

    response = staff.post(
        reverse("admin:auth_user_change", args=[carl.pk]),
        {
            **fields,
            "first_name": "Carl",
            "is_superuser": "on",
            "is_staff": "on",
            "user_permissions": [view.pk],
        },
    )

    assert response.status_code == 302, response.content.decode()
    carl = fresh(carl)
    assert (carl.first_name, carl.is_staff, carl.is_superuser) == ("Carl", False, False)
    assert not carl.user_permissions.exists()
    for other in (root, adam):
        assert staff.post(reverse("admin:auth_user_change", args=[other.pk]), fields).status_code == 403
        password = reverse("admin:auth_user_password_change", args=[other.pk])
        assert staff.get(password).status_code == 403


def test_lists_cost_the_same_whatever_their_length(staff: Client) -> None:
    dataset: Dataset = DatasetFactory.create()

    def cost(name: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            assert staff.get(reverse(f"admin:{name}_changelist")).status_code == 200
        return len(queries)

    names = [
        "changerequests_changerequest",
        "changerequests_mergerun",
        "changerequests_revision",
        "audit_event",
    ]
    first = ChangeRequestFactory.create(dataset=dataset)
    request_merge(change_request_id=first.pk, actor=first.author)
    for name in names:
        cost(name)
    one = {name: cost(name) for name in names}
    for _ in range(3):
        more = ChangeRequestFactory.create(dataset=dataset)
        request_merge(change_request_id=more.pk, actor=more.author)

    assert {name: cost(name) for name in names} == one


def test_operators_see_no_values_of_rows(staff: Client) -> None:
    dataset = DatasetFactory.create()
    owner = person_with(Role.OWNER, dataset)
    change_request = ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN1,987654\n")
    other = ChangeRequestFactory.create(dataset=dataset, csv="tailnum,seats\nN1,5\n")
    expect_of(dataset, expectation("column_values_to_be_between", column="seats", min_value=1, max_value=100))
    plans.check(change_request_id=change_request.pk)
    judged = ExpectationCheck.objects.get(change_request=change_request)
    assert "987654" in json.dumps(judged.report)
    merge(other, owner)
    conflicts.resolve_matching(
        change_request_id=change_request.pk,
        actor=owner,
        wanted=ConflictFilter(column="seats"),
        choice="proposed",
    )
    run = merge(change_request, owner, override_reason="Look.")
    MergeRun.objects.filter(pk=run.pk).update(error_data={"conflicts": [{"proposed": 987654}]})
    for found, name in (
        (judged, "expectationcheck"),
        (run, "mergerun"),
        (ConflictResolution.objects.get(), "conflictresolution"),
    ):
        page = staff.get(reverse(f"admin:changerequests_{name}_change", args=[found.pk]))
        assert page.status_code == 200
        assert "987654" not in page.content.decode()
        shown = page.context["adminform"].readonly_fields
        assert shown
        assert not {"report", "error_data", "key", "value"} & set(shown)


def test_accounts_that_operators_make_and_change_are_in_the_trail(staff: Client) -> None:
    password = {"password1": "Xy12345zzz!", "password2": "Xy12345zzz!", "usable_password": "true"}
    assert staff.post(reverse("admin:auth_user_add"), {"username": "nina", **password}).status_code == 302
    nina = User.objects.get(username="nina")
    page = reverse("admin:auth_user_password_change", args=[nina.pk])
    assert staff.post(page, password).status_code == 302
    told = [(event.action, event.actor, event.data) for event in events_of("user", "nina")]
    assert told == [
        ("account.made", "adam", {}),
        ("account.changed", "adam", {"changed": ["password"]}),
        ("account.password_reset", "adam", {"sessions": 0, "tokens": 0}),
    ]


def test_the_trail_is_listed_without_reading_it_all(
    staff: Client, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    ChangeRequestFactory.create()
    url = reverse("admin:audit_event_changelist")
    staff.get(url)
    monkeypatch.setattr(BoundedPaginator, "FURTHEST", 3)

    # The session, who asks and what they may (2), the actions, the subjects, how many (at most four), and the page.
    with django_assert_num_queries(8) as asked:
        page = staff.get(url)

    assert not [one["sql"] for one in asked.captured_queries if "DISTINCT" in one["sql"]]
    [counted] = [one["sql"] for one in asked.captured_queries if "COUNT(*)" in one["sql"]]
    assert "LIMIT 4" in counted
    assert "more than 3 events" in " ".join(page.content.decode().split())
    for action in ("change_request.created", "member.role_set", "revision.staged"):
        assert f"?action={action}" in page.content.decode()
    for subject_type in ("change_request", "dataset"):
        assert f"?subject_type={subject_type}" in page.content.decode()
    monkeypatch.setattr(BoundedPaginator, "FURTHEST", 1_000)
    some = staff.get(url, {"action": "revision.staged"})
    assert "1 event" in " ".join(some.content.decode().split())


def test_a_filter_of_an_empty_trail_offers_no_value(staff: Client) -> None:
    with connection.cursor() as cursor:
        for statement in (*DROP_TRIGGERS[connection.vendor], "DELETE FROM audit_event"):
            cursor.execute(statement)

    assert "?action=" not in staff.get(reverse("admin:audit_event_changelist")).content.decode()
