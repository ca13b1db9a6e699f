"""Every operation of the API × everybody who may ask: exact statuses, and that a refusal changed nothing.

``scope`` is the one that a token needs. A token of the owner with that scope alone gets what the owner gets, one with
another scope alone gets 403; ``-`` is for operations that ask for none.
"""

from datetime import timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from rest_framework.test import APIClient

from accounts import tokens
from accounts.scopes import Scope
from audit import bells
from changerequests.models import MergeRun
from tests import options
from tests.dealing import shuffled
from tests.matrix.world import ROLES, Unchanged, World, as_it_stands, filled_in, make_world, who_asks
from tests.openapi import DOCUMENT

pytestmark = pytest.mark.django_db

#: operation | anonymous stranger viewer contributor author owner staff | scope
TABLE = """
GET /api/v1/audit                                                           | 401 403 403 403 403 403 200 | admin
POST /api/v1/auth/device                                                    | 200 200 200 200 200 200 200 | -
POST /api/v1/auth/device/token                                              | 410 410 410 410 410 410 410 | -
POST /api/v1/auth/logout                                                    | 401 204 204 204 204 204 204 | -
GET /api/v1/auth/own_token                                                  | 401 200 200 200 200 200 200 | -
POST /api/v1/auth/password                                                  | 401 204 204 204 204 204 204 | admin
GET /api/v1/auth/sessions                                                   | 401 200 200 200 200 200 200 | admin
DELETE /api/v1/auth/sessions                                                | 401 204 204 204 204 204 204 | admin
POST /api/v1/auth/token                                                     | 200 200 200 200 200 200 200 | -
GET /api/v1/auth/tokens                                                     | 401 200 200 200 200 200 200 | admin
DELETE /api/v1/auth/tokens/{number}                                         | 401 404 404 404 404 204 404 | admin
GET /api/v1/change_requests                                                 | 401 200 200 200 200 200 200 | read
POST /api/v1/change_requests                                                | 401 404 403 201 201 201 404 | propose
GET /api/v1/change_requests/{cr_id}                                         | 401 404 200 200 200 200 404 | read
PATCH /api/v1/change_requests/{cr_id}                                       | 401 404 403 403 200 200 404 | propose
DELETE /api/v1/change_requests/{cr_id}                                      | 401 404 403 403 409 409 404 | propose
GET /api/v1/change_requests/{cr_id}/audit                                   | 401 404 200 200 200 200 404 | read
GET /api/v1/change_requests/{cr_id}/audit/{name}                            | 401 404 200 200 200 200 404 | read
POST /api/v1/change_requests/{cr_id}/close                                  | 401 404 403 403 200 200 404 | propose
GET /api/v1/change_requests/{cr_id}/comments                                | 401 404 200 200 200 200 404 | read
POST /api/v1/change_requests/{cr_id}/comments                               | 401 404 403 201 201 201 404 | review
GET /api/v1/change_requests/{cr_id}/comments/{comment_id}                   | 401 404 200 200 200 200 404 | read
POST /api/v1/change_requests/{cr_id}/comments/{comment_id}/take             | 401 404 404 404 404 404 404 | propose
GET /api/v1/change_requests/{cr_id}/conflicts                               | 401 404 200 200 200 200 404 | read
PUT /api/v1/change_requests/{cr_id}/conflicts                               | 401 404 403 403 200 200 404 | propose
POST /api/v1/change_requests/{cr_id}/conflicts                              | 401 404 403 403 200 200 404 | propose
POST /api/v1/change_requests/{cr_id}/conflicts/bulk                         | 401 404 403 403 200 200 404 | propose
POST /api/v1/change_requests/{cr_id}/conflicts/undo                         | 401 404 403 403 422 422 404 | propose
GET /api/v1/change_requests/{cr_id}/diff                                    | 401 404 200 200 200 200 404 | read
GET /api/v1/change_requests/{cr_id}/diff/groups                             | 401 404 200 200 200 200 404 | read
GET /api/v1/change_requests/{cr_id}/events                                  | 401 404 200 200 200 200 404 | read
GET /api/v1/change_requests/{cr_id}/expectations                            | 401 404 200 200 200 200 404 | read
GET /api/v1/change_requests/{cr_id}/expectations/{number}/rows              | 401 404 200 200 200 200 404 | read
POST /api/v1/change_requests/{cr_id}/expectations/override                  | 401 404 403 403 403 201 404 | merge
POST /api/v1/change_requests/{cr_id}/merge                                  | 401 404 403 202 202 202 404 | merge
PUT /api/v1/change_requests/{cr_id}/merge_when_ready                        | 401 404 403 200 200 200 404 | merge
DELETE /api/v1/change_requests/{cr_id}/merge_when_ready                     | 401 404 403 204 204 204 404 | merge
GET /api/v1/change_requests/{cr_id}/moved                                   | 401 404 200 200 200 200 404 | read
GET /api/v1/change_requests/{cr_id}/plan                                    | 401 404 200 200 200 200 404 | read
POST /api/v1/change_requests/{cr_id}/plan                                   | 401 404 403 200 200 200 404 | propose
POST /api/v1/change_requests/{cr_id}/rebase                                 | 401 404 403 403 200 200 404 | propose
POST /api/v1/change_requests/{cr_id}/reopen                                 | 401 404 403 403 200 200 404 | propose
POST /api/v1/change_requests/{cr_id}/return_to_draft                        | 401 404 403 403 200 403 404 | propose
POST /api/v1/change_requests/{cr_id}/revert                                 | 401 404 403 403 403 201 404 | propose
GET /api/v1/change_requests/{cr_id}/review_requests                         | 401 404 200 200 200 200 404 | read
POST /api/v1/change_requests/{cr_id}/review_requests                        | 401 404 403 200 200 200 404 | propose
DELETE /api/v1/change_requests/{cr_id}/review_requests/{review_request_id}  | 401 404 403 204 204 204 404 | propose
GET /api/v1/change_requests/{cr_id}/reviews                                 | 401 404 200 200 200 200 404 | read
POST /api/v1/change_requests/{cr_id}/reviews                                | 401 404 403 201 403 201 404 | review
GET /api/v1/change_requests/{cr_id}/reviews/{review_id}                     | 401 404 200 200 200 200 404 | read
GET /api/v1/change_requests/{cr_id}/revisions                               | 401 404 200 200 200 200 404 | read
GET /api/v1/change_requests/{cr_id}/revisions/{number}                      | 401 404 200 200 200 200 404 | read
GET /api/v1/change_requests/{cr_id}/revisions/compare                       | 401 404 200 200 200 200 404 | read
GET /api/v1/change_requests/{cr_id}/stream                                  | 401 404 501 501 501 501 404 | read
GET /api/v1/change_requests/{cr_id}/staged_rows                             | 401 404 200 200 200 200 404 | read
PATCH /api/v1/change_requests/{cr_id}/staged_rows                           | 401 404 403 403 201 201 404 | propose
POST /api/v1/change_requests/{cr_id}/submit                                 | 401 404 403 403 200 200 404 | propose
GET /api/v1/change_requests/{cr_id}/subscription                            | 401 404 200 200 200 200 404 | read
PUT /api/v1/change_requests/{cr_id}/subscription                            | 401 404 200 200 200 200 404 | review
DELETE /api/v1/change_requests/{cr_id}/subscription                         | 401 404 204 204 204 204 404 | review
POST /api/v1/change_requests/{cr_id}/threads/{comment_id}                   | 401 404 403 200 200 200 404 | review
POST /api/v1/change_requests/{cr_id}/upload                                 | 401 404 403 403 201 201 404 | propose
GET /api/v1/change_requests/{cr_id}/viewed                                  | 401 404 200 200 200 200 404 | read
POST /api/v1/change_requests/{cr_id}/viewed                                 | 401 404 200 200 200 200 404 | review
POST /api/v1/change_requests/{cr_id}/split                                  | 401 404 403 422 422 422 404 | review
GET /api/v1/datasets                                                        | 401 200 200 200 200 200 200 | read
POST /api/v1/datasets                                                       | 401 404 403 403 403 201 201 | admin
GET /api/v1/datasets/{dataset_id}                                           | 401 404 200 200 200 200 404 | read
PATCH /api/v1/datasets/{dataset_id}                                         | 401 404 403 403 403 200 404 | admin
GET /api/v1/datasets/{dataset_id}/audit                                     | 401 404 403 403 403 200 404 | admin
GET /api/v1/datasets/{dataset_id}/compare                                   | 401 404 200 200 200 200 404 | read
GET /api/v1/datasets/{dataset_id}/edits                                     | 401 404 403 200 200 200 404 | propose
PATCH /api/v1/datasets/{dataset_id}/edits                                   | 401 404 403 200 200 200 404 | propose
POST /api/v1/datasets/{dataset_id}/edits/undo                               | 401 404 403 200 200 200 404 | propose
POST /api/v1/datasets/{dataset_id}/edits/redo                               | 401 404 403 200 200 200 404 | propose
POST /api/v1/datasets/{dataset_id}/edits/replace                            | 401 404 403 200 200 200 404 | propose
DELETE /api/v1/datasets/{dataset_id}/edits                                  | 401 404 403 204 204 204 404 | propose
POST /api/v1/datasets/{dataset_id}/edits/propose                            | 401 404 403 422 422 422 404 | propose
POST /api/v1/datasets/{dataset_id}/go_back                                  | 401 404 403 201 201 201 404 | propose
GET /api/v1/datasets/{dataset_id}/history                                   | 401 404 200 200 200 200 404 | read
GET /api/v1/datasets/{dataset_id}/maintenance                               | 401 404 200 200 200 200 404 | read
POST /api/v1/datasets/{dataset_id}/maintenance                              | 401 404 403 403 403 202 404 | admin
GET /api/v1/datasets/{dataset_id}/members                                   | 401 404 200 200 200 200 404 | read
PUT /api/v1/datasets/{dataset_id}/members                                   | 401 404 403 403 403 200 404 | admin
DELETE /api/v1/datasets/{dataset_id}/members/{kind}/{member}                | 401 404 403 403 403 204 404 | admin
POST /api/v1/datasets/{dataset_id}/proposals                                | 401 404 403 201 201 201 404 | propose
POST /api/v1/datasets/{dataset_id}/previews                                 | 401 404 403 200 200 200 404 | propose
POST /api/v1/datasets/{dataset_id}/queries                                  | 401 404 403 200 200 200 404 | propose
POST /api/v1/datasets/{dataset_id}/reconcile                                | 401 404 403 200 200 200 404 | admin
GET /api/v1/datasets/{dataset_id}/rows                                      | 401 404 200 200 200 200 404 | read
GET /api/v1/saved_views                                                     | 401 200 200 200 200 200 200 | read
POST /api/v1/saved_views                                                    | 401 201 201 201 201 201 201 | review
DELETE /api/v1/saved_views/{view_id}                                        | 401 404 404 404 404 204 404 | review
GET /api/v1/datasets/{dataset_id}/columns/history                           | 401 404 200 200 200 200 404 | read
GET /api/v1/datasets/{dataset_id}/rows/history                              | 401 404 200 200 200 200 404 | read
GET /api/v1/datasets/{dataset_id}/schema                                    | 401 404 200 200 200 200 404 | read
GET /api/v1/datasets/{dataset_id}/subscription                              | 401 404 200 200 200 200 404 | read
PUT /api/v1/datasets/{dataset_id}/subscription                              | 401 404 200 200 200 200 404 | review
DELETE /api/v1/datasets/{dataset_id}/subscription                           | 401 404 204 204 204 204 404 | review
GET /api/v1/datasets/{dataset_id}/suite                                     | 401 404 200 200 200 200 404 | read
PUT /api/v1/datasets/{dataset_id}/suite                                     | 401 404 403 403 403 200 404 | admin
POST /api/v1/datasets/{dataset_id}/suite/proposals                          | 401 404 403 403 403 202 404 | admin
GET /api/v1/datasets/{dataset_id}/suite/proposals/{proposal_id}             | 401 404 200 200 200 200 404 | read
POST /api/v1/datasets/{dataset_id}/suite/trials                             | 401 404 403 403 403 202 404 | admin
GET /api/v1/datasets/{dataset_id}/suite/trials/{trial_id}                   | 401 404 404 404 404 200 404 | read
GET /api/v1/datasets/{dataset_id}/suite/versions                            | 401 404 200 200 200 200 404 | read
GET /api/v1/datasets/{dataset_id}/suite/versions/{number}                   | 401 404 200 200 200 200 404 | read
GET /api/v1/datasets/{dataset_id}/webhooks                                  | 401 404 403 403 403 200 404 | admin
POST /api/v1/datasets/{dataset_id}/webhooks                                 | 401 404 403 403 403 201 404 | admin
POST /api/v1/deliveries/{delivery_id}/repeat                                | 401 404 403 403 403 202 404 | admin
GET /api/v1/groups                                                          | 401 403 403 403 403 200 200 | admin
GET /api/v1/invitations                                                     | 401 403 403 403 403 403 200 | admin
POST /api/v1/invitations                                                    | 401 403 403 403 403 403 201 | admin
DELETE /api/v1/invitations/{invitation_id}                                  | 401 403 403 403 403 403 204 | admin
GET /api/v1/people                                                          | 401 200 200 200 200 200 200 | read
GET /api/v1/service_accounts                                                | 401 200 200 200 200 200 200 | admin
POST /api/v1/service_accounts                                               | 401 422 403 403 403 201 201 | admin
GET /api/v1/service_accounts/{service_account_id}                           | 401 404 404 404 404 200 200 | admin
POST /api/v1/service_accounts/{service_account_id}/deactivate               | 401 404 404 404 404 204 204 | admin
GET /api/v1/service_accounts/{service_account_id}/tokens                    | 401 404 404 404 404 200 200 | admin
POST /api/v1/service_accounts/{service_account_id}/tokens                   | 401 404 404 404 404 201 201 | admin
DELETE /api/v1/service_accounts/{service_account_id}/tokens/{token_number}  | 401 404 404 404 404 204 204 | admin
POST /api/v1/service_accounts/{service_account_id}/tokens/{token_number}/rotate | 401 404 404 404 404 201 201 | admin
GET /api/v1/tables                                                          | 401 403 403 403 403 200 200 | admin
POST /api/v1/tables/look                                                    | 401 403 403 403 403 200 200 | admin
GET /api/v1/notification_settings                                           | 401 200 200 200 200 200 200 | read
PUT /api/v1/notification_settings                                           | 401 200 200 200 200 200 200 | admin
GET /api/v1/notifications                                                   | 401 200 200 200 200 200 200 | read
POST /api/v1/notifications/read                                             | 401 200 200 200 200 200 200 | review
GET /api/v1/projects                                                        | 401 200 200 200 200 200 200 | read
POST /api/v1/projects                                                       | 401 403 403 403 403 403 201 | admin
GET /api/v1/projects/{slug}                                                 | 401 404 200 200 200 200 200 | read
PATCH /api/v1/projects/{slug}                                               | 401 404 403 403 403 200 200 | admin
DELETE /api/v1/projects/{slug}                                              | 401 404 403 403 403 409 409 | admin
GET /api/v1/projects/{slug}/members                                         | 401 404 200 200 200 200 200 | read
PUT /api/v1/projects/{slug}/members                                         | 401 404 403 403 403 200 200 | admin
DELETE /api/v1/projects/{slug}/members/{kind}/{member}                      | 401 404 403 403 403 404 404 | admin
GET /api/v1/connections                                                     | 401 200 200 200 200 200 200 | admin
POST /api/v1/connections                                                    | 401 403 403 403 403 403 201 | admin
GET /api/v1/connections/{connection}                                        | 401 404 404 404 404 200 200 | admin
PATCH /api/v1/connections/{connection}                                      | 401 404 404 404 404 403 200 | admin
DELETE /api/v1/connections/{connection}                                     | 401 404 404 404 404 403 204 | admin
POST /api/v1/connections/{connection}/try                                   | 401 404 404 404 404 403 200 | admin
POST /api/v1/connections/{connection}/adopt                                 | 401 404 404 404 404 403 200 | admin
POST /api/v1/connections/{connection}/prefixes                              | 401 404 404 404 404 403 201 | admin
DELETE /api/v1/connections/{connection}/prefixes/{prefix_id}                | 401 404 404 404 404 403 204 | admin
GET /api/v1/projects/{slug}/webhooks                                        | 401 404 403 403 403 200 404 | admin
POST /api/v1/projects/{slug}/webhooks                                       | 401 404 403 403 403 201 404 | admin
GET /api/v1/previews/{preview_id}                                           | 401 404 404 404 404 200 404 | read
DELETE /api/v1/previews/{preview_id}                                        | 401 404 404 404 404 204 404 | propose
GET /api/v1/queries/{query_id}                                              | 401 404 404 404 404 200 404 | read
GET /api/v1/runs                                                            | 401 200 200 200 200 200 200 | read
GET /api/v1/runs/{run_id}                                                   | 401 404 200 200 200 200 404 | read
POST /api/v1/runs/{run_id}/cancel                                           | 401 404 403 403 200 200 404 | merge
GET /api/v1/stream                                                          | 401 501 501 501 501 501 501 | read
GET /api/v1/uploads/{upload_id}                                             | 401 404 404 404 200 200 404 | read
DELETE /api/v1/uploads/{upload_id}                                          | 401 404 404 404 409 409 404 | propose
GET /api/v1/webhooks/{webhook_id}                                           | 401 404 403 403 403 200 404 | admin
PATCH /api/v1/webhooks/{webhook_id}                                         | 401 404 403 403 403 200 404 | admin
DELETE /api/v1/webhooks/{webhook_id}                                        | 401 404 403 403 403 204 404 | admin
GET /api/v1/webhooks/{webhook_id}/deliveries                                | 401 404 403 403 403 200 404 | admin
POST /api/v1/webhooks/{webhook_id}/ping                                     | 401 404 403 403 403 202 404 | admin
POST /api/v1/webhooks/{webhook_id}/rotate_secret                            | 401 404 403 403 403 200 404 | admin
POST /delta/merge-cr                                                        | 401 404 403 202 202 202 404 | merge
"""

