"""Where the API is found. Addresses end without a slash, but for the two documents."""

from typing import Any

from django.urls import include, path, re_path, register_converter
from drf_spectacular.views import SpectacularSwaggerSplitView

from api.addresses import DatasetConverter
from api.views.adding import PlacesView, TableLookView
from api.views.catalogue import DatasetViewSet
from api.views.connections import (
    AdoptTablesView,
    ConnectionsView,
    ConnectionView,
    PrefixesView,
    PrefixView,
    TryConnectionView,
)
from api.views.document import DocumentView
from api.views.edits import EditsView, ProposeEditsView, RedoView, ReplaceView, UndoView
from api.views.expectations import ExpectationCheckViewSet, SuiteViewSet
from api.views.merges import (
    ConflictViewSet,
    MergeContractView,
    MergeRunViewSet,
    MergeView,
    MergeWhenReadyView,
)
from api.views.notifications import (
    DatasetSubscriptionViewSet,
    NotificationSettingsViewSet,
    NotificationViewSet,
    RequestSubscriptionViewSet,
    ReviewRequestViewSet,
)
from api.views.people import InvitationViewSet, PeopleView
from api.views.previews import PreviewsView, PreviewView, QueriesView, QueryView
from api.views.projects import GroupViewSet, ProjectViewSet
from api.views.proposals import (
    ChangeRequestViewSet,
    CommentViewSet,
    EventViewSet,
    ReviewViewSet,
    RevisionViewSet,
)
from api.views.proposing import ProposalView
from api.views.reviewing import SplitView, ViewedGroupsView
from api.views.rows import DifferenceViewSet, RowsViewSet
from api.views.saved_views import SavedViewsView, SavedViewView
from api.views.service_accounts import ServiceAccountViewSet, ServiceTokenViewSet
from api.views.sign_in import (
    DeviceSignInView,
    DeviceTokenView,
    OwnTokenView,
    PasswordView,
    SessionViewSet,
    TokenLogoutView,
    TokenView,
    TokenViewSet,
)
from api.views.streams import InboxStreamView, RequestStreamView
from api.views.tables import TableViewSet, TrailViewSet
from api.views.unknown import UnknownView
from api.views.uploads import ReceivedUploadView, StagedRowsView, TakeSuggestionView, UploadView
from api.views.webhooks import (
    DatasetWebhooksView,
    ProjectWebhooksView,
    RepeatView,
    SecretView,
    WebhookViewSet,
)

register_converter(DatasetConverter, "dataset")
DATASET = "datasets/<dataset:dataset_id>"
REQUEST = "change_requests/<str:cr_id>"
PROJECT = "projects/<slug:slug>"
SERVICE_ACCOUNT = "service_accounts/<int:service_account_id>"
WEBHOOK = "webhooks/<int:webhook_id>"
SUBSCRIPTION: dict[str, Any] = {"get": "retrieve", "put": "update", "delete": "destroy"}
#: Short lists that come whole.
WHOLE: dict[str, Any] = {"pagination_class": None, "filterset_class": None}

