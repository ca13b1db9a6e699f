"""Every page that somebody can open, by the name of its address: what the browser tests look at one by one."""

from typing import Final

CONFLICTING: Final = "Count midnight to the day before: 2400 becomes 2359"
DELETING: Final = "Drop the flights that never left"
BREAKING: Final = "Compute the air time of Virgin America in July from the clock"

_FLIGHTS: Final = "/datasets/new-york-2013/flights/"
_PLANES: Final = "/datasets/new-york-2013/planes/"
#: The addresses of each page. ``conflicting``, ``deleting`` and ``breaking`` stand for the paths of these requests,
#: ``preview`` and ``refused`` for a look at rows that would change something and at some that do not fit, ``draft`` for
#: a request of one's own, ``merged`` for one that was merged, with its ``run``.
PLACES: Final[dict[str, tuple[str, ...]]] = {
    "home": ("/", "/?state=all&q=nothing+at+all", "/?state=all"),
    "inbox": ("/inbox/",),
    "account": ("/account/",),
    "device": ("/account/device/",),
    "notification_settings": ("/account/notifications/",),
    "datasets": ("/datasets/",),
    "projects": ("/projects/",),
    "project": ("/projects/new-york-2013/",),
    "project_members": ("/projects/new-york-2013/members/",),
    "project_settings": ("/projects/new-york-2013/settings/",),
    "people": ("/people/",),
    "service_accounts": ("/service-accounts/",),
    "add_table": ("/add-table/",),
    "project_webhooks": ("/projects/new-york-2013/webhooks/",),
    "dataset": (
        _FLIGHTS,
        f"{_FLIGHTS}?column=carrier&value=9E&sort=-dep_delay",
        f"{_FLIGHTS}?column=carrier&value=no",
    ),
    "dataset_at_version": (f"{_FLIGHTS}versions/0/",),
    "dataset_schema": (f"{_FLIGHTS}schema/",),
    "dataset_history": (f"{_FLIGHTS}history/",),
    "dataset_change_requests": (f"{_FLIGHTS}change-requests/",),
    "compare_versions": (f"{_FLIGHTS}compare/", f"{_FLIGHTS}compare/?from=0"),
    "row_history": (f"{_PLANES}rows/history/", f"{_PLANES}rows/history/?key-tailnum=N10156"),
    "column_history": (f"{_PLANES}columns/history/", f"{_PLANES}columns/history/?column=seats"),
    "edit_rows": (f"{_PLANES}edit/",),
    "edit_row": (f"{_PLANES}edit/row/", f"{_PLANES}edit/row/?key-tailnum=N10156"),
    "replace_in_rows": (f"{_PLANES}edit/replace/",),
    "edits": (f"{_PLANES}edits/",),
    "suite": (f"{_FLIGHTS}expectations/",),
    "edit_rules": (f"{_FLIGHTS}expectations/rules/",),
    "suite_history": (f"{_FLIGHTS}expectations/history/",),
    "suite_version": (f"{_FLIGHTS}expectations/versions/1/",),
    "members": (f"{_FLIGHTS}members/",),
    "dataset_settings": (f"{_FLIGHTS}settings/",),
    "maintenance": (f"{_FLIGHTS}maintenance/",),
    "webhooks": (f"{_FLIGHTS}webhooks/",),
    "new_change_request": (f"{_FLIGHTS}new/",),
    "preview": ("{preview}", "{refused}"),
    "change_request": ("{conflicting}", "{deleting}", "{breaking}", "{draft}", "{merged}"),
    "changes": (
        "{conflicting}changes/?view=groups",
        "{deleting}changes/",
        "{deleting}changes/?columns=all",
        "{conflicting}changes/?column=dep_time&became_null=yes",
    ),
    "ask_for_review": ("{draft}review/ask/",),
    "leave_out": ("{conflicting}changes/leave-out/?cut=dep_time", "{conflicting}changes/leave-out/"),
    "compare_revisions": ("{draft}revisions/compare/",),
    "conflicts": ("{conflicting}conflicts/", "{conflicting}conflicts/?column=nothing"),
    "checks": ("{conflicting}checks/", "{breaking}checks/"),
    "expectation_rows": ("{breaking}checks/expectations/7/",),
    "moved": ("{conflicting}moved/",),
    "upload": ("{draft}upload/",),
    "staged_rows": ("{draft}rows/", "{draft}rows/?add=row"),
    "merge": ("{conflicting}merge/", "{breaking}merge/", "{deleting}merge/"),
    "merge_run": ("{run}",),
}
#: Pages for operators and for developers.
OF_OPERATORS: Final[dict[str, tuple[str, ...]]] = {
    "gallery": ("/gallery/",),
    "operations": ("/operations/",),
    "operations_uploads": ("/operations/uploads/",),
    "operations_deliveries": ("/operations/deliveries/",),
    "operations_trail": ("/operations/audit/",),
    "operations_stores": ("/operations/stores/",),
    "operations_connections": ("/operations/connections/",),
    "connection": ("/operations/connections/looked-at/",),
    "operations_retention": ("/operations/retention/",),
    "admin:index": ("/admin/",),
}
#: What has no page of its own to look at, and why.
NOT_LOOKED_AT: Final[dict[str, str]] = {
    "login": "looked at signed out",
    "unsubscribe": "asks for the token of a mail",
    "news": "a stream",
    **dict.fromkeys(("bell", "standing", "merge_box", "talk", "conflict_lines"), "a part of another page"),
    "export_audit": "a file",
    "suite_proposal": "passes within seconds, and is looked at where a suite is proposed",
    "webhook": "asks for a webhook, and is looked at where one is made",
    "received_upload": "passes within seconds",
    "suite_trial": "passes within seconds, and is looked at where rules are tried",
    "accept_invitation": "asks for the key of a mail",
    "sign_in_once": "asks for a link that was made on the machine",
    "people_found": "a part of another page",
    "service_account": "asks for one, and is looked at where one is made",
    **dict.fromkeys(("look_at_table", "choose_key", "name_table", "first_suite"), "a step of adding a table"),
}
