"""Where staged content, merge artefacts and audit files of a change request live under ``DELTA_DATA_ROOT``."""

import shutil
from pathlib import Path

from django.conf import settings

from changerequests.models import ChangeRequest


def staging_folder(change_request: ChangeRequest) -> Path:
    """Staged revisions of the request. Outside table folders, so that no VACUUM reaches it."""
    return Path(settings.DELTA_DATA_ROOT) / "_staging" / "change_requests" / change_request.cr_id


def archive_folder(change_request: ChangeRequest) -> Path:
    """Where staged content goes when the dataset archives it."""
    return Path(settings.DELTA_DATA_ROOT) / "_archive" / "change_requests" / change_request.cr_id


def audit_folder(change_request: ChangeRequest) -> Path:
    """The audit files of the request."""
    return Path(settings.DELTA_DATA_ROOT) / "audit" / "change_requests" / change_request.cr_id


def attempts_folder(change_request: ChangeRequest) -> Path:
    """What merge attempts write before they commit; emptied once the audit files stand."""
    return audit_folder(change_request) / "attempts"


def clear_staging(change_request: ChangeRequest, *, archive: bool) -> None:
    """Remove or archive the staged content. Safe to call again."""
    source = staging_folder(change_request)
    if archive and source.exists():
        target = archive_folder(change_request)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(source, target)
    shutil.rmtree(source, ignore_errors=True)
    shutil.rmtree(attempts_folder(change_request), ignore_errors=True)
