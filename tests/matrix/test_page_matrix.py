"""Every page and every form × everybody who may ask: exact statuses, and that a refusal changed nothing.

302 is where a form goes on after it did what it was for; nobody who is signed in is led to the sign-in page, and gets a
form that was sent back with it (401).
"""

from datetime import timedelta
from http.cookies import SimpleCookie
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts import sessions
from audit import bells
from tests.matrix.world import ROLES, Unchanged, World, as_it_stands, filled_in, make_world, who_asks
from web.urls import urlpatterns

pytestmark = pytest.mark.django_db

#: method and name of the address | anonymous stranger viewer contributor author owner staff
TABLE = """
GET home                     | 302 200 200 200 200 200 200
GET login                    | 200 302 302 302 302 302 302
POST login                   | 302 302 302 302 302 302 302
GET sign_in_once             | 410 410 410 410 410 410 410
POST sign_in_once            | 410 410 410 410 410 410 410
POST link_account            | 302 404 404 404 404 404 404
POST unlink_account          | 302 422 422 422 422 422 422
POST logout                  | 302 302 302 302 302 302 302
GET account                  | 302 200 200 200 200 200 200
POST change_password         | 302 302 302 302 302 302 302
POST sign_out_everywhere     | 302 302 302 302 302 302 302
GET device                   | 302 200 200 200 200 200 200
POST decide_device           | 302 422 422 422 422 422 422
POST make_token              | 401 200 200 200 200 200 200
POST revoke_token            | 302 404 404 404 404 302 404
GET gallery                  | 302 404 404 404 404 404 200
GET news                     | 302 501 501 501 501 501 501
GET bell                     | 302 200 200 200 200 200 200
GET inbox                    | 302 200 200 200 200 200 200
POST read_notifications      | 302 302 302 302 302 302 302
GET notification_settings    | 302 200 200 200 200 200 200
POST notification_settings   | 401 302 302 302 302 302 302
GET unsubscribe              | 200 200 200 200 200 200 200
POST unsubscribe             | 200 200 200 200 200 200 200
POST keep_view               | 401 302 302 302 302 302 302
POST remove_view             | 302 404 404 404 404 302 404
POST theme                   | 302 302 302 302 302 302 302
GET people                   | 302 200 200 200 200 200 200
POST invite                  | 401 403 403 403 403 403 200
POST withdraw_invitation     | 302 403 403 403 403 403 302
GET accept_invitation        | 200 200 200 200 200 200 200
POST accept_invitation       | 302 302 302 302 302 302 302
GET service_accounts         | 302 403 403 403 403 200 200
POST service_accounts        | 401 403 403 403 403 302 302
GET service_account          | 302 404 404 404 404 200 200
POST make_service_token      | 401 404 404 404 404 200 200
POST rotate_service_token    | 302 404 404 404 404 200 200
POST revoke_service_token    | 302 404 404 404 404 302 302
POST deactivate_service_account | 401 404 404 404 404 302 302
GET add_table                | 302 403 403 403 403 200 200
GET look_at_table            | 302 403 403 403 403 302 302
GET choose_key               | 302 403 403 403 403 302 302
GET name_table               | 302 403 403 403 403 302 302
POST name_table              | 401 403 403 403 403 302 302
GET first_suite              | 302 404 403 403 403 302 404
POST first_suite             | 302 404 403 403 403 302 404
GET datasets                 | 302 200 200 200 200 200 200
GET projects                 | 302 200 200 200 200 200 200
POST projects                | 401 403 403 403 403 403 302
GET project                  | 302 404 200 200 200 200 200
GET project_members          | 302 404 200 200 200 200 200
POST project_members         | 401 404 403 403 403 302 302
POST remove_project_member   | 302 404 403 403 403 302 302
GET project_settings         | 302 404 403 403 403 200 200
POST project_settings        | 401 404 403 403 403 302 302
POST delete_project          | 302 404 403 403 403 302 302
GET dataset                  | 302 404 200 200 200 200 404
GET dataset_at_version       | 302 404 200 200 200 200 404
GET dataset_schema           | 302 404 200 200 200 200 404
GET dataset_history          | 302 404 200 200 200 200 404
GET row_history              | 302 404 200 200 200 200 404
GET column_history           | 302 404 200 200 200 200 404
GET edit_rows                | 302 404 403 200 200 200 404
GET edit_row                 | 302 404 403 200 200 200 404
POST edit_row                | 401 404 403 302 302 302 404
GET replace_in_rows          | 302 404 403 200 200 200 404
POST replace_in_rows         | 401 404 403 302 302 302 404
GET edits                    | 302 404 403 200 200 200 404
POST undo_edits              | 302 404 403 302 302 302 404
POST redo_edits              | 302 404 403 302 302 302 404
POST settle_edits            | 302 404 403 302 302 302 404
POST discard_edits           | 302 404 403 302 302 302 404
POST propose_edits           | 401 404 403 422 422 422 404
GET export_audit             | 302 404 403 403 403 200 404
GET maintenance              | 302 404 200 200 200 200 404
POST maintenance             | 401 404 403 403 403 302 404
GET dataset_change_requests  | 302 404 200 200 200 200 404
GET suite                    | 302 404 200 200 200 200 404
POST suite                   | 401 404 403 403 403 302 404
GET suite_history            | 302 404 200 200 200 200 404
GET suite_version            | 302 404 200 200 200 200 404
POST restore_suite           | 302 404 403 403 403 302 404
POST propose_suite           | 302 404 403 403 403 302 404
POST edit_rules              | 401 404 403 403 403 200 404
POST try_suite               | 401 404 403 403 403 302 404
GET suite_trial              | 302 404 404 404 404 200 404
GET suite_proposal           | 302 404 200 200 200 200 404
GET webhooks                 | 302 404 403 403 403 200 404
POST webhooks                | 401 404 403 403 403 200 404
GET project_webhooks         | 302 404 403 403 403 200 404
POST project_webhooks        | 401 404 403 403 403 200 404
GET webhook                  | 302 404 403 403 403 200 404
POST switch_webhook          | 302 404 403 403 403 302 404
POST try_webhook             | 302 404 403 403 403 302 404
POST rotate_webhook_secret   | 302 404 403 403 403 200 404
POST remove_webhook          | 302 404 403 403 403 302 404
POST repeat_delivery         | 302 404 403 403 403 302 404
GET compare_versions         | 302 404 200 200 200 200 404
POST go_back                 | 302 404 403 302 302 302 404
GET members                  | 302 404 200 200 200 200 404
POST members                 | 401 404 403 403 403 302 404
POST remove_member           | 302 404 403 403 403 302 404
GET dataset_settings         | 302 404 200 200 200 200 404
POST dataset_settings        | 401 404 403 403 403 302 404
POST reconcile               | 302 404 403 302 302 302 404
POST subscribe_to_dataset    | 401 404 302 302 302 302 404
GET new_change_request       | 302 404 403 200 200 200 404
POST look                    | 401 404 403 302 302 302 404
GET change_request           | 302 404 200 200 200 200 404
GET standing                 | 302 404 200 200 200 200 404
GET merge_box                | 302 404 200 200 200 200 404
GET upload                   | 302 404 200 200 200 200 404
POST look_for_request        | 401 404 403 403 302 302 404
GET staged_rows              | 302 404 403 403 200 200 404
POST staged_rows             | 401 404 403 403 422 422 404
GET changes                  | 302 404 200 200 200 200 404
POST say                     | 401 404 403 302 302 302 404
POST take_suggestion         | 302 404 404 404 404 404 404
POST mark_viewed             | 302 404 302 302 302 302 404
GET leave_out                | 302 404 200 200 200 200 404
POST leave_out               | 401 404 403 422 422 422 404
GET compare_revisions        | 302 404 200 200 200 200 404
GET conflicts                | 302 404 200 200 200 200 404
POST resolve                 | 401 404 403 403 302 302 404
GET conflict_lines           | 302 404 302 302 302 302 404
POST resolve_matching        | 401 404 403 403 302 302 404
POST undo_choices            | 302 404 403 403 422 422 404
POST choose_by_file          | 302 404 403 403 422 422 404
GET checks                   | 302 404 200 200 200 200 404
POST check_again             | 302 404 403 302 302 302 404
GET expectation_rows         | 302 404 200 200 200 200 404
POST override_expectations   | 401 404 403 403 403 302 404
GET moved                    | 302 404 200 200 200 200 404
POST rebase                  | 302 404 403 403 302 302 404
POST edit                    | 401 404 403 403 302 302 404
POST remove                  | 302 404 403 403 409 409 404
POST submit                  | 302 404 403 403 302 302 404
POST return_to_draft         | 302 404 403 403 302 403 404
POST close                   | 401 404 403 403 302 302 404
POST reopen                  | 302 404 403 403 302 302 404
POST comment                 | 401 404 403 302 302 302 404
POST settle                  | 302 404 403 302 302 302 404
POST review                  | 401 404 403 302 403 302 404
GET ask_for_review           | 302 404 403 200 200 200 404
POST ask_for_review          | 401 404 403 302 302 302 404
POST withdraw_review_request | 302 404 403 302 302 302 404
POST subscribe               | 401 404 302 302 302 302 404
GET merge                    | 302 404 200 200 200 200 404
POST merge                   | 302 404 403 302 302 302 404
POST merge_when_ready        | 302 404 403 302 302 302 404
POST revert                  | 302 404 403 403 403 302 404
GET operations               | 302 404 404 404 404 404 200
POST operate                 | 401 404 404 404 404 404 409
POST sweep                   | 302 404 404 404 404 404 302
GET operations_uploads       | 302 404 404 404 404 404 200
GET operations_deliveries    | 302 404 404 404 404 404 200
GET operations_trail         | 302 404 404 404 404 404 200
GET operations_stores        | 302 404 404 404 404 404 200
POST reconcile_table         | 302 404 404 404 404 404 302
GET operations_connections   | 302 404 404 404 404 404 200
POST operations_connections  | 401 404 404 404 404 404 302
GET connection               | 302 404 404 404 404 404 200
POST connection              | 401 404 404 404 404 404 302
POST try_connection          | 302 404 404 404 404 404 200
POST allow_prefix            | 401 404 404 404 404 404 302
POST withdraw_prefix         | 302 404 404 404 404 404 302
POST adopt_tables            | 302 404 404 404 404 404 302
POST remove_connection       | 302 404 404 404 404 404 302
GET operations_retention     | 302 404 404 404 404 404 200
POST operations_retention    | 302 404 404 404 404 404 302
GET preview                  | 302 404 404 404 404 200 404
POST look_again              | 302 404 404 404 404 302 404
POST propose_preview         | 401 404 404 404 404 302 404
POST cancel_preview          | 302 404 404 404 404 409 404
GET received_upload          | 302 404 404 404 302 302 404
POST cancel_upload           | 302 404 404 404 409 409 404
GET merge_run                | 302 404 200 200 200 200 404
POST cancel_run              | 302 404 403 403 302 302 404
"""