v1 = [
    path("auth/token", TokenView.as_view(), name="token"),
    path("auth/device", DeviceSignInView.as_view(), name="device-sign-in"),
    path("auth/device/token", DeviceTokenView.as_view(), name="device-token"),
    path("auth/own_token", OwnTokenView.as_view(), name="token-in-use"),
    path("auth/logout", TokenLogoutView.as_view(), name="token-logout"),
    path("auth/tokens", TokenViewSet.as_view({"get": "list"}), name="tokens"),
    path("auth/tokens/<uuid:number>", TokenViewSet.as_view({"delete": "destroy"}), name="own-token"),
    path("auth/password", PasswordView.as_view(), name="password"),
    path("auth/sessions", SessionViewSet.as_view({"get": "list", "delete": "destroy"}), name="sessions"),
    path(
        "service_accounts",
        ServiceAccountViewSet.as_view({"get": "list", "post": "create"}),
        name="service-accounts",
    ),
    path(SERVICE_ACCOUNT, ServiceAccountViewSet.as_view({"get": "retrieve"}), name="service-account"),
    path(
        f"{SERVICE_ACCOUNT}/deactivate",
        ServiceAccountViewSet.as_view({"post": "deactivate"}),
        name="service-account-deactivate",
    ),
    path(
        f"{SERVICE_ACCOUNT}/tokens",
        ServiceTokenViewSet.as_view({"get": "list", "post": "create"}),
        name="service-tokens",
    ),
    path(
        f"{SERVICE_ACCOUNT}/tokens/<uuid:token_number>",
        ServiceTokenViewSet.as_view({"delete": "destroy"}),
        name="service-token",
    ),
    path(
        f"{SERVICE_ACCOUNT}/tokens/<uuid:token_number>/rotate",
        ServiceTokenViewSet.as_view({"post": "rotate"}),
        name="service-token-rotate",
    ),
    path("groups", GroupViewSet.as_view({"get": "list"}), name="groups"),
    path("projects", ProjectViewSet.as_view({"get": "list", "post": "create"}), name="projects"),
    path(
        PROJECT,
        ProjectViewSet.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"}),
        name="project",
    ),
    path(
        f"{PROJECT}/members",
        ProjectViewSet.as_view({"get": "members", "put": "set_member"}, **WHOLE),
        name="project-members",
    ),
    path(
        f"{PROJECT}/members/<str:kind>/<path:member>",
        ProjectViewSet.as_view({"delete": "remove_member"}, **WHOLE),
        name="project-member",
    ),
    path("people", PeopleView.as_view(), name="people"),
    path("invitations", InvitationViewSet.as_view({"get": "list", "post": "create"}), name="invitations"),
    path(
        "invitations/<int:invitation_id>", InvitationViewSet.as_view({"delete": "destroy"}), name="invitation"
    ),
    path("connections", ConnectionsView.as_view(), name="connections"),
    path("connections/<str:connection>", ConnectionView.as_view(), name="connection"),
    path("connections/<str:connection>/try", TryConnectionView.as_view(), name="connection-try"),
    path("connections/<str:connection>/adopt", AdoptTablesView.as_view(), name="connection-adopt"),
    path("connections/<str:connection>/prefixes", PrefixesView.as_view(), name="connection-prefixes"),
    path(
        "connections/<str:connection>/prefixes/<int:prefix_id>",
        PrefixView.as_view(),
        name="connection-prefix",
    ),
    path("tables", PlacesView.as_view(), name="places"),
    path("tables/look", TableLookView.as_view(), name="table-look"),
    path("datasets", DatasetViewSet.as_view({"get": "list", "post": "create"}), name="datasets"),
    path(DATASET, DatasetViewSet.as_view({"get": "retrieve", "patch": "partial_update"}), name="dataset"),
    path(f"{DATASET}/schema", DatasetViewSet.as_view({"get": "table"}), name="dataset-schema"),
    path(f"{DATASET}/rows", RowsViewSet.as_view({"get": "rows"}), name="dataset-rows"),
    path(f"{DATASET}/edits", EditsView.as_view(), name="edits"),
    path(f"{DATASET}/edits/undo", UndoView.as_view(), name="edits-undo"),
    path(f"{DATASET}/edits/redo", RedoView.as_view(), name="edits-redo"),
    path(f"{DATASET}/edits/replace", ReplaceView.as_view(), name="edits-replace"),
    path(f"{DATASET}/edits/propose", ProposeEditsView.as_view(), name="edits-propose"),
    path(f"{DATASET}/compare", RowsViewSet.as_view({"get": "compare"}), name="dataset-compare"),
    path(f"{DATASET}/go_back", TableViewSet.as_view({"post": "go_back"}), name="go-back"),
    path(f"{DATASET}/rows/history", TableViewSet.as_view({"get": "row_history"}), name="row-history"),
    path(
        f"{DATASET}/columns/history", TableViewSet.as_view({"get": "column_history"}), name="column-history"
    ),
    path(f"{DATASET}/audit", TableViewSet.as_view({"get": "audit"}), name="dataset-audit"),
    path(
        f"{DATASET}/maintenance",
        TableViewSet.as_view({"get": "maintenance", "post": "request_maintenance"}),
        name="dataset-maintenance",
    ),
    path(f"{DATASET}/history", DatasetViewSet.as_view({"get": "history"}), name="dataset-history"),
    path(f"{DATASET}/reconcile", DatasetViewSet.as_view({"post": "reconcile"}), name="dataset-reconcile"),
    path(
        f"{DATASET}/members",
        DatasetViewSet.as_view({"get": "members", "put": "set_member"}, **WHOLE),
        name="dataset-members",
    ),
    path(
        f"{DATASET}/members/<str:kind>/<path:member>",
        DatasetViewSet.as_view({"delete": "remove_member"}, **WHOLE),
        name="dataset-member",
    ),
    path(f"{DATASET}/proposals", ProposalView.as_view(), name="proposals"),
    path(f"{DATASET}/webhooks", DatasetWebhooksView.as_view(), name="dataset-webhooks"),
    path(f"{PROJECT}/webhooks", ProjectWebhooksView.as_view(), name="project-webhooks"),
    path(
        WEBHOOK,
        WebhookViewSet.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"}),
        name="webhook",
    ),
    path(f"{WEBHOOK}/ping", WebhookViewSet.as_view({"post": "ping"}), name="webhook-ping"),
    path(f"{WEBHOOK}/rotate_secret", SecretView.as_view(), name="webhook-secret"),
    path(f"{WEBHOOK}/deliveries", WebhookViewSet.as_view({"get": "deliveries"}), name="webhook-deliveries"),
    path("deliveries/<int:delivery_id>/repeat", RepeatView.as_view(), name="repeat-delivery"),
    path(f"{DATASET}/suite", SuiteViewSet.as_view({"get": "retrieve", "put": "update"}), name="suite"),
    path(f"{DATASET}/suite/versions", SuiteViewSet.as_view({"get": "versions"}), name="suite-versions"),
    path(
        f"{DATASET}/suite/versions/<int:number>",
        SuiteViewSet.as_view({"get": "version"}),
        name="suite-version",
    ),
    path(f"{DATASET}/suite/trials", SuiteViewSet.as_view({"post": "try_on"}), name="suite-trials"),
    path(
        f"{DATASET}/suite/trials/<int:trial_id>", SuiteViewSet.as_view({"get": "trial"}), name="suite-trial"
    ),
    path(f"{DATASET}/suite/proposals", SuiteViewSet.as_view({"post": "propose"}), name="suite-proposals"),
    path(
        f"{DATASET}/suite/proposals/<int:proposal_id>",
        SuiteViewSet.as_view({"get": "proposal"}),
        name="suite-proposal",
    ),
    path(
        "change_requests",
        ChangeRequestViewSet.as_view({"get": "list", "post": "create"}),
        name="change-requests",
    ),
    path(
        REQUEST,
        ChangeRequestViewSet.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"}),
        name="change-request",
    ),
    path(f"{REQUEST}/stream", RequestStreamView.as_view(), name="change-request-stream"),
    path(f"{REQUEST}/comments/<int:comment_id>/take", TakeSuggestionView.as_view(), name="suggestion-take"),
    path(f"{REQUEST}/staged_rows", StagedRowsView.as_view(), name="staged-rows"),
    path(f"{REQUEST}/upload", UploadView.as_view(), name="upload"),
    path(f"{DATASET}/previews", PreviewsView.as_view(), name="previews"),
    path("previews/<int:preview_id>", PreviewView.as_view(), name="preview"),
    path(f"{DATASET}/queries", QueriesView.as_view(), name="queries"),
    path("queries/<int:query_id>", QueryView.as_view(), name="query"),
    path("uploads/<int:upload_id>", ReceivedUploadView.as_view(), name="received-upload"),
    path(f"{REQUEST}/revisions", RevisionViewSet.as_view({"get": "list"}), name="revisions"),
    path(
        f"{REQUEST}/revisions/compare",
        DifferenceViewSet.as_view({"get": "compare"}),
        name="revisions-compare",
    ),
    path(f"{REQUEST}/revisions/<int:number>", RevisionViewSet.as_view({"get": "retrieve"}), name="revision"),
    path(f"{REQUEST}/diff", DifferenceViewSet.as_view({"get": "diff"}), name="diff"),
    path(
        f"{REQUEST}/diff/groups",
        ChangeRequestViewSet.as_view({"get": "diff_groups"}, **WHOLE),
        name="diff-groups",
    ),
    path(f"{REQUEST}/viewed", ViewedGroupsView.as_view(), name="viewed-groups"),
    path(f"{REQUEST}/split", SplitView.as_view(), name="split"),
    path(f"{REQUEST}/plan", ChangeRequestViewSet.as_view({"get": "plan", "post": "check"}), name="plan"),
    path(
        f"{REQUEST}/conflicts",
        ConflictViewSet.as_view({"get": "list", "post": "resolve", "put": "resolve_by_file"}),
        name="conflicts",
    ),
    path(
        f"{REQUEST}/conflicts/bulk",
        ConflictViewSet.as_view({"post": "resolve_matching"}),
        name="conflicts-bulk",
    ),
    path(
        f"{REQUEST}/conflicts/undo",
        ConflictViewSet.as_view({"post": "undo"}),
        name="conflicts-undo",
    ),
    path(
        f"{REQUEST}/expectations",
        ExpectationCheckViewSet.as_view({"get": "retrieve"}),
        name="expectation-check",
    ),
    path(
        f"{REQUEST}/expectations/override",
        ExpectationCheckViewSet.as_view({"post": "override"}),
        name="expectation-override",
    ),
    path(
        f"{REQUEST}/expectations/<int:number>/rows",
        ExpectationCheckViewSet.as_view({"get": "rows"}),
        name="expectation-rows",
    ),
    path(f"{REQUEST}/events", EventViewSet.as_view({"get": "list"}), name="events"),
    path(f"{REQUEST}/reviews", ReviewViewSet.as_view({"get": "list", "post": "create"}), name="reviews"),
    path(f"{REQUEST}/comments", CommentViewSet.as_view({"get": "list", "post": "create"}), name="comments"),
    path(f"{REQUEST}/reviews/<int:review_id>", ReviewViewSet.as_view({"get": "retrieve"}), name="review"),
    path(f"{REQUEST}/comments/<int:comment_id>", CommentViewSet.as_view({"get": "retrieve"}), name="comment"),
    path(
        f"{REQUEST}/threads/<int:comment_id>",
        ChangeRequestViewSet.as_view({"post": "settle_thread"}),
        name="thread",
    ),
    path(f"{REQUEST}/submit", ChangeRequestViewSet.as_view({"post": "submit"}), name="submit"),
    path(
        f"{REQUEST}/return_to_draft",
        ChangeRequestViewSet.as_view({"post": "return_to_draft"}),
        name="return-to-draft",
    ),
    path(f"{REQUEST}/close", ChangeRequestViewSet.as_view({"post": "close"}), name="close"),
    path(f"{REQUEST}/reopen", ChangeRequestViewSet.as_view({"post": "reopen"}), name="reopen"),
    path(f"{REQUEST}/moved", ChangeRequestViewSet.as_view({"get": "moved"}), name="moved"),
    path(f"{REQUEST}/rebase", ChangeRequestViewSet.as_view({"post": "rebase"}), name="rebase"),
    path(f"{REQUEST}/revert", ChangeRequestViewSet.as_view({"post": "revert"}), name="revert"),
    path(f"{REQUEST}/merge", MergeView.as_view(), name="merge"),
    path(f"{REQUEST}/merge_when_ready", MergeWhenReadyView.as_view(), name="merge-when-ready"),
    path(
        f"{REQUEST}/audit", ChangeRequestViewSet.as_view({"get": "audit_files"}, **WHOLE), name="audit-files"
    ),
    path(
        f"{REQUEST}/audit/<str:name>", ChangeRequestViewSet.as_view({"get": "audit_file"}), name="audit-file"
    ),
    path(
        f"{REQUEST}/review_requests",
        ReviewRequestViewSet.as_view({"get": "list", "post": "create"}, **WHOLE),
        name="review-requests",
    ),
    path(
        f"{REQUEST}/review_requests/<int:review_request_id>",
        ReviewRequestViewSet.as_view({"delete": "destroy"}),
        name="review-request",
    ),
    path(
        f"{REQUEST}/subscription",
        RequestSubscriptionViewSet.as_view(SUBSCRIPTION),
        name="request-subscription",
    ),
    path(
        f"{DATASET}/subscription",
        DatasetSubscriptionViewSet.as_view(SUBSCRIPTION),
        name="dataset-subscription",
    ),
    path("stream", InboxStreamView.as_view(), name="stream"),
    path("saved_views", SavedViewsView.as_view(), name="saved-views"),
    path("saved_views/<int:view_id>", SavedViewView.as_view(), name="saved-view"),
    path("notifications", NotificationViewSet.as_view({"get": "list"}), name="notifications"),
    path("notifications/read", NotificationViewSet.as_view({"post": "read"}), name="notifications-read"),
    path(
        "notification_settings",
        NotificationSettingsViewSet.as_view({"get": "retrieve", "put": "update"}),
        name="notification-settings",
    ),
    path("audit", TrailViewSet.as_view({"get": "audit"}), name="audit"),
    path("runs", MergeRunViewSet.as_view({"get": "list"}), name="runs"),
    path("runs/<int:run_id>", MergeRunViewSet.as_view({"get": "retrieve"}), name="run"),
    path("runs/<int:run_id>/cancel", MergeRunViewSet.as_view({"post": "cancel"}), name="run-cancel"),
    path("schema/", DocumentView.as_view(), name="schema"),
    path("docs/", SpectacularSwaggerSplitView.as_view(url_name="api:schema"), name="docs"),
    re_path(r"", UnknownView.as_view(), name="unknown"),
]

urlpatterns = [
    path("api/v1/", include((v1, "api"))),
    path("delta/merge-cr", MergeContractView.as_view(), name="merge-contract"),
]
