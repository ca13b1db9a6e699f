"""Everything that people do on the pages, programs do: each form of a page has its operation of the API.

The pages of the matrix are asked for as several people see them, and every form and button in them is looked up in
``OPERATIONS``: which operation does the same, and which of its members and parameters take what the fields hold. A new
form, a new field and an operation that is not in the document fail.
"""

from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.test import Client
from django.urls import resolve

from datasets.services import EDITABLE_SETTINGS
from tests import options
from tests.dealing import has_its_turn
from tests.matrix.test_api_matrix import operations
from tests.matrix.test_page_matrix import address_of, rows, signed_in
from tests.matrix.test_page_matrix import world as page_world
from tests.matrix.world import World
from tests.openapi import DOCUMENT
from web.typed import TEXTS, choice_named

pytestmark = pytest.mark.django_db
world = page_world

#: Fields that carry no meaning of their own: Django's token, and where the page goes on.
OF_PAGES = {"csrfmiddlewaretoken", "typed_by", "next", "theme"}
#: Kinds of inputs that take words.
TYPED_INTO = {"text", "search", "url", "email", "tel"}
#: Kinds of fields in which people choose.
CHOSEN_BY = {"select", "checkbox", "radio", "number", "date"}
#: Forms whose texts never leave the page: a password has to be typed again, beside it all.
NOT_CARRIED = {"login", "change_password", "accept_invitation"}
#: Programs of operators run on the machine: ``manage.py operate`` and ``manage.py retention`` do the same.
OPERATORS = "operators act here, and their programs with manage.py operate and manage.py retention"
#: What only a page has, and why no program needs it.
NO_OPERATION = {
    "POST theme": "how pages look in this browser",
    "GET device": "where a person types the code that a program shows",
    "POST edit_rules": "lays a suite out as it would be; programs write its JSON, and nothing is saved",
    "POST operate": OPERATORS,
    "POST sweep": OPERATORS,
    "POST reconcile_table": OPERATORS,
    "POST operations_retention": OPERATORS,
    **dict.fromkeys(
        (
            "POST operations_connections",
            "POST connection",
            "POST try_connection",
            "POST allow_prefix",
            "POST withdraw_prefix",
            "POST adopt_tables",
            "POST remove_connection",
        ),
        "operators alone see these forms; their programs have /api/v1/connections and manage.py connection",
    ),
    "POST accept_invitation": "a person chooses a password of their own, in a browser",
    "POST sign_in_once": "a person comes in by a link that an operator made; programs have tokens",
    "POST link_account": "a person proves at the provider, in a browser, who they are",
    "POST unlink_account": "where the link was made, in a browser",
    "POST decide_device": "a person lets a program in; a program that could would let itself in",
}

SCHEMAS = DOCUMENT["components"]["schemas"]

CR = "/api/v1/change_requests/{cr_id}"
DATASET = "/api/v1/datasets/{dataset_id}"
#: The groups of the first page are whose turn it is and who wrote it.
HOME = {
    "dataset": "dataset",
    "q": "search",
    "state": "status",
    "stands": "readiness",
    "group": "needs_review",
}
#: What the composer sends along, which is for its other buttons.
VERDICT = {"verdict": "-", "revision_digest": "-", "resolutions_digest": "-"}
#: Fields that are told apart by their names alone: one for each kind of news.
EVERY = "*"
SENT = {"way": "-", "file": "file", "pasted": "file", "sql": "sql"}
DECIDED = {
    "empty_cells": "empty_cells",
    "null_token": "null_token",
    "action-N": "columns",
    "to-N": "columns",
    "type-N": "columns",
}

