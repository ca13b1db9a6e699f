"""The stream that pages follow, from the live server: the reader's inbox and the dataset of the page, on one stream."""

import json

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User

from accounts.sessions import SessionStore
from changerequests.models import ChangeRequest
from changerequests.services.reviews import comment
from datasets.models import Dataset
from datasets.roles import Role, set_role
from notifications.selectors import unread_of
from notifications.services import dispatching
from notifications.services.preferences import subscribe
from tests.factories import person_with
from tests.live.server import Connection
from tests.live.test_streams import listening


def session_of(person: User) -> str:
    """The cookie of a browser that the person is signed in with."""
    session = SessionStore()
    session[SESSION_KEY] = str(person.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = person.get_session_auth_hash()
    session.save()
    return f"sessionid={session.session_key}"


def test_one_stream_tells_of_the_dataset_and_of_the_inbox(
    server: str, dataset: Dataset, draft: ChangeRequest, owner: User
) -> None:
    viewer = person_with(Role.VIEWER, dataset)
    subscribe(person=viewer, to=draft, level="watch")
    dispatching.dispatch()  # the news of their role
    before = unread_of(viewer).count()
    with listening(server, f"/news/?dataset={dataset.pk}", Cookie=session_of(viewer)) as stream:
        comment(change_request_id=draft.pk, actor=owner, body="A secret")
        first = stream.next()
        assert (first["event"], set(json.loads(first["data"]))) == ("dataset", {"sequence"})
        dispatching.dispatch()
        found = stream.next()
        while found["event"] == "dataset":  # whatever else other tests' workers do there
            found = stream.next()
        told = json.loads(found["data"])
        assert (found["event"], told["change_request"]) == ("notification", draft.cr_id)
        assert told["unread"] == before + 1
        set_role(actor=owner, target=dataset, member=viewer, role=None)
        comment(change_request_id=draft.pk, actor=owner, body="Another")
        found = stream.next()
        while found["event"] == "dataset":
            found = stream.next()
        assert (found["event"], json.loads(found["data"])) == ("end", {"reason": "not_allowed"})


def test_nobody_listens_to_what_they_may_not_see(server: str, dataset: Dataset, draft: ChangeRequest) -> None:
    sam: User = User.objects.create_user("live-sam")
    stranger = Connection(server, cookies=session_of(sam))
    assert stranger.call("GET", f"/news/?dataset={dataset.pk}").status == 404
    assert stranger.call("GET", "/news/?dataset=x").status == 422
    assert Connection(server).call("GET", "/news/").status == 302
    assert Connection(server).call("GET", "/news/", Accept="text/event-stream").status == 204