#: What is sent where an operation takes a body, and addresses where the first of several things is not meant.
BODIES: dict[str, Any] = {
    "POST /api/v1/auth/device/token": {"device_code": "nobody polls with it"},
    "POST /api/v1/auth/token": {"username": "sam", "password": "password"},
    "POST /api/v1/auth/password": {"old_password": "password", "new_password": "a new passphrase 7"},
    "POST /api/v1/change_requests": {"dataset": "<dataset>", "title": "Another"},
    "POST /api/v1/datasets/{dataset_id}/previews": {"rows": [{"tailnum": "N1", "seats": 7}]},
    "POST /api/v1/datasets/{dataset_id}/queries": {"sql": "DELETE FROM dataset WHERE tailnum = 'N1'"},
    "PATCH /api/v1/datasets/{dataset_id}/edits": {"changes": [{"add": {"tailnum": "N77"}}]},
    "POST /api/v1/datasets/{dataset_id}/edits/replace": {
        "columns": ["manufacturer"],
        "find": "BOEING",
        "replace": "B",
    },
    "POST /api/v1/datasets/{dataset_id}/edits/propose": {"title": "What I edited"},
    "POST /api/v1/change_requests/{cr_id}/close": {"reason": "Not now."},
    "PATCH /api/v1/change_requests/{cr_id}/staged_rows": {"rows": [{"tailnum": "N2", "seats": 8}]},
    "PATCH /api/v1/change_requests/{cr_id}": {"description": "Why"},
    "POST /api/v1/change_requests/{cr_id}/comments": {"body": "I see."},
    "POST /api/v1/change_requests/{cr_id}/split": {"rows": [{"tailnum": "N2"}], "reason": "Not sure."},
    "POST /api/v1/change_requests/{cr_id}/viewed": {"group": "<group>"},
    "POST /api/v1/change_requests/{cr_id}/conflicts": {
        "resolutions": [
            {
                "key": {"tailnum": "N1"},
                "column": "seats",
                "choice": "proposed",
                "inputs_digest": "<conflict>",
            }
        ]
    },
    "POST /api/v1/change_requests/{cr_id}/conflicts/bulk": {"column": "seats", "choice": "proposed"},
    "POST /api/v1/change_requests/{cr_id}/conflicts/undo": {"undo": "1-1"},
    "POST /api/v1/change_requests/{cr_id}/expectations/override": {"reason": "They are right."},
    "POST /api/v1/change_requests/{cr_id}/review_requests": {"users": ["cora"]},
    "POST /api/v1/change_requests/{cr_id}/reviews": {"verdict": "approve"},
    "PUT /api/v1/change_requests/{cr_id}/subscription": {"level": "watch"},
    "PUT /api/v1/datasets/{dataset_id}/subscription": {"level": "mute"},
    "PUT /api/v1/notification_settings": {"merged": "email"},
    "POST /api/v1/change_requests/{cr_id}/threads/{comment_id}": {"resolved": True},
    "POST /api/v1/datasets": {
        "project": "<project>",
        "slug": "others",
        "name": "Others",
        "table_uri": "<table>",
        "primary_keys": ["tailnum"],
    },
    "PATCH /api/v1/datasets/{dataset_id}": {"required_approvals": 2},
    "POST /api/v1/datasets/{dataset_id}/maintenance": {"jobs": ["checkpoint"]},
    "POST /api/v1/datasets/{dataset_id}/go_back": {"version": 0},
    "POST /api/v1/datasets/{dataset_id}/proposals": {
        "title": "Seats",
        "rows": [{"tailnum": "N1", "seats": 5}],
    },
    "PUT /api/v1/datasets/{dataset_id}/members": {"kind": "user", "name": "vera", "role": "owner"},
    "POST /api/v1/invitations": {"email": "new@example.org"},
    "POST /api/v1/service_accounts": {"name": "load", "project": "<project>", "role": "viewer"},
    "POST /api/v1/service_accounts/{service_account_id}/deactivate": {"reason": "over"},
    "POST /api/v1/tables/look": {"table_uri": "<table>", "primary_keys": ["tailnum"]},
    "POST /api/v1/projects": {"slug": "another", "name": "Another"},
    "POST /api/v1/connections": {"name": "another", "root": "s3://another"},
    "PATCH /api/v1/connections/{connection}": {"name": "renamed"},
    "POST /api/v1/connections/{connection}/prefixes": {"project": "<project>", "path": "more"},
    "PATCH /api/v1/projects/{slug}": {"name": "Other"},
    "PUT /api/v1/projects/{slug}/members": {"kind": "user", "name": "vera", "role": "viewer"},
    "PUT /api/v1/datasets/{dataset_id}/suite": {
        "document": {"name": "planes", "expectations": []},
        "version": "<suite>",
    },
    "POST /api/v1/datasets/{dataset_id}/suite/trials": {"document": {"name": "planes", "expectations": []}},
    "POST /api/v1/datasets/{dataset_id}/webhooks": {"name": "Pipeline", "url": "https://hooks.example.org/x"},
    "POST /api/v1/projects/{slug}/webhooks": {"name": "Pipeline", "url": "https://hooks.example.org/x"},
    "PATCH /api/v1/webhooks/{webhook_id}": {"name": "Another"},
    "POST /api/v1/saved_views": {"name": "Mine", "filters": {"q": "seats"}},
    "POST /delta/merge-cr": {
        "project_id": "<project_id>",
        "dataset_id": "<dataset>",
        "cr_id": "<pending>",
        "primary_keys": ["tailnum"],
    },
}
UPLOAD = "POST /api/v1/change_requests/{cr_id}/upload"

