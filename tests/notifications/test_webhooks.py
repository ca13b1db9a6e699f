"""Webhooks from the event to the receiver: signed, in order, delivered once it is back, switched off after days."""

import hashlib
import hmac
import json
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.apps import apps
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import models
from django.utils import timezone
from pytest_django import Settings

from audit import bells
from audit.models import Event, OutboxEntry
from changerequests.models import ChangeRequest
from changerequests.services import proposals
from changerequests.services.erasing import TEXTS_ABOVE, erase_person
from changerequests.services.reviews import comment
from config.env import BASE_DIR
from datasets.durable_work import WorkStatus
from datasets.errors import Forbidden, InvalidInput, NotFound, SettingsChanged
from datasets.models import Dataset
from datasets.roles import Role
from notifications.channels import posting
from notifications.channels.reach import Reach
from notifications.kinds import Reason
from notifications.models import Delivery, Notification, Webhook
from notifications.services import delivering, dispatching, webhooks
from tests.factories import ChangeRequestFactory, DatasetFactory, UserFactory, person_with
from tests.notifications.receivers import Behaviour, Receiver, answering, receiver, sending

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


@pytest.fixture(autouse=True)
def _world(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    monkeypatch.setattr(bells, "ring", lambda *_: None)
    settings.WEBHOOK_REACH = Reach.read(["127.0.0.1"])
    settings.PUBLIC_URL = "https://headgate.example"


@pytest.fixture
def dataset() -> Dataset:
    made: Dataset = DatasetFactory.create(
        slug="planes", name="Planes", project__slug="fleet", project__name="Fleet"
    )
    return made


@pytest.fixture
def owner(dataset: Dataset) -> User:
    person = person_with(Role.OWNER, dataset, username="olivia")
    dispatching.dispatch()  # what happened until here is no news for those who come
    return person


@pytest.fixture
def one() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


def hooked(owner: User, dataset: Dataset, one: Receiver, **fields: Any) -> tuple[Webhook, str]:
    return webhooks.create_webhook(actor=owner, place=dataset, name="Pipeline", url=one.url, **fields)


def opened(dataset: Dataset, owner: User, title: str) -> ChangeRequest:
    """A draft, which is one event."""
    return proposals.create_change_request(dataset=dataset, author=owner, title=title)


def deliver_all() -> None:
    """What workers do now: dispatch, and send what is due."""
    dispatching.dispatch()
    for pk in Delivery.objects.filter(status__in=Delivery.ACTIVE).order_by("pk").values_list("pk", flat=True):
        delivering.deliver(delivery_id=pk, worker="test")


def later(**moved: float) -> time_machine.travel:
    return time_machine.travel(timezone.now() + timedelta(**moved), tick=False)


def titles(one: Receiver) -> list[str]:
    """Which requests a receiver was told of, in the order in which it was."""
    told = (json.loads(request.body) for request in one.received)
    return [document["change_request"]["title"] for document in told if "change_request" in document]


def test_what_happens_is_told_with_who_what_and_where_to_look(
    dataset: Dataset, owner: User, one: Receiver
) -> None:
    hooked(owner, dataset, one)
    request = opened(dataset, owner, "Fill in years")
    deliver_all()
    made = Event.objects.get(action="change_request.created")
    documents = [json.loads(request.body) for request in one.received]
    assert [document["kind"] for document in documents] == ["webhook.created", "change_request.created"]
    assert documents[1] == {
        "id": made.hash[:32],
        "kind": "change_request.created",
        "occurred_at": made.occurred_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "project": {"id": dataset.project_id, "slug": "fleet", "name": "Fleet"},
        "dataset": {"id": dataset.pk, "slug": "planes", "name": "Planes"},
        "change_request": {
            "cr_id": request.cr_id,
            "title": "Fill in years",
            "status": "draft",
            "author": "olivia",
        },
        "actor": "olivia",
        "data": made.data,
        "links": {
            "page": f"https://headgate.example/change-requests/{request.cr_id}/",
            "api": f"https://headgate.example/api/v1/change_requests/{request.cr_id}",
        },
    }
    sent = Delivery.objects.get(event=made)
    assert sent.status == WorkStatus.SUCCEEDED
    assert (sent.response["status"], sent.response["excerpt"]) == (200, "ok")
    headers = one.received[1].headers
    assert headers["headgate-event"] == "change_request.created"
    assert headers["headgate-delivery"] == str(sent.pk)
    assert headers["content-type"] == "application/json"


def test_the_documented_code_verifies_a_request_and_refuses_another(
    dataset: Dataset, owner: User, one: Receiver
) -> None:
    """The example of docs/notifications.md, as it stands there."""
    text = (BASE_DIR / "docs" / "notifications.md").read_text()
    [code] = re.findall(r"```python\n(.*?def is_from_headgate.*?)```", text, re.S)
    documented: dict[str, Any] = {}
    exec(code, documented)  # noqa: S102  (our own page)
    verify = documented["is_from_headgate"]
    _, secret = hooked(owner, dataset, one)
    deliver_all()
    [request] = one.received
    assert verify(secret, request.headers, request.body)
    assert not verify("hgws_" + "0" * 64, request.headers, request.body)
    assert not verify(secret, request.headers, request.body + b" ")
    assert not verify(secret, {**request.headers, "headgate-timestamp": "1"}, request.body)
    assert not verify(secret, {}, request.body)
    with later(minutes=10):
        assert not verify(secret, request.headers, request.body)


def test_a_rotated_secret_signs_beside_the_new_one_until_its_time_is_over(
    dataset: Dataset, owner: User, one: Receiver
) -> None:
    webhook, first = hooked(owner, dataset, one)
    _, second = webhooks.rotate_secret(webhook_id=webhook.pk, actor=owner, overlap_hours=24)
    deliver_all()
    with later(hours=25):
        opened(dataset, owner, "Later")
        deliver_all()
    _, third = webhooks.rotate_secret(webhook_id=webhook.pk, actor=owner, overlap_hours=0)
    deliver_all()
    assert signed_with(one, [first, second, third]) == [[second, first], [second, first], [second], [third]]


def signed_with(one: Receiver, secrets: list[str]) -> list[list[str]]:
    """Which of some secrets signed each request, in the order of the header."""
    found = []
    for request in one.received:
        signed = request.headers["headgate-timestamp"].encode() + b"." + request.body
        by = {hmac.new(key.encode(), signed, hashlib.sha256).hexdigest(): key for key in secrets}
        values = [value.removeprefix("v1=") for value in request.headers["headgate-signature"].split(",")]
        found.append([by.get(value, "?") for value in values])
    return found


def test_secrets_and_addresses_are_kept_encrypted_and_keys_can_be_changed(
    dataset: Dataset, owner: User, one: Receiver, settings: Settings
) -> None:
    webhook, secret = hooked(owner, dataset, one)
    webhooks.rotate_secret(webhook_id=webhook.pk, actor=owner)
    kept = str(Webhook.objects.values().get())
    assert secret not in kept
    assert "/hook" not in kept
    settings.ENCRYPTION_KEYS = ["a new key that is long enough, 1"]
    call_command("encrypt_secrets_anew")
    settings.SECRET_KEY = "another one, which is no key any more"
    deliver_all()
    assert len(one.received) == 2
    settings.ENCRYPTION_KEYS = ["some other key that is long enough"]
    with pytest.raises(CommandError, match=f"not among those of today: {webhook.pk}"):
        call_command("encrypt_secrets_anew")
    opened(dataset, owner, "Later")
    deliver_all()
    assert "encrypted with a key that is gone" in Delivery.objects.latest("pk").error_message
    assert len(one.received) == 2


# --- Receivers that fail ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behave", "said"),
    [
        (answering(500, b"oh no"), "It answered 500."),
        (answering(404), "It answered 404."),
        (
            answering(302, b"", Location="http://127.0.0.1:1/"),
            "It answered 302, a redirect, which is not followed",
        ),
        (sending(b""), "closed before there was an answer"),
        (sending(b"HTTP/1.1 20"), "closed before there was an answer"),
        (sending(b"", pause=0.5), "did not answer within"),
    ],
    ids=["500", "404", "redirecting", "dying", "dying in its answer", "slow"],
)
def test_a_receiver_that_fails_is_told_everything_once_it_is_back_and_in_order(
    dataset: Dataset,
    owner: User,
    one: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    behave: Behaviour,
    said: str,
) -> None:
    hooked(owner, dataset, one)
    deliver_all()
    one.received.clear()
    one.behave = behave
    for title in ("One", "Two"):
        opened(dataset, owner, title)
    patient = posting.SECONDS
    monkeypatch.setattr(posting, "SECONDS", 0.2)
    deliver_all()
    first, second = Delivery.objects.filter(status=WorkStatus.QUEUED).order_by("pk")
    assert said in first.error_message
    assert (first.attempts, second.attempts) == (1, 0), "the second waits for the first"
    with later(minutes=1):
        opened(dataset, owner, "Three")
        deliver_all()
    assert set(titles(one)) == {"One"}
    one.behave = answering(200)
    one.received.clear()
    monkeypatch.setattr(posting, "SECONDS", patient)
    with later(minutes=5):
        deliver_all()
    assert list(dict.fromkeys(titles(one))) == [
        "One",
        "Two",
        "Three",
    ]  # the slow one read the last attempt late
    assert not Delivery.objects.exclude(status=WorkStatus.SUCCEEDED).exists()
    assert Webhook.objects.get().failing_since is None


