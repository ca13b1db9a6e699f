"""Where staged content, merge artefacts and audit files of a change request are kept, by names under the data root.

On a disk these are its folders, in an object store what begins with them (``merging.Folders``). Whoever reads content
asks for a local folder with it; whoever makes some does so in a workplace and publishes it from there.
"""

import io
import json
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import structlog

import merging
from audit.files import AUDIT_FOLDER, KeptAuditFile, all_audit_files
from changerequests.models import ChangeRequest, MergeRun, Preview, Revision, Upload
from datasets.data_root import data_root
from datasets.errors import NotFound

logger = structlog.get_logger(__name__)

#: Beside the staged revisions of a request.
KEPT_CONFLICTS, CHOICE_FILES = "conflicts", "choice_files"
#: Received files that wait to be read: a folder for each upload, and for each preview.
UPLOADS, PREVIEWS = "_staging/uploads", "_staging/previews"
#: What is made before it is known whose it becomes.
REVERTS, PARTS = "_staging/reverts", "_staging/parts"
#: The folders of the requests, by their public ids.
STAGED, ARCHIVED = "_staging/change_requests", "_archive/change_requests"
#: Where files are while they come in.
INCOMING = "_staging/incoming"
#: The name of the received file in the folder of its upload or preview; what people call it stands in the row.
CONTENT = "content"
#: Below the audit root: one folder for each merged request.
AUDIT_FOLDERS = "change_requests"
MERGE_RESULT = "merge_result.json"
#: The audit files that show, trace and revert a merge; the others are for people.
_ARTEFACTS = ("images.parquet", "summary.json")
#: Locations from before they were relative begin with the data root of their time, which may be another by now.
_LOCATION = re.compile(r"(?:.*[/\\])?(_staging/.+)", re.DOTALL)


def staging_name(change_request: ChangeRequest) -> str:
    """Staged revisions of the request. Outside table folders, so that no VACUUM reaches it."""
    return f"{STAGED}/{change_request.cr_id}"


def content_name(revision: Revision) -> str:
    """The name of a revision's content."""
    found = _LOCATION.fullmatch(revision.location)
    return found[1] if found else revision.location


def content_of(revision: Revision) -> str:
    """A local folder with a revision's content, for the engine; where the content is gone nothing lies there."""
    return str(data_root().folder(content_name(revision)))


def adopt(change_request: ChangeRequest, staged: merging.Staged) -> merging.Staged:
    """Let content that was made in a workplace be content of the request; remove it with ``discard_content`` where
    the transaction around it does not come to its end.
    """
    name = f"{staging_name(change_request)}/{uuid.uuid4().hex}"
    return merging.open_for_pages(str(data_root().publish(staged.location, name)))


def adopted_in_place(staged: merging.Staged) -> merging.Staged:
    """The same for content that was made in a workplace of the request itself: its name stays."""
    keep = data_root()
    return replace(staged, location=str(keep.publish(staged.location, keep.name_of(staged.location))))


def location_of(staged: merging.Staged) -> str:
    """What the database keeps of where adopted content is: its name, which is the same wherever the data root lies."""
    return data_root().name_of(staged.location)


def discard_content(staged: merging.Staged) -> None:
    """Remove content again that was adopted."""
    discard(location_of(staged))


def discard(name: str) -> None:
    """Remove what is not needed any more. Where that cannot be done now, a sweep or retention does it."""
    try:
        data_root().remove(name)
    except (OSError, merging.MergeError) as error:
        logger.warning("not_removed", name=name, error=error)


def workplace(folder: str) -> Path:
    """A local path of its own below a folder, in which content is made."""
    return data_root().workplace(f"{folder}/{uuid.uuid4().hex}")


def left_in(place: Path) -> str:
    """The name of a workplace, to discard what is left in it."""
    return data_root().name_of(place)


def conflicts_folder(change_request: ChangeRequest) -> Path:
    """The conflicts of the request with the table as it was lately, for their pages. They are made again where they
    are not, so each machine has its own where the data root is in an object store.
    """
    return data_root().workplace(f"{staging_name(change_request)}/{KEPT_CONFLICTS}")


def choice_files(change_request: ChangeRequest) -> str:
    """Where files of choices lie between being looked at and being stored, by the SHA-256 of their content."""
    return f"{staging_name(change_request)}/{CHOICE_FILES}"


def incoming_folder() -> Path:
    """Where files are while they come in: on the disk of the data root, so that they are linked to their upload."""
    return data_root().workplace(INCOMING)


def upload_folder(upload: Upload) -> str:
    """The received file of the upload, and what its attempts write. Gone once the upload has ended."""
    return f"{UPLOADS}/{upload.token}"