#: Which of the world's things an address names; ``cr_id`` is the pending request unless another is meant.
MEANT = {
    "dataset_id": "dataset",
    "slug": "project",
    "run_id": "run",
    "upload_id": "upload",
    "query_id": "query",
    "preview_id": "preview",
    "comment_id": "remark",
    "review_id": "verdict",
    "review_request_id": "asked",
    "view_id": "view",
    "number": "suite",
    "proposal_id": "proposal",
    "trial_id": "trial",
    "webhook_id": "webhook",
    "delivery_id": "delivery",
    "invitation_id": "invitation",
    "connection": "connection",
    "prefix_id": "prefix",
    "service_account_id": "service_account",
    "token_number": "service_token",
    "cr_id": "pending",
    "kind": "kind_of_member",
    "member": "member",
}
OTHERS = {
    "cr_id": {
        "conflicts": "conflicting",
        "bulk": "conflicting",
        "undo": "conflicting",
        "reopen": "closed",
        "revert": "merged",
        "audit": "merged",
        "{name}": "merged",
        "submit": "draft",
        "upload": "draft",
        "rebase": "conflicting",
        "override": "failing",
        "expectations": "failing",
        "rows": "failing",
    }
}
CHOICES_FILED = "PUT /api/v1/change_requests/{cr_id}/conflicts"
QUERIES = {
    "GET /api/v1/datasets/{dataset_id}/compare": "?from=0&to=1",
    "GET /api/v1/change_requests/{cr_id}/revisions/compare": "?from=1&to=1",
    "GET /api/v1/datasets/{dataset_id}/columns/history": "?column=seats",
    "GET /api/v1/datasets/{dataset_id}/rows/history": '?key={"tailnum": "N1"}',
}


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(bells, "ring", lambda *_: None)
    monkeypatch.setattr(tokens, "LAST_USE_EVERY", timedelta(days=1))
    monkeypatch.setattr("changerequests.services.runs.wait_for_run", _at_once)
    monkeypatch.setattr("changerequests.services.uploads.wait_for_upload", as_it_stands)
    return make_world()


