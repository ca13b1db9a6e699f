"""People are told: inbox, mail from a real mail server, what they watch and mute, whom they ask."""

import email
import email.policy
import socket
from collections.abc import Callable, Iterator
from datetime import timedelta
from email.message import EmailMessage
from typing import Any

import pytest
import time_machine
from aiosmtpd.controller import Controller
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from audit import bells
from changerequests.errors import InvalidTransition
from changerequests.facts import facts_of
from changerequests.models import ChangeRequest, ReviewRequest
from changerequests.services import asking, proposals, reviews
from changerequests.services.erasing import erase_person
from changerequests.states import Status
from datasets.durable_work import WorkStatus
from datasets.errors import Forbidden, InvalidInput, NotFound
from datasets.roles import Role, set_role
from notifications.kinds import Kind, Way
from notifications.models import Delivery, Notification, NotificationSetting, Subscription
from notifications.selectors import inbox_of, unread_of
from notifications.services import delivering, digests, dispatching, forgetting, preferences
from notifications.services.inbox import mark_read
from tests.factories import ChangeRequestFactory, GroupFactory, UserFactory

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


class Postbox:
    """What a mail server was given; it refuses whom it is told to."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.answer = "250 OK"

    async def handle_DATA(self, _: Any, __: Any, envelope: Any) -> str:
        if self.answer.startswith("2"):
            self.mails.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        return self.answer


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[Controller, Postbox]]:
    postbox = Postbox()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    controller = Controller(postbox, hostname="127.0.0.1", port=port)
    controller.start()
    yield controller, postbox
    controller.stop()


@pytest.fixture
def postbox(server: tuple[Controller, Postbox], settings: Any) -> Postbox:
    controller, postbox = server
    postbox.mails, postbox.answer = [], "250 OK"
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST = "127.0.0.1"
    settings.EMAIL_PORT = controller.port
    settings.SENDS_MAIL = True
    settings.PUBLIC_URL = "https://headgate.example.org"
    return postbox


@pytest.fixture(autouse=True)
def _no_bells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bells, "ring", lambda *_: None)


@pytest.fixture
def request_() -> ChangeRequest:
    made = ChangeRequestFactory.create(title="Fix <the> seats", author=UserFactory.create(username="ann"))
    dispatching.dispatch()
    Notification.objects.all().delete()
    Delivery.objects.all().delete()
    return made


@pytest.fixture
def member(request_: ChangeRequest) -> Callable[..., User]:
    def made(name: str, role: Role = Role.CONTRIBUTOR) -> User:
        user = UserFactory.create(username=name)
        set_role(member=user, target=request_.dataset, role=role, actor=None)
        dispatching.dispatch()
        Notification.objects.all().delete()
        Delivery.objects.all().delete()
        return user

    return made


def send() -> None:
    dispatching.dispatch()
    for delivery in Delivery.objects.filter(status=WorkStatus.QUEUED).order_by("pk"):
        delivering.deliver(delivery_id=delivery.pk, worker="test")


def told() -> dict[str, tuple[str, str]]:
    dispatching.dispatch()
    found = Notification.objects.order_by("pk").values_list("person__username", "kind", "reason")
    return {name: (kind, reason) for name, kind, reason in found}


def test_comments_tell_author_mentioned_and_participants_but_nobody_without_a_role(
    request_: ChangeRequest, member: Callable[..., User]
) -> None:
    bob, cem = member("bob"), member("cem", Role.VIEWER)
    UserFactory.create(username="stranger")
    gone = member("gone")
    gone.is_active = False
    gone.save()
    reviews.comment(change_request_id=request_.pk, actor=bob, body="@cem, @stranger, @gone and @bob: look.")
    assert told() == {"ann": ("conversation", "author"), "cem": ("mentioned", "mentioned")}
    [one] = inbox_of(cem)
    assert one.headline == f"bob mentioned you in {request_.cr_id} Fix <the> seats"
    Notification.objects.all().delete()
    reviews.comment(change_request_id=request_.pk, actor=request_.author, body="I did.")
    assert told() == {"bob": ("conversation", "participant")}


def test_what_somebody_may_not_see_any_more_leaves_their_inbox(
    request_: ChangeRequest, member: Callable[..., User]
) -> None:
    bob, cem = member("bob"), member("cem")
    reviews.comment(change_request_id=request_.pk, actor=bob, body="@cem look")
    dispatching.dispatch()
    assert unread_of(cem).count() == 1
    assert mark_read(person=bob, notifications=[unread_of(cem)[0].pk]) == 0, "it is not theirs"
    set_role(member=cem, target=request_.dataset, role=None, actor=None)
    assert (unread_of(cem).count(), inbox_of(cem).count()) == (0, 0)


def test_watching_and_muting(request_: ChangeRequest, member: Callable[..., User]) -> None:
    bob, wendy, max_ = member("bob"), member("wendy", Role.VIEWER), member("max")
    preferences.subscribe(person=wendy, to=request_, level="watch")
    preferences.subscribe(person=request_.author, to=request_.dataset, level="mute")
    preferences.subscribe(person=max_, to=request_.dataset, level="watch")
    reviews.comment(change_request_id=request_.pk, actor=bob, body="Hm.")
    assert told() == {"wendy": ("conversation", "watching")}
    preferences.subscribe(person=request_.author, to=request_, level="participating")
    preferences.subscribe(person=wendy, to=request_, level="mute")
    Notification.objects.all().delete()
    reviews.comment(change_request_id=request_.pk, actor=bob, body="@wendy and all")
    assert told() == {"ann": ("conversation", "author"), "wendy": ("mentioned", "mentioned")}
    Notification.objects.all().delete()
    proposals.close(change_request_id=request_.pk, actor=request_.author)
    proposals.reopen(change_request_id=request_.pk, actor=request_.author)
    proposals.submit(change_request_id=request_.pk, actor=request_.author)
    assert told()["max"] == ("state", "watching_dataset")
    with pytest.raises(InvalidInput):
        preferences.subscribe(person=bob, to=request_, level="loud")
    preferences.unsubscribe(person=wendy, to=request_)
    assert preferences.subscription_to(person=wendy, to=request_) == "participating"


def test_people_and_groups_are_asked_for_reviews_and_owe_them_until_they_judged(
    request_: ChangeRequest, member: Callable[..., User]
) -> None:
    _, cem, dee = member("bob"), member("cem"), member("dee", Role.VIEWER)
    group = GroupFactory.create(name="data stewards")
    group.user_set.add(cem, dee)
    ask: Any = {"change_request_id": request_.pk, "actor": request_.author}
    asked = asking.ask_for_review(**ask, users=["bob"], groups=["data stewards"])
    assert [one.name for one in asked] == ["bob", "data stewards"]
    assert asking.ask_for_review(**ask, users=["bob"]) == []
    assert told() == {
        "bob": ("review_requested", "review_requested"),
        "cem": ("review_requested", "review_requested"),
    }, "dee may not review"
    assert [one.name for one in facts_of(request_).owed_reviews] == ["bob", "data stewards"]
    reviews.review(change_request_id=request_.pk, actor=cem, verdict="approve")
    assert [one.name for one in facts_of(request_).owed_reviews] == ["bob"]
    asking.withdraw_review_request(
        change_request_id=request_.pk, review_request_id=asked[0].pk, actor=request_.author
    )
    assert facts_of(request_).owed_reviews == ()


def test_who_cannot_be_asked_is_named_and_nobody_is_asked(
    request_: ChangeRequest, member: Callable[..., User]
) -> None:
    member("bob")
    dee = member("dee", Role.VIEWER)
    UserFactory.create(username="stranger")
    GroupFactory.create(name="empty")
    ask: Any = {"change_request_id": request_.pk, "actor": request_.author}
    wrongs: Any = (
        {"users": ["bob", "stranger"]},
        {"users": ["bob", "dee"]},
        {"users": ["nobody"]},
        {"users": ["ann"]},
        {"users": ["bob"], "groups": ["empty"]},
        {"groups": ["no such group"]},
        {},
    )
    for wrong in wrongs:
        with pytest.raises(InvalidInput):
            asking.ask_for_review(**ask, **wrong)
    with pytest.raises(Forbidden):
        asking.ask_for_review(change_request_id=request_.pk, actor=dee, users=["bob"])
    with pytest.raises(NotFound):
        asking.withdraw_review_request(**ask, review_request_id=77)
    assert ReviewRequest.objects.count() == 0
    proposals.close(**ask)
    with pytest.raises(InvalidTransition):
        asking.ask_for_review(**ask, users=["bob"])
    assert (ReviewRequest.objects.count(), "bob" in told()) == (0, False)


def test_who_is_asked_while_it_is_a_draft_is_told_when_it_is_submitted(
    request_: ChangeRequest, member: Callable[..., User]
) -> None:
    member("bob")
    act: Any = {"change_request_id": request_.pk, "actor": request_.author}
    proposals.return_to_draft(**act)
    dispatching.dispatch()
    asking.ask_for_review(**act, users=["bob"])
    assert told() == {}
    proposals.submit(**act)
    assert told() == {"bob": ("review_requested", "review_requested")}
    assert ChangeRequest.objects.get(pk=request_.pk).status == Status.PENDING


def test_a_mail_says_what_happened_why_and_what_to_do_and_stands_in_its_thread(
    request_: ChangeRequest, member: Callable[..., User], postbox: Postbox
) -> None:
    bob = member("bob")
    reviews.comment(change_request_id=request_.pk, actor=bob, body="N3 <b>has</b> too many seats")
    reviews.comment(change_request_id=request_.pk, actor=bob, body="Still.")
    send()
    first, second = postbox.mails
    assert first["To"] == "ann@example.org"
    assert (
        first["Subject"] == second["Subject"] == f"[{request_.dataset.name}] {request_.cr_id} Fix <the> seats"
    )
    root = f"<change-request-{request_.identity}@headgate.example.org>"
    assert first["In-Reply-To"].strip() == second["References"].strip() == root
    assert first["Message-ID"] != second["Message-ID"]
    assert first["Auto-Submitted"] == "auto-generated"
    assert first["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    text = first.get_body(("plain",)).get_content()  # type: ignore[union-attr]
    html = first.get_body(("html",)).get_content()  # type: ignore[union-attr]
    for part in (
        f"bob commented on {request_.cr_id} Fix <the> seats",
        "N3 <b>has</b> too many seats",
        "Read what was said, and answer if you are asked something.",
        "You are told because you wrote the request.",
        f"https://headgate.example.org/change-requests/{request_.cr_id}/",
    ):
        assert part in text
    assert "N3 &lt;b&gt;has&lt;/b&gt; too many seats" in html
    assert "<b>has" not in html


def test_a_mail_is_only_sent_to_who_may_still_see_it_wants_it_and_is_there(
    request_: ChangeRequest, member: Callable[..., User], postbox: Postbox
) -> None:
    bob = member("bob")
    people = {name: member(name) for name in ("seer", "outcast", "sleeper", "quiet", "nomail")}
    body = " ".join(f"@{name}" for name in people)
    reviews.comment(change_request_id=request_.pk, actor=bob, body=body)
    dispatching.dispatch()
    assert Delivery.objects.count() == 6
    set_role(member=people["outcast"], target=request_.dataset, role=None, actor=None)
    User.objects.filter(username="sleeper").update(is_active=False)
    User.objects.filter(username="nomail").update(email="")
    preferences.choose_ways(person=people["quiet"], ways={"mentioned": "inbox"})
    dispatching.dispatch()
    Delivery.objects.filter(event__action="member.role_set").delete()
    send()
    assert {mail["To"] for mail in postbox.mails} == {"ann@example.org", "seer@example.org"}
    assert set(Delivery.objects.values_list("status", flat=True)) == {"succeeded"}


def test_a_mail_server_that_is_down_gets_it_once_when_it_is_back(
    request_: ChangeRequest, member: Callable[..., User], postbox: Postbox, settings: Any
) -> None:
    port, settings.EMAIL_PORT = settings.EMAIL_PORT, 9  # nobody listens there
    reviews.comment(change_request_id=request_.pk, actor=member("bob"), body="Hm.")
    send()
    waiting = Delivery.objects.get()
    assert (waiting.status, waiting.attempts, postbox.mails) == ("queued", 1, [])
    assert waiting.error_message.startswith("The mail server does not answer: ")
    settings.EMAIL_PORT = port
    send()
    assert postbox.mails == [], "not before its pause is over"
    with time_machine.travel(timezone.now() + timedelta(seconds=30)):
        for _ in range(3):
            send()
    assert len(postbox.mails) == 1
    assert Delivery.objects.get().status == "succeeded"


@pytest.mark.parametrize(("answer", "status"), [("451 Later, please", "queued"), ("554 Never", "failed")])
def test_what_a_mail_server_says_decides_whether_it_is_tried_again(
    request_: ChangeRequest, member: Callable[..., User], postbox: Postbox, answer: str, status: str
) -> None:
    postbox.answer = answer
    reviews.comment(change_request_id=request_.pk, actor=member("bob"), body="Hm.")
    send()
    delivery = Delivery.objects.get()
    assert (delivery.status, delivery.response) == (status, {"status": int(answer[:3])})
    assert answer[4:] in delivery.error_message


def test_without_a_mail_server_there_is_the_inbox_alone(
    request_: ChangeRequest, member: Callable[..., User], settings: Any
) -> None:
    settings.SENDS_MAIL = False
    reviews.comment(change_request_id=request_.pk, actor=member("bob"), body="Hm.")
    assert told() == {"ann": ("conversation", "author")}
    assert (Delivery.objects.count(), digests.send_digests()) == (0, 0)


def test_one_mail_a_day_tells_what_was_not_read_meanwhile(
    request_: ChangeRequest, member: Callable[..., User], postbox: Postbox
) -> None:
    bob = member("bob")
    preferences.choose_ways(person=request_.author, ways={"conversation": "digest", "mentioned": "off"})
    for number in range(3):
        reviews.comment(change_request_id=request_.pk, actor=bob, body=f"Remark {number}")
    reviews.comment(change_request_id=request_.pk, actor=bob, body="@ann off")
    dispatching.dispatch()
    assert (Delivery.objects.count(), Notification.objects.count()) == (0, 3)
    mark_read(person=request_.author, notifications=[Notification.objects.latest("pk").pk])
    assert (digests.send_digests(), digests.send_digests()) == (1, 0)
    send()
    [mail] = postbox.mails
    assert mail["Subject"] == "Headgate: 2 news"
    assert mail["In-Reply-To"] is None
    text = mail.get_body(("plain",)).get_content()  # type: ignore[union-attr]
    assert text.count(f"bob commented on {request_.cr_id}") == 2
    assert "Remark" not in text


def test_the_link_in_a_mail_ends_mails_of_its_kind_by_post_alone_and_without_a_sign_in(
    request_: ChangeRequest, member: Callable[..., User], postbox: Postbox
) -> None:
    bob = member("bob")
    reviews.comment(change_request_id=request_.pk, actor=bob, body="Hm.")
    send()
    link = postbox.mails[0]["List-Unsubscribe"].strip(" <>").removeprefix("https://headgate.example.org")
    browser = Client(enforce_csrf_checks=True)
    asked = browser.get(link)
    assert (asked.status_code, "Comments and answers" in asked.text) == (200, True)
    assert NotificationSetting.objects.count() == 0, "a look changes nothing"
    for tampered in (link[:-3] + "x/", reverse("unsubscribe", args=["rubbish"])):
        assert browser.post(tampered, {"List-Unsubscribe": "One-Click"}).status_code == 404
    assert NotificationSetting.objects.count() == 0
    assert browser.post(link, {"List-Unsubscribe": "One-Click"}).status_code == 200
    assert browser.post(link, {"List-Unsubscribe": "One-Click"}).status_code == 200
    [chosen] = NotificationSetting.objects.all()
    assert (chosen.person, chosen.kind, chosen.way) == (request_.author, Kind.CONVERSATION, Way.INBOX)
    reviews.comment(change_request_id=request_.pk, actor=bob, body="Again.")
    send()
    assert (len(postbox.mails), unread_of(request_.author).count()) == (1, 2)


def test_an_erased_person_leaves_nothing_in_notifications(
    request_: ChangeRequest, member: Callable[..., User], postbox: Postbox
) -> None:
    bob = member("bob")
    preferences.choose_ways(person=bob, ways={"mentioned": "off"})
    preferences.subscribe(person=bob, to=request_, level="watch")
    reviews.comment(change_request_id=request_.pk, actor=bob, body="Hm.")
    reviews.comment(change_request_id=request_.pk, actor=request_.author, body="Yes?")
    dispatching.dispatch()
    Delivery.objects.create(receiver="webhook:1", payload={"actor": "bob", "text": "bob said"})
    done = erase_person(username="bob", reason="They asked for it.")
    assert not Notification.objects.filter(person=bob).exists()
    assert (NotificationSetting.objects.count(), Subscription.objects.count()) == (0, 0)
    assert "bob" not in str(list(Notification.objects.values())) + str(list(Delivery.objects.values()))
    assert Notification.objects.get().headline.startswith(f"{done.pseudonym} commented")


def test_old_news_is_forgotten_and_what_waits_to_be_sent_stays(
    request_: ChangeRequest, member: Callable[..., User], postbox: Postbox, settings: Any
) -> None:
    from audit.models import Event, OutboxEntry

    reviews.comment(change_request_id=request_.pk, actor=member("bob"), body="Hm.")
    send()
    Delivery.objects.create(receiver="webhook:1")
    events = Event.objects.count()
    settings.NOTIFICATION_DAYS = 5
    with time_machine.travel(timezone.now() + timedelta(days=4)):
        forgetting.forget_old()
    assert (Notification.objects.count(), Delivery.objects.count()) == (1, 2)
    with time_machine.travel(timezone.now() + timedelta(days=6)):
        forgetting.forget_old()
    assert Notification.objects.count() == 0
    assert [one.receiver for one in Delivery.objects.all()] == ["webhook:1"]
    assert (OutboxEntry.objects.count(), Event.objects.count()) == (0, events)


def test_the_pages_show_and_keep_what_one_is_told(
    request_: ChangeRequest, member: Callable[..., User]
) -> None:
    bob = member("bob")
    reviews.comment(change_request_id=request_.pk, actor=bob, body="Hm.")
    dispatching.dispatch()
    browser = Client()
    browser.force_login(request_.author)
    page = browser.get(reverse("inbox")).text
    assert "Fix &lt;the&gt; seats" in page
    assert "You are told because you wrote the request." in page
    browser.post(reverse("read_notifications"))
    assert unread_of(request_.author).count() == 0
    browser.post(reverse("notification_settings"), {"conversation": "off"})
    assert NotificationSetting.objects.get().way == "off"
    browser.post(reverse("subscribe", args=[request_.cr_id]), {"level": "watch"})
    assert Subscription.objects.get().level == "watch"
    browser.post(reverse("ask_for_review", args=[request_.cr_id]), {"users": "bob, ", "groups": ""})
    asked = ReviewRequest.objects.get()
    assert "was asked" in browser.get(reverse("change_request", args=[request_.cr_id])).text
    browser.post(reverse("withdraw_review_request", args=[request_.cr_id, asked.pk]))
    assert ReviewRequest.objects.count() == 0


@pytest.mark.parametrize("sends_mail", [True, False])
def test_the_settings_say_when_no_mail_is_sent(
    request_: ChangeRequest, settings: Any, sends_mail: bool
) -> None:
    settings.SENDS_MAIL = sends_mail
    browser = Client()
    browser.force_login(request_.author)
    page = browser.get(reverse("notification_settings")).text
    assert ("sends no e-mail yet" in page) is not sends_mail
