"""Erasing a person: their names give way to a pseudonym wherever Headgate keeps them, and the trail stays whole.

What they did stays, under the pseudonym: who changed which cell is proved as before, but for who that was. Not touched
are the tables themselves, their logs among them, and what was taken out: exports, backups, logs of processes.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db import models, transaction

import merging
from audit.erasing import Names, breaks_of_chains, erase_from_trail, put_files, rewritten_files
from audit.files import KeptAuditFile
from audit.selectors import events_called
from audit.services import INSTALLATION_STREAM, PERSON_ERASED, record
from changerequests.models import (
    ChangeRequest,
    Comment,
    ExpectationOverride,
    MergeRun,
    Preview,
    Review,
    Revision,
    SavedView,
    Upload,
)
from changerequests.services.evidence import KEPT, MERGE, OUTCOME, WAIT
from datasets.errors import InvalidInput
from datasets.evidence import ACCOUNT, DATASET, RENAMED, SUITE_VERSION, account_rows
from datasets.models import Dataset, MaintenanceRun, Project, RememberedAnswer, SuiteTrial, SuiteVersion
from datasets.owners import keeping_owners, owned_by
from datasets.services import installation_identity

#: Where people write, or are named by value; all else names accounts by their numbers.
TEXTS: Final[Mapping[type[models.Model], tuple[str, ...]]] = {
    Project: ("name", "description"),
    Dataset: ("name", "description"),
    SuiteVersion: ("note",),
    SuiteTrial: ("note",),
    ChangeRequest: ("title", "description", "close_reason", "merge_when_ready_message", "merge_record"),
    Revision: ("file_name", "warnings"),
    Review: ("body",),
    Comment: ("body",),
    Upload: (
        "title", "description", "file_name", "agent", "error_message", "error_data", "source", "follow_up_message",
        "followed_up",
    ),
    Preview: (
        "title", "description", "file_name", "source", "pasted", "result", "error_message",
        "error_data",
    ),
    ExpectationOverride: ("reason",),
    SavedView: ("name", "filters"),
    MergeRun: (
        "requested_for", "message", "override_reason", "overridden_blockers", "approved_by", "error_message",
        "error_data",
    ),
    RememberedAnswer: ("body",),
    MaintenanceRun: ("reason", "error_message"),
    LogEntry: ("object_repr", "change_message"),
}  # fmt: skip
#: The same of models above this package, and of one that its own package alone imports, by their labels.
TEXTS_ABOVE: Final[Mapping[str, tuple[str, ...]]] = {
    "notifications.Notification": ("headline",),
    "notifications.Delivery": ("payload", "response", "error_message"),
    "notifications.Webhook": ("name",),
    "audit.OutboxEntry": ("error",),
    "accounts.Token": ("name", "agent"),
    "accounts.DeviceSignIn": ("name", "agent"),
    "accounts.Invitation": ("email", "first_name", "last_name"),
    "accounts.ServiceAccount": ("purpose",),
}
#: What opens the account, says where from, what it was told, what it is asked for and what it typed and never proposed:
#: rows by the labels of their models, with what names the account in them.
GONE: Final = {
    "changerequests.Edits": "person",
    "changerequests.SavedView": "person",
    "datasets.SuiteTrial": "asked_by",
    "accounts.Token": "user",
    "accounts.DeviceSignIn": "user",
    "accounts.BrowserSession": "user",
    "accounts.Identity": "user",
    "changerequests.ReviewRequest": "reviewer",
    "datasets.RememberedAnswer": "user",
    "notifications.Notification": "person",
    "notifications.NotificationSetting": "person",
    "notifications.Subscription": "person",
}
SEALED: Final = (*KEPT, MERGE, OUTCOME, WAIT, DATASET, SUITE_VERSION)


@dataclass(frozen=True)
class PersonErased:
    """What was replaced, or (``dry_run``) would be: texts of rows, entries of the trail and files, each by its place.

    ``logs`` are tables whose own logs name the person; nobody changes a log.
    """

    pseudonym: str
    dry_run: bool
    texts: tuple[str, ...]
    entries: tuple[str, ...]
    files: tuple[KeptAuditFile, ...]
    logs: tuple[str, ...]


def erase_person(
    *, username: str, also: Sequence[str] = (), reason: str = "", dry_run: bool = False
) -> PersonErased:
    """Replace a person's user name, e-mail, full name, and what they were ``also`` called, by a pseudonym everywhere.

    The account stays as a row that nobody can sign in to: what it did names it. Raises ``InvalidInput`` where there is
    no such account and nothing else to look for, without a reason, or where the trail is not whole, and ``LastOwner``
    where something would have no owner any more.
    """
    if not dry_run and not reason.strip():
        raise InvalidInput("Give a reason: it is kept in the audit trail.")
    put_files()  # of one that died before its end
    user = User.objects.filter(username=username).first()
    if user is None and username not in also:
        raise InvalidInput(
            f"There is no account {username!r}. Give --also {username} to look for the name alone."
        )
    broken = [] if dry_run else breaks_of_chains()
    if broken:
        raise InvalidInput(
            f"The audit trail is broken at {broken[0].place}: {broken[0].reason}. Nobody is erased from a trail that "
            "is not whole; run manage.py verify_audit."
        )
    called = (user.get_username(), user.email, user.get_full_name()) if user is not None else ()
    names = Names((*called, *also, *_former_names(username)), f"erased-{secrets.token_hex(4)}")
    logs = tuple(_logs(names))
    with transaction.atomic():
        files = rewritten_files(names, dry_run=dry_run)
        seals, texts = _rows(names, files, dry_run=dry_run)
        if user is not None:
            texts += _pasted(user, dry_run=dry_run)
        if user is not None and not dry_run:
            with keeping_owners(owned_by([user])):
                _close(user, names)
            seals |= ACCOUNT.seal(user)
        entries = erase_from_trail(names, seals, files, dry_run=dry_run)
        if not dry_run:
            record(
                stream=INSTALLATION_STREAM,
                action=PERSON_ERASED,
                subject_type="user",
                subject_id=names.pseudonym,
                data={
                    "reason": names.replaced(reason.strip()),
                    "texts": len(texts),
                    "entries": len(entries),
                    "files": len(files),
                },
                rows=account_rows(user) if user is not None else {},
            )
            transaction.on_commit(put_files)
    return PersonErased(
        pseudonym=names.pseudonym,
        dry_run=dry_run,
        texts=tuple(texts),
        entries=tuple(f"{stream} entry {number}: {', '.join(places)}" for stream, number, places in entries),
        files=tuple(files),
        logs=logs,
    )


def _former_names(username: str) -> list[str]:
    """What the account was called before, by the trail."""
    found = [username]
    for event in reversed(list(events_called(RENAMED))):
        if event.subject_id in found:
            found.append(str(event.data["before"]))
    return found[1:]


def _close(user: User, names: Names) -> None:
    """Leave nothing of an account but its number: nobody signs in to it, and no token and no session is left."""
    for label, field in GONE.items():
        apps.get_model(label)._default_manager.filter(**{field: user}).delete()
    user.username, user.email = names.pseudonym, ""
    user.first_name, user.last_name = "", ""
    user.is_active = user.is_staff = user.is_superuser = False
    user.set_unusable_password()
    user.save()


def _rows(
    names: Names, files: Mapping[KeptAuditFile, str], *, dry_run: bool
) -> tuple[dict[str, str], list[str]]:
    """Replace the names in every row; the new seals of rows that entries vouch for, and where texts were replaced."""
    seals: dict[str, str] = {}
    texts: list[str] = []
    above = {apps.get_model(label): fields for label, fields in TEXTS_ABOVE.items()}
    for model, fields in {**TEXTS, **above}.items():
        rows: models.QuerySet[Any] = models.QuerySet(
            model
        )  # past the guards of models that are never changed
        for row in rows.order_by("pk").iterator():
            moved = {
                name: now
                for name in fields
                if (now := names.in_value(getattr(row, name))) != getattr(row, name)
            }
            if isinstance(row, ChangeRequest) and row.merge_record is not None:
                record_now = _with_digests_of(files, moved.get("merge_record", row.merge_record))
                moved |= {"merge_record": record_now} if record_now != row.merge_record else {}
            if not moved:
                continue
            texts += [f"{model._meta.verbose_name} {row.pk}: {name}" for name in moved]
            if dry_run:
                continue
            rows.filter(pk=row.pk).update(**moved)
            for name, now in moved.items():
                setattr(row, name, now)
            for kind in SEALED:
                if kind.model is model:
                    seals |= kind.seal(row)
    return seals, texts


def _pasted(user: User, *, dry_run: bool) -> list[str]:
    """Forget what the person pasted into uploads that were not staged: it was kept to be shown to them again."""
    kept = Upload.objects.filter(uploaded_by=user).exclude(pasted="")
    places = [f"{Upload._meta.verbose_name} {pk}: pasted" for pk in kept.values_list("pk", flat=True)]
    if not dry_run:
        kept.update(pasted="")
    return places


def _with_digests_of(files: Mapping[KeptAuditFile, str], record: Mapping[str, Any]) -> dict[str, Any]:
    """What a request says of its merge, with the hashes of files as they are now."""
    folder = str(record.get("audit_folder", ""))
    named = {
        name: files.get(KeptAuditFile(folder, name), digest)
        for name, digest in record.get("audit_files", {}).items()
    }
    return {**record, **({"audit_files": named} if named else {})}


def _logs(names: Names) -> Iterator[str]:
    """Tables whose logs name the person as whoever merged, as far back as they reach."""
    for dataset in Dataset.objects.select_related("project").order_by("pk"):
        try:
            logged = merging.logged_merges(dataset.table_uri, installation_identity())
        except merging.MergeError as error:
            yield f"{dataset}: its log could not be read: {error.message}"
            continue
        versions = [str(one.version) for one in logged.merges if names.replaced(one.user) != one.user]
        if versions:
            yield f"{dataset}: version{'s' if len(versions) > 1 else ''} {', '.join(versions)}"
