"""Every address of the pages, whatever is sent to it: an answer that people can read, with a way on."""

import uuid
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import URLPattern, reverse
from django.urls.converters import UUIDConverter

from changerequests.models import ChangeRequest
from changerequests.services import runs
from datasets.models import Dataset
from datasets.roles import Role
from tests.factories import approve, give_role
from web import urls

pytestmark = pytest.mark.django_db

#: What browsers say when somebody opens an address.
AS_A_PAGE = {"Sec-Fetch-Dest": "document"}


@pytest.fixture
def parts(dataset: Dataset, change_request: ChangeRequest, owner: User, deaf_worker: None) -> dict[str, Any]:
    """What stands in the addresses: something that is there for each part."""
    approve(change_request, owner)
    give_role(owner, dataset.project, Role.OWNER)  # whose webhooks have a page of their own
    run = runs.request_merge(change_request_id=change_request.pk, actor=owner)
    return {
        "project_slug": dataset.project.slug,
        "dataset_slug": dataset.slug,
        "cr_id": change_request.cr_id,
        "run_id": run.pk,
        "version": 0,
        "number": 1,
        "proposal_id": 1,
        "trial_id": 1,
        "comment_id": 1,
        "upload_id": 999,
        "preview_id": 999,
        "webhook_id": 999,
        "connection_name": "nothing",
        "prefix_id": 999,
        "delivery_id": 999,
        "asked_id": 999,
        "view_id": 999,
        "token": uuid.uuid4(),
        "key": "nothing",
        "link": "nothing",
        "service_account_id": 999,
        "invitation_id": 999,
    }


def addresses(parts: dict[str, Any]) -> dict[str, str]:
    """Name and address of every page."""
    found = {}
    for pattern in urls.urlpatterns:
        assert isinstance(pattern, URLPattern)
        kinds = pattern.pattern.converters
        wanted = {
            name: parts["token"] if isinstance(kind, UUIDConverter) else parts[name]
            for name, kind in kinds.items()
        }
        found[str(pattern.name)] = reverse(str(pattern.name), kwargs=wanted)
    return found


def is_a_page(answer: Any) -> bool:
    page = answer.content.decode()
    return '<main id="main"' in page and "<h1" in page and 'href="/' in page


def test_every_address_answers_every_method_with_something_to_read(
    parts: dict[str, Any], owner: User
) -> None:
    client = Client(raise_request_exception=False)
    client.force_login(owner)
    bad = []
    for name, address in addresses(parts).items():
        for method in ("GET", "POST", "PUT", "OPTIONS"):
            if name in ("logout", "export_audit") and method in ("POST", "GET"):
                continue
            answer = client.generic(method, address, headers=AS_A_PAGE)
            status = answer.status_code
            if status in (301, 302):
                continue
            if status >= 500 or not is_a_page(answer) or (method == "GET" and status in (400, 403, 405)):
                bad.append((name, method, status, answer.content[:80]))
    assert bad == []


def test_a_form_s_address_leads_to_the_page_of_the_form(parts: dict[str, Any], owner: User) -> None:
    client = Client()
    client.force_login(owner)
    request = f"/change-requests/{parts['cr_id']}/"
    dataset = f"/datasets/{parts['project_slug']}/{parts['dataset_slug']}/"
    leads = {
        name: answer.headers["Location"]
        for name, address in addresses(parts).items()
        if (answer := client.get(address, headers=AS_A_PAGE)).status_code == 302
    }
    assert leads == {
        "login": "/",
        "logout": "/",
        "sign_in_with_provider": "/sign-in/",
        "provider_answer": "/sign-in/",
        "link_account": "/account/",
        "unlink_account": "/account/",
        "make_service_token": "/service-accounts/999/",
        "rotate_service_token": "/service-accounts/999/",
        "revoke_service_token": "/service-accounts/999/",
        "deactivate_service_account": "/service-accounts/999/",
        "accept_with_provider": "/invitation/nothing/",
        "theme": "/",
        "change_password": "/account/",
        "sign_out_everywhere": "/account/",
        "make_token": "/account/",
        "revoke_token": "/account/",
        "decide_device": "/account/device/",
        "people_found": "/people/",
        "invite": "/people/",
        "withdraw_invitation": "/people/",
        "look_at_table": "/add-table/",
        "choose_key": "/add-table/",
        "name_table": "/add-table/",
        "remove_project_member": f"/projects/{parts['project_slug']}/members/",
        "delete_project": f"/projects/{parts['project_slug']}/settings/",
        "read_notifications": "/inbox/",
        "bell": "/inbox/",
        "keep_view": "/",
        "remove_view": "/",
        "news": "/",
        "operate": "/operations/",
        "sweep": "/operations/",
        "reconcile_table": "/operations/stores/",
        "standing": request,
        "withdraw_review_request": request,
        "subscribe": request,
        "subscribe_to_dataset": dataset,
        "switch_webhook": "/webhooks/999/",
        "try_webhook": "/webhooks/999/",
        "rotate_webhook_secret": "/webhooks/999/",
        "remove_webhook": "/webhooks/999/",
        "repeat_delivery": "/webhooks/999/",
        "try_connection": "/operations/connections/nothing/",
        "allow_prefix": "/operations/connections/nothing/",
        "withdraw_prefix": "/operations/connections/nothing/",
        "adopt_tables": "/operations/connections/nothing/",
        "remove_connection": "/operations/connections/nothing/",
        "undo_edits": f"{dataset}edits/",
        "redo_edits": f"{dataset}edits/",
        "settle_edits": f"{dataset}edits/",
        "discard_edits": f"{dataset}edits/",
        "propose_edits": f"{dataset}edits/",
        "restore_suite": f"{dataset}expectations/versions/1/",
        "propose_suite": f"{dataset}expectations/",
        "edit_rules": f"{dataset}expectations/",
        "try_suite": f"{dataset}expectations/",
        "remove_member": f"{dataset}members/",
        "reconcile": dataset,
        "merge_box": request,
        "resolve": f"{request}conflicts/",
        "go_back": f"{dataset}compare/",
        "conflict_lines": f"{request}conflicts/",
        "resolve_matching": f"{request}conflicts/",
        "undo_choices": f"{request}conflicts/",
        "choose_by_file": f"{request}conflicts/",
        "check_again": f"{request}checks/",
        "override_expectations": f"{request}checks/",
        "rebase": f"{request}checks/",
        "submit": request,
        "return_to_draft": request,
        "close": request,
        "edit": request,
        "remove": request,
        "reopen": request,
        "comment": request,
        **dict.fromkeys(("mark_viewed", "say", "take_suggestion"), f"{request}changes/"),
        "talk": f"{request}changes/?",
        "settle": request,
        "review": request,
        "merge": f"/merge-runs/{parts['run_id']}/",
        "merge_when_ready": f"{request}merge/",
        "revert": request,
        "look": f"{dataset}new/",
        "look_for_request": f"{request}upload/",
        "look_again": "/previews/999/",
        "propose_preview": "/previews/999/",
        "cancel_preview": "/previews/999/",
        "cancel_upload": "/uploads/999/",
        "cancel_run": f"/merge-runs/{parts['run_id']}/",
    }


@pytest.mark.parametrize(
    "address", ["/nowhere/", "/datasets/x/y/", "/change-requests/CR-999/", "/merge-runs/9/"]
)
def test_an_address_that_leads_nowhere_is_a_page(db: None, owner: User, address: str) -> None:
    client = Client()
    client.force_login(owner)
    answer = client.get(address)
    assert (answer.status_code, is_a_page(answer)) == (404, True)
