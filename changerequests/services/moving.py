"""Moving the data root to another place: every file copied, read back there and compared; nothing removed here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

import merging
from audit.erasing import put_files
from audit.files import AUDIT_FOLDER
from audit.selectors import events_naming_files
from changerequests.models import MergeRun, Preview, Revision, Upload
from changerequests.services import storage
from changerequests.states import OPEN_STATUSES, RunStatus, UploadStatus
from datasets.data_root import data_root, is_below_data_root
from datasets.durable_work import WorkStatus
from datasets.errors import InvalidInput
from datasets.models import Dataset

#: Everything that Headgate keeps, but for the tables that it made.
AREAS = ("_staging", "_archive", AUDIT_FOLDER)


@dataclass(frozen=True)
class MovedRoot:
    """What lies in the new place, and how many files were copied by this call; ``differing`` are files that are not
    there as they were written, each with what differs. ``tables`` lie below the old root and stay there.
    """

    address: str
    files: int
    copied: int
    size: int
    differing: tuple[str, ...]
    tables: tuple[str, ...]


def move_data_root(*, to: str, options: Mapping[str, str]) -> MovedRoot:
    """Copy what is kept to another place, and prove that it is whole there. Safe to call again; web and workers are to
    be stopped.

    Raises ``InvalidInput`` while something is worked on, and for the present place; ``merging.MergeFailed`` for a place
    that cannot be used.
    """
    source = data_root()
    target = merging.open_folders(
        to, options, cache=Path(settings.HEADGATE_CACHE), cache_bytes=settings.HEADGATE_CACHE_BYTES
    )
    _require_another(source.address, target.address)
    _require_nothing_under_way()
    put_files()  # of an erasure that died before its end
    files = copied = size = 0
    differing: list[str] = []
    for folder, found in kept_folders(source):
        digests = {name: source.sha256(f"{folder}/{name}") for name in found}
        missing = {name for name in found if _digest(target, f"{folder}/{name}") != digests[name]}
        if missing:
            _copy(source, target, folder, digests, missing)
        differing += [
            f"{target.address_of(f'{folder}/{name}')} has other content"
            for name in sorted(missing)
            if _digest(target, f"{folder}/{name}") != digests[name]
        ]
        files, copied, size = files + len(found), copied + len(missing), size + sum(found.values())
    differing += _against_the_trail(target)
    differing += _against_the_manifests(target)
    tables = [uri for uri in Dataset.objects.values_list("table_uri", flat=True) if is_below_data_root(uri)]
    return MovedRoot(target.address, files, copied, size, tuple(differing), tuple(sorted(tables)))


def _require_another(present: str, other: str) -> None:
    one, two = f"{present.rstrip('/')}/", f"{other.rstrip('/')}/"
    if one.startswith(two) or two.startswith(one):
        raise InvalidInput(f"{other} is the present place, or lies in it or around it. Name another.")


def _require_nothing_under_way() -> None:
    under_way = (
        MergeRun.objects.filter(status=RunStatus.RUNNING),
        Upload.objects.filter(status=UploadStatus.RUNNING),
        Preview.objects.filter(status=WorkStatus.RUNNING),
    )
    for rows in under_way:
        first = rows.first()
        if first is not None:
            raise InvalidInput(
                f"{rows.model._meta.verbose_name} {first.pk} is being worked on. Let the workers finish, stop web and "
                "workers, then move the data root."
            )


def kept_folders(source: merging.Folders) -> Iterator[tuple[str, dict[str, int]]]:
    """Every folder with the sizes of the files right in it, those above before those below; not what can be made again
    or never came in whole.
    """
    found: dict[str, dict[str, int]] = {}
    for area in AREAS:
        for one in source.walk(area):
            folder, _, name = one.path.rpartition("/")
            parts = {*folder.split("/"), name}
            is_made_anew = storage.KEPT_CONFLICTS in parts or folder.startswith(storage.INCOMING)
            if not is_made_anew and not any(part.startswith(".") for part in parts):
                found.setdefault(folder, {})[name] = one.size
    yield from sorted(found.items())


def _copy(
    source: merging.Folders,
    target: merging.Folders,
    folder: str,
    digests: Mapping[str, str],
    missing: set[str],
) -> None:
    here = source.checked(folder, digests)
    if is_whole(folder) and not target.is_local:
        target.put_folder(folder, {name: here / name for name in digests})
    else:  # what stands there with other content stays, and is told
        target.put_new(folder, {name: here / name for name in sorted(missing)})


def is_whole(folder: str) -> bool:
    """Whether its files are one thing: staged content and what attempts left, not single audit files and choices."""
    if folder.startswith(f"{AUDIT_FOLDER}/"):
        return "/attempts/" in folder
    return not folder.endswith(f"/{storage.CHOICE_FILES}")


def _digest(target: merging.Folders, name: str) -> str:
    try:
        return target.sha256(name)
    except (FileNotFoundError, NotADirectoryError):
        return ""


def _against_the_trail(target: merging.Folders) -> Iterator[str]:
    """Audit files that are not as the entries say that name them."""
    for event in events_naming_files().iterator():
        files, folder = event.data["audit_files"], event.data.get("audit_folder")
        for name, digest in files.items() if isinstance(files, dict) else ():
            if _digest(target, f"{AUDIT_FOLDER}/{folder}/{name}") != digest:
                place = target.address_of(f"{AUDIT_FOLDER}/{folder}/{name}")
                yield f"{place} is not as {event.stream} entry {event.sequence} says"


def _against_the_manifests(target: merging.Folders) -> Iterator[str]:
    """Content of open requests that is not as its manifest, and the database, say."""
    current = Revision.objects.filter(is_current=True, change_request__status__in=OPEN_STATUSES)
    for revision in current.select_related("change_request").order_by("pk").iterator():
        name = storage.content_name(revision)
        try:
            digest = merging.open_staged(str(target.folder(name))).digest
        except merging.StagedCorrupt as error:
            yield f"The content of {revision.change_request.cr_id}: {error.message}"
        else:
            if digest != revision.digest:
                yield f"{target.address_of(name)} is not what {revision.change_request.cr_id} proposes"
