"""The pages of operators: what keeps the installation running, as they read it."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from django.conf import settings
from django.urls import reverse

from changerequests.services import operations
from changerequests.services.retention import Policy, configured_policy
from datasets.data_root import data_root
from web.view_models.datasets import Tab

#: What each period of the retention policy is about.
_KEPT: Mapping[str, str] = {
    "archives": "Archived content, since its merge",
    "orphans": "Files that a process which died left behind",
    "closed": "Staged content of closed requests, since they were closed",
    "superseded": "Revisions that a newer one replaced",
    "runs": "Merges that did not succeed, visits of maintenance and uploads, since they ended",
    "edits": "Rows that people edited and never proposed, since they last touched them",
}
_TABS = (
    ("operations", "Now", "clock"),
    ("operations_uploads", "Uploads", "upload"),
    ("operations_deliveries", "Deliveries", "bell"),
    ("operations_trail", "Audit", "shield"),
    ("operations_stores", "Stores", "database"),
    ("operations_connections", "Connections", "key"),
    ("operations_retention", "Retention", "history"),
)


def operator_tabs(current: str) -> tuple[Tab, ...]:
    """The pages of operators; how much is stuck stands at the first."""
    stuck = len(operations.stuck_work()) or None
    return tuple(
        Tab(title, reverse(name), icon, name == current, stuck if name == "operations" else None)
        for name, title, icon in _TABS
    )


@dataclass(frozen=True)
class KeptFor:
    """One period of the retention policy."""

    what: str
    days: int


def periods() -> tuple[KeptFor, ...]:
    """The retention policy in words."""
    policy = configured_policy()
    return tuple(KeptFor(_KEPT[one.name], getattr(policy, one.name)) for one in fields(Policy))


@dataclass(frozen=True)
class ShownEntry:
    """An entry of the trail with its facts as JSON."""

    event: Any
    facts: str


def shown_entry(event: Any) -> ShownEntry:
    """An entry of the trail (``audit.models.Event``) as operators read it."""
    facts = json.dumps(event.data, ensure_ascii=False, indent=2) if event.data else ""
    return ShownEntry(event, facts)


@dataclass(frozen=True)
class Room:
    """How full the disk under the data root is."""

    folder: str
    used: int
    total: int

    @property
    def share(self) -> float:
        """The share that is used."""
        return self.used / self.total if self.total else 0.0


def room() -> Room:
    """The disk under ``DELTA_DATA_ROOT``, or the one with copies of what an object store holds."""
    root = data_root()
    folder = root.address if root.is_local else str(settings.HEADGATE_CACHE)
    Path(folder).mkdir(parents=True, exist_ok=True)
    usage = shutil.disk_usage(folder)
    return Room(folder, usage.total - usage.free, usage.total)
