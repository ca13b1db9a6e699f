"""What is asked of a plan or a merge."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from merging.expectations.rules import ExpectationRules
from merging.expectations.suites import Suite
from merging.model import ConflictPolicy, Resolution
from merging.staging.staged import Staged


@dataclass(frozen=True)
class MergeRequest:
    """Everything a plan or a merge needs to know.

    ``staged`` is a ``Staged`` or its location. ``destination`` is the folder under which the merge
    writes its artefacts before it commits: ``<destination>/<attempt_id>/``. The transaction marker of
    the commit has ``<installation>/<identity>`` as its application id and ``generation`` as its version.
    ``identity`` names the request for ever and must never be given twice, which a number from a database that
    can be restored is not; without one ``cr_id`` stands for it. A marker is believed only where its commit
    tells of the same content: ``staged_digest`` (``Staged.digest``) and ``resolutions_digest``, which callers
    who hand in a location, or not the choices themselves, give; else they are made from ``staged`` and
    ``resolutions``.
    ``expectations`` is a Great Expectations suite (JSON text, parsed JSON or read by ``parse_suite``) or
    ``ExpectationRules`` round one; it is checked on the merged result, and ``force_merge`` overrides it.
    """

    table_uri: str
    cr_id: str
    primary_keys: Sequence[str]
    staged: Staged | str
    resolutions: Sequence[Resolution] = ()
    merge_schema: bool = True
    conflict_policy: ConflictPolicy = "cell"
    skip_conflict_check: bool = False
    force_merge: bool = False
    expectations: ExpectationRules | Suite | Mapping[str, Any] | str | None = None
    requested_by: str = ""
    storage_options: Mapping[str, str] | None = None
    message: str = ""
    generation: int = 1
    installation: str = "headgate"
    attempt_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    destination: str | None = None
    identity: str = ""
    staged_digest: str = ""
    resolutions_digest: str | None = None

    @property
    def application_id(self) -> str:
        """The ``appId`` of the request's transaction marker in the table's log."""
        return marker_name(self.installation, self.identity or self.cr_id)


def marker_name(installation: str, identity: str) -> str:
    """The ``appId`` of the transaction markers of one request."""
    return f"{installation}/{identity}"