def _at_once(run_id: int, seconds: float, **_: Any) -> MergeRun:
    return MergeRun.objects.select_related("change_request").get(pk=run_id)


def rows() -> dict[str, tuple[list[int], str]]:
    """The table, read: operation to statuses by role, and scope."""
    found = {}
    for line in filter(None, map(str.strip, TABLE.splitlines())):
        operation, statuses, scope = (part.strip() for part in line.split("|"))
        found[operation] = ([int(status) for status in statuses.split()], scope)
        assert len(found[operation][0]) == len(ROLES), line
    return found


def operations() -> dict[str, Any]:
    """The OpenAPI document's operations by method and path."""
    paths = DOCUMENT["paths"]
    return {
        f"{method.upper()} {path}": operation
        for path, methods in paths.items()
        for method, operation in methods.items()
        if method != "parameters"
    }


def test_every_operation_is_in_the_table_with_the_scope_that_the_document_names() -> None:
    assert rows().keys() == operations().keys()
    for name, operation in operations().items():
        needed = [way["knoxApiToken"] for way in operation.get("security", []) if "knoxApiToken" in way]
        assert rows()[name][1] == (needed[0][0] if needed and needed[0] else "-"), name


def test_fs9_the_api_answers_everybody_as_the_table_says_and_refusals_change_nothing(world: World) -> None:
    unchanged, wrong = Unchanged(), []
    for operation, (statuses, scope) in rows().items():
        by_owner = statuses[ROLES.index("owner")]
        expected = dict(zip(ROLES, statuses, strict=True))
        for one in _scopes_tried(operation, scope):
            expected[f"token:{one}"] = by_owner if scope in ("-", one) else 403
        for who in who_asks(operation, expected):
            with unchanged.watched():
                answered = call(world, operation, who)
                refused = answered >= 400
                changed = unchanged.say_what_changed() if refused else ""
            if not refused and not operation.startswith("GET "):
                unchanged.allow_files()
            if answered != expected[who] or changed:
                wrong.append(f"{operation} {who}: {answered}, not {expected[who]} {changed}")
    assert wrong == []


