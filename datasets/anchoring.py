"""Where else the anchors of the audit trail are told, as the installation is set up."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from django.conf import settings

import merging
from audit.delivering import Teller, Told, breaks_of_kept, breaks_of_told, deliver, tell_syslog, told_places
from audit.files import KeptAuditFile
from audit.services import Break
from audit.syslog import receiver_of


def _tellers() -> dict[str, Teller]:
    tellers: dict[str, Teller] = {}
    if settings.AUDIT_ANCHOR_STORE:
        tellers[settings.AUDIT_ANCHOR_STORE] = _keep
    if settings.AUDIT_ANCHOR_SYSLOG:
        tellers[settings.AUDIT_ANCHOR_SYSLOG] = partial(
            tell_syslog, receiver_of(settings.AUDIT_ANCHOR_SYSLOG)
        )
    return tellers


def _keep(path: KeptAuditFile) -> None:
    place, options = settings.AUDIT_ANCHOR_STORE, settings.AUDIT_ANCHOR_STORE_OPTIONS
    merging.keep_file(place, path.name, path.read(), options)


def deliver_anchors() -> int:
    """Tell every place the anchors that it was not told yet; returns how many. Called each minute."""
    return deliver(_tellers())


def places() -> list[Told]:
    """How far each place was told."""
    return told_places(_tellers())


def bent_anchors(heads: Path | None = None) -> Iterator[Break]:
    """What differs between the anchors here, those kept elsewhere, ``heads`` from a syslog, and the chains; and places
    that cannot be told.
    """
    place, options = settings.AUDIT_ANCHOR_STORE, settings.AUDIT_ANCHOR_STORE_OPTIONS
    if place:
        try:
            yield from breaks_of_kept(place, merging.kept_files(place, options))
        except merging.MergeError as error:
            yield Break("", 0, error.message, file=place)
    if heads is not None:
        with heads.open(encoding="utf-8", errors="replace") as lines:
            yield from breaks_of_told(lines)
    for one in places():
        if one.failing_since is not None:
            since = f"{one.failing_since:%Y-%m-%d %H:%M} UTC"
            yield Break("", 0, f"{one.waiting} anchors wait since {since}: {one.error}", file=one.place)
