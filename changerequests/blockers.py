"""A blocker: one reason why an action is not possible now, as pages, API and services tell it."""

from dataclasses import dataclass
from typing import Literal

#: Where a blocker is mended: a tab or anchor of the change request's page, or the dataset's settings.
Place = Literal["conversation", "changes", "conflicts", "checks", "merge", "upload", "dataset"]


@dataclass(frozen=True)
class Blocker:
    """One reason why an action is not possible now."""

    code: str
    kind: Literal["fix", "wait"]
    sentence: str
    link: Place
    #: Whether an owner may go on in spite of it, with a reason.
    overridable: bool = False