RULE = "expect_column_values_to_not_be_null"
#: What forms send.
FORMS: dict[str, dict[str, Any]] = {
    "login": {"username": "sam", "password": "password"},
    "change_password": {
        "old_password": "password",
        "new_password1": "a new passphrase 7",
        "new_password2": "a new passphrase 7",
    },
    "make_token": {"name": "load", "scopes": ["read"], "days": "30"},
    "maintenance": {"jobs": ["checkpoint"], "reason": ""},
    "members": {"kind": "user", "member": "vera", "role": "contributor"},
    "service_accounts": {"name": "load", "project": "<project>", "role": "viewer"},
    "make_service_token": {"name": "load", "scopes": ["read"], "days": "30"},
    "deactivate_service_account": {"reason": "over"},
    "invite": {"email": "new@example.org", "project": "<project>", "role": "viewer"},
    "accept_invitation": {
        "username": "nadia",
        "password": "a new passphrase 7",
        "password_again": "a new passphrase 7",
    },
    "name_table": {
        "where": "<table>",
        "key": ["tailnum"],
        "name": "Others",
        "project": "<project>",
        "required_approvals": "1",
        "reviewer-1": "",
    },
    "first_suite": {"proposal": "<proposal>"},
    "projects": {"name": "Another"},
    "project_members": {"kind": "user", "member": "vera", "role": "contributor"},
    "remove_project_member": {"kind": "user", "id": "<vera>"},
    "project_settings": {"name": "Other"},
    "webhooks": {
        "name": "Pipeline",
        "url": "https://hooks.example.org/x",
        "format": "json",
        "actions": "merge.*",
    },
    "project_webhooks": {
        "name": "All",
        "url": "https://hooks.example.org/x",
        "format": "json",
        "actions": "",
    },
    "switch_webhook": {"active": "false"},
    "remove_member": {"kind": "user", "id": "<vera>"},
    "dataset_settings": {
        "name": "planes",
        "required_approvals": "2",
        "delete_limit": "0.5",
        "conflict_policy": "cell",
        "staging_cleanup": "remove",
        "keep_files_days": "7",
        "engine": "auto",
    },
    "suite": {"document": '{"name": "planes", "expectations": []}', "note": "", "edited_number": "<suite>"},
    "keep_view": {"name": "Mine", "query": "state=merged"},
    "edit_rules": {"document": '{"name": "planes", "expectations": []}', "action": "new", "type": RULE},
    "try_suite": {
        "document": '{"name": "planes", "expectations": []}',
        "note": "",
        "edited_number": "<suite>",
    },
    "edit_row": {"column-3": "seats", "value-3": "5", "was-3": "null"},
    "replace_in_rows": {"columns": ["manufacturer"], "find": "BOEING", "replace": "B", "action": "replace"},
    "settle_edits": {"row": "new-1", "action": "restore"},
    "propose_edits": {"title": "What I edited"},
    "staged_rows": {"column-3": "seats", "value-3": "5"},
    "restore_suite": {"edited_number": "<suite>"},
    "look": {"way": "paste", "pasted": "tailnum,seats\nN2,7\n"},
    "look_for_request": {"way": "paste", "pasted": "tailnum,seats\nN2,7\n"},
    "propose_preview": {"title": "Another", "then": "draft"},
    "resolve_matching": {"column": "seats", "choice": "proposed"},
    "go_back": {"version": "0"},
    "undo_choices": {"undo": "1-1"},
    "resolve": {
        "line": ["0"],
        "key-0": '{"tailnum": "N1"}',
        "column-0": "seats",
        "choice-0": "proposed",
        "inputs-0": "<conflict>",
    },
    "override_expectations": {
        "reason": "They are right.",
        "suite_number": "<suite>",
        "revision_digest": "<failing_digest>",
    },
    "comment": {"body": "I see."},
    "say": {"body": "I see."},
    "mark_viewed": {"group": "<group>", "viewed": "true"},
    "leave_out": {"row": ['{"tailnum": "N2"}'], "reason": "Not sure."},
    "settle": {"resolved": "true"},
    "review": {"verdict": "approve", "revision_digest": ""},
    "ask_for_review": {"users": "cora", "groups": ""},
    "subscribe": {"level": "watch"},
    "subscribe_to_dataset": {"level": "mute"},
    "notification_settings": {"merged": "email"},
    "close": {"reason": "Not now."},
    "edit": {"title": "Other words", "description": "Why"},
    "merge": {"dataset_name": ""},
    "operate": {"action": "release", "number": "<dataset>", "reason": "It stands still."},
    "reconcile_table": {"dataset": "<dataset>"},
    "operations_connections": {"name": "another", "root": "s3://another"},
    "connection": {"name": "volume", "root": "<volume>"},
    "allow_prefix": {"project": "<project>", "path": "more"},
}
#: Which request a page is asked for, where it is not the pending one.
REQUESTS = {
    "conflicts": "conflicting",
    "resolve": "conflicting",
    "conflict_lines": "conflicting",
    "resolve_matching": "conflicting",
    "undo_choices": "conflicting",
    "choose_by_file": "conflicting",
    "rebase": "conflicting",
    "moved": "conflicting",
    "reopen": "closed",
    "revert": "merged",
    "submit": "draft",
    "remove": "draft",
    "upload": "draft",
    "look_for_request": "draft",
    "expectation_rows": "failing",
    "override_expectations": "failing",
}


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(bells, "ring", lambda *_: None)
    monkeypatch.setattr(sessions, "SEEN_EVERY", timedelta(days=1))
    monkeypatch.setattr("changerequests.services.uploads.wait_for_upload", as_it_stands)
    return make_world()


