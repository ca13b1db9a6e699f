"""Where staged content, merge artefacts and audit files of a change request live under ``DELTA_DATA_ROOT``."""

import shutil
from pathlib import Path

from django.conf import settings

from audit.files import audit_root
from changerequests.models import ChangeRequest
from datasets.errors import NotFound


def staging_folder(change_request: ChangeRequest) -> Path:
    """Staged revisions of the request. Outside table folders, so that no VACUUM reaches it."""
    return Path(settings.DELTA_DATA_ROOT) / "_staging" / "change_requests" / change_request.cr_id


def uploads_folder() -> Path:
    """Where content is staged before there is a request for it."""
    return Path(settings.DELTA_DATA_ROOT) / "_staging" / "uploads"


def archive_folder(change_request: ChangeRequest) -> Path:
    """Where staged content goes when the dataset archives it."""
    return Path(settings.DELTA_DATA_ROOT) / "_archive" / "change_requests" / change_request.cr_id


def audit_folder_name(change_request: ChangeRequest) -> str:
    """The folder of the request's audit files below the audit root, as events name it."""
    return f"change_requests/{change_request.cr_id}"


def audit_folder(change_request: ChangeRequest) -> Path:
    """The audit files of the request."""
    return audit_root() / audit_folder_name(change_request)


def attempts_folder(change_request: ChangeRequest) -> Path:
    """What merge attempts write before they commit; emptied once the audit files stand."""
    return audit_folder(change_request) / "attempts"


def audit_file(change_request: ChangeRequest, name: str) -> Path:
    """Where one of the request's recorded audit files is. Raises ``NotFound`` for any other name."""
    recorded = (change_request.merge_record or {}).get("audit_files", {})
    path = audit_folder(change_request) / name
    if name not in recorded or not path.is_file():
        raise NotFound(f"{change_request.cr_id} has no audit file {name}.")
    return path


def clear_staging(change_request: ChangeRequest, *, archive: bool) -> None:
    """Remove or archive the staged content. Safe to call again."""
    source = staging_folder(change_request)
    if archive and source.exists():
        target = archive_folder(change_request)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(source, target)
    shutil.rmtree(source, ignore_errors=True)
    shutil.rmtree(attempts_folder(change_request), ignore_errors=True)