def _scopes_tried(operation: str, scope: str) -> list[str]:
    """The scope that is needed, and all others; where a run takes a sample, one other."""
    others = [str(one) for one in Scope if one != scope]
    if options.SAMPLE_SEED is not None:
        others = shuffled(others, options.SAMPLE_SEED + len(operation))[:1]
    return [*others, *([] if scope == "-" else [scope])]


def call(world: World, operation: str, who: str) -> int:
    """The status that somebody gets."""
    method, path = operation.split()
    client = APIClient(raise_request_exception=False)
    if who != "anonymous":
        client.credentials(HTTP_AUTHORIZATION=f"Token {world.tokens[who]}")
    last = path.rpartition("/")[2]
    for name, meant in MEANT.items():
        if name == "number" and "expectations" in path:
            meaning: Any = 0
        elif name == "number" and "auth" in path:
            meaning = world.names["token"]
        else:
            meaning = world.names[OTHERS.get(name, {}).get(last, meant)]
        path = path.replace(f"{{{name}}}", str(meaning))
    path = path.replace("{name}", "merge_result.json") + QUERIES.get(operation, "")
    if operation == UPLOAD:
        body: Any = {"file": SimpleUploadedFile("years.csv", b"tailnum,seats\nN2,7\n")}
        answer = client.post(path, body, format="multipart")
    elif operation == CHOICES_FILED:
        file = f"inputs_digest,column,choice\n{world.names['conflict']},seats,proposed\n"
        answer = client.put(path, file.encode(), content_type="text/csv")
    else:
        answer = getattr(client, method.lower())(path, *_body(world, operation, method))
    if getattr(answer, "streaming", False):
        b"".join(answer.streaming_content)  # type: ignore[attr-defined]  # a streaming answer
    unknown = answer.headers.keys() & TOLD - headers_of(operation, str(answer.status_code))
    assert not unknown, f"{operation} {who}: {answer.status_code} with {unknown}"
    return int(answer.status_code)


#: Headers that mean something to callers.
TOLD = {"Location", "ETag", "Retry-After", "Idempotent-Replayed", "Preference-Applied", "WWW-Authenticate"}


def headers_of(operation: str, status: str) -> set[str]:
    """The headers that the document knows of an answer, which must be there."""
    response = operations()[operation]["responses"].get(status)
    assert response is not None, f"{operation} answers {status}, which the document does not know"
    if "$ref" in response:
        response = DOCUMENT["components"]["responses"][response["$ref"].rpartition("/")[2]]
    return set(response["headers"])


def _body(world: World, operation: str, method: str) -> list[Any]:
    if method in ("GET", "DELETE"):
        return []
    return [filled_in(BODIES.get(operation, {}), world.names)]
