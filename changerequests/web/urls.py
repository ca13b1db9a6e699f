"""Addresses of the pages."""

from django.contrib.auth.views import LogoutView
from django.urls import path

from changerequests.web.views import (
    audit,
    blame,
    change_requests,
    changes,
    conflicts,
    datasets,
    home,
    maintenance,
    merges,
    sessions,
)

DATASET = "datasets/<slug:project_slug>/<slug:dataset_slug>/"
REQUEST = "change-requests/<str:cr_id>/"

urlpatterns = [
    path("", home.home, name="home"),
    path("sign-in/", sessions.SignIn.as_view(), name="login"),
    path("sign-out/", LogoutView.as_view(), name="logout"),
    path("theme/", sessions.switch_theme, name="theme"),
    path("datasets/", datasets.datasets, name="datasets"),
    path("projects/<slug:project_slug>/", datasets.project, name="project"),
    path(DATASET, datasets.rows, name="dataset"),
    path(DATASET + "versions/<int:version>/", datasets.rows, name="dataset_at_version"),
    path(DATASET + "schema/", datasets.schema, name="dataset_schema"),
    path(DATASET + "history/", datasets.history, name="dataset_history"),
    path(DATASET + "rows/history/", blame.row_history, name="row_history"),
    path(DATASET + "audit/", audit.export, name="export_audit"),
    path(DATASET + "maintenance/", maintenance.maintenance, name="maintenance"),
    path(DATASET + "change-requests/", datasets.change_requests, name="dataset_change_requests"),
    path(DATASET + "members/", datasets.members, name="members"),
    path(DATASET + "members/remove/", datasets.remove_member, name="remove_member"),
    path(DATASET + "settings/", datasets.settings, name="dataset_settings"),
    path(DATASET + "reconcile/", datasets.reconcile, name="reconcile"),
    path(DATASET + "new/", change_requests.new, name="new_change_request"),
    path(REQUEST, change_requests.conversation, name="change_request"),
    path(REQUEST + "merge-box/", change_requests.box, name="merge_box"),
    path(REQUEST + "upload/", change_requests.upload, name="upload"),
    path(REQUEST + "changes/", changes.changes, name="changes"),
    path(REQUEST + "conflicts/", conflicts.conflicts, name="conflicts"),
    path(REQUEST + "conflicts/resolve/", conflicts.resolve, name="resolve"),
    path(REQUEST + "conflicts/resolve-column/", conflicts.resolve_column, name="resolve_column"),
    path(REQUEST + "checks/", change_requests.checks, name="checks"),
    path(REQUEST + "checks/again/", change_requests.check_again, name="check_again"),
    path(REQUEST + "rebase/", change_requests.rebase, name="rebase"),
    path(REQUEST + "submit/", change_requests.submit, name="submit"),
    path(REQUEST + "draft/", change_requests.return_to_draft, name="return_to_draft"),
    path(REQUEST + "close/", change_requests.close, name="close"),
    path(REQUEST + "reopen/", change_requests.reopen, name="reopen"),
    path(REQUEST + "comments/", change_requests.comment, name="comment"),
    path(REQUEST + "comments/<int:comment_id>/settle/", change_requests.settle, name="settle"),
    path(REQUEST + "review/", change_requests.review, name="review"),
    path(REQUEST + "merge/", merges.merge, name="merge"),
    path(REQUEST + "merge/when-ready/", merges.merge_when_ready, name="merge_when_ready"),
    path(REQUEST + "revert/", merges.revert, name="revert"),
    path("merge-runs/<int:run_id>/", merges.run, name="merge_run"),
    path("merge-runs/<int:run_id>/cancel/", merges.cancel, name="cancel_run"),
]