#: method and name of the form's address -> operation, and field -> member, parameter or header of it (``-``: what the
#: page alone needs; ``path``: it stands in the operation's address; ``operation``: it chooses another operation).
OPERATIONS: dict[str, tuple[str, dict[str, str]]] = {
    "POST login": ("POST /api/v1/auth/token", {"username": "username", "password": "password"}),
    "POST logout": ("POST /api/v1/auth/logout", {}),
    "POST change_password": (
        "POST /api/v1/auth/password",
        {"old_password": "old_password", "new_password1": "new_password", "new_password2": "new_password"},
    ),
    "POST sign_out_everywhere": ("DELETE /api/v1/auth/sessions", {}),
    "POST make_token": (
        "POST /api/v1/auth/token",
        {"name": "name", "scopes": "scopes", "days": "days", "agent": "agent"},
    ),
    "POST revoke_token": ("DELETE /api/v1/auth/tokens/{number}", {}),
    "POST keep_view": (
        "POST /api/v1/saved_views",
        {"name": "name", "dataset": "dataset", "query": "filters"},
    ),
    "POST remove_view": ("DELETE /api/v1/saved_views/{view_id}", {}),
    "GET home": ("GET /api/v1/change_requests", HOME),
    "GET dataset": (
        f"GET {DATASET}/rows",
        {"column": "filter", "value": "filter", "version": "version"},
    ),
    "GET edit_rows": (f"GET {DATASET}/rows", {"column": "filter", "value": "filter"}),
    "POST edit_row": (
        f"PATCH {DATASET}/edits",
        {
            "column-N": "set",
            "value-N": "set",
            "null-N": "set",
            "seen-N": "seen",
            "was-N": "seen",
            "action": "operation",
        },
    ),
    "POST replace_in_rows": (
        f"POST {DATASET}/edits/replace",
        {
            "columns": "columns",
            "every": "columns",
            "find": "find",
            "replace": "replace",
            "with_null": "replace",
            "match_case": "match_case",
            "whole_cell": "whole_cell",
            "counted": "counted",
            "action": "look",
        },
    ),
    "GET staged_rows": (f"GET {CR}/staged_rows", {}),
    "POST staged_rows": (
        f"PATCH {CR}/staged_rows",
        {
            "column-N": "rows",
            "value-N": "rows",
            "null-N": "rows",
            "seen-N": "-",
            "was-N": "-",
            "edited": "If-Match",
            "action": "operation",
        },
    ),
    "POST undo_edits": (f"POST {DATASET}/edits/undo", {}),
    "POST redo_edits": (f"POST {DATASET}/edits/redo", {}),
    "POST settle_edits": (f"PATCH {DATASET}/edits", {"row": "row", "action": "operation"}),
    "POST discard_edits": (f"DELETE {DATASET}/edits", {}),
    "POST propose_edits": (
        f"POST {DATASET}/edits/propose",
        {"title": "title", "description": "description", "submit": "submit"},
    ),
    "GET dataset_at_version": (f"GET {DATASET}/rows", {"column": "filter", "value": "filter"}),
    "GET export_audit": (f"GET {DATASET}/audit", {"since": "since", "until": "until"}),
    "GET row_history": (f"GET {DATASET}/rows/history", {"key-N": "key"}),
    "GET column_history": (f"GET {DATASET}/columns/history", {"column": "column"}),
    "GET changes": (
        f"GET {CR}/diff",
        {
            **{
                name: name
                for name in ("column", "key", "old", "old_is", "new", "new_is", "became_null", "unusual")
            },
            "kind": "operation",
            "columns": "-",
        },
    ),
    "GET compare_revisions": (f"GET {CR}/revisions/compare", {"from": "from", "to": "to"}),
    "GET leave_out": (f"POST {CR}/split", {"row": "rows", "cut": "columns"}),
    "POST leave_out": (
        f"POST {CR}/split",
        {"row": "rows", "cut": "columns", "reason": "reason", "revision_digest": "revision_digest"},
    ),
    "POST mark_viewed": (
        f"POST {CR}/viewed",
        {"group": "group", "viewed": "viewed", "revision_digest": "revision_digest"},
    ),
    "POST say": (
        f"POST {CR}/comments",
        {
            "body": "body",
            "parent": "thread",
            "suggestion": "suggestion",
            "suggestion_is": "suggestion",
            "revision_digest": "revision_digest",
        },
    ),
    "POST take_suggestion": (f"POST {CR}/comments/{{comment_id}}/take", {}),
    "GET people": ("GET /api/v1/people", {"q": "search"}),
    "POST invite": (
        "POST /api/v1/invitations",
        {
            "email": "email",
            "first_name": "first_name",
            "last_name": "last_name",
            "project": "project",
            "role": "role",
        },
    ),
    "POST withdraw_invitation": ("DELETE /api/v1/invitations/{invitation_id}", {}),
    "POST service_accounts": (
        "POST /api/v1/service_accounts",
        {"name": "name", "purpose": "purpose", "project": "project", "role": "role"},
    ),
    "POST make_service_token": (
        "POST /api/v1/service_accounts/{service_account_id}/tokens",
        {"name": "name", "scopes": "scopes", "days": "days", "agent": "agent"},
    ),
    "POST rotate_service_token": (
        "POST /api/v1/service_accounts/{service_account_id}/tokens/{token_number}/rotate",
        {},
    ),
    "POST revoke_service_token": (
        "DELETE /api/v1/service_accounts/{service_account_id}/tokens/{token_number}",
        {},
    ),
    "POST deactivate_service_account": (
        "POST /api/v1/service_accounts/{service_account_id}/deactivate",
        {"reason": "reason"},
    ),
    "GET look_at_table": ("POST /api/v1/tables/look", {"where": "table_uri"}),
    "GET choose_key": ("POST /api/v1/tables/look", {"where": "table_uri", "key": "primary_keys"}),
    "POST name_table": (
        "POST /api/v1/datasets",
        {
            "where": "table_uri",
            "key": "primary_keys",
            "name": "name",
            "slug": "slug",
            "description": "description",
            "required_approvals": "required_approvals",
            "is_copy": "is_copy",
            "project": "project",
            "new_project": "operation",
            "reviewer-N": "operation",
        },
    ),
    "POST first_suite": (f"PUT {DATASET}/suite", {"keep": "document", "proposal": "-"}),
    "POST projects": (
        "POST /api/v1/projects",
        {"name": "name", "slug": "slug", "description": "description"},
    ),
    "POST project_members": (
        "PUT /api/v1/projects/{slug}/members",
        {"kind": "kind", "member": "name", "role": "role"},
    ),
    "POST remove_project_member": (
        "DELETE /api/v1/projects/{slug}/members/{kind}/{member}",
        {"kind": "path", "id": "path"},
    ),
    "POST project_settings": (
        "PATCH /api/v1/projects/{slug}",
        {"name": "name", "description": "description", "seen": "If-Match"},
    ),
    "POST delete_project": ("DELETE /api/v1/projects/{slug}", {}),
    "POST maintenance": (f"POST {DATASET}/maintenance", {"jobs": "jobs", "reason": "reason"}),
    "POST suite": (
        f"PUT {DATASET}/suite",
        {"document": "document", "note": "note", "edited_number": "version", "action": "-", "type": "-"},
    ),
    "POST try_suite": (f"POST {DATASET}/suite/trials", {"document": "document"}),
    "POST restore_suite": (f"PUT {DATASET}/suite", {"edited_number": "version", "note": "note"}),
    "POST propose_suite": (f"POST {DATASET}/suite/proposals", {}),
    "POST members": (f"PUT {DATASET}/members", {"kind": "kind", "member": "name", "role": "role"}),
    "POST remove_member": (f"DELETE {DATASET}/members/{{kind}}/{{member}}", {"kind": "path", "id": "path"}),
    "POST dataset_settings": (
        f"PATCH {DATASET}",
        {**{name: name for name in EDITABLE_SETTINGS}, "seen": "If-Match"},
    ),
    "POST reconcile": (f"POST {DATASET}/reconcile", {}),
    "POST look": (f"POST {DATASET}/previews", SENT),
    "POST look_for_request": (f"POST {DATASET}/previews", SENT),
    "POST look_again": (
        f"POST {DATASET}/previews",
        {**DECIDED, "title": "-", "description": "-", "then": "-"},
    ),
    "POST propose_preview": (
        f"POST {DATASET}/proposals",
        {
            **dict.fromkeys(DECIDED, "preview"),
            "title": "title",
            "description": "description",
            "then": "submit",
        },
    ),
    "POST cancel_preview": ("DELETE /api/v1/previews/{preview_id}", {}),
    "GET conflicts": (
        f"GET {CR}/conflicts",
        {
            "column": "column",
            "kind": "kind",
            "current": "current",
            "current_null": "current_null",
            "proposed": "proposed",
            "proposed_null": "proposed_null",
            "show": "unresolved",
        },
    ),
    "POST resolve": (
        f"POST {CR}/conflicts",
        {
            "line": "resolutions",
            "key-N": "key",
            "column-N": "column",
            "choice-N": "choice",
            "value-N": "value",
            "null-N": "value",
            "inputs-N": "inputs_digest",
            "seen-N": "seen",
            "was-N": "-",
        },
    ),
    "POST resolve_matching": (f"POST {CR}/conflicts/bulk", {"choice": "choice", "seen": "seen"}),
    "POST undo_choices": (f"POST {CR}/conflicts/undo", {"undo": "undo"}),
    "POST choose_by_file": (f"PUT {CR}/conflicts", {"file": "operation"}),
    "GET compare_versions": (
        f"GET {DATASET}/compare",
        {"from": "from", "to": "to", "kind": "operation", "column": "column"},
    ),
    "POST go_back": (f"POST {DATASET}/go_back", {"version": "version"}),
    "POST check_again": (f"POST {CR}/plan", {}),
    "POST override_expectations": (
        f"POST {CR}/expectations/override",
        {"reason": "reason", "suite_number": "suite_version", "revision_digest": "revision_digest"},
    ),
    "POST rebase": (f"POST {CR}/rebase", {}),
    "POST edit": (f"PATCH {CR}", {"title": "title", "description": "description", "edited": "If-Match"}),
    "POST remove": (f"DELETE {CR}", {}),
    "POST submit": (f"POST {CR}/submit", {}),
    "POST return_to_draft": (f"POST {CR}/return_to_draft", {}),
    "POST close": (f"POST {CR}/close", {"reason": "reason"}),
    "POST reopen": (f"POST {CR}/reopen", {}),
    "POST comment": (f"POST {CR}/comments", {"body": "body", "parent": "thread", **VERDICT}),
    "POST settle": (f"POST {CR}/threads/{{comment_id}}", {"resolved": "resolved"}),
    "POST review": (
        f"POST {CR}/reviews",
        {
            "verdict": "verdict",
            "body": "body",
            "revision_digest": "revision_digest",
            "resolutions_digest": "resolutions_digest",
        },
    ),
    "POST merge": (
        f"POST {CR}/merge",
        {
            "message": "message",
            "dataset_name": "dataset_name",
            "idempotency_key": "Idempotency-Key",
            "revision_digest": "revision_digest",
            "plan_digest": "plan_digest",
            "table_version": "table_version",
            "suite_number": "suite_version",
            "force": "force_merge",
            "override": "reason",
            "override_reason": "reason",
        },
    ),
    "POST merge_when_ready": (f"PUT {CR}/merge_when_ready", {"message": "message", "stop": "operation"}),
    "POST revert": (f"POST {CR}/revert", {}),
    "POST cancel_upload": ("DELETE /api/v1/uploads/{upload_id}", {}),
    "POST read_notifications": ("POST /api/v1/notifications/read", {"notification": "notifications"}),
    "POST notification_settings": ("PUT /api/v1/notification_settings", {EVERY: "operation"}),
    "POST unsubscribe": ("PUT /api/v1/notification_settings", {EVERY: "operation"}),
    "POST subscribe": (f"PUT {CR}/subscription", {"level": "level"}),
    "POST subscribe_to_dataset": (f"PUT {DATASET}/subscription", {"level": "level"}),
    "POST ask_for_review": (
        f"POST {CR}/review_requests",
        {"users": "users", "groups": "groups", "q": "-", "action": "-"},
    ),
    "POST withdraw_review_request": (f"DELETE {CR}/review_requests/{{review_request_id}}", {}),
    "POST webhooks": (
        f"POST {DATASET}/webhooks",
        {"name": "name", "url": "url", "format": "format", "actions": "actions"},
    ),
    "POST project_webhooks": (
        "POST /api/v1/projects/{slug}/webhooks",
        {"name": "name", "url": "url", "format": "format", "actions": "actions"},
    ),
    "POST switch_webhook": ("PATCH /api/v1/webhooks/{webhook_id}", {"active": "is_active"}),
    "POST try_webhook": ("POST /api/v1/webhooks/{webhook_id}/ping", {}),
    "POST rotate_webhook_secret": ("POST /api/v1/webhooks/{webhook_id}/rotate_secret", {}),
    "POST remove_webhook": ("DELETE /api/v1/webhooks/{webhook_id}", {}),
    "POST repeat_delivery": ("POST /api/v1/deliveries/{delivery_id}/repeat", {}),
    "POST cancel_run": ("POST /api/v1/runs/{run_id}/cancel", {}),
}
#: Fields whose names end in a number: one for each row of what the page shows.
NUMBERED = ("column-", "choice-", "inputs-", "value-", "seen-", "null-", "was-", "key-", "reviewer-")


