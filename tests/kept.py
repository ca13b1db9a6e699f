"""Where a test finds on its disk what the application keeps: local folders below ``settings.DELTA_DATA_ROOT``."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings

from changerequests.models import ChangeRequest, Preview, Revision, Upload
from changerequests.services import storage


def root() -> Path:
    return Path(settings.DELTA_DATA_ROOT)


def audit_root() -> Path:
    return root() / "audit"


def audit_folder(change_request: ChangeRequest) -> Path:
    return audit_root() / storage.audit_folder_name(change_request)


def attempts_folder(change_request: ChangeRequest) -> Path:
    return root() / storage.attempts_name(change_request)


def staging_folder(change_request: ChangeRequest) -> Path:
    return root() / storage.staging_name(change_request)


def archive_folder(change_request: ChangeRequest) -> Path:
    return root() / storage.archive_folder(change_request)


def content_folder(revision: Revision) -> Path:
    return root() / storage.content_name(revision)


def uploads_folder() -> Path:
    return root() / storage.UPLOADS


def upload_folder(upload: Upload) -> Path:
    return root() / storage.upload_folder(upload)


def previews_folder() -> Path:
    return root() / storage.PREVIEWS


def preview_folder(preview: Preview) -> Path:
    return root() / storage.preview_folder(preview)


def incoming_folder() -> Path:
    return root() / storage.INCOMING


def names_in(folder: Path) -> list[str]:
    """What stands in a folder, which is made with the first thing in it."""
    return sorted(one.name for one in folder.iterdir()) if folder.is_dir() else []