def test_a_receiver_that_was_killed_is_told_everything_once_it_is_back(dataset: Dataset, owner: User) -> None:
    with receiver() as gone:
        hooked(owner, dataset, gone)
        deliver_all()
    for title in ("One", "Two"):
        opened(dataset, owner, title)
    deliver_all()
    assert "Connection refused" in Delivery.objects.order_by("pk")[1].error_message
    with receiver(port=gone.port) as back, later(minutes=5):
        deliver_all()
        assert titles(back) == ["One", "Two"]


def test_one_that_dies_after_its_status_was_told(dataset: Dataset, owner: User, one: Receiver) -> None:
    one.behave = sending(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    hooked(owner, dataset, one)
    deliver_all()
    sent = Delivery.objects.get()
    assert (sent.status, sent.response["excerpt"]) == ("succeeded", "half")


def test_a_message_that_a_receiver_will_not_take_keeps_no_other_waiting(
    dataset: Dataset, owner: User, one: Receiver
) -> None:
    hooked(owner, dataset, one)
    one.behave = answering(400, b"invalid_blocks")
    deliver_all()
    one.behave = answering(200)
    opened(dataset, owner, "Two")
    deliver_all()
    assert titles(one) == ["Two"]
    refused = Delivery.objects.earliest("pk")
    assert (refused.status, refused.error_message) == (
        "failed",
        "It answered 400: it will not take this message.",
    )
    assert refused.response["excerpt"] == "invalid_blocks"


def test_a_receiver_that_asks_for_a_pause_gets_it(dataset: Dataset, owner: User, one: Receiver) -> None:
    hooked(owner, dataset, one)
    one.behave = answering(429, Retry_After="600")
    deliver_all()
    due = Delivery.objects.get().next_attempt_at - timezone.now()
    assert timedelta(seconds=590) < due <= timedelta(seconds=600)


def test_one_that_fails_for_days_is_switched_off_and_owners_hear_of_it(
    dataset: Dataset, owner: User, one: Receiver
) -> None:
    webhook, _ = hooked(owner, dataset, one)
    one.behave = answering(503, b"closed")
    deliver_all()
    webhook.refresh_from_db()
    assert webhook.failing_since is not None
    with later(days=2, hours=23):
        opened(dataset, owner, "Young")
        deliver_all()
        assert Webhook.objects.get().stopped == Webhook.Stopped.NOT
    with later(days=3, hours=1):
        deliver_all()
        assert Webhook.objects.get().stopped == Webhook.Stopped.FAILING
    told = Event.objects.get(action="webhook.stopped")
    assert told.stream == f"dataset:{dataset.pk}"
    assert told.data["host"] == f"http://127.0.0.1:{one.port}"
    assert (told.data["reason"], told.data["message"]) == ("failing", "It answered 503.")
    dispatching.dispatch()
    assert [(news.person, news.headline) for news in Notification.objects.filter(event=told)] == [
        (owner, "The webhook Pipeline of Planes was switched off: it took nothing any more")
    ]
    asked = len(one.received)
    with later(days=3, hours=4):
        opened(dataset, owner, "Unheard")
        deliver_all()
        assert len(one.received) == asked, "nothing is sent to it any more"
        one.behave = answering(200)
        changed = webhooks.change_webhook(webhook_id=webhook.pk, actor=owner, changes={"is_active": True})
        assert (changed.stopped, changed.failing_since) == ("", None)
        opened(dataset, owner, "Heard")
        deliver_all()
    assert titles(one)[-1] == "Heard"
    assert "Unheard" not in titles(one)


def test_one_that_says_that_it_is_gone_is_switched_off_at_once(
    dataset: Dataset, owner: User, one: Receiver
) -> None:
    hooked(owner, dataset, one)
    one.behave = answering(410)
    opened(dataset, owner, "Two")
    deliver_all()
    assert Webhook.objects.get().stopped == Webhook.Stopped.GONE
    assert len(one.received) == 1
    assert {sent.error_message for sent in Delivery.objects.filter(status="failed")} == {
        "It answered 410: it is gone for good.",
        "The webhook was switched off; nothing was sent.",
    }


def test_owners_of_a_project_hear_of_its_webhooks_and_others_do_not(
    dataset: Dataset, owner: User, one: Receiver
) -> None:
    boss = person_with(Role.OWNER, dataset.project)
    webhooks.create_webhook(actor=boss, place=dataset.project, name="Fleet's", url=one.url)
    one.behave = answering(410)
    opened(dataset, owner, "Two")
    deliver_all()
    dispatching.dispatch()
    [news] = Notification.objects.filter(event__action="webhook.stopped")
    assert (news.person, news.reason, news.dataset) == (boss, Reason.OWNER, None)
    assert news.headline == "The webhook Fleet's of Fleet was switched off: it took nothing any more"


def test_names_in_what_is_kept_of_news_are_erased(dataset: Dataset, owner: User, one: Receiver) -> None:
    webhook, _ = hooked(owner, dataset, one)
    webhooks.change_webhook(webhook_id=webhook.pk, actor=owner, changes={"name": "What olivia reads"})
    heirs = person_with(Role.OWNER, dataset)
    one.behave = answering(410, b"olivia is gone")
    opened(dataset, owner, "Two")
    deliver_all()
    dispatching.dispatch()
    OutboxEntry.objects.update(error="No such user: olivia")
    pseudonym = erase_person(username="olivia", reason="They asked for it.").pseudonym
    kept = [str(list(model.objects.values())) for model in (Webhook, Delivery, Notification, OutboxEntry)]
    assert "olivia" not in "".join(kept)
    assert Webhook.objects.get().name == f"What {pseudonym} reads"
    news = Notification.objects.get(person=heirs, event__action="webhook.stopped")
    assert f"The webhook What {pseudonym} reads of Planes" in news.headline


def test_every_text_of_notifications_is_erased_or_none_of_people() -> None:
    texts = {
        f"{model.__name__}.{field.name}"
        for model in apps.get_app_config("notifications").get_models()
        for field in model._meta.get_fields()
        if isinstance(field, models.CharField | models.TextField | models.JSONField) and not field.choices
    }
    erased = {
        f"{label.partition('.')[2]}.{field}" for label, fields in TEXTS_ABOVE.items() for field in fields
    }
    of_machines = {
        *("Delivery.receiver", "Delivery.worker", "Delivery.attempt_id", "Delivery.error_code"),
        "Delivery.traceparent",
        *("Webhook.url", "Webhook.host", "Webhook.actions", "Webhook.secret", "Webhook.former_secret"),
    }
    assert texts - erased == of_machines


def test_an_address_that_turns_private_is_refused_and_nothing_is_sent(
    dataset: Dataset, owner: User, one: Receiver, settings: Settings
) -> None:
    hooked(owner, dataset, one)
    settings.WEBHOOK_REACH = Reach()
    deliver_all()
    assert one.received == []
    assert "which is not on the internet" in Delivery.objects.get().error_message


# --- Who is told what -------------------------------------------------------------------------------------


def test_projects_are_told_of_all_their_datasets_and_nobody_of_others(
    dataset: Dataset, owner: User, one: Receiver
) -> None:
    sibling: Dataset = DatasetFactory.create(project=dataset.project)
    stranger: Dataset = DatasetFactory.create()
    chief = person_with(Role.OWNER, dataset.project)
    webhooks.create_webhook(
        actor=chief, place=dataset.project, name="All", url=one.url, actions=["change_request.*"]
    )
    for place in (dataset, sibling, stranger):
        opened(place, person_with(Role.OWNER, place), f"In {place.pk}")
    deliver_all()
    assert titles(one) == [f"In {dataset.pk}", f"In {sibling.pk}"]


def test_a_webhook_is_told_what_it_asked_for(dataset: Dataset, owner: User, one: Receiver) -> None:
    hooked(owner, dataset, one, actions=["comment.added", "change_request.submitted"])
    request: ChangeRequest = ChangeRequestFactory.create(dataset=dataset, author=owner)
    comment(change_request_id=request.pk, actor=owner, body="Why?")
    deliver_all()
    assert [json.loads(sent.body)["kind"] for sent in one.received] == [
        "change_request.submitted",
        "comment.added",
    ]


HOSTILE = (
    "<!channel> *now* [see](https://evil.example) <https://evil.example|CR-1> {{DATE(2020)}} \u202eevil\n@all"
)


def test_slack_reads_names_and_titles_as_text(dataset: Dataset, owner: User, one: Receiver) -> None:
    hooked(owner, dataset, one, format="slack")
    request = opened(dataset, owner, HOSTILE)
    deliver_all()
    [body] = [json.loads(sent.body) for sent in one.received]
    texts = [block["text"] for block in body["blocks"] if "text" in block]
    assert [text["text"] for text in texts] == [
        f"olivia opened {request.cr_id} as a draft",
        HOSTILE.replace("\u202e", "").replace("\n", " "),
        f"<https://headgate.example/change-requests/{request.cr_id}/|Open {request.cr_id}>",
    ]
    assert [text["type"] for text in texts] == ["plain_text", "plain_text", "mrkdwn"]
    assert (body["parse"], body["link_names"], body["mrkdwn"]) == ("none", False, False)
    assert not {"<", ">"} & set(body["text"])


def test_teams_reads_names_and_titles_as_text(dataset: Dataset, owner: User, one: Receiver) -> None:
    hooked(owner, dataset, one, format="teams")
    request = opened(dataset, owner, HOSTILE)
    deliver_all()
    [body] = [json.loads(sent.body) for sent in one.received]
    [attachment] = body["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    card = attachment["content"]
    runs = [run for block in card["body"] for run in block["inlines"]]
    assert {block["type"] for block in card["body"]} == {"RichTextBlock"}
    assert {run["type"] for run in runs} == {"TextRun"}
    assert runs[1]["text"] == HOSTILE.replace("\u202e", "").replace("\n", " ").replace("{{", "{ {")
    assert card["actions"] == [
        {
            "type": "Action.OpenUrl",
            "title": f"Open {request.cr_id}",
            "url": f"https://headgate.example/change-requests/{request.cr_id}/",
        }
    ]


@pytest.mark.parametrize("form", ["slack", "teams"])
def test_a_long_title_is_cut_for_people_and_programs_are_no_part_of_their_news(
    dataset: Dataset, owner: User, one: Receiver, form: str
) -> None:
    hooked(owner, dataset, one, format=form)
    opened(dataset, owner, "x" * 200)
    deliver_all()
    assert len(one.received) == 1, "that there is a webhook is news for programs"
    assert "x" * 200 in one.received[0].body.decode()


# --- Looking after them -----------------------------------------------------------------------------------


def test_a_trial_is_sent_at_once_though_others_wait_and_what_waits_follows_where_it_works(
    dataset: Dataset, owner: User, one: Receiver
) -> None:
    webhook, _ = hooked(owner, dataset, one)
    one.behave = answering(500)
    deliver_all()
    failed = webhooks.try_out(webhook_id=webhook.pk, actor=owner)
    deliver_all()
    failed.refresh_from_db()
    assert (failed.status, failed.error_message) == ("failed", "It answered 500.")
    one.behave = answering(200)
    one.received.clear()
    webhooks.try_out(webhook_id=webhook.pk, actor=owner)
    deliver_all()
    deliver_all()
    kinds = [json.loads(request.body)["kind"] for request in one.received]
    assert kinds == ["ping", "webhook.created"]


def test_a_delivery_is_repeated_as_it_was_behind_what_waits(
    dataset: Dataset, owner: User, one: Receiver
) -> None:
    hooked(owner, dataset, one)
    deliver_all()
    [first] = Delivery.objects.all()
    again = webhooks.repeat(delivery_id=first.pk, actor=owner)
    with pytest.raises(webhooks.StillOnItsWay):
        webhooks.repeat(delivery_id=again.pk, actor=owner)
    deliver_all()
    assert again.repeats == first
    assert one.received[0].body == one.received[1].body
    assert [sent.headers["headgate-delivery"] for sent in one.received] == [str(first.pk), str(again.pk)]


def test_only_owners_look_after_webhooks_and_others_do_not_learn_of_them(
    dataset: Dataset, owner: User, one: Receiver
) -> None:
    webhook, _ = hooked(owner, dataset, one)
    deliver_all()
    sent = Delivery.objects.get()
    before = list(Webhook.objects.values())
    contributor, stranger = person_with(Role.CONTRIBUTOR, dataset), UserFactory.create()
    for actor, refused in ((contributor, Forbidden), (stranger, NotFound)):
        for act in (
            lambda by: webhooks.change_webhook(webhook_id=webhook.pk, actor=by, changes={"name": "x"}),
            lambda by: webhooks.remove_webhook(webhook_id=webhook.pk, actor=by),
            lambda by: webhooks.rotate_secret(webhook_id=webhook.pk, actor=by),
            lambda by: webhooks.try_out(webhook_id=webhook.pk, actor=by),
            lambda by: webhooks.repeat(delivery_id=sent.pk, actor=by),
        ):
            with pytest.raises(refused):
                act(actor)
    assert list(Webhook.objects.values()) == before
    assert Delivery.objects.count() == 1
    with pytest.raises(NotFound):
        webhooks.repeat(delivery_id=Delivery.objects.create(receiver=f"mail:{owner.pk}").pk, actor=owner)


def test_what_does_not_fit_is_named_and_nothing_is_kept(dataset: Dataset, owner: User) -> None:
    for field, fields in (
        ("url", {"url": "https://10.0.0.1/"}),
        ("url", {"url": "https://me:secret@hooks.example/"}),
        ("name", {"name": " "}),
        ("format", {"format": "xml"}),
        ("actions", {"actions": ["merge"]}),
        ("actions", {"actions": ["*.*"]}),
    ):
        wanted: dict[str, Any] = {"name": "Pipeline", "url": "https://hooks.example/", **fields}
        with pytest.raises(InvalidInput) as refused:
            webhooks.create_webhook(actor=owner, place=dataset, **wanted)
        assert list(refused.value.data["errors"]) == [field]
    assert not Webhook.objects.exists()
    for number in range(webhooks.MOST_WEBHOOKS):
        webhooks.create_webhook(actor=owner, place=dataset, name=str(number), url="https://hooks.example/")
    with pytest.raises(InvalidInput, match="20 webhooks here already"):
        webhooks.create_webhook(actor=owner, place=dataset, name="x", url="https://hooks.example/")


def test_a_change_of_what_somebody_else_changed_is_refused(
    dataset: Dataset, owner: User, one: Receiver
) -> None:
    webhook, _ = hooked(owner, dataset, one)
    webhooks.change_webhook(webhook_id=webhook.pk, actor=owner, changes={"name": "Mine"}, edited=["1"])
    with pytest.raises(SettingsChanged):
        webhooks.change_webhook(webhook_id=webhook.pk, actor=owner, changes={"name": "Yours"}, edited=["1"])
    assert Webhook.objects.get().name == "Mine"
    told = Event.objects.get(action="webhook.changed").data
    assert told["changes"] == {"name": {"before": "Pipeline", "after": "Mine"}}


def test_a_removed_webhook_is_told_nothing_more(dataset: Dataset, owner: User, one: Receiver) -> None:
    webhook, _ = hooked(owner, dataset, one)
    dispatching.dispatch()
    webhooks.remove_webhook(webhook_id=webhook.pk, actor=owner)
    deliver_all()
    assert one.received == []
    ended = Delivery.objects.get()
    assert (ended.status, ended.error_message) == ("failed", "The webhook was removed.")