class Forms(HTMLParser):
    """The forms of a page: method and address of each, with the names of its fields and of buttons that send it."""

    def __init__(self, at: str) -> None:
        super().__init__()
        self.at = at
        self.found: list[tuple[str, set[str]]] = []
        #: Of each form, what people type into, and what they choose.
        self.texts: list[tuple[str, str]] = []
        self.choices: list[tuple[str, str]] = []
        self._fields: set[str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._fields = set()
            self.found.append((self._target(given.get("method", "get"), given.get("action")), self._fields))
        elif tag in ("input", "select", "textarea", "button") and self._fields is not None:
            if "name" in given:
                self._fields.add(given["name"])
                kind = given.get("type", "text") if tag == "input" else tag
                if (kind == "textarea" or kind in TYPED_INTO) and "readonly" not in given:
                    self.texts.append((self.found[-1][0], given["name"]))
                elif kind in CHOSEN_BY:
                    self.choices.append((self.found[-1][0], given["name"]))
            if "formaction" in given:
                self.found.append((self._target("post", given["formaction"]), set()))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._fields = None

    def _target(self, method: str, action: str | None) -> str:
        path = urlsplit(action or self.at).path or urlsplit(self.at).path
        return f"{method.upper()} {resolve(path).url_name}"


def pages_of(world: World, client: Client, who: str) -> dict[str, str]:
    """Every page of the matrix and each tab of a request in each state, as somebody sees it. Where a run takes a
    sample, every page as the owner, half of them as the author, and each tab in a third of the states.
    """
    found = {}
    for what in rows():
        method, name = what.split()
        if method != "GET" or name in ("export_audit",):
            continue
        places = [address_of(world, name)]
        if "/change-requests/CR-" in places[0]:
            rest = places[0].split("/change-requests/CR-")[1].partition("/")[2]
            places = [
                f"/change-requests/{world.names[state]}/{rest}"
                for state in ("pending", "draft", "conflicting", "failing", "queued", "closed", "merged")
            ]
        one_of = 3 if len(places) > 1 else 1 if who == "owner" else 2
        for place in places:
            if not has_its_turn(f"{who} {place}", options.SAMPLE_SEED, one_of=one_of):
                continue
            query = {"key": '{"tailnum": "N1"}', "tailnum": "N1"} if name == "row_history" else {}
            answer = client.get(place, query)
            if answer.status_code == 200 and answer.headers["Content-Type"].startswith("text/html"):
                found[place] = answer.content.decode()
    return found


def fields_by_form(world: World) -> tuple[dict[str, set[str]], dict[str, set[str]], dict[str, set[str]]]:
    """Every form that somebody sees, with all fields that it ever has; those that people type into, and choose in."""
    seen: dict[str, set[str]] = {}
    typed: dict[str, set[str]] = {}
    chosen: dict[str, set[str]] = {}
    people = signed_in(world)
    pages = [("/sign-in/", people["anonymous"].get("/sign-in/").content.decode())]
    for who in ("author", "owner"):
        pages += pages_of(world, people[who], who).items()
    for place, page in pages:
        forms = Forms(place)
        forms.feed(page)
        for target, fields in forms.found:
            seen.setdefault(target, set()).update(fields - OF_PAGES)
        for target, field in forms.texts:
            typed.setdefault(target, set()).add(_plain(field))
        for target, field in forms.choices:
            chosen.setdefault(target, set()).add(_plain(field))
    return {target: {_plain(one) for one in fields} for target, fields in seen.items()}, typed, chosen


def _plain(field: str) -> str:
    return next((start + "N" for start in NUMBERED if field.startswith(start)), field)


def taken_by(operation: Any) -> set[str]:
    """The names of all that an operation takes: parameters and members of its body, at any depth of one list."""
    found = {one["name"] for one in operation.get("parameters", [])}
    for content in operation.get("requestBody", {}).get("content", {}).values():
        found |= _members(content["schema"])
    return found


def _members(schema: Any) -> set[str]:
    if "$ref" in schema:
        schema = SCHEMAS[schema["$ref"].rpartition("/")[2]]
    found = set()
    for name, inner in schema.get("properties", {}).items():
        found.add(name)
        if inner.get("type") == "array":
            found |= _members(inner["items"])
    return found


def test_every_form_of_a_page_has_an_operation_that_takes_its_fields_and_keeps_what_is_typed(
    world: World,
) -> None:
    documented = operations()
    seen, typed, chosen = fields_by_form(world)
    missing = sorted(seen.keys() - OPERATIONS.keys() - NO_OPERATION.keys())
    assert missing == [], "forms without an operation: add it to the API, then here"
    for target, fields in sorted(seen.items()):
        if target in NO_OPERATION:
            continue
        name, mapped = OPERATIONS[target]
        assert name in documented, f"{target}: there is no operation {name}"
        if EVERY in mapped:
            continue
        assert fields <= mapped.keys(), f"{target}: {sorted(fields - mapped.keys())} have no place in {name}"
        takes = taken_by(documented[name]) | {"-", "path", "operation"}
        wanted = {mapped[field] for field in fields}
        assert wanted <= takes, f"{name} does not take {sorted(wanted - takes)}"
    _assert_what_is_typed_outlives_the_session(world, typed)
    _assert_what_is_chosen_outlives_the_session(world, chosen)


def _assert_what_is_chosen_outlives_the_session(world: World, chosen: dict[str, set[str]]) -> None:
    """Each form is sent with its choices alone, without a session; they are told and sent again after that."""
    lost, sent = [], 0
    for target, fields in sorted(chosen.items()):
        method, name = target.split()
        if method != "POST" or name in NOT_CARRIED:
            continue
        words = {field.replace("-N", "-0"): f"choice-of-{field}" for field in fields}
        page, sent = Client().post(address_of(world, name), words).content.decode(), sent + 1
        lost += [f"{target} {field}" for field in words if f'name="typed-{field}"' not in page]
        lost += [
            f"{target} {field}: has no name in web.typed.CHOICES"
            for field in words
            if not choice_named(field, name) and field not in TEXTS
        ]
    assert lost == [], "\n".join(lost)
    assert sent > 15


def _assert_what_is_typed_outlives_the_session(world: World, typed: dict[str, set[str]]) -> None:
    """Each form is sent without a session, and each text that was typed into it is shown and sent again after that."""
    lost, sent = [], 0
    for target, fields in sorted(typed.items()):
        method, name = target.split()
        if method != "POST" or name in NOT_CARRIED:
            continue
        words = {field.replace("-N", "-0"): f"Words of {name}, {field}" for field in fields}
        answer = Client().post(address_of(world, name), words)
        page, sent = answer.content.decode(), sent + 1
        lost += [f"{target} {field}" for field in words if f'name="typed-{field}"' not in page]
        lost += [f"{target} {field}" for field, text in words.items() if text not in page]
        nameless = [
            field for field in words if field not in TEXTS and f"{field.partition('-')[0]}-" not in TEXTS
        ]
        lost += [f"{target}: {field} has no name in web.typed.TEXTS" for field in nameless]
    assert lost == [], "\n".join(lost)
    assert sent > 15


def test_every_address_that_takes_a_form_is_in_the_table() -> None:
    sent = {what for what in rows() if what.startswith("POST ")}
    assert sent == {one for one in OPERATIONS.keys() | NO_OPERATION.keys() if one.startswith("POST ")}