def rows() -> dict[str, list[int]]:
    """The table, read: method and name to statuses by role."""
    found = {}
    for line in filter(None, map(str.strip, TABLE.splitlines())):
        what, statuses = (part.strip() for part in line.split("|"))
        found[what] = [int(status) for status in statuses.split()]
        assert len(found[what]) == len(ROLES), line
    return found


def addresses() -> dict[str, set[str]]:
    """The names of all addresses of pages, with what stands in them."""
    return {str(one.name): set(one.pattern.converters) for one in urlpatterns}


def test_the_pages_answer_everybody_as_the_table_says_and_refusals_change_nothing(world: World) -> None:
    people = signed_in(world)
    unchanged, wrong = Unchanged(), []
    for what, statuses in rows().items():
        expected = dict(zip(ROLES, statuses, strict=True))
        for who in who_asks(what, expected):
            with unchanged.watched():
                answered = call(world, people[who], what)
                refused = answered >= 400 or who == "anonymous"
                changed = unchanged.say_what_changed() if refused and what not in PUBLIC else ""
            if not refused and what.startswith("POST "):
                unchanged.allow_files()
            if answered != expected[who] or changed:
                wrong.append(f"{what} {who}: {answered}, not {expected[who]} {changed}")
    assert wrong == []

    asked = {f"{method} {name}" for name in addresses() for method in ("GET", "POST")}
    assert rows().keys() <= asked
    assert FORMS.keys() | REQUESTS.keys() <= addresses().keys()
    for what in sorted(asked - rows().keys()):
        with unchanged.watched():
            answered = call(world, people["owner"], what)
            changed = unchanged.say_what_changed()
        assert answered in NO_PAGE[what.partition(" ")[0]], f"{what} belongs into the table"
        assert changed == "", what


