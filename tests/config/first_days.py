"""An installation of the first days, with a row of everything, and its upgrade: ``python -m tests.config.first_days``.

Works on the database that the environment names: takes an empty one to the first migrations, puts rows in, migrates it
to today's, and says as JSON what today's code sees of them.
"""

import json
import sys
from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import django
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.test import Client

AT = datetime(2026, 1, 5, 8, tzinfo=UTC)
#: Where each of Headgate's apps stood; what they stand on is as it is today.
FIRST = [
    ("audit", "0002_append_only_triggers"),
    ("changerequests", "0001_initial"),
    ("datasets", "0001_initial"),
]
BELOW = ("admin", "auth", "contenttypes", "guardian", "knox", "sessions")
SCHEMA = {"type": "struct", "fields": [{"name": "id", "type": "long", "nullable": True, "metadata": {}}]}


def fill() -> None:
    """Make the installation."""
    executor = MigrationExecutor(connection)
    below = [leaf for leaf in executor.loader.graph.leaf_nodes() if leaf[0] in BELOW]
    executor.migrate([*below, *FIRST])
    apps = MigrationExecutor(connection).loader.project_state([*below, *FIRST]).apps
    models = SimpleNamespace(**{model.__name__: model._default_manager for model in apps.get_models()})
    olivia = models.User.create(username="olivia", password="md5$x$y", is_superuser=True, is_staff=True)
    carl = models.User.create(username="carl", password="md5$x$z")
    project = models.Project.create(slug="first", name="First")
    dataset = models.Dataset.create(
        project=project,
        slug="days",
        name="Days",
        table_uri="/data/delta/days",
        primary_keys=["id"],
        delete_limit=Decimal("0.1"),
    )
    models.DatasetMeta.create(
        dataset=dataset,
        table_id="t",
        delta_version=3,
        row_count=9,
        schema_json=SCHEMA,
        size_bytes=1,
        file_count=1,
        checked_at=AT,
    )
    models.DatasetLease.create(dataset=dataset)
    merged = {"merged_version": 3, "merged_at": AT, "merged_by": olivia, "merge_record": {"result": {}}}
    for status in ("draft", "pending", "merging", "merged", "closed"):
        request = models.ChangeRequest.create(
            dataset=dataset,
            author=carl,
            title=status,
            status=status,
            **(merged if status == "merged" else {}),
        )
        _with_all_that_belongs_to_it(models, dataset, request, olivia)
    models.Chain.create(stream=f"dataset:{dataset.pk}")
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO knox_authtoken (digest, token_key, user_id, created, expiry) VALUES (%s, %s, %s, %s, NULL)",
            ["d" * 128, "k" * 15, carl.pk, AT],
        )


def _with_all_that_belongs_to_it(models: Any, dataset: Any, request: Any, owner: Any) -> None:
    revision = models.Revision.create(
        change_request=request,
        number=1,
        location="/data/delta/staged",
        digest="d",
        base_version=2,
        table_id="t",
        **dict.fromkeys(("rows", "rows_inserted", "rows_updated", "rows_deleted", "noop_rows"), 1),
        columns=["id"],
        created_by=request.author,
    )
    remark = models.Comment.create(
        change_request=request, author=owner, body="Why?", row_key={"id": 1}, column="id"
    )
    models.Comment.create(change_request=request, author=request.author, body="So.", parent=remark)
    models.ConflictResolution.create(
        change_request=request,
        chosen_by=owner,
        key={"id": 1},
        key_digest="k",
        column="id",
        choice="current",
        inputs_digest="i",
    )
    of_revision = {"change_request": request, "revision": revision, "resolutions_digest": ""}
    models.Review.create(reviewer=owner, verdict="approve", revision_digest="d", **of_revision)
    models.PlanCheck.create(
        table_version=3,
        row_count_before=9,
        row_count_after=9,
        deleted_share=0,
        checked_at=AT,
        **of_revision,
    )  # fmt: skip
    ended = {
        "draft": "failed",
        "pending": "queued",
        "merging": "running",
        "merged": "succeeded",
        "closed": "cancelled",
    }
    run = models.MergeRun.create(
        dataset=dataset,
        requested_by=owner,
        revision_digest="d",
        status=ended[request.status],
        rows_affected=2,
        merged_version=3 if request.status == "merged" else None,
        **of_revision,
    )
    models.RunPhaseTime.create(run=run, phase="planning", seconds=0.5)


def look() -> dict[str, Any]:
    """What today's code sees."""
    from django.contrib.auth.models import User

    from accounts.models import Token
    from changerequests.models import ChangeRequest, MergeFigures

    browser = Client(SERVER_NAME="localhost")
    browser.force_login(User.objects.get(username="olivia"))
    requests = ChangeRequest.objects.order_by("pk")
    addresses = [f"/change-requests/{request.cr_id}/" for request in requests]
    addresses += ["/", "/datasets/first/days/settings/", "/account/"]
    addresses += [f"/api/v1/change_requests/{request.cr_id}" for request in requests]
    return {
        "requests": {one.title: [one.status, one.identity == one.cr_id] for one in requests},
        "digests": [bool(one.resolutions_digest) for one in requests],
        "unsettled": [one.title for one in requests if one.unsettled_version is not None],
        "comments": sorted(requests.values_list("comments__body", flat=True)),
        "outcomes": MergeFigures.objects.get().outcomes,
        "tokens": list(Token.objects.values_list("user__username", "name")),
        "answers": {address: browser.get(address).status_code for address in addresses},
    }


if __name__ == "__main__":
    django.setup()
    fill()
    call_command("migrate", verbosity=0)
    call_command("migrate", check_unapplied=True, verbosity=0)
    sys.stdout.write(json.dumps(look()))
