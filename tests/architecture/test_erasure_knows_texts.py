"""Every text that a model keeps is either searched for the names of people who are erased, or said to hold none."""

from django.apps import apps
from django.db import models

from changerequests.services.erasing import GONE, TEXTS, TEXTS_ABOVE

OURS = ("accounts", "audit", "changerequests", "datasets", "notifications")
KINDS = (models.CharField, models.TextField, models.JSONField)
#: Where nobody writes about people: names of things, digests, numbers, values of rows, sentences of Headgate's.
#: The trail itself (``audit.Event``) is rewritten by ``audit.erasing``.
NO_NAMES = {
    "audit.Chain": "last_hash seal stream",
    "audit.Event": "action actor data hash key_id previous_hash "
    "redactions request_id rows salt stream subject_id subject_type",
    "audit.AnchorTarget": "delivered error name",
    "datasets.Project": "slug",
    "datasets.Connection": "name options references root sealed",
    "datasets.ConnectionPrefix": "path",
    "datasets.Dataset": "catalog_table primary_keys slug table_uri",
    "datasets.SuiteVersion": "document",
    "datasets.SuiteProposal": "attempt_id document error_code error_message traceparent worker",
    "datasets.SuiteTrial": "attempt_id document error_code error_message report rule traceparent worker",
    "datasets.DatasetMeta": "difference partition_columns problem schema_json strategy table_id unreachable_reason",
    "datasets.DatasetLease": "holder",
    "datasets.MaintenanceRun": "attempt_id error_code jobs report traceparent worker",
    "datasets.ServerProcess": "counts free_bytes host name queues",
    "datasets.StorePlace": "place reason",
    "datasets.RememberedAnswer": "fingerprint headers key operation",
    "accounts.Token": "digest password_mark scopes token_key",
    "accounts.DeviceSignIn": "address digest scopes user_code",
    "accounts.Invitation": "digest role",
    "accounts.SignInCount": "key",
    "accounts.KnownPlace": "key",
    "changerequests.ChangeRequest": "identity resolutions_digest",
    "changerequests.Revision": "cells_updated columns digest location new_columns table_id",
    "changerequests.Upload": "attempt_id column_actions column_types error_code file_format "
    "idempotency_key null_token pasted token traceparent worker",
    "changerequests.Preview": "attempt_id column_actions column_types error_code file_format null_token token "
    "traceparent worker",
    "changerequests.PlanCheck": "cells_updated plan_digest problem "
    "problem_code reads resolutions_digest schema_changes strategy",
    "changerequests.Review": "resolutions_digest revision_digest",
    "changerequests.Comment": "cell column row_key suggestion",
    "changerequests.ConflictResolution": "column inputs_digest key key_digest value",
    "changerequests.MergeRun": "attempt_id error_code idempotency_key "
    "resolutions_digest result revision_digest traceparent worker",
    "changerequests.MergeFigures": "outcomes phases",
    "changerequests.EditedRow": "digest key name seen values",
    "changerequests.EditStep": "rows",
    "changerequests.ViewedGroup": "group revision_digest",
    "changerequests.ExpectationCheck": "failing report resolutions_digest",
    "changerequests.ExpectationOverride": "expectations resolutions_digest revision_digest",
    "notifications.Delivery": "attempt_id error_code receiver traceparent worker",
    "notifications.Webhook": "actions former_secret host secret url",
}


def kept_texts() -> dict[str, set[str]]:
    """Model to its fields in which texts of any kind are kept."""
    found: dict[str, set[str]] = {}
    for model in apps.get_models():
        if model._meta.app_label in OURS and model._meta.managed:
            fields = [
                one for one in model._meta.concrete_fields if isinstance(one, KINDS) and not one.choices
            ]
            found[model._meta.label] = {one.name for one in fields}
    return {label: names for label, names in found.items() if names}


def test_every_text_that_is_kept_was_thought_of() -> None:
    searched = {model._meta.label: set(fields) for model, fields in TEXTS.items()}
    searched |= {label: set(fields) for label, fields in TEXTS_ABOVE.items()}
    excused = {label: set(names.split()) for label, names in NO_NAMES.items()}
    kept = kept_texts()
    assert {label: fields - kept.get(label, set()) for label, fields in excused.items()} == {
        label: set() for label in excused
    }
    unknown = {
        label: left
        for label, fields in kept.items()
        if (left := fields - searched.get(label, set()) - excused.get(label, set()))
        and not (label in GONE and label not in searched)
    }
    assert unknown == {}, "Name them in changerequests/services/erasing.py, or here where they hold no names."