#: What an address answers that is not in the table: it does nothing, and shows nothing of its own.
NO_PAGE = {"GET": (302, 303, 405), "POST": (405,)}
#: What somebody who is not signed in does, and leaves traces of.
PUBLIC = ("POST login", "POST unsubscribe", "POST accept_invitation")


def signed_in(world: World) -> dict[str, Client]:
    """A browser for everybody."""
    clients = {name: Client(raise_request_exception=False) for name in ROLES}
    for name, person in world.people.items():
        clients[name].force_login(person)
        clients[name].get(reverse("account"))  # from now on it is known where the session began
    return clients


def address_of(world: World, name: str) -> str:
    """The address of a name, with things that exist."""
    meant = {
        "project_slug": world.names["project"],
        "dataset_slug": "planes",
        "cr_id": world.names[REQUESTS.get(name, "pending")],
        "run_id": world.names["run"],
        "upload_id": world.names["upload"],
        "preview_id": world.names["preview"],
        "comment_id": world.names["remark"],
        "webhook_id": world.names["webhook"],
        "connection_name": world.names["connection"],
        "prefix_id": world.names["prefix"],
        "delivery_id": world.names["delivery"],
        "asked_id": world.names["asked"],
        "view_id": world.names["view"],
        "token": world.names["farewell"],
        "key": world.names["invitation_key"],
        "link": "of-nobody",
        "service_account_id": world.names["service_account"],
        "invitation_id": world.names["invitation"],
        "proposal_id": world.names["proposal"],
        "trial_id": world.names["trial"],
        "version": 0,
        "number": world.names["token"]
        if name == "revoke_token"
        else world.names["service_token"]
        if "service_token" in name
        else 0
        if "rows" in name
        else 1,
    }
    return reverse(name, kwargs={part: meant[part] for part in addresses()[name]})


def call(world: World, client: Client, what: str) -> int:
    """The status that somebody gets."""
    method, name = what.split()
    address = address_of(world, name)
    cookies = SimpleCookie(client.cookies)
    if method == "GET":
        query = {"key": '{"tailnum": "N1"}', "tailnum": "N1"} if name == "row_history" else {}
        answer = client.get(address, query)
    else:
        answer = client.post(address, filled_in(FORMS.get(name, {}), world.names))
    client.cookies = cookies  # whoever signed out, or got another session, is who they were for the next row
    answer.getvalue()  # reads what is streamed, too
    return int(answer.status_code)
