"""Where staged content, merge artefacts and audit files of a change request live under ``DELTA_DATA_ROOT``."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from audit.files import audit_root
from changerequests.models import ChangeRequest, Preview, Upload
from datasets.errors import NotFound

#: Beside the staged revisions of a request.
KEPT_CONFLICTS, CHOICE_FILES = "conflicts", "choice_files"


def staging_folder(change_request: ChangeRequest) -> Path:
    """Staged revisions of the request. Outside table folders, so that no VACUUM reaches it."""
    return Path(settings.DELTA_DATA_ROOT) / "_staging" / "change_requests" / change_request.cr_id


def conflicts_folder(change_request: ChangeRequest) -> Path:
    """The conflicts of the request with the table as it was lately, for their pages."""
    return staging_folder(change_request) / KEPT_CONFLICTS


def choice_file(change_request: ChangeRequest, digest: str) -> Path:
    """Where a file of choices lies between being looked at and being stored, by the SHA-256 of its content."""
    return staging_folder(change_request) / CHOICE_FILES / digest


def uploads_folder() -> Path:
    """Where received files lie until they are staged: a folder for each upload."""
    return Path(settings.DELTA_DATA_ROOT) / "_staging" / "uploads"


def incoming_folder() -> Path:
    """Where files are while they come in: on the same disk, so that they are linked to their upload, not copied."""
    return Path(settings.DELTA_DATA_ROOT) / "_staging" / "incoming"


def upload_folder(upload: Upload) -> Path:
    """The received file of the upload, and what its attempts write. Gone once the upload has ended."""
    return uploads_folder() / upload.token


def previews_folder() -> Path:
    """Where files lie that are looked at before they are proposed: a folder for each preview."""
    return Path(settings.DELTA_DATA_ROOT) / "_staging" / "previews"


def preview_folder(preview: Preview) -> Path:
    """The received file of the preview, and what its attempts write. Gone with the preview."""
    return previews_folder() / preview.token


#: The name of the received file in the folder of its upload or preview; what people call it stands in the row.
CONTENT = "content"


def archive_folder(change_request: ChangeRequest) -> Path:
    """Where staged content goes when the dataset archives it."""
    return Path(settings.DELTA_DATA_ROOT) / "_archive" / "change_requests" / change_request.cr_id


#: Below the audit root: one folder for each merged request.
AUDIT_FOLDERS = "change_requests"
MERGE_RESULT = "merge_result.json"


def audit_folder_names(change_request: ChangeRequest) -> tuple[str, str]:
    """Where the request's audit files may be, below the audit root: under its number, and, where that is taken by a
    request of a database that was restored since, under its number and identity.
    """
    name = f"{AUDIT_FOLDERS}/{change_request.cr_id}"
    return name, f"{name}-{change_request.identity[:8]}"


def audit_folder_name(change_request: ChangeRequest) -> str:
    """The folder of the request's audit files below the audit root, as events name it."""
    recorded = (change_request.merge_record or {}).get("audit_folder")
    return recorded or audit_folder_names(change_request)[0]


def audit_folder(change_request: ChangeRequest) -> Path:
    """The audit files of the request."""
    return audit_root() / audit_folder_name(change_request)


def attempts_folder(change_request: ChangeRequest) -> Path:
    """What merge attempts write before they commit; emptied once the audit files stand."""
    return audit_root() / audit_folder_names(change_request)[0] / "attempts"


@dataclass(frozen=True)
class AuditedMerge:
    """What a folder of audit files says was merged: proof beside the database and the table's log."""

    folder: str
    document: dict[str, Any]

    @property
    def identity(self) -> str:
        """Whose merge it is; files from before there were identities are known by the public id."""
        return str(self.document.get("identity") or self.document.get("cr_id", ""))


def audited_merge(change_request: ChangeRequest) -> AuditedMerge | None:
    """The merge of this very request that audit files tell of, whether the database knows of it or not."""
    for name in audit_folder_names(change_request):
        found = _audited(name)
        if found is not None and found.identity == change_request.identity:
            return found
    return None


def audited_merges() -> Iterator[AuditedMerge]:
    """Every merge that there are audit files of; a folder whose result cannot be read has an empty document."""
    root = audit_root() / AUDIT_FOLDERS
    for path in sorted(root.iterdir()) if root.is_dir() else []:
        if any(child.is_file() and not child.name.startswith(".") for child in path.iterdir()):
            name = f"{AUDIT_FOLDERS}/{path.name}"
            yield _audited(name) or AuditedMerge(name, {})


def _audited(name: str) -> AuditedMerge | None:
    try:
        document = json.loads((audit_root() / name / MERGE_RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return AuditedMerge(name, document) if isinstance(document, dict) else None


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
