"""What somebody looked at, compared with what there is now; and what moved, for those who looked at something else."""

from changerequests.errors import PlanChanged
from changerequests.models import Revision


def require_revision(revision: Revision, seen_digest: str, *, looked: str, then: str) -> None:
    """Raises ``PlanChanged`` where another content was seen than stands now, with what moved between the two.

    ``looked`` says at what, ``then`` what to do again.
    """
    if not seen_digest or seen_digest == revision.digest:
        return
    data: dict[str, object] = {"moved": "revision", "revision": revision.number, "rows": revision.rows}
    before = revision.change_request.revisions.filter(digest=seen_digest).order_by("-number").first()
    detail = ""
    if before is not None:
        data |= {"seen_revision": before.number, "seen_rows": before.rows}
        who = revision.created_by.get_full_name() or revision.created_by.get_username()
        detail = (
            f": revision {before.number} became revision {revision.number} ({who}, "
            f"{revision.created_at:%Y-%m-%d %H:%M} UTC), {_counts(before)} became {_counts(revision)}"
        )
    raise PlanChanged(
        f"New content was uploaded since you {looked}{detail}. Look again, then {then}.", **data
    )


def _counts(revision: Revision) -> str:
    return (
        f"{revision.rows_inserted:,} inserted, {revision.rows_updated:,} updated and {revision.rows_deleted:,} "
        f"deleted rows"
    )