def preview_folder(preview: Preview) -> str:
    """The received file of the preview, and what its attempts write. Gone with the preview."""
    return f"{PREVIEWS}/{preview.token}"


def archive_folder(change_request: ChangeRequest) -> str:
    """Where staged content goes when the dataset archives it."""
    return f"{ARCHIVED}/{change_request.cr_id}"


def clear_staging(change_request: ChangeRequest, *, archive: bool) -> None:
    """Remove or archive the staged content. Safe to call again."""
    keep, source = data_root(), staging_name(change_request)
    if archive:
        keep.move(source, archive_folder(change_request))
    keep.remove(source)
    keep.remove(attempts_name(change_request))


# --- Audit files -------------------------------------------------------------------------------------------------


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


def artefacts_of(change_request: ChangeRequest) -> str:
    """A local folder with what the merge of the request left: what shows, traces and reverts it."""
    recorded = (change_request.merge_record or {}).get("audit_files", {})
    digests = {name: recorded[name] for name in _ARTEFACTS if name in recorded}
    return str(data_root().checked(f"{AUDIT_FOLDER}/{audit_folder_name(change_request)}", digests))


def open_audit_file(change_request: ChangeRequest, name: str) -> BinaryIO:
    """One of the request's recorded audit files, to be read. Raises ``NotFound`` for any other name."""
    recorded = (change_request.merge_record or {}).get("audit_files", {})
    if name in recorded:
        file = KeptAuditFile(audit_folder_name(change_request), name)
        try:
            if name.endswith(".json"):  # names people: no copy of it is left on a disk
                return io.BytesIO(file.read())
            folder = data_root().checked(f"{AUDIT_FOLDER}/{file.folder}", {name: recorded[name]})
            return (folder / name).open("rb")
        except FileNotFoundError:
            pass
    raise NotFound(f"{change_request.cr_id} has no audit file {name}.")


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
    folders = {one.folder for one in all_audit_files() if not one.name.startswith(".")}
    for name in sorted(folders):
        if name.count("/") == 1 and name.startswith(f"{AUDIT_FOLDERS}/"):
            yield _audited(name) or AuditedMerge(name, {})


def _audited(name: str) -> AuditedMerge | None:
    try:
        document = json.loads(KeptAuditFile(name, MERGE_RESULT).text())
    except (OSError, ValueError):
        return None
    return AuditedMerge(name, document) if isinstance(document, dict) else None


# --- What merge attempts leave -----------------------------------------------------------------------------------


def attempts_name(change_request: ChangeRequest) -> str:
    """What merge attempts write before they commit; emptied once the audit files stand."""
    return f"{AUDIT_FOLDER}/{audit_folder_names(change_request)[0]}/attempts"


def attempts_folder(change_request: ChangeRequest) -> Path:
    """A local folder for the engine to leave an attempt's artefacts in, with those of earlier attempts."""
    keep, name = data_root(), attempts_name(change_request)
    place = keep.workplace(f"{name}/any").parent
    if not keep.is_local:
        for attempt in keep.folders(name):
            here = place / attempt
            if not here.exists():
                here.unlink(missing_ok=True)  # a link to a copy that went
                here.symlink_to(keep.folder(f"{name}/{attempt}"))
    return place


def publish_attempt(run: MergeRun) -> None:
    """Keep what an attempt wrote, before it commits: whoever records the merge may be on another machine."""
    keep, name = data_root(), f"{attempts_name(run.change_request)}/{run.attempt_id}"
    made = keep.workplace(name)
    if not keep.is_local and made.is_dir():
        keep.publish(made, name)


def attempt_folder(change_request: ChangeRequest, attempt_id: str) -> Path:
    """A local folder with what an attempt left; nothing lies there where that is gone."""
    return data_root().folder(f"{attempts_name(change_request)}/{attempt_id}")


def discard_attempt(run: MergeRun) -> None:
    """Remove what an attempt left that did not commit."""
    discard(f"{attempts_name(run.change_request)}/{run.attempt_id}")


def numbers_in_names() -> Iterator[str]:
    """The names of the folders of requests, whether the database knows them or not."""
    keep = data_root()
    for folder in (f"{AUDIT_FOLDER}/{AUDIT_FOLDERS}", STAGED, ARCHIVED):
        yield from keep.folders(folder)


def received(folder: str) -> Path:
    """A local path of the received file of an upload or preview; nothing lies there where it is gone."""
    return data_root().folder(folder) / CONTENT


def receive(folder: str, files: Mapping[str, Path]) -> None:
    """Keep a received file, if there is one, until it is read."""
    data_root().put_folder(folder, files)
