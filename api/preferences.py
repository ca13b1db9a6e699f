"""What a caller prefers where an answer may take a while: the header ``Prefer`` (RFC 7240)."""

import re
from dataclasses import dataclass

from django.conf import settings
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request

PREFER = OpenApiParameter(
    "Prefer",
    str,
    OpenApiParameter.HEADER,
    description="`wait=30` waits up to 30 s for the end, `respond-async` does not wait (RFC 7240).",
)


@dataclass(frozen=True)
class Patience:
    """How long the answer may wait, and what of the caller's preferences decided it."""

    seconds: int
    applied: str

    @property
    def headers(self) -> dict[str, str]:
        """What the answer says of it."""
        return {"Preference-Applied": self.applied} if self.applied else {}


def patience_of(request: Request, *, default: int) -> Patience:
    """The caller's patience: ``wait`` up to what the server grants, none with ``respond-async`` alone, else the
    default.
    """
    preferred = request.headers.get("Prefer", "")
    wait = re.search(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})", preferred, re.IGNORECASE)
    if wait:
        seconds = min(int(wait[1]), max(settings.MERGE_WAIT_SECONDS, default))
        return Patience(seconds, f"wait={seconds}")
    if re.search(r"(?:^|[,;\s])respond-async(?:$|[,;\s=])", preferred, re.IGNORECASE):
        return Patience(0, "respond-async")
    return Patience(default, "")
